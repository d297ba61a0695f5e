//! Why transactions cannot be applied.

use std::path::PathBuf;

use crate::{Error, ErrorKind};
use neo4j_format::{
    DiskError,
    store::{
        HeaderError, StoreFile,
        record::{RecordId, TooWide},
    },
};

/// Why a change was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// `neostore` does not tell what is asked of it.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A pointer is wider than the format allows.
    #[error("{}, record {id}: {source}", file.name())]
    TooWide {
        /// Store file.
        file: StoreFile,
        /// Record.
        id: RecordId,
        /// Which pointer.
        source: TooWide,
    },
    /// A record so far behind the end of its file that its id cannot be right.
    #[error("{}, record {id}: lies at byte {offset}, far behind the {length} bytes of the file", file.name())]
    TooFar {
        /// Store file.
        file: StoreFile,
        /// Record.
        id: RecordId,
        /// Its place.
        offset: u64,
        /// Bytes of the file when the run began.
        length: u64,
    },
    /// Data that do not fit a block, or a change to the block that holds the block size.
    #[error("{}, block {id}: {length} bytes of data cannot stand there (block size {block})", file.name())]
    Block {
        /// Store file.
        file: StoreFile,
        /// Block.
        id: RecordId,
        /// Bytes of data.
        length: usize,
        /// Bytes of a block, header included.
        block: u64,
    },
    /// A change that the format does not have.
    #[error("record {id}: a property of the other store format")]
    Format {
        /// Record.
        id: RecordId,
    },
    /// The dynamic records of a command do not form whole chains.
    #[error("{}, block {id}: the next block {next} is missing, or belongs to another chain", file.name())]
    Chain {
        /// Store file.
        file: StoreFile,
        /// The block that points there.
        id: RecordId,
        /// Where it points to.
        next: RecordId,
    },
    /// The first block of a dynamic store does not hold a block size.
    #[error("{}: {size} is not a block size", path.display())]
    BlockSize {
        /// Store file.
        path: PathBuf,
        /// As found.
        size: u32,
    },
}

impl From<ApplyError> for Error {
    fn from(error: ApplyError) -> Error {
        match error {
            ApplyError::Disk(error) => error.into(),
            ApplyError::Header(error) => error.into(),
            ApplyError::BlockSize { .. } => {
                Error::new(ErrorKind::FullNeeded, error).with_hint("take a full backup into another directory")
            }
            ApplyError::TooFar { .. } => Error::new(ErrorKind::Protocol, error).with_hint(
                "the transactions were damaged on the way, or by a defect of the server: run again; where the source's \
                 own file is about as large, raise -max-growth",
            ),
            error => Error::new(ErrorKind::Protocol, error)
                .with_hint("the transactions were damaged on the way, or by a defect of the server: run again"),
        }
    }
}
