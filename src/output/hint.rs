//! Hints of the library with the names that its settings have on the command line.

use neo4j_backup_core::{Error, error::Setting};

/// What to do about an error, and with which options.
pub(crate) fn of(error: &Error) -> Option<String> {
    let hint = error.hint()?;
    let options: Vec<&str> = error.settings().iter().filter_map(|setting| option(*setting)).collect();
    Some(match options.as_slice() {
        [] => hint.to_owned(),
        options => format!("{hint} (see {})", options.join(" and ")),
    })
}

fn option(setting: Setting) -> Option<&'static str> {
    match setting {
        Setting::Source => Some("-from"),
        Setting::Target => Some("-to"),
        Setting::Incremental => Some("-incremental"),
        Setting::Overwrite => Some("-overwrite"),
        Setting::AllowShared => Some("-allow-shared-directory"),
        Setting::RequireHistory => Some("-require-history"),
        Setting::TimeLimit => Some("-timeout"),
        Setting::SilenceTimeout => Some("-silence-timeout"),
        Setting::MinRate => Some("-min-rate"),
        Setting::ZooKeeperTimeout => Some("-zk-timeout"),
        Setting::ClusterName => Some("-cluster"),
        Setting::MaxLag => Some("-ha-max-lag"),
        Setting::Members => Some("neo4j-backup members"),
        Setting::RegisteredMembers => Some("-allow-registered-members"),
        Setting::Adopt => Some("verify -adopt"),
        Setting::Replace => Some("-replace"),
        Setting::CreateRepository => Some("neo4j-backup repo init"),
        Setting::RepositoryPassword => Some("-repo-password-file"),
        Setting::Generations => Some("neo4j-backup snapshots"),
        Setting::Release => Some("-release"),
        Setting::Listen => Some("-listen"),
        Setting::Strict => Some("-strict"),
        Setting::ExportFormat => Some("-format"),
        // of a library newer than this program
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo4j_backup_core::target::staging::TargetError;

    #[test]
    fn the_options_of_a_hint_are_named() {
        let error = Error::from(TargetError::Exists { path: "/b".into() });
        assert_eq!(
            of(&error).as_deref(),
            Some("allow it to be replaced, or bring it up to date (see -overwrite and -incremental)")
        );
    }
}
