//! The graph's log on its way through an incremental backup: received, active, applied, archived.
//!
//! | name in the directory | means | the next run |
//! |---|---|---|
//! | `neo4j-backup.received` | arriving; Neo4j does not know the name | removes it |
//! | `nioneo_logical.log.1`, no marker | active: Neo4j and we replay it | replays it |
//! | `neo4j-backup.applied` | everything in it is in the store | gives it its last name |
//! | `nioneo_logical.log.v<N>` | archived | – |

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    apply::{Applier, DirtyChunks, Growth},
    seal,
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    receive::validation::Inspector,
    replay,
    target::durable::{self, remove},
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{
        self, Buffer, Layout, SecondPass, SlotReader,
        files::{Marker, Slot},
        slot::Progress,
    },
    store::{Header, StoreFile, StoreFormat},
};

/// Name of the received log until the store may change.
pub(crate) const RECEIVED: &str = "neo4j-backup.received";

/// Name of a log that was applied and is not archived yet.
const APPLIED: &str = "neo4j-backup.applied";

/// The graph of one store directory.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    pub(crate) dir: &'a DirHandle,
    pub(crate) format: StoreFormat,
    pub(crate) growth: Growth,
    pub(crate) cancel: &'a Cancel,
}

/// An active log that is to be applied.
#[derive(Debug)]
pub(crate) struct ActiveLog {
    path: PathBuf,
    /// The last transaction that the store has once it is applied.
    pub(crate) last: TxId,
    /// Store files in which something changes.
    pub(crate) stores: BTreeSet<StoreFile>,
}

impl Graph<'_> {
    /// Gives a log that was applied its last name, which is durable once the directory is synced.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn finish_archiving(&self) -> Result<(), Error> {
        let path = self.dir.join(APPLIED);
        let file = match self.dir.open_file(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(DiskError::new(path, e).into()),
        };
        let mut buffer = Buffer::new();
        let version = SlotReader::open(&file, self.layout(), &mut buffer)
            .map_err(|e| e.in_file(&path))?
            .header()
            .version;
        let header = Header::open(self.dir)?;
        if header.log_version()? <= version {
            header.set_log_version(version.next())?;
            header.sync()?;
        }
        let archived = self.dir.join(log::files::archived(DataSource::Graph, version));
        if self.dir.has(&archived) {
            // of another log: what would be lost of it is more than this one is worth
            return Ok(remove(self.dir, &path)?);
        }
        self.dir.rename(&path, &archived).map_err(DiskError::at(&archived))?;
        Ok(())
    }

    /// The log version to use: no archived log may have it.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn free_version(&self) -> Result<LogVersion, Error> {
        let mut version = Header::open(self.dir)?.log_version()?;
        while self.dir.has(log::files::archived(DataSource::Graph, version)) {
            version = version.next();
        }
        Ok(version)
    }

    /// What an interrupted run, or a Neo4j that was killed, left to be replayed.
    ///
    /// # Errors
    /// Of the disk; what is there cannot be replayed.
    pub(crate) fn left_active(&self) -> Result<Option<ActiveLog>, Error> {
        let slot = match self.marker()? {
            Some(Marker::Clean) => return Ok(None),
            Some(Marker::Active(slot)) => slot,
            None => Slot::One,
        };
        let path = self.dir.join(log::files::slot(DataSource::Graph, slot));
        let file = match self.dir.open_file(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(DiskError::new(path, e).into()),
        };
        if file.metadata().map_err(DiskError::at(&path))?.len() == 0 {
            return Ok(None);
        }
        let mut inspector = Inspector::open(self.dir, self.format, self.growth)?;
        let (mut scan, mut pass) = (Buffer::new(), SecondPass::new(&file, self.layout()));
        let mut slot = SlotReader::open(&file, self.layout(), &mut scan).map_err(|e| e.in_file(&path))?;
        let mut last = Header::open(self.dir)?.last_transaction()?;
        while let Some(committed) = slot.next().map_err(|e| e.in_file(&path))? {
            self.cancel.check()?;
            last = last.max(committed.tx);
            let mut transaction = pass.transaction(&committed);
            while let Some(item) = transaction.next().map_err(|e| e.in_file(&path))? {
                inspector.look(&item)?;
            }
        }
        let end = slot.finish().map_err(|e| e.in_file(&path))?;
        if end.unfinished.iter().any(|left| left.progress == Progress::Prepared) {
            let text = format!(
                "{}: holds a transaction that is prepared and not committed",
                path.display()
            );
            return Err(Error::new(ErrorKind::FullNeeded, text)
                .with_hint("start and stop Neo4j on it once, or take a full backup"));
        }
        Ok(Some(ActiveLog {
            path,
            last,
            stores: inspector.dirty().keys().copied().collect(),
        }))
    }

    /// Makes a received log the active one: once [`Graph::apply`] has made the name durable, which it does before it
    /// changes a record, the next run replays it.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn activate(
        &self,
        received: &Path,
        version: LogVersion,
        last: TxId,
        stores: BTreeSet<StoreFile>,
    ) -> Result<ActiveLog, Error> {
        if self.marker()? == Some(Marker::Clean) {
            // without the marker what nobody replays now would be replayed
            self.remove_slots()?;
        }
        self.remove_marker()?;
        self.remove_slots()?;
        let header = Header::open(self.dir)?;
        if header.log_version()? != version {
            header.set_log_version(version)?;
            header.sync()?;
        }
        let path = self.dir.join(log::files::slot(DataSource::Graph, Slot::One));
        self.dir.rename(received, &path).map_err(DiskError::at(&path))?;
        Ok(ActiveLog { path, last, stores })
    }

    /// Applies the active log, leaves the files it touches clean, and archives it.
    ///
    /// # Errors
    /// Of the disk; a log that is damaged, or a change that cannot be applied.
    pub(crate) fn apply(
        &self,
        active: &ActiveLog,
        touched: &mut BTreeMap<StoreFile, DirtyChunks>,
    ) -> Result<(), Error> {
        let kinds = self.to_be_sealed(active)?;
        let mut cut = BTreeSet::from([self.dir.path().to_owned()]);
        for kind in kinds.iter().filter(|kind| **kind != StoreFile::Neostore) {
            seal::unseal(self.dir, *kind, self.format)?;
            remove(self.dir, kind.id_name())?;
            cut.insert(self.dir.join(kind.name()));
        }
        // the log must have its name before a record changes, and no trailer may come back into the midst of records
        durable::sync_together(self.dir, &Vec::from_iter(cut))?;
        let mut applier = Applier::open(self.dir, self.format, self.growth)?;
        let file = self.dir.open_file(&active.path).map_err(DiskError::at(&active.path))?;
        replay::apply_log(&file, &active.path, self.layout(), &mut applier, self.cancel)?;
        let done = applier.finish()?;
        let header = Header::open(self.dir)?;
        if let Some(property) = done.graph_property {
            header.set_graph_property(property)?;
        }
        header.set_last_transaction(active.last)?;
        touched.entry(StoreFile::Neostore).or_default().note(0, 1);
        for (kind, new) in done.touched {
            touched.entry(kind).or_default().merge(&new);
        }
        let mut changed = BTreeSet::from([self.dir.path().to_owned(), self.dir.join(StoreFile::Neostore.name())]);
        for kind in kinds {
            let touched = touched.entry(kind).or_default();
            seal::seal(self.dir, kind, self.format, touched)?;
            changed.insert(self.dir.join(kind.name()));
            changed.insert(self.dir.join(kind.id_name()));
        }
        durable::sync_together(self.dir, &Vec::from_iter(changed))?;
        // a marker must not name a slot that is gone
        self.remove_marker()?;
        durable::rename(self.dir, &active.path, self.dir.join(APPLIED))?;
        self.finish_archiving()
    }

    /// Files that the log touches, and those that an interrupted run or Neo4j left without trailer or `.id` file.
    fn to_be_sealed(&self, active: &ActiveLog) -> Result<BTreeSet<StoreFile>, Error> {
        let mut kinds = active.stores.clone();
        for kind in StoreFile::ALL {
            if !kinds.contains(&kind) && !seal::is_clean(self.dir, kind, self.format)? {
                kinds.insert(kind);
            }
        }
        Ok(kinds)
    }

    fn marker(&self) -> Result<Option<Marker>, Error> {
        let path = self.dir.join(log::files::marker(DataSource::Graph));
        match self.dir.read(&path, Marker::FILE_MAX) {
            Ok(bytes) => {
                let Some(marker) = Marker::decode(&bytes) else {
                    let text = format!("{}: is not a marker of an active log", path.display());
                    return Err(Error::new(ErrorKind::FullNeeded, text).with_hint("take a full backup"));
                };
                Ok(Some(marker))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(DiskError::new(path, e).into()),
        }
    }

    fn remove_marker(&self) -> Result<(), DiskError> {
        let path = self.dir.join(log::files::marker(DataSource::Graph));
        if self.dir.has(&path) {
            remove(self.dir, &path)?;
            durable::sync(self.dir)?;
        }
        Ok(())
    }

    fn remove_slots(&self) -> Result<(), DiskError> {
        let slots = [Slot::One, Slot::Two].map(|slot| self.dir.join(log::files::slot(DataSource::Graph, slot)));
        if slots.iter().any(|slot| self.dir.has(slot)) {
            slots.iter().try_for_each(|slot| remove(self.dir, slot))?;
            durable::sync(self.dir)?;
        }
        Ok(())
    }

    fn layout(&self) -> Layout {
        Layout {
            format: self.format.into(),
            source: DataSource::Graph,
        }
    }
}
