//! A directory at rest as a source: a cleanly closed database, or one of our backups.
//!
//! Our own incremental may bring it up to date meanwhile. Its manifest says from when to when it changes store files;
//! a request that comes then waits for the end. A full backup that is under way simply goes on: what the incremental
//! applies is in its logs as well, and they are sent behind the files. An index that is deleted meanwhile ends the full
//! backup with a failure, as at a real server. Neo4j opening the directory ends every request until it is closed again.
//!
//! The pending index log (`docs/architecture.md`, "The index part") goes out as transactions: the files of the indexes
//! are those from before it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{Copy, Identity, Moment, Refusal, Release, Source, listing};
use crate::{
    Error, ErrorKind,
    manifest::{MANIFEST, Manifest, State},
    replay::pending_index::{PendingIndex, PendingState},
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{
        ArchivedLog, Buffer, Item, Layout, SlotReader, TransactionRange, TransactionRangeError, archived_logs,
        files::{self, Slot},
        transaction_range,
    },
    store::{Header, StoreFile, StoreFormat, index_config, lucene_store, neo4j_lock},
    wire::Dialect,
};

/// How long a request waits for an incremental backup that changes the directory; clients wait 20 s for an answer.
const SETTLE: Duration = Duration::from_secs(15);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// A directory that is served.
#[derive(Debug)]
pub struct Directory {
    /// Opened for each request: a full backup may have replaced the directory since the last one.
    path: PathBuf,
    identity: Identity,
    /// What was found last, so that a request costs no more than a look at whether it still holds.
    standing: Mutex<Option<(Stamp, Standing)>>,
}

/// Where the directory stands.
#[derive(Debug, Clone)]
struct Standing {
    graph: TxId,
    lucene: TxId,
    /// The last transaction that the files of the indexes have.
    lucene_files: TxId,
    /// The slot of the pending index log.
    pending: Option<PathBuf>,
}

/// By what files are known to be unchanged: a digest of their inodes, lengths and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64);

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    /// An incremental backup.
    Ours,
    Neo4j,
}

impl Directory {
    /// Looks at the directory: it must be a database that was closed cleanly.
    ///
    /// # Errors
    /// It is not; it is open in Neo4j; an incremental backup of it was interrupted; it cannot be read.
    pub fn open(dir: &Path, release: Option<Release>) -> Result<Directory, Error> {
        let opened = fs::canonicalize(dir).and_then(DirHandle::open);
        let dir = opened.map_err(|cause| {
            let text = format!("{}: {cause}", dir.display());
            Error::new(ErrorKind::Configuration, text).with_hint("name the directory of a database or of a backup")
        })?;
        let header = Header::open_read_only(&dir)?;
        let manifest = Manifest::read(&dir)?;
        let of_13 = manifest
            .as_ref()
            .and_then(|manifest| manifest.chain.last())
            .is_some_and(|run| run.dialect == Dialect::D13.name());
        let known = if of_13 { Release::Neo4j13 } else { Release::Other };
        let identity = Identity {
            store_id: header.store_id()?,
            format: header.format()?,
            release: release.unwrap_or(known),
        };
        let directory = Directory {
            path: dir.path().to_owned(),
            identity,
            standing: Mutex::new(None),
        };
        directory.judge(&dir)?;
        Ok(directory)
    }

    /// What clients will miss: one sentence each.
    ///
    /// # Errors
    /// [`Refusal`], as for a request.
    pub fn shortcomings(&self) -> Result<Vec<String>, Refusal> {
        let dir = &self.directory()?;
        let standing = self.settled(dir)?;
        let mut found = Vec::new();
        for (source, last) in [
            (DataSource::Graph, standing.graph),
            (DataSource::Lucene, standing.lucene),
        ] {
            let moment = Moment {
                after: vec![(source, last.previous())],
                copy: None,
            };
            if last > TxId::BASE && self.since(&moment).is_err() {
                found.push(format!(
                    "transaction {last} of {source} cannot be given: the original tools from 1.6.2 on ask for it after \
                     a full backup and will fail; this tool's backups are complete without it"
                ));
            }
        }
        Ok(found)
    }

    /// The directory as it is now.
    fn directory(&self) -> Result<DirHandle, Refusal> {
        DirHandle::open(&self.path).map_err(|error| Refusal::Failed(error.to_string()))
    }

    /// A directory that no request will ever be able to use is refused at once.
    fn judge(&self, dir: &DirHandle) -> Result<(), Error> {
        for kind in StoreFile::ALL {
            if !dir.has_file(kind.name()) {
                let text = format!("{}: is missing", dir.join(kind.name()).display());
                return Err(Error::new(ErrorKind::Configuration, text).with_hint("serve a whole database"));
            }
        }
        let is_closed = files::is_closed_cleanly(dir);
        self.settled(dir).map(|_| ()).map_err(|refusal| {
            Error::new(ErrorKind::TargetInUse, refusal).with_hint("retry when no other process uses the directory")
        })?;
        if is_closed {
            return Ok(());
        }
        let text = format!("{}: was not closed cleanly", dir.display());
        Err(Error::new(ErrorKind::Configuration, text)
            .with_hint("start and stop Neo4j on it, or run an incremental backup into it, then serve it"))
    }

    /// The state of the directory, once no run changes it.
    fn settled(&self, dir: &DirHandle) -> Result<Standing, Refusal> {
        let limit = Instant::now() + SETTLE;
        let mut waits = false;
        loop {
            let stamp = stamp(dir);
            match (state(dir)?, holder(dir)) {
                (State::Complete, Holder::Nobody | Holder::Ours) => {
                    let standing = self.standing(dir, stamp)?;
                    // a change that began in between would have been written to the manifest first
                    if self::stamp(dir) == stamp {
                        return Ok(standing);
                    }
                }
                (State::Complete, Holder::Neo4j) => {
                    return Err(Refusal::Busy("the directory is open in Neo4j".to_owned()));
                }
                (State::Updating, Holder::Nobody) if self::stamp(dir) == stamp => {
                    return Err(Refusal::Failed(
                        "an incremental backup of this directory was interrupted; the next one repairs it".to_owned(),
                    ));
                }
                (State::Updating, _) => {}
                (State::Receiving, _) => {
                    return Err(Refusal::Failed("the directory is not a complete backup".to_owned()));
                }
            }
            if Instant::now() > limit {
                return Err(Refusal::Busy(
                    "an incremental backup is changing the directory".to_owned(),
                ));
            }
            if !waits {
                tracing::info!("a request waits for the end of an incremental backup");
                waits = true;
            }
            thread::sleep(LOOK);
        }
    }

    fn standing(&self, dir: &DirHandle, stamp: Stamp) -> Result<Standing, Refusal> {
        let mut known = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, standing)) = &*known
            && *of == stamp
        {
            return Ok(standing.clone());
        }
        let standing = self.look(dir).map_err(|error| Refusal::Failed(error.to_string()))?;
        *known = Some((stamp, standing.clone()));
        Ok(standing)
    }

    fn look(&self, dir: &DirHandle) -> Result<Standing, Error> {
        let header = Header::open_read_only(dir)?;
        self.require_same_database(&header)?;
        let graph = header.last_transaction()?;
        let layout = self.layout(DataSource::Lucene);
        let found = PendingIndex::inspect(dir, layout.format)?;
        let mut lucene = found.last_tx.max(TxId::BASE);
        let mut lucene_files = lucene;
        let mut pending = None;
        if let PendingState::Pending(slot) = found.state {
            let path = dir.join(files::slot(DataSource::Lucene, slot));
            if let Some(before) = transaction_range::before(dir, &path, layout).map_err(disk)? {
                lucene_files = before;
                pending = Some(path);
            }
        } else if self.identity.format == StoreFormat::Legacy {
            // 1.3 does not write the last transaction when it closes (docs/formats/neo4j-1.3.md §4)
            lucene = lucene.max(last_archived(dir, layout)?);
            lucene_files = lucene;
        }
        Ok(Standing {
            graph,
            lucene,
            lucene_files,
            pending,
        })
    }

    /// Refuses a directory that was replaced by another database after the service started: clients were sent the store id
    /// of the first one.
    fn require_same_database(&self, header: &Header) -> Result<(), Error> {
        let (found, served) = (header.store_id()?, self.identity.store_id);
        if found == served && header.format()? == self.identity.format {
            return Ok(());
        }
        let text = format!("the directory now holds another database, {found}, than the one that is served, {served}");
        Err(Error::new(ErrorKind::Configuration, text).with_hint("restart the service"))
    }

    fn layout(&self, source: DataSource) -> Layout {
        Layout {
            format: self.identity.format.into(),
            source,
        }
    }

    fn transaction_range(
        &self,
        dir: &DirHandle,
        standing: &Standing,
        source: DataSource,
        after: TxId,
    ) -> Result<TransactionRange, TransactionRangeError> {
        let (active, last) = match source {
            DataSource::Graph => (None, standing.graph),
            DataSource::Lucene => (standing.pending.as_deref(), standing.lucene),
        };
        TransactionRange::find(dir, self.layout(source), active, after, last)
    }
}

impl Source for Directory {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn require_identity(&self) -> Result<(), Refusal> {
        let header = Header::open_read_only(&self.directory()?).map_err(Error::from);
        header
            .and_then(|header| self.require_same_database(&header))
            .map_err(|error| Refusal::Failed(error.to_string()))
    }

    fn copy(&self) -> Result<Copy, Refusal> {
        let dir = &self.directory()?;
        let limit = Instant::now() + SETTLE;
        loop {
            let standing = self.settled(dir)?;
            let stamp = stamp(dir);
            let moment = Moment {
                after: vec![
                    (DataSource::Graph, standing.graph),
                    (DataSource::Lucene, standing.lucene_files),
                ],
                copy: Some(mark(dir)),
            };
            let files = listing::files(dir, self.identity.format)?;
            if state(dir)? == State::Complete && self::stamp(dir) == stamp {
                return Ok(Copy { files, moment });
            }
            if Instant::now() > limit {
                return Err(Refusal::Busy("the directory keeps changing".to_owned()));
            }
        }
    }

    fn since(&self, moment: &Moment) -> Result<Vec<TransactionRange>, Refusal> {
        let dir = &self.directory()?;
        let standing = self.settled(dir)?;
        if moment.copy.is_some_and(|begun| begun != mark(dir)) {
            return Err(Refusal::Busy("an index was deleted during this backup".to_owned()));
        }
        let mut stretches = Vec::new();
        for (source, after) in &moment.after {
            let transaction_range = self.transaction_range(dir, &standing, *source, *after)?;
            if *source == DataSource::Lucene && moment.copy.is_none() && !tells_of_deletes(&transaction_range)? {
                return Err(TransactionRangeError::Missing {
                    data_source: *source,
                    missing: after.next(),
                    version: LogVersion(0),
                }
                .into());
            }
            stretches.push(transaction_range);
        }
        Ok(stretches)
    }
}

/// The state in the manifest; a directory without a manifest counts as complete.
fn state(dir: &DirHandle) -> Result<State, Refusal> {
    let manifest = Manifest::read(dir).map_err(|error| Refusal::Failed(error.to_string()))?;
    Ok(manifest.map_or(State::Complete, |manifest| manifest.state))
}

fn holder(dir: &DirHandle) -> Holder {
    match neo4j_lock::holder(dir) {
        None => Holder::Nobody,
        Some(neo4j_lock::Holder::OpenFile) => Holder::Ours,
        Some(neo4j_lock::Holder::Process(_)) => Holder::Neo4j,
    }
}

/// The files that tell of every change.
fn stamp(dir: &DirHandle) -> Stamp {
    stamp_of(
        dir,
        &[
            MANIFEST,
            StoreFile::Neostore.name(),
            lucene_store::PATH,
            files::marker(DataSource::Lucene),
            files::slot(DataSource::Lucene, Slot::One),
            files::slot(DataSource::Lucene, Slot::Two),
        ],
    )
}

fn stamp_of(dir: &DirHandle, names: &[&str]) -> Stamp {
    let mut hash = blake3::Hasher::new();
    for name in names {
        let found = dir.status_of(name).ok();
        let found = found.map(|found| (found.identity(), found.length(), found.modified()));
        hash.update(format!("{found:?}").as_bytes());
    }
    let digest = hash.finalize();
    Stamp(
        digest
            .as_bytes()
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes)),
    )
}

fn last_archived(dir: &DirHandle, layout: Layout) -> Result<TxId, Error> {
    for ArchivedLog { path, .. } in archived_logs(dir, layout.source)?.into_iter().rev() {
        let file = dir.open_file(&path).map_err(DiskError::at(&path))?;
        let mut buffer = Buffer::new();
        let log = SlotReader::open(&file, layout, &mut buffer).map_err(|e| e.in_file(&path))?;
        if let Some(last) = log.finish().map_err(|e| e.in_file(&path))?.last_tx {
            return Ok(last);
        }
    }
    Ok(TxId::BASE)
}

/// By what a full backup recognises that no index was deleted since it began.
fn mark(dir: &DirHandle) -> u64 {
    stamp_of(dir, &[index_config::PATH]).0
}

fn disk(error: TransactionRangeError) -> Error {
    match error {
        TransactionRangeError::Disk(error) => error.into(),
        error => Error::new(ErrorKind::Disk, error),
    }
}

/// Where an index was deleted, our backups keep no trace of it but transactions without commands; a client that has the
/// index would keep it.
fn tells_of_deletes(transaction_range: &TransactionRange) -> Result<bool, TransactionRangeError> {
    let mut told = true;
    transaction_range.read(|transaction| {
        let mut commands = false;
        while let Some(item) = transaction.next()? {
            commands |= matches!(item, Item::Lucene(_));
        }
        told &= commands;
        Ok::<(), TransactionRangeError>(())
    })?;
    Ok(told)
}
