//! A nightly job: brings a backup of a cluster up to date, takes a full one if that fails, and verifies the result.
//!
//! ```text
//! nightly ha://10.0.0.1:2181,10.0.0.2:2181 /mnt/backup/neo4j
//! ```
#![allow(clippy::print_stdout, reason = "a program")]

use std::{env, error::Error, path::Path, time::Duration};

use neo4j_backup_core::{Backup, Cancel, Mode, progress::Quiet, source::uri::Source, verify, verify::VerifyVerdict};

fn main() -> Result<(), Box<dyn Error>> {
    let (Some(source), Some(target)) = (env::args().nth(1), env::args().nth(2)) else {
        return Err("usage: nightly SOURCE DIRECTORY".into());
    };
    println!("{}", nightly(&source, target.as_ref())?);
    Ok(())
}

/// Who gave the backup, who failed and who was skipped.
pub(crate) fn nightly(source: &str, target: &Path) -> Result<String, Box<dyn Error>> {
    let cancel = Cancel::default().limited(Duration::from_hours(6));
    let outcome = Backup::new(Source::parse(source)?, target)
        .mode(Mode::Auto)
        .fallback_full(true)
        .run(&Quiet, &cancel)?;
    let mut report = format!("{:?} backup of {}: {:?}", outcome.mode, outcome.member, outcome.verdict);
    if let Some(members) = &outcome.members {
        let failed = members.failed.iter().map(|failed| format!("\nfailed: {failed}"));
        let skipped = members
            .skipped
            .iter()
            .map(|skipped| format!("\nskipped: member {}", skipped.id));
        report.extend(failed.chain(skipped));
    }
    match verify(target, &Quiet, &cancel)?.verdict {
        VerifyVerdict::Intact => Ok(report),
        verdict => Err(format!("{}: {verdict:?}", target.display()).into()),
    }
}
