//! Verifying from outside: `verify` behind a look at who is working on the directory.

use std::{io, path::Path};

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    progress::Progress,
    target::staging::refuse_if_at_work,
    verify::{self, VerifyOutcome},
};
use neo4j_format::{DirHandle, DiskError};

/// Compares a backup with its manifest, every byte of it, unless a run is working on it. Writes nothing.
///
/// # Errors
/// [`crate::ErrorKind::TargetInUse`] while a run works on the directory; those of [`verify::verify`].
pub fn verify(dir: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
    refuse_if_at_work(dir)?;
    verify::verify(&readable(dir)?, progress, cancel)
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
