//! Why a pending index log cannot be read or written.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{ErrorKind, file_system};
use neo4j_format::{
    log::LogError,
    store::{IndexKey, index_config::IndexConfigError, lucene_store::LuceneStoreError},
};

/// The index part of a directory cannot be read, or not be changed.
#[derive(Debug, Error)]
pub enum PendingIndexError {
    /// A log or a received transaction.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file operation.
    #[error("{}: cannot {action}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A marker with which no release starts.
    #[error("{}: neither C, 1 nor 2", path.display())]
    Marker {
        /// The marker file.
        path: PathBuf,
    },
    /// The marker names a slot that is not there.
    #[error("{}: missing, though the marker names it", path.display())]
    MissingSlot {
        /// The slot.
        path: PathBuf,
    },
    /// A transaction of which only the transaction manager's log knows whether it was committed.
    #[error("{}: a transaction is prepared but not committed", path.display())]
    Prepared {
        /// The slot.
        path: PathBuf,
    },
    /// `lucene-store.db`.
    #[error(transparent)]
    Store(#[from] LuceneStoreError),
    /// `index.db`.
    #[error(transparent)]
    Config(#[from] IndexConfigError),
    /// A file larger than any release writes.
    #[error("{}: {size} bytes, the limit is {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The largest that is read.
        limit: u64,
    },
    /// A deleted index whose name leads out of its directory.
    #[error("the deletion of the {0} cannot be repeated: its name is not the name of a directory")]
    IndexName(IndexKey),
    /// Transactions name more indexes than is believable.
    #[error("the transactions name more than {0} indexes")]
    TooManyIndexes(usize),
    /// Transactions change indexes of which nobody knows what they are.
    #[error("the transactions change the {0}, which is not in index.db, and none of them creates it")]
    UnknownIndexes(String),
    /// End nodes of a relationship, which 1.3 needs.
    #[error("cannot read relationship {relationship}")]
    Relationship {
        /// Its id.
        relationship: i64,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl PendingIndexError {
    pub(super) fn file<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> PendingIndexError + 'a {
        move |cause| PendingIndexError::File {
            path: path.to_owned(),
            action,
            cause,
        }
    }
}

impl From<PendingIndexError> for crate::Error {
    fn from(error: PendingIndexError) -> crate::Error {
        let kind = match error {
            PendingIndexError::Log(log) => return log.into(),
            PendingIndexError::Config(config) => return config.into(),
            PendingIndexError::File {
                ref path, ref cause, ..
            } => {
                let (path, cause) = (path.clone(), file_system::copy(cause));
                return file_system::failed_at(&path, &cause, error);
            }
            PendingIndexError::Relationship { ref cause, .. } => file_system::kind(cause),
            PendingIndexError::Prepared { .. } => {
                let hint = "start Neo4j on the directory and shut it down again, or take a full backup";
                return crate::Error::new(ErrorKind::FullNeeded, error).with_hint(hint);
            }
            PendingIndexError::TooManyIndexes(_) => ErrorKind::Protocol,
            PendingIndexError::Marker { .. }
            | PendingIndexError::MissingSlot { .. }
            | PendingIndexError::UnknownIndexes(_)
            | PendingIndexError::IndexName(_)
            | PendingIndexError::Store(_)
            | PendingIndexError::TooLarge { .. } => ErrorKind::FullNeeded,
        };
        let result = crate::Error::new(kind, error);
        match kind {
            ErrorKind::FullNeeded => result.with_hint("take a full backup"),
            _ => result,
        }
    }
}
