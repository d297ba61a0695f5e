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
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
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
    DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{
        ArchivedLog, Buffer, Item, Layout, SlotReader, TransactionRange, TransactionRangeError, archived_logs,
        files::{self, Marker, Slot},
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
    dir: PathBuf,
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
        let dir = fs::canonicalize(dir).map_err(|cause| {
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
            dir,
            identity,
            standing: Mutex::new(None),
        };
        directory.judge()?;
        Ok(directory)
    }

    /// What clients will miss: one sentence each.
    ///
    /// # Errors
    /// [`Refusal`], as for a request.
    pub fn shortcomings(&self) -> Result<Vec<String>, Refusal> {
        let standing = self.settled()?;
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

    /// A directory that no request will ever be able to use is refused at once.
    fn judge(&self) -> Result<(), Error> {
        let at = |name: &str| self.dir.join(name);
        for kind in StoreFile::ALL {
            if !at(kind.name()).is_file() {
                let text = format!("{}: is missing", at(kind.name()).display());
                return Err(Error::new(ErrorKind::Configuration, text).with_hint("serve a whole database"));
            }
        }
        let marker = match fs::read(at(files::marker(DataSource::Graph))) {
            Ok(bytes) => Marker::decode(&bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let pending = fs::metadata(at(files::slot(DataSource::Graph, Slot::One)));
                (!pending.is_ok_and(|found| found.len() > 0)).then_some(Marker::Clean)
            }
            Err(_) => None,
        };
        self.settled().map(|_| ()).map_err(|refusal| {
            Error::new(ErrorKind::TargetInUse, refusal).with_hint("retry when no other process uses the directory")
        })?;
        if marker == Some(Marker::Clean) {
            return Ok(());
        }
        let text = format!("{}: was not closed cleanly", self.dir.display());
        Err(Error::new(ErrorKind::Configuration, text)
            .with_hint("start and stop Neo4j on it, or run an incremental backup into it, then serve it"))
    }

    /// Where the directory stands, once nobody changes it.
    fn settled(&self) -> Result<Standing, Refusal> {
        let limit = Instant::now() + SETTLE;
        let mut waits = false;
        loop {
            let stamp = self.stamp();
            match (self.state()?, self.holder()) {
                (State::Complete, Holder::Nobody | Holder::Ours) => {
                    let standing = self.standing(stamp)?;
                    // a change that began in between would have been written to the manifest first
                    if self.stamp() == stamp {
                        return Ok(standing);
                    }
                }
                (State::Complete, Holder::Neo4j) => {
                    return Err(Refusal::Busy("the directory is open in Neo4j".to_owned()));
                }
                (State::Updating, Holder::Nobody) if self.stamp() == stamp => {
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

    /// What the manifest says; a directory without one is nobody's work in progress.
    fn state(&self) -> Result<State, Refusal> {
        let manifest = Manifest::read(&self.dir).map_err(|error| Refusal::Failed(error.to_string()))?;
        Ok(manifest.map_or(State::Complete, |manifest| manifest.state))
    }

    fn holder(&self) -> Holder {
        match neo4j_lock::holder(&self.dir) {
            None => Holder::Nobody,
            Some(neo4j_lock::Holder::OpenFile) => Holder::Ours,
            Some(neo4j_lock::Holder::Process(_)) => Holder::Neo4j,
        }
    }

    /// The files that tell of every change.
    fn stamp(&self) -> Stamp {
        self.stamp_of(&[
            MANIFEST,
            StoreFile::Neostore.name(),
            lucene_store::PATH,
            files::marker(DataSource::Lucene),
            files::slot(DataSource::Lucene, Slot::One),
            files::slot(DataSource::Lucene, Slot::Two),
        ])
    }

    fn stamp_of(&self, names: &[&str]) -> Stamp {
        let mut hash = blake3::Hasher::new();
        for name in names {
            let found = fs::metadata(self.dir.join(name)).ok();
            let found = found.map(|found| {
                let (seconds, nanos) = (found.mtime(), found.mtime_nsec());
                (found.dev(), found.ino(), found.len(), seconds, nanos)
            });
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

    fn standing(&self, stamp: Stamp) -> Result<Standing, Refusal> {
        let mut known = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, standing)) = &*known
            && *of == stamp
        {
            return Ok(standing.clone());
        }
        let standing = self.look().map_err(|error| Refusal::Failed(error.to_string()))?;
        *known = Some((stamp, standing.clone()));
        Ok(standing)
    }

    fn look(&self) -> Result<Standing, Error> {
        let header = Header::open_read_only(&self.dir)?;
        self.require_same_database(&header)?;
        let graph = header.last_transaction()?;
        let layout = self.layout(DataSource::Lucene);
        let found = PendingIndex::inspect(&self.dir, layout.format)?;
        let mut lucene = found.last_tx.max(TxId::BASE);
        let mut lucene_files = lucene;
        let mut pending = None;
        if let PendingState::Pending(slot) = found.state {
            let path = self.dir.join(files::slot(DataSource::Lucene, slot));
            if let Some(before) = transaction_range::before(&path, layout).map_err(disk)? {
                lucene_files = before;
                pending = Some(path);
            }
        } else if self.identity.format == StoreFormat::Legacy {
            // 1.3 does not write the last transaction when it closes (docs/formats/neo4j-1.3.md §4)
            lucene = lucene.max(self.last_archived(layout)?);
            lucene_files = lucene;
        }
        Ok(Standing {
            graph,
            lucene,
            lucene_files,
            pending,
        })
    }

    /// A directory may be exchanged while it is served, and clients are told the identity that it had at the start.
    fn require_same_database(&self, header: &Header) -> Result<(), Error> {
        let (found, served) = (header.store_id()?, self.identity.store_id);
        if found == served && header.format()? == self.identity.format {
            return Ok(());
        }
        let text = format!("the directory now holds another database, {found}, than the one that is served, {served}");
        Err(Error::new(ErrorKind::Configuration, text).with_hint("restart the service"))
    }

    fn last_archived(&self, layout: Layout) -> Result<TxId, Error> {
        for ArchivedLog { path, .. } in archived_logs(&self.dir, layout.source)?.into_iter().rev() {
            let file = File::open(&path).map_err(DiskError::at(&path))?;
            let mut buffer = Buffer::new();
            let log = SlotReader::open(&file, layout, &mut buffer).map_err(|e| e.in_file(&path))?;
            if let Some(last) = log.finish().map_err(|e| e.in_file(&path))?.last_tx {
                return Ok(last);
            }
        }
        Ok(TxId::BASE)
    }

    fn layout(&self, source: DataSource) -> Layout {
        Layout {
            format: self.identity.format.into(),
            source,
        }
    }

    fn transaction_range(
        &self,
        standing: &Standing,
        source: DataSource,
        after: TxId,
    ) -> Result<TransactionRange, TransactionRangeError> {
        let (active, last) = match source {
            DataSource::Graph => (None, standing.graph),
            DataSource::Lucene => (standing.pending.as_deref(), standing.lucene),
        };
        TransactionRange::find(&self.dir, self.layout(source), active, after, last)
    }

    /// By what a full backup recognises that no index was deleted since it began.
    fn mark(&self) -> u64 {
        self.stamp_of(&[index_config::PATH]).0
    }
}

impl Source for Directory {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn copy(&self) -> Result<Copy, Refusal> {
        let limit = Instant::now() + SETTLE;
        loop {
            let standing = self.settled()?;
            let stamp = self.stamp();
            let moment = Moment {
                after: vec![
                    (DataSource::Graph, standing.graph),
                    (DataSource::Lucene, standing.lucene_files),
                ],
                copy: Some(self.mark()),
            };
            let files = listing::files(&self.dir, self.identity.format)?;
            if self.state()? == State::Complete && self.stamp() == stamp {
                return Ok(Copy { files, moment });
            }
            if Instant::now() > limit {
                return Err(Refusal::Busy("the directory keeps changing".to_owned()));
            }
        }
    }

    fn since(&self, moment: &Moment) -> Result<Vec<TransactionRange>, Refusal> {
        let standing = self.settled()?;
        if moment.copy.is_some_and(|mark| mark != self.mark()) {
            return Err(Refusal::Busy("an index was deleted during this backup".to_owned()));
        }
        let mut stretches = Vec::new();
        for (source, after) in &moment.after {
            let transaction_range = self.transaction_range(&standing, *source, *after)?;
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

fn disk(error: TransactionRangeError) -> Error {
    match error {
        TransactionRangeError::Disk(error) => error.into(),
        error => Error::new(ErrorKind::Disk, error),
    }
}

/// Where an index was deleted, our backups keep no trace of it but transactions without commands; whoever has the
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
