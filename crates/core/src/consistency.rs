//! The consistency check at the end of a backup. What it finds changes the verdict and never the backup.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{outcome::Verdict, replay};
use crate::{
    Error,
    cancel::Cancel,
    check::{self, CheckError, CheckOptions, CheckReport, Origin, RecordRef, What, WrittenRecords},
    manifest::{Verification, VerificationResult, VerifiedBy},
};
use neo4j_format::{DirHandle, DiskError, log::Layout, store::StoreFile};

/// Findings of each rule in a backup's report; `check` shows more.
const SHOWN: usize = 10;

/// How much of a finished backup is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// Nothing.
    None,
    /// All of a full backup; of an incremental one what its transactions wrote.
    Usual,
    /// All.
    Whole,
}

/// How the check of a backup ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Checked {
    /// What it found.
    Report(CheckReport),
    /// Why it could not run.
    NotRun {
        /// The reason.
        not_run: String,
    },
}

impl Checked {
    /// The check ended with this error.
    pub(crate) fn not_run(error: &dyn std::error::Error) -> Checked {
        Checked::NotRun {
            not_run: error.to_string(),
        }
    }

    /// The record of a check of the whole graph that came to its end.
    pub(crate) fn verification(&self) -> Option<Verification> {
        let Checked::Report(report) = self else {
            return None;
        };
        let result = if report.is_consistent() {
            VerificationResult::Consistent
        } else {
            VerificationResult::Inconsistent
        };
        report.is_whole.then(|| Verification {
            records: Some(report.records.values().sum()),
            ..Verification::now(VerifiedBy::Backup, result)
        })
    }

    /// The verdict on a backup of which this is known besides.
    pub(crate) fn verdict(&self, before: Verdict) -> Verdict {
        match (self, before) {
            (Checked::Report(report), _) if !report.is_consistent() => Verdict::Inconsistent,
            (Checked::NotRun { .. }, Verdict::Good) => Verdict::NotChecked,
            _ => before,
        }
    }
}

/// A backup whose store files are all written.
pub(crate) struct CompletedStore<'a> {
    /// Its directory.
    pub(crate) dir: &'a DirHandle,
    /// The graph's log of this run, if anything was received.
    pub(crate) log: Option<PathBuf>,
    /// Format of that log.
    pub(crate) layout: Layout,
}

impl CompletedStore<'_> {
    /// Checks all of it.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(crate) fn whole(&self, cancel: &Cancel) -> Result<Checked, Error> {
        let checked = self.check(What::Whole, cancel)?;
        Ok(match checked {
            Checked::Report(report) if !report.findings.is_empty() => match self.written(cancel) {
                Ok(written) => traced(report, &written),
                // the report then does not say where the findings come from
                Err(_) => Checked::Report(report),
            },
            other => other,
        })
    }

    /// Checks what the transactions of this run wrote, and what that means for other records.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(crate) fn part(&self, written: &WrittenRecords, cancel: &Cancel) -> Result<Checked, Error> {
        Ok(match self.check(What::Part(written), cancel)? {
            Checked::Report(report) => traced(report, written),
            other @ Checked::NotRun { .. } => other,
        })
    }

    fn check(&self, what: What<'_>, cancel: &Cancel) -> Result<Checked, Error> {
        let options = CheckOptions {
            what,
            limit: SHOWN,
            ..CheckOptions::default()
        };
        match check::check_handle(self.dir, &options, cancel) {
            Ok(report) => Ok(Checked::Report(report)),
            Err(CheckError::Cancelled(error)) => Err(*error),
            Err(error) => Ok(Checked::not_run(&error)),
        }
    }

    /// The records that the transactions of this run wrote.
    fn written(&self, cancel: &Cancel) -> Result<WrittenRecords, Error> {
        match &self.log {
            Some(path) => written(self.dir, path, self.layout, cancel),
            None => Ok(WrittenRecords::default()),
        }
    }
}

/// The records that the transactions of a log are going to write in `dir`, with what they say before.
///
/// # Errors
/// Of the disk; the log is damaged; the run was cancelled.
pub(crate) fn before_writing(
    dir: &DirHandle,
    log: &Path,
    layout: Layout,
    cancel: &Cancel,
) -> Result<WrittenRecords, Error> {
    let mut written = written(dir, log, layout, cancel)?;
    match written.look_before(dir, cancel) {
        Err(CheckError::Cancelled(error)) => Err(*error),
        // then the whole store is checked
        Err(_) | Ok(()) => Ok(written),
    }
}

fn written(dir: &DirHandle, log: &Path, layout: Layout, cancel: &Cancel) -> Result<WrittenRecords, Error> {
    let mut written = WrittenRecords::default();
    let file = dir.open_file(log).map_err(DiskError::at(log))?;
    replay::changes(&file, log, layout, cancel, |change| {
        written.note(change);
        Ok(())
    })?;
    Ok(written.finished())
}

/// Says of each finding whether a transaction of this run wrote its record.
fn traced(mut report: CheckReport, written: &WrittenRecords) -> Checked {
    report.findings.trace(|place: &RecordRef| {
        let kind = StoreFile::from_name(&place.file).filter(|kind| *kind != StoreFile::Neostore)?;
        let is_written = written.has(kind, place.record?)?;
        Some(if is_written {
            Origin::Transactions
        } else {
            Origin::Files
        })
    });
    Checked::Report(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_did_not_run_makes_nothing_worse_than_it_is() {
        let not_run = Checked::NotRun {
            not_run: "no".to_owned(),
        };
        assert_eq!(not_run.verdict(Verdict::Good), Verdict::NotChecked);
        assert_eq!(not_run.verdict(Verdict::IndexesMissing), Verdict::IndexesMissing);
    }
}
