//! Where each committed transaction stands in the logs: what readers of a live database share with its writer.
//!
//! The writer takes the lock for the push of one place, readers for the copy of as many as they ask for; the bytes are
//! read from the log files without it.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use neo4j_format::{
    ids::{DataSource, TxId},
    width::to_usize,
};

/// One transaction in a log file.
#[derive(Debug, Clone)]
pub struct LoggedTransaction {
    /// Its id.
    pub tx: TxId,
    /// Bytes from START to DONE.
    pub length: u64,
    file: Arc<File>,
    offset: u64,
}

impl LoggedTransaction {
    pub(super) fn new(tx: TxId, file: &Arc<File>, offset: u64, length: u64) -> LoggedTransaction {
        LoggedTransaction {
            tx,
            length,
            file: Arc::clone(file),
            offset,
        }
    }

    /// The transaction's bytes, as they go over the network.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; to_usize(self.length)];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// The transactions of one data source that are still in its logs, without gaps.
#[derive(Debug, Clone)]
struct Kept {
    /// The last one.
    last: TxId,
    /// The last ones, up to `last`.
    places: Vec<LoggedTransaction>,
    /// The log that is written to.
    active: Option<PathBuf>,
}

/// The transactions of a database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    kept: Arc<Mutex<BTreeMap<DataSource, Kept>>>,
    /// Held while a transaction is in the log and not yet in the store as a whole.
    commit: Arc<Mutex<()>>,
}

/// A transaction that is not in the logs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("transaction {wanted} of {source_name} is not in the logs, the first one there is {first}")]
pub struct NotKept {
    /// Data source.
    pub source_name: DataSource,
    /// The first one asked for.
    pub wanted: TxId,
    /// The first one there is.
    pub first: TxId,
}

impl Feed {
    pub(super) fn new(last: BTreeMap<DataSource, TxId>) -> Feed {
        let kept = last.into_iter().map(|(source, last)| {
            (
                source,
                Kept {
                    last,
                    places: Vec::new(),
                    active: None,
                },
            )
        });
        Feed {
            kept: Arc::new(Mutex::new(kept.collect())),
            commit: Arc::default(),
        }
    }

    /// The last committed transaction.
    pub fn last(&self, source: DataSource) -> TxId {
        self.lock().get(&source).map_or(TxId::BASE, |kept| kept.last)
    }

    /// The first transaction that is kept, `None` if none is.
    pub fn first(&self, source: DataSource) -> Option<TxId> {
        let kept = self.lock();
        kept.get(&source)?.places.first().map(|place| place.tx)
    }

    /// The file that the active log of a data source is written to.
    pub fn active_log(&self, source: DataSource) -> Option<PathBuf> {
        self.lock().get(&source)?.active.clone()
    }

    pub(super) fn set_active_log(&self, source: DataSource, path: PathBuf) {
        if let Some(kept) = self.lock().get_mut(&source) {
            kept.active = Some(path);
        }
    }

    /// Up to `limit` transactions from `from` on; none when there is none yet.
    ///
    /// # Errors
    /// [`NotKept`].
    pub fn from(&self, source: DataSource, from: TxId, limit: usize) -> Result<Vec<LoggedTransaction>, NotKept> {
        let kept = self.lock();
        let Some(kept) = kept.get(&source) else {
            return Ok(Vec::new());
        };
        if from > kept.last {
            return Ok(Vec::new());
        }
        let first = kept.places.first().map_or(kept.last.next(), |place| place.tx);
        let index = usize::try_from(from.0.saturating_sub(first.0)).map_err(|_| NotKept {
            source_name: source,
            wanted: from,
            first,
        })?;
        Ok(kept.places.iter().skip(index).take(limit).cloned().collect())
    }

    /// Forgets the transactions before `first`, as if their logs had been removed.
    pub fn forget_before(&self, source: DataSource, first: TxId) {
        if let Some(kept) = self.lock().get_mut(&source) {
            kept.places.retain(|place| place.tx >= first);
        }
    }

    /// Those of `places` that lead up to `last` without a gap.
    pub(super) fn fill(&self, source: DataSource, mut places: Vec<LoggedTransaction>, last: TxId) {
        places.sort_by_key(|place| place.tx);
        places.dedup_by_key(|place| place.tx);
        places.retain(|place| place.tx <= last);
        let gap = |pair: &[LoggedTransaction]| matches!(pair, [before, after] if before.tx.next() != after.tx);
        let from = places.windows(2).rposition(gap).map_or(0, |at| at + 1);
        places.drain(..from);
        if places.last().is_none_or(|place| place.tx != last) {
            places.clear();
        }
        if let Some(kept) = self.lock().get_mut(&source) {
            kept.places = places;
        }
    }

    pub(super) fn push(&self, source: DataSource, place: LoggedTransaction) {
        if let Some(kept) = self.lock().get_mut(&source) {
            kept.last = place.tx;
            kept.places.push(place);
        }
    }

    /// The last transaction, once none is half in the store.
    pub fn settled(&self, source: DataSource) -> TxId {
        let _no_commit = self.committing();
        self.last(source)
    }

    pub(super) fn committing(&self) -> MutexGuard<'_, ()> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DataSource, Kept>> {
        // a push is one assignment and one push: there is no half of it
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
