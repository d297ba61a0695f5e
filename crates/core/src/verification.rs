//! Verifying from outside: `verify` behind a look at who is working on the directory, with a record of what it came to.

use std::{io, path::Path};

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    context::now,
    manifest::{Manifest, Verification, VerificationResult, VerifiedBy},
    progress::Progress,
    target::staging::{annotate, refuse_if_at_work},
    verify::{self, VerifyOutcome, VerifyVerdict},
};
use neo4j_format::{DirHandle, DiskError};

/// Compares a backup with its manifest, every byte of it, unless a run is working on it, and records in the manifest what
/// that came to. Where the record cannot be written, a warning says so.
///
/// # Errors
/// [`crate::ErrorKind::TargetInUse`] while a run works on the directory; those of [`verify::verify`].
pub fn verify(dir: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
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
