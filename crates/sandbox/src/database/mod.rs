//! A live database in a real store format: made from nothing, written to through a logical log, readable meanwhile.
//!
//! A commit goes the way of a server's: `records` turns operations into the commands of a transaction, `journal`
//! writes them to the log and applies them to the store files with the same code that replays a backup. Neo4j of the
//! format's releases boots the directory, after a clean close or as a crash would leave it.
//!
//! What a live database is not: durable before it is closed, and a reader of Lucene files (`indexes`).

mod active_log;
mod contents;
mod create;
mod extent;
mod feed;
mod image;
mod indexes;
mod journal;
mod records;
#[cfg(test)]
mod tests;
mod transaction;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use contents::{Contents, Edge, Properties};
pub use feed::{Feed, LoggedTransaction, NotKept};
pub use indexes::{Entry, Indexed, Indexes};
pub use records::NotPossible;
pub use transaction::{Element, Transaction};

use self::{image::Image, journal::Journal};
use super::value::ValueError;
use neo4j_backup_core::{Error, ErrorKind, replay::apply::ApplyError};
use neo4j_format::{
    DiskError,
    ids::{DataSource, StoreId, TxId},
    log::LogError,
    store::{HeaderError, StoreFormat, lucene_store::LuceneStoreError},
};

/// A database could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A log could not be read.
    #[error("a log cannot be read: {0}")]
    Log(io::Error),
    /// A log is damaged, or could not be written.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// `neostore` makes no sense.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// `lucene-store.db` makes no sense.
    #[error(transparent)]
    LuceneStore(#[from] LuceneStoreError),
    /// A change could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A property makes no sense.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// An operation that the contents do not allow.
    #[error(transparent)]
    Operation(#[from] NotPossible),
    /// Transactions that are not kept any more.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// The marker of a log names none.
    #[error("{}: is not a marker of a log", .0.display())]
    Marker(PathBuf),
    /// There is no log for this data source.
    #[error("there is no log of {0}")]
    NoLog(DataSource),
    /// A transaction that does not follow the last one.
    #[error("transaction {found} of {data_source} does not follow {last}")]
    Gap {
        /// Data source.
        data_source: DataSource,
        /// The one to be applied.
        found: TxId,
        /// The last one there is.
        last: TxId,
    },
    /// `index.db` makes no sense.
    #[error("{0}")]
    Indexes(Error),
}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> DatabaseError {
        DatabaseError::Indexes(error)
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Error {
        match error {
            DatabaseError::Disk(error) => error.into(),
            DatabaseError::Indexes(error) => error,
            error => Error::new(ErrorKind::Failed, error),
        }
    }
}

/// Who a server is in its cluster; both −1 outside of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machines {
    /// Id of the master.
    pub master: i32,
    /// Id of this server.
    pub own: i32,
}

impl Machines {
    /// A server outside of a cluster.
    pub const ALONE: Machines = Machines { master: -1, own: -1 };
}

/// A database that is open for writing.
#[derive(Debug)]
pub struct Database {
    image: Image,
    indexes: Indexes,
    journal: Journal,
    machines: Machines,
    /// Makes the global ids of this run's transactions differ from those of others.
    run: u64,
    serial: u64,
}

impl Database {
    /// Makes an empty database in `dir`, which must not hold one, and opens it.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn create(dir: &Path, format: StoreFormat, id: StoreId) -> Result<Database, DatabaseError> {
        create::create(dir, format, id)?;
        Database::open(dir)
    }

    /// Opens the database in `dir`, also after a crash.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn open(dir: &Path) -> Result<Database, DatabaseError> {
        let mut indexes = Indexes::configured(dir)?;
        let journal = Journal::open(dir, &mut indexes)?;
        let image = Image::read(dir, journal.format(), journal.header().graph_property()?)?;
        let id = journal.header().store_id()?;
        let last = journal.feed.last(DataSource::Graph);
        Ok(Database {
            image,
            indexes,
            machines: Machines::ALONE,
            run: id.random.cast_unsigned() ^ last.0.cast_unsigned(),
            journal,
            serial: 0,
        })
    }

    /// From now on transactions say that they were made by these.
    pub fn set_machines(&mut self, machines: Machines) {
        self.machines = machines;
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        self.journal.dir()
    }

    /// Its store format.
    pub fn format(&self) -> StoreFormat {
        self.journal.format()
    }

    /// Which database it is.
    ///
    /// # Errors
    /// The header cannot be read.
    pub fn store_id(&self) -> Result<StoreId, DatabaseError> {
        Ok(self.journal.header().store_id()?)
    }

    /// Its transactions.
    pub fn feed(&self) -> &Feed {
        &self.journal.feed
    }

    /// What a reader sees now.
    ///
    /// # Errors
    /// A record does not make sense.
    pub fn contents(&self) -> Result<Contents, DatabaseError> {
        Contents::of(&self.image, self.indexes.clone())
    }

    /// Begins a transaction at `time`, in milliseconds since 1970.
    pub fn begin(&mut self, time: i64) -> Transaction<'_> {
        self.serial += 1;
        Transaction::new(self, time)
    }

    /// Takes over a transaction that another member of the cluster committed.
    ///
    /// # Errors
    /// It does not follow the last one, or [`DatabaseError`].
    pub fn apply(&mut self, source: DataSource, tx: TxId, bytes: Vec<u8>) -> Result<(), DatabaseError> {
        if tx != self.journal.next(source) {
            return Err(DatabaseError::Gap {
                data_source: source,
                found: tx,
                last: self.feed().last(source),
            });
        }
        self.journal
            .commit(&[(source, tx, bytes)], &mut self.image, &mut self.indexes)
    }

    /// Leaves the directory as a clean shutdown does.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn close(self) -> Result<(), DatabaseError> {
        self.journal.close()
    }
}
