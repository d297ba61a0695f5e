//! Committed transactions in the order of their ids, out of the logs that hold them: what a server sends
//! (`docs/formats/transaction-log.md` §7.1).
//!
//! Logs follow each other by version. Each names in its header the last transaction before it, so the newest one whose
//! header lies before the first transaction wanted is where to begin; what it or a later one repeats of an older log is
//! passed over, and what was committed out of order waits until it is due. Only places in files are kept meanwhile,
//! never the transactions themselves.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use super::{
    archived::archived_logs,
    entries::Buffer,
    error::LogError,
    format::Layout,
    header::LogHeader,
    reader::TransactionReader,
    slot::{self, Committed, FileRange, OPEN_MAX, SlotReader},
};
use crate::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion, TxId},
};

/// Transactions that follow each other, and the logs to find them in.
#[derive(Debug, Clone)]
pub struct TransactionRange {
    dir: DirHandle,
    /// Whose logs, in which format.
    pub layout: Layout,
    /// The transaction before the first.
    pub after: TxId,
    /// The last one; there are none where it is not greater than `after`.
    pub last: TxId,
    /// The logs, oldest first. An active one is held open: its name may soon mean another.
    logs: Vec<(PathBuf, Option<Arc<File>>)>,
}

/// Transactions cannot be had from the logs of a directory.
#[derive(Debug, Error)]
pub enum TransactionRangeError {
    /// The logs do not hold them all.
    #[error("{data_source}: no log contains transaction {missing}")]
    Missing {
        /// Whose logs.
        data_source: DataSource,
        /// The first transaction that is in none.
        missing: TxId,
        /// Version of the log that would hold it, as far as can be told.
        version: LogVersion,
    },
    /// More transactions than any server has open wait for one that does not come.
    #[error("{data_source}: {OPEN_MAX} open transactions precede transaction {missing} in the logs")]
    Disorder {
        /// Whose logs.
        data_source: DataSource,
        /// The one that is waited for.
        missing: TxId,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A log is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl TransactionRange {
    /// The transactions after `after`, up to and including `last`, of the logs of the store directory `dir`: `active`,
    /// where there is one, and the archived ones. Reads no more headers than it takes.
    ///
    /// # Errors
    /// [`TransactionRangeError`]; above all [`TransactionRangeError::Missing`].
    pub fn find(
        dir: &DirHandle,
        layout: Layout,
        active: Option<&Path>,
        after: TxId,
        last: TxId,
    ) -> Result<TransactionRange, TransactionRangeError> {
        let mut transaction_range = TransactionRange {
            dir: dir.clone(),
            layout,
            after,
            last,
            logs: Vec::new(),
        };
        if transaction_range.is_empty() {
            return Ok(transaction_range);
        }
        let archived = archived_logs(dir, layout.source)?
            .into_iter()
            .rev()
            .map(|log| (log.path, false));
        let mut newer: Option<LogStart> = None;
        for (path, is_active) in active.map(|path| (path.to_owned(), true)).into_iter().chain(archived) {
            let file = open(dir, &path)?;
            let Some(log) = LogStart::look(&file, &path, layout)? else {
                continue;
            };
            if newer.is_some_and(|newer| newer.version != log.version.next() && log.falls_short_of(newer, &file)) {
                break;
            }
            transaction_range.logs.push((path, is_active.then(|| Arc::new(file))));
            newer = Some(log);
            if log.before <= after {
                transaction_range.logs.reverse();
                return Ok(transaction_range);
            }
        }
        Err(TransactionRangeError::Missing {
            data_source: layout.source,
            missing: after.next(),
            version: LogVersion(newer.map_or(0, |oldest| oldest.version.0.saturating_sub(1))),
        })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.last <= self.after
    }

    /// Hands each transaction to `each`, in the order of their ids and without a gap.
    ///
    /// # Errors
    /// [`TransactionRangeError`], or what `each` returns.
    pub fn read<E: From<TransactionRangeError>>(
        &self,
        mut each: impl FnMut(&mut TransactionReader<'_, FileRange<'_>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut scan, mut read) = (Buffer::new(), Buffer::new());
        let mut due = self.after.next();
        let mut waiting: BTreeMap<TxId, (Arc<File>, Committed)> = BTreeMap::new();
        for (path, active) in &self.logs {
            let file = match active {
                Some(file) => Arc::clone(file),
                None => Arc::new(open(&self.dir, path).map_err(TransactionRangeError::from)?),
            };
            let in_file = |error: LogError| TransactionRangeError::from(error.in_file(path));
            let mut log = SlotReader::open(&file, self.layout, &mut scan).map_err(in_file)?;
            while due <= self.last {
                let Some(committed) = log.next().map_err(in_file)? else {
                    break;
                };
                if committed.tx < due || committed.tx > self.last {
                    continue;
                }
                waiting.insert(committed.tx, (Arc::clone(&file), committed));
                while let Some((file, committed)) = waiting.remove(&due) {
                    each(&mut slot::transaction(&file, self.layout, &committed, &mut read))?;
                    due = due.next();
                }
                if waiting.len() > OPEN_MAX {
                    let data_source = self.layout.source;
                    return Err(TransactionRangeError::Disorder {
                        data_source,
                        missing: due,
                    }
                    .into());
                }
            }
        }
        if due <= self.last {
            return Err(TransactionRangeError::Missing {
                data_source: self.layout.source,
                missing: due,
                version: LogVersion(0),
            }
            .into());
        }
        Ok(())
    }
}

/// What the header of a log says, or, where it makes no statement, its first transaction.
#[derive(Debug, Clone, Copy)]
struct LogStart {
    layout: Layout,
    version: LogVersion,
    /// The last transaction committed before this log's first.
    before: TxId,
}

impl LogStart {
    /// `None` for a log that holds nothing and makes no statement.
    fn look(file: &File, path: &Path, layout: Layout) -> Result<Option<LogStart>, TransactionRangeError> {
        let mut bytes = [0; LogHeader::SIZE];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(cause) => return Err(DiskError::new(path, cause).into()),
        }
        let in_file = |error: LogError| TransactionRangeError::from(error.in_file(path));
        let mut buffer = Buffer::new();
        let mut slot = SlotReader::open(file, layout, &mut buffer).map_err(in_file)?;
        let header = slot.header();
        let before = match header.previous_last_tx {
            // a log of one transaction that the original tool leaves (§8.4)
            TxId(-1) => slot.next().map_err(in_file)?.map(|first| first.tx.previous()),
            before => Some(before),
        };
        Ok(before.map(|before| LogStart {
            layout,
            version: header.version,
            before,
        }))
    }

    /// Whether transactions are missing between this log and the `newer` one; if it cannot be read, they are.
    fn falls_short_of(&self, newer: LogStart, file: &File) -> bool {
        let last = || {
            let mut buffer = Buffer::new();
            let slot = SlotReader::open(file, self.layout, &mut buffer).ok()?;
            Some(slot.finish().ok()?.last_tx.unwrap_or(self.before))
        };
        last().is_none_or(|last| last < newer.before)
    }
}

/// The last transaction before the first of a log; `None` for a log without any and without a word about it.
///
/// # Errors
/// [`TransactionRangeError`].
pub fn before(dir: &DirHandle, path: &Path, layout: Layout) -> Result<Option<TxId>, TransactionRangeError> {
    Ok(LogStart::look(&open(dir, path)?, path, layout)?.map(|log| log.before))
}

fn open(dir: &DirHandle, path: &Path) -> Result<File, DiskError> {
    dir.open_file(path).map_err(DiskError::at(path))
}
