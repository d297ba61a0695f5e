//! Verifying and checking from outside: behind a look at who is working on the directory, with records of what it came to.

use std::{io, path::Path};

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    check::{self, CheckOptions, CheckReport},
    context::now,
    journal::{Recorder, RunKind},
    manifest::{Manifest, Verification, VerificationResult, VerifiedBy},
    outcome::Verdict,
    progress::{Progress, Quiet},
    target::staging::{annotate, refuse_if_at_work},
    verify::{self, VerifyOutcome, VerifyVerdict},
};
use neo4j_format::{DirHandle, DiskError};

/// Compares a backup with its manifest, every byte of it, unless a run is working on it, and records what that came to in
/// the manifest and in the [`crate::journal`]. Where the manifest cannot be changed, a warning says so.
///
/// # Errors
/// [`crate::ErrorKind::TargetInUse`] while a run works on the directory; those of [`verify::verify`].
pub fn verify(dir: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
    let mut recorder = Recorder::begin_reading(RunKind::Verify);
    let found = compare(dir, progress, cancel);
    match &found {
        Ok(outcome) => {
            recorder.entry.exit_code = outcome.verdict.exit_code();
            recorder.entry.verdict = Some(outcome.verdict.name().to_owned());
            recorder.entry.bytes = Some(outcome.bytes);
        }
        Err(error) => recorder.failed(error),
    }
    recorder.record(dir, progress);
    found
}

/// Checks the store in a directory for consistency. The run is recorded in the [`crate::journal`] if it is a backup.
///
/// # Errors
/// As [`check::check`].
pub fn check(dir: &Path, options: &CheckOptions<'_>, cancel: &Cancel) -> Result<CheckReport, Error> {
    let mut recorder = Recorder::begin_reading(RunKind::Check);
    let found = check::check(dir, options, cancel).map_err(Error::from);
    match &found {
        Ok(report) => {
            let verdict = if report.is_consistent() {
                Verdict::Good
            } else {
                Verdict::Inconsistent
            };
            recorder.entry.exit_code = verdict.exit_code();
            recorder.entry.verdict = Some(verdict.name().to_owned());
        }
        Err(error) => recorder.failed(error),
    }
    recorder.record(dir, &Quiet);
    found
}

fn compare(dir: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
    refuse_if_at_work(dir)?;
    let opened = readable(dir)?;
    // where it cannot be read there is nothing to record in
    let manifest = Manifest::read(&opened).ok().flatten();
    let mut outcome = verify::verify(&opened, progress, cancel)?;
    if let Some(manifest) = &manifest {
        let result = match outcome.verdict {
            VerifyVerdict::Intact => VerificationResult::Intact,
            VerifyVerdict::ChangedByNeo4j => VerificationResult::ChangedByNeo4j,
            VerifyVerdict::InterruptedUpdate => VerificationResult::InterruptedUpdate,
            VerifyVerdict::Damaged => VerificationResult::Damaged,
        };
        let bytes = (outcome.unchecked_bytes == 0).then_some(outcome.bytes);
        let verification = Verification {
            bytes,
            ..Verification::now(VerifiedBy::Verify, result)
        };
        outcome.recorded = record(dir, manifest, verification, progress);
    }
    Ok(outcome)
}

/// Records a verification of the backup in `dir` that had this manifest; whether it could.
pub(crate) fn record(dir: &Path, manifest: &Manifest, verification: Verification, progress: &dyn Progress) -> bool {
    let recorded = annotate(dir, manifest, |manifest| manifest.add_verification(verification));
    if let Err(error) = &recorded {
        progress.warning(&format!("the verification is not recorded in the backup: {error}"));
    }
    recorded.is_ok()
}

impl Verification {
    /// One that has just ended.
    pub(crate) fn now(by: VerifiedBy, result: VerificationResult) -> Verification {
        Verification {
            by,
            finished: now(),
            result,
            bytes: None,
            records: None,
            last_transactions: Vec::new(),
        }
    }
}

/// Opens a directory that is going to be read only.
///
/// # Errors
/// Of kind [`ErrorKind::NotOurs`] where there is none, or as [`refuse_if_at_work`] where there will be one; of the disk.
pub(crate) fn readable(dir: &Path) -> Result<DirHandle, Error> {
    DirHandle::open(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            if let Err(unfinished) = refuse_if_at_work(dir) {
                return unfinished;
            }
            let text = format!("{}: is not a directory", dir.display());
            Error::new(ErrorKind::NotOurs, text).with_hint("name the directory of a backup or of a database")
        }
        _ => DiskError::new(dir, error).into(),
    })
}
