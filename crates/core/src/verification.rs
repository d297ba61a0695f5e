//! Verifying from outside: `verify` behind a look at who is working on the directory.

use std::path::Path;

use crate::{
    Error,
    cancel::Cancel,
    progress::Progress,
    target::staging::refuse_if_at_work,
    verify::{self, VerifyOutcome},
};

/// Compares a backup with its manifest, every byte of it, unless a run is working on it. Writes nothing.
///
/// # Errors
/// [`crate::ErrorKind::TargetInUse`] while a run works on the directory; those of [`verify::verify`].
pub fn verify(dir: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
    refuse_if_at_work(dir)?;
    verify::verify(dir, progress, cancel)
}
