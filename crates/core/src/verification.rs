//! Verifying and checking from outside: behind a look at who is working on the directory, and recorded.

use std::{io, path::Path};

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    check::{self, CheckOptions, CheckReport},
    journal::{Recorder, RunKind},
    outcome::Verdict,
    progress::{Progress, Quiet},
    target::staging::refuse_if_at_work,
    verify::{self, VerifyOutcome},
};
use neo4j_format::{DirHandle, DiskError};

/// Compares a backup with its manifest, every byte of it, unless a run is working on it. The run is recorded in the
/// [`crate::journal`] of the backup; nothing else is written.
///
/// # Errors
/// [`crate::ErrorKind::TargetInUse`] while a run works on the directory; those of [`verify::verify`].
pub fn verify(dir: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
    let mut recorder = Recorder::begin_reading(RunKind::Verify);
    let found = refuse_if_at_work(dir)
        .and_then(|()| readable(dir))
        .and_then(|dir| verify::verify(&dir, progress, cancel));
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
