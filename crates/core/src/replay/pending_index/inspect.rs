//! What index part a directory has.

use std::{fs::File, path::Path};

use super::{disk, error::PendingIndexError, existing::Changes, filter::IdSet};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, TxId},
    log::{
        Buffer, Item, Layout, LogFormat, SecondPass, SlotReader,
        files::{self, Marker, Slot},
        lucene::LuceneAction,
        slot::{Progress, SlotEnd},
    },
    store::lucene_store::{self, LuceneStore},
};

/// The index part of a store directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingIndex {
    /// Whether Neo4j has something to replay.
    pub state: PendingState,
    /// Log version of the Lucene data source.
    pub version: LogVersion,
    /// Last transaction it has, pending ones included.
    pub last_tx: TxId,
    /// Bytes of the pending log.
    pub bytes: u64,
    /// Transactions in it.
    pub transactions: u64,
    /// Indexes that they create or delete.
    pub changes: Changes,
}

/// Whether Neo4j has something to replay when it starts on the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingState {
    /// No log is active: the directory was copied, and nothing was left for the indexes.
    Absent,
    /// Neo4j closed it cleanly.
    Closed,
    /// The transactions in this slot.
    Pending(Slot),
}

impl PendingIndex {
    /// Looks into the store directory `dir`, whose logs have `format`. Reads the pending log once.
    ///
    /// # Errors
    /// See [`PendingIndexError`]: files that cannot be read, or with which no release starts.
    pub fn inspect(dir: &DirHandle, format: LogFormat) -> Result<PendingIndex, PendingIndexError> {
        PendingFiles::look(dir, format).map(PendingFiles::into_summary)
    }
}

/// All that [`super::prepare()`] has to know of a directory.
#[derive(Debug)]
pub(super) struct PendingFiles {
    pub(super) store: Option<LuceneStore>,
    pub(super) marker: Option<Marker>,
    /// The slot that is active, or will be.
    pub(super) slot: Slot,
    /// Its content, if it has a header.
    pub(super) log: Option<PendingLog>,
}

/// Content of a slot that is not empty.
#[derive(Debug)]
pub(super) struct PendingLog {
    pub(super) file: File,
    pub(super) end: SlotEnd,
    pub(super) ids: IdSet,
    pub(super) transactions: u64,
    pub(super) changes: Changes,
    pub(super) form: Form,
}

/// Whether every release replays a log as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// It does.
    Fit,
    /// An index is deleted in it, which 1.8 would not do, or a transaction is prepared without a command, at which Neo4j
    /// stumbles (`docs/formats/transaction-log.md` §10.3, §11).
    ToBeWrittenAnew,
}

impl PendingFiles {
    pub(super) fn look(dir: &DirHandle, format: LogFormat) -> Result<PendingFiles, PendingIndexError> {
        let store = disk::read(dir, &dir.join(lucene_store::PATH), lucene_store::SIZE_MAX)?;
        let store = store.map(|bytes| LuceneStore::decode(&bytes)).transpose()?;
        let path = dir.join(files::marker(DataSource::Lucene));
        let marker = match disk::read(dir, &path, lucene_store::SIZE_MAX)? {
            None => None,
            Some(bytes) => Some(Marker::decode(&bytes).ok_or(PendingIndexError::Marker { path })?),
        };
        let slot = match marker {
            Some(Marker::Active(slot)) => slot,
            // without a marker, only the first slot is looked at (transaction-log §3.2)
            None | Some(Marker::Clean) => Slot::One,
        };
        let path = dir.join(files::slot(DataSource::Lucene, slot));
        let file = match marker {
            Some(Marker::Clean) => None,
            None => disk::open(dir, &path)?,
            Some(Marker::Active(_)) => match disk::open(dir, &path)? {
                Some(file) => Some(file),
                None => return Err(PendingIndexError::MissingSlot { path }),
            },
        };
        let log = match file {
            Some(file) => PendingLog::read(file, &path, format)?,
            None => None,
        };
        Ok(PendingFiles {
            store,
            marker,
            slot,
            log,
        })
    }

    fn into_summary(self) -> PendingIndex {
        let store = self.store.unwrap_or_default();
        let last_tx = self.log.as_ref().and_then(|log| log.end.last_tx);
        PendingIndex {
            state: match (&self.log, self.marker) {
                (Some(_), _) => PendingState::Pending(self.slot),
                (None, Some(Marker::Clean)) => PendingState::Closed,
                (None, _) => PendingState::Absent,
            },
            version: store.version,
            last_tx: last_tx.unwrap_or(store.last_tx),
            bytes: self.log.as_ref().map_or(0, |log| log.end.logical_end),
            transactions: self.log.as_ref().map_or(0, |log| log.transactions),
            changes: self.log.map(|log| log.changes).unwrap_or_default(),
        }
    }
}

impl PendingLog {
    /// `None` for an empty file, which is as good as none.
    fn read(file: File, path: &Path, format: LogFormat) -> Result<Option<PendingLog>, PendingIndexError> {
        let length = file
            .metadata()
            .map_err(PendingIndexError::file(path, "look at it"))?
            .len();
        if length == 0 {
            return Ok(None);
        }
        let layout = Layout {
            format,
            source: DataSource::Lucene,
        };
        let (mut scan, mut pass) = (Buffer::new(), SecondPass::new(&file, layout));
        let in_file = |error: neo4j_format::log::LogError| error.in_file(path);
        let mut slot = SlotReader::open(&file, layout, &mut scan).map_err(in_file)?;
        let (mut ids, mut transactions) = (IdSet::default(), 0_u64);
        let (mut changes, mut form) = (Changes::default(), Form::Fit);
        while let Some(committed) = slot.next().map_err(in_file)? {
            ids.insert(committed.tx);
            transactions = transactions.saturating_add(1);
            let mut reader = pass.transaction(&committed);
            let mut commands = 0_u64;
            while let Some(item) = reader.next().map_err(in_file)? {
                match item {
                    Item::Lucene(command) => {
                        commands = commands.saturating_add(1);
                        changes.follow(&command)?;
                        if command.action == LuceneAction::Delete {
                            form = Form::ToBeWrittenAnew;
                        }
                    }
                    Item::Prepare(_) if commands == 0 => form = Form::ToBeWrittenAnew,
                    _ => {}
                }
            }
        }
        let end = slot.finish().map_err(in_file)?;
        if end.unfinished.iter().any(|open| open.progress == Progress::Prepared) {
            return Err(PendingIndexError::Prepared { path: path.to_owned() });
        }
        Ok(Some(PendingLog {
            file,
            end,
            ids,
            transactions,
            changes,
            form,
        }))
    }
}
