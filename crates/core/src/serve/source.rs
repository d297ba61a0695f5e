//! The border between the service and what it hands out.
//!
//! A full backup is fuzzy by nature: files may be read at any moments after [`Source::copy`], while the source goes on
//! committing; the transactions since that moment, which [`Source::since`] gives at the end, repair what the files
//! caught half-way. A source has to keep two promises for it: every change of a store file belongs to a transaction
//! that `since` will give, and a [`Content::Open`] file never gets shorter than the length it was offered with.

use std::fs::File;

use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, StoreId, TxId},
    log::{TransactionRange, TransactionRangeError},
    store::StoreFormat,
    wire::{Dialect, PeerPath},
};

/// What a service hands out: a directory at rest, or a live database that goes on committing.
///
/// Called by one thread per client, so calls may block, and overlap.
pub trait Source: Send + Sync + 'static {
    /// Which database it is; the same for as long as it is served.
    fn identity(&self) -> Identity;

    /// Whether it still is that database.
    ///
    /// # Errors
    /// [`Refusal`]: it is another one by now.
    fn require_identity(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Begins a full backup.
    ///
    /// # Errors
    /// [`Refusal`]: it cannot be had now, or not at all.
    fn copy(&self) -> Result<Copy, Refusal>;

    /// The transactions since a moment up to the last one committed now, per data source in the order of
    /// [`Moment::after`]; a data source without any may be left out.
    ///
    /// # Errors
    /// [`Refusal`]: the logs do not reach back that far, or the moment cannot be gone on from.
    fn since(&self, moment: &Moment) -> Result<Vec<TransactionRange>, Refusal>;
}

/// Which database it is and who can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its id; the store version in it goes out in the two-byte dialects only.
    pub store_id: StoreId,
    /// Decides the dialects that are spoken.
    pub format: StoreFormat,
    /// Which of the legacy releases it is of, where that is known.
    pub release: Release,
}

impl Identity {
    /// The dialects that its clients can make use of: files and transactions are of one format.
    pub fn dialects(self) -> &'static [Dialect] {
        match (self.format, self.release) {
            (StoreFormat::Legacy, Release::Neo4j13) => &[Dialect::D13],
            (StoreFormat::Legacy, Release::Other) => &[Dialect::D13, Dialect::D14],
            (StoreFormat::Current, _) => &[Dialect::D15, Dialect::D18],
        }
    }
}

/// A 1.3 server and a 1.4 one cannot stand in for each other, though their files look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// 1.3: only its own dialect is spoken.
    Neo4j13,
    /// Any other, or not known: every dialect of the store format is spoken.
    Other,
}

/// A full backup that has begun.
#[derive(Debug)]
pub struct Copy {
    /// The files, in the order in which they are sent.
    pub files: Vec<Offered>,
    /// What the transactions behind the files go on from.
    pub moment: Moment,
}

/// A file of a full backup.
#[derive(Debug)]
pub struct Offered {
    /// Its name for the client.
    pub path: PeerPath,
    /// Its bytes.
    pub content: Content,
}

/// Where the bytes of a file come from.
#[derive(Debug)]
pub enum Content {
    /// The first `length` bytes of a file that may grow and change meanwhile.
    Open(File, u64),
    /// The same of a file that was closed, and may be opened and closed again meanwhile.
    Records {
        /// The file.
        file: File,
        /// Bytes of its records.
        length: u64,
        /// What stands behind them while it is closed. Where it stands before `length`, the file was cut, and the
        /// backup fails.
        trailer: String,
    },
    /// A file that never changes, opened when it is its turn; if it is gone by then, the backup fails.
    Unchanging(DirHandle, String),
    /// Bytes that were read at the moment itself.
    Bytes(Vec<u8>),
}

/// A moment in the history of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The last transaction before it, per data source, in the order in which they are sent.
    pub after: Vec<(DataSource, TxId)>,
    /// Identifies where a full backup began; `None` for a client's own ids.
    pub copy: Option<u64>,
}

/// Why a request is not fulfilled. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The logs do not reach back that far; the words are those by which every client knows it.
    #[error(
        "org.neo4j.kernel.impl.transaction.xaframework.NoSuchLogVersionException: No such log version:{version} \
         ({data_source} has no log with transaction {first}; take a full backup)"
    )]
    LogsMissing {
        /// Whose logs.
        data_source: DataSource,
        /// The first transaction that is not there.
        first: TxId,
        /// Version of the log that would hold it, as far as can be told.
        version: LogVersion,
    },
    /// Not now.
    #[error("{0}; try again later")]
    Busy(String),
    /// Something is wrong with the source.
    #[error("{0}")]
    Failed(String),
}

impl From<TransactionRangeError> for Refusal {
    fn from(error: TransactionRangeError) -> Refusal {
        match error {
            TransactionRangeError::Missing {
                data_source,
                missing,
                version,
            } => Refusal::LogsMissing {
                data_source,
                first: missing,
                version,
            },
            error => Refusal::Failed(error.to_string()),
        }
    }
}
