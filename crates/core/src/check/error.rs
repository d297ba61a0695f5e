//! Why a check could not run. Findings are not errors.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind, file_system};
use neo4j_format::{DiskError, store::HeaderError};

/// Why a check did not complete.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is no store.
    #[error("{} does not contain a database: neostore is missing", .0.display())]
    NoStore(PathBuf),
    /// The store format cannot be determined.
    #[error(transparent)]
    Header(HeaderError),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(Box<Error>),
}

impl CheckError {
    /// For `map_err`: a failure at `path`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> CheckError {
        move |source| DiskError::new(path, source).into()
    }
}

impl From<CheckError> for Error {
    fn from(error: CheckError) -> Error {
        match error {
            CheckError::Cancelled(error) => *error,
            CheckError::NoStore(_) => {
                Error::new(ErrorKind::NotOurs, error).with_hint("name the directory of a database or backup")
            }
            CheckError::Disk(error) if file_system::is_denied(error.cause()) => error.into(),
            CheckError::Disk(_) | CheckError::Header(_) => Error::new(ErrorKind::NotChecked, error),
        }
    }
}
