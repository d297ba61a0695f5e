//! Failures of the target's file system, told apart into those an operator handles differently.

use std::{
    io,
    path::{Path, PathBuf},
};

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

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system said.
    pub fn cause(&self) -> &io::Error {
        &self.source
    }

    /// For `map_err`: a failure at `path`.
    pub fn at(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> DiskError {
        move |source| DiskError::new(path, source)
    }
}
