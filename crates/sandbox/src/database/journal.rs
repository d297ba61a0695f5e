//! The logs of a live database and the store files that follow them: a transaction is written to its log, then applied.
//!
//! Nothing is synced before a rotation or a clean close: these databases are made to be thrown away, and a process that
//! dies loses nothing that was written.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    DatabaseError, Feed,
    active_log::{self, ActiveLog},
    extent::Extents,
    feed::LoggedTransaction,
    image::Image,
    indexes::Indexes,
};
use neo4j_backup_core::replay::{
    apply::{Applier, Growth},
    seal,
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, TxId},
    log::{ArchivedLog, Buffer, Item, Layout, LogFormat, TransactionReader, archived_logs, files::Slot},
    store::{Header, LuceneStore, StoreFile, StoreFormat, lucene_store},
};

/// The files that a commit changes.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    format: StoreFormat,
    header: Header,
    applier: Applier,
    extents: Extents,
    logs: BTreeMap<DataSource, ActiveLog>,
    buffer: Buffer,
    pub(super) feed: Feed,
}

impl Journal {
    /// Opens the store in `dir` for writing: trailers and `.id` files go, what the active logs hold is applied again, and
    /// the places of all transactions that are still in logs are found.
    pub(super) fn open(dir: &Path, indexes: &mut Indexes) -> Result<Journal, DatabaseError> {
        let handle = DirHandle::open(dir).map_err(DiskError::at(dir))?;
        let header = Header::open(&handle)?;
        let format = header.format()?;
        for kind in StoreFile::ALL {
            seal::unseal(&handle, kind, format)?;
            active_log::remove_if_there(&dir.join(kind.id_name()))?;
        }
        let lucene = read_lucene_store(dir)?;
        let bases = [
            (DataSource::Graph, header.log_version()?, header.last_transaction()?),
            (DataSource::Lucene, lucene.version, lucene.last_tx),
        ];
        let mut applier = Applier::open(&handle, format, Growth::Usual)?;
        let mut places: BTreeMap<DataSource, Vec<LoggedTransaction>> = BTreeMap::new();
        let mut logs = BTreeMap::new();
        let mut last = BTreeMap::new();
        for (source, version, base) in bases {
            let layout = Layout {
                format: LogFormat::from(format),
                source,
            };
            let mut found = Vec::new();
            for ArchivedLog { path, .. } in archived_logs(&handle, source)? {
                let file = Arc::new(File::open(&path).map_err(DiskError::at(&path))?);
                active_log::scan(&file, &path, layout, &mut found, |item| {
                    if let Item::Lucene(command) = item {
                        indexes.apply(&command);
                    }
                    Ok(())
                })?;
            }
            let log = match active_log::active_slot(dir, source)? {
                Some(slot) => ActiveLog::recover(dir, layout, slot, base, &mut found, |item| {
                    match item {
                        Item::Change(change) => applier.apply(&change)?,
                        Item::Lucene(command) => drop(indexes.apply(&command)),
                        _ => {}
                    }
                    Ok(())
                })?,
                None => ActiveLog::begin(dir, layout, Slot::One, version, base)?,
            };
            last.insert(source, log.last);
            logs.insert(source, log);
            places.insert(source, found);
        }
        let feed = Feed::new(last);
        for (source, log) in &logs {
            feed.set_active_log(*source, log.path(dir));
        }
        for (source, places) in places {
            let last = logs.get(&source).map_or(TxId::BASE, |log| log.last);
            feed.fill(source, places, last);
        }
        let mut journal = Journal {
            dir: dir.to_owned(),
            format,
            header,
            applier,
            extents: Extents::open(dir, format)?,
            logs,
            buffer: Buffer::new(),
            feed,
        };
        journal.write_header(journal.feed.last(DataSource::Graph))?;
        Ok(journal)
    }

    pub(super) fn format(&self) -> StoreFormat {
        self.format
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id of the next transaction.
    pub(super) fn next(&self, source: DataSource) -> TxId {
        self.feed.last(source).next()
    }

    /// Writes transactions, at most one per data source, to their logs and applies them: to the store files, to `image`
    /// and to `indexes`.
    pub(super) fn commit(
        &mut self,
        transactions: &[(DataSource, TxId, Vec<u8>)],
        image: &mut Image,
        indexes: &mut Indexes,
    ) -> Result<(), DatabaseError> {
        let feed = self.feed.clone();
        let _commit = feed.committing();
        let mut places = Vec::new();
        for (source, tx, bytes) in transactions {
            places.push((*source, self.append(*source, *tx, bytes)?));
        }
        for (source, tx, bytes) in transactions {
            self.apply(*source, *tx, bytes, image, indexes)?;
        }
        self.extents.cover(image, &self.dir)?;
        for (source, place) in places {
            feed.push(source, place);
        }
        Ok(())
    }

    fn append(&mut self, source: DataSource, tx: TxId, bytes: &[u8]) -> Result<LoggedTransaction, DatabaseError> {
        let log = self.logs.get_mut(&source).ok_or(DatabaseError::NoLog(source))?;
        // index transactions stay in the pending log
        if source == DataSource::Graph && log.is_full() {
            log.rotate(&self.dir, &self.header)?;
            self.feed.set_active_log(source, log.path(&self.dir));
        }
        log.append(tx, bytes, &mut self.buffer)
    }

    fn apply(
        &mut self,
        source: DataSource,
        tx: TxId,
        bytes: &[u8],
        image: &mut Image,
        indexes: &mut Indexes,
    ) -> Result<(), DatabaseError> {
        let layout = Layout {
            format: LogFormat::from(self.format),
            source,
        };
        let mut configured = false;
        let mut transaction = TransactionReader::new(bytes, layout, tx, &mut self.buffer);
        while let Some(item) = transaction.next()? {
            match item {
                Item::Change(change) => {
                    self.applier.apply(&change)?;
                    image.apply(&change);
                }
                Item::Lucene(command) => configured |= indexes.apply(&command),
                _ => {}
            }
        }
        if configured {
            indexes.write(&self.dir)?;
        }
        if source == DataSource::Graph {
            self.write_header(tx)?;
        }
        Ok(())
    }

    /// Brings the files to where the log is: the next client reads them.
    fn write_header(&mut self, last: TxId) -> Result<(), DatabaseError> {
        self.applier.flush()?;
        if let Some(first) = self.applier.graph_property() {
            self.header.set_graph_property(first)?;
        }
        self.header.set_last_transaction(last)?;
        Ok(())
    }

    /// Leaves the directory as a clean shutdown does; index transactions stay pending for Neo4j's next start.
    pub(super) fn close(self) -> Result<(), DatabaseError> {
        let Journal {
            dir,
            format,
            header,
            applier,
            mut logs,
            ..
        } = self;
        let touched = applier.finish()?.touched;
        if let Some(log) = logs.remove(&DataSource::Graph) {
            log.archive(&dir, &header)?;
        }
        drop(header);
        let handle = DirHandle::open(&dir).map_err(DiskError::at(&dir))?;
        for kind in StoreFile::ALL {
            let mut touched = touched.get(&kind).cloned().unwrap_or_default();
            seal::seal(&handle, kind, format, &mut touched)?;
        }
        if let Some(log) = logs.remove(&DataSource::Lucene) {
            log.leave_pending(&dir)?;
        }
        sync_all(&dir)?;
        Ok(())
    }
}

fn read_lucene_store(dir: &Path) -> Result<LuceneStore, DatabaseError> {
    let path = dir.join(lucene_store::PATH);
    match fs::read(&path) {
        Ok(bytes) => Ok(LuceneStore::decode(&bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(LuceneStore::default()),
        Err(error) => Err(DiskError::new(&path, error).into()),
    }
}

fn sync_all(dir: &Path) -> Result<(), DatabaseError> {
    for kind in StoreFile::ALL {
        let path = dir.join(kind.name());
        let file = File::open(&path).map_err(DiskError::at(&path))?;
        file.sync_all().map_err(DiskError::at(&path))?;
    }
    let folder = File::open(dir).map_err(DiskError::at(dir))?;
    folder.sync_all().map_err(DiskError::at(dir))?;
    Ok(())
}
