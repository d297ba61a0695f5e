//! The exit codes as the help, the manual page and the README show them.

use std::fmt::Write as _;

/// Every exit code of the program and what it means.
pub(crate) const EXIT_STATUS: [(u8, &str); 21] = [
    (0, "success; a backup is complete and durable"),
    (1, "failed for a reason that no other code covers"),
    (2, "backup complete, but the consistency check could not run"),
    (3, "backup complete, but inconsistent or without some of its indexes"),
    (
        4,
        "backup complete, but its source lost the master role during the backup",
    ),
    (10, "source unreachable"),
    (11, "target in use by another run or by Neo4j"),
    (
        12,
        "no ZooKeeper server reachable, unknown cluster, or no eligible member",
    ),
    (13, "the target holds another database or a different history"),
    (14, "a full backup is needed"),
    (15, "protocol or version not supported"),
    (16, "the server reported an error"),
    (17, "time limit exceeded"),
    (18, "no space left on the device"),
    (19, "disk error"),
    (20, "verify: the backup is damaged"),
    (
        21,
        "verify: no damage, but changed by Neo4j or by an interrupted update",
    ),
    (64, "usage error"),
    (78, "configuration error"),
    (130, "interrupted (SIGINT)"),
    (143, "terminated (SIGTERM)"),
];

/// The table, one code a line.
pub(crate) fn table() -> String {
    let mut text = String::new();
    for (code, meaning) in EXIT_STATUS {
        let _ = writeln!(text, "{code:>5}  {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use neo4j_backup_core::{ErrorKind, outcome, verify};

    use super::EXIT_STATUS;

    #[test]
    fn the_table_has_the_exit_codes_of_the_library_and_no_others() {
        let kinds = [
            ErrorKind::Failed,
            ErrorKind::NotChecked,
            ErrorKind::Unreachable,
            ErrorKind::TargetInUse,
            ErrorKind::NoMember,
            ErrorKind::NotOurs,
            ErrorKind::FullNeeded,
            ErrorKind::Protocol,
            ErrorKind::Server,
            ErrorKind::TimeLimit,
            ErrorKind::NoSpace,
            ErrorKind::Disk,
            ErrorKind::Damaged,
            ErrorKind::Changed,
            ErrorKind::Usage,
            ErrorKind::Configuration,
            ErrorKind::Interrupted,
            ErrorKind::Terminated,
        ];
        let backups = [
            outcome::Verdict::Good,
            outcome::Verdict::NotChecked,
            outcome::Verdict::Inconsistent,
            outcome::Verdict::IndexesMissing,
            outcome::Verdict::SourceDemoted,
        ];
        let verified = [
            verify::VerifyVerdict::Intact,
            verify::VerifyVerdict::ChangedByNeo4j,
            verify::VerifyVerdict::InterruptedUpdate,
            verify::VerifyVerdict::Damaged,
        ];
        let of_library: BTreeSet<u8> = (kinds.into_iter().map(ErrorKind::exit_code))
            .chain(backups.into_iter().map(outcome::Verdict::exit_code))
            .chain(verified.into_iter().map(verify::VerifyVerdict::exit_code))
            .collect();
        let of_table: Vec<u8> = EXIT_STATUS.iter().map(|(code, _)| *code).collect();
        assert_eq!(of_table, of_library.into_iter().collect::<Vec<_>>());
    }
}
