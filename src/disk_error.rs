//! Failures of the target's file system, told apart into those an operator handles differently.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind};

/// The file system failed at `path`.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct DiskError {
    path: PathBuf,
    source: io::Error,
}

impl DiskError {
    /// A failure at `path`.
    pub fn new(path: impl AsRef<Path>, source: io::Error) -> DiskError {
        DiskError {
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// For `map_err`: a failure at `path`.
    pub fn at(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> DiskError {
        move |source| DiskError::new(path, source)
    }
}

/// Removes a file that may be gone already.
///
/// # Errors
/// Of the disk.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(DiskError::new(path, e)),
        _ => Ok(()),
    }
}

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Error {
        match error.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::new(ErrorKind::NoSpace, error)
                .with_hint("free some space on the target's file system and run again"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::new(ErrorKind::Disk, error)
                .with_hint("run as a user who may write there, or choose another target"),
            io::ErrorKind::NotFound => Error::new(ErrorKind::Disk, error),
            _ => Error::new(ErrorKind::Disk, error).with_hint("look at the kernel's log for errors of this device"),
        }
    }
}
