//! An incremental backup: the transactions since the last run, applied in place.
//!
//! Order of writes; between the steps files and directory are synced, and every state in between is one that each
//! release of Neo4j opens and that the next run goes on from:
//!
//! | step | found by the next run → do |
//! |---|---|
//! | 1 receive into names that Neo4j does not know | removed |
//! | 2 manifest says `updating`; marker `C` away; the graph's log → slot 1 | slot 1 is replayed as in 3 – 5 |
//! | 3 trailers and id files of the stores it touches away; replay; seal | the same |
//! | 4 slot 1 → temporary name, log version + 1 | 5, since everything in it was applied |
//! | 5 temporary name → archived log | nothing |
//! | 6 index transactions into the pending log | what it lacks is asked for |
//! | 7 checksums, manifest | the next run makes them anew |

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    BackupOutcome, DiskError, HistoryProof, Order, TakenMode, Verdict,
    apply::{Applier, Touched},
    checksums::{self, Known},
    full::{RECEIVED_INDEX_LOG, now, same_database},
    history::{self, KeepLogs},
    manifest::{MANIFEST, Manifest, Mode, Run, SUMS, State},
    pending_index::PendingIndex,
    replay, seal,
    staging::{Occupant, Target, sync_dir},
    transactions::{Asked, Overlap, ReceivedLogs},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    disk_error::remove,
    ids::{DataSource, LogVersion, TxId},
    log::{
        self, Buffer, Fingerprint, Layout, LogFormat, SlotReader,
        files::{Marker, Slot},
    },
    progress::{Phase, Progress},
    store::{Header, StoreFile, StoreFormat, lucene_store},
};

/// Name of the received graph log until the store may change.
const RECEIVED_GRAPH_LOG: &str = "neo4j-backup.received";

/// Name of the new manifest until it is complete.
const NEW_MANIFEST: &str = "neo4j-backup.json.new";

/// What happens where it cannot be proven that the source continues the target's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// The report says so.
    Reported,
    /// The run is refused.
    Refused,
}

/// What an incremental backup is to do.
#[derive(Debug)]
pub struct Incremental<'a> {
    /// Who is asked, and which backup is brought up to date.
    pub order: Order<'a>,
    /// How much an unproven history matters.
    pub unproven: Unproven,
    /// How much of the history is kept.
    pub keep: KeepLogs,
}

/// Brings a backup up to date in place; when it returns, the result is durable.
///
/// # Errors
/// Of the target, the member and the disk. The target then holds the old or a newer prefix of the source's history, and
/// the next run needs no clean-up.
pub fn incremental(
    request: &Incremental<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BackupOutcome, Error> {
    let target = Target::lock(request.order.target, request.order.run_id, now())?;
    let result = locked(request, &target, progress, cancel);
    target.release(&result);
    result
}

fn locked(
    request: &Incremental<'_>,
    target: &Target,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BackupOutcome, Error> {
    let dir = target.dir().to_owned();
    if target.occupant()? != Occupant::Database {
        let text = format!("{} doesn't contain a database", dir.display());
        return Err(Error::new(ErrorKind::FullNeeded, text).with_hint("take a full backup first"));
    }
    let _held = hold(&dir)?;
    let manifest = Manifest::read(&dir)?;
    let format = Header::open(&dir)?.format()?;
    let job = Job {
        request,
        dir,
        format,
        log_format: format.into(),
        progress,
        cancel,
    };
    job.run(manifest.as_ref())
}

/// Takes the lock that Neo4j holds on a database it has open; it ends when any descriptor of the file is closed, so it
/// shows a running Neo4j but keeps none from starting.
pub(super) fn hold(dir: &Path) -> Result<Vec<File>, Error> {
    let mut held = Vec::new();
    for name in ["neostore", "lock", "store_lock"] {
        let path = dir.join(name);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(DiskError::new(path, e).into()),
        };
        if rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let text = format!("{}: is locked: Neo4j has this database open", path.display());
            return Err(Error::new(ErrorKind::TargetInUse, text).with_hint("shut that Neo4j down, or copy the backup"));
        }
        held.push(file);
    }
    Ok(held)
}

struct Job<'a> {
    request: &'a Incremental<'a>,
    dir: PathBuf,
    format: StoreFormat,
    log_format: LogFormat,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Job<'_> {
    fn run(&self, before: Option<&Manifest>) -> Result<BackupOutcome, Error> {
        for name in [RECEIVED_INDEX_LOG, NEW_MANIFEST] {
            remove(&self.dir.join(name))?;
        }
        self.finish_archiving()?;
        let mut touched = BTreeMap::new();
        let recovered = self.finish_interrupted(&mut touched)?;
        let had = self.had()?;
        self.progress.phase(Phase::Transactions);
        let started = now();
        let version = self.free_version()?;
        let places = BTreeMap::from([
            (DataSource::Graph, (self.dir.join(RECEIVED_GRAPH_LOG), version)),
            (DataSource::Lucene, (self.dir.join(RECEIVED_INDEX_LOG), LogVersion(0))),
        ]);
        let mut logs = ReceivedLogs::new(self.log_format, places).going_on_from(had.clone());
        let proof = self.receive(&mut logs, &had, before)?;
        logs.sync()?;
        self.cancel.check()?;

        let mut manifest = before
            .cloned()
            .unwrap_or_else(|| Manifest::receiving(self.new_run(started, &logs), None));
        let nothing_new = logs.count() == 0 && !recovered && before.is_some_and(Manifest::is_complete);
        if !nothing_new {
            manifest.state = State::Updating;
            self.publish_manifest(&manifest)?;
            self.apply(&logs, version, &mut touched)?;
        }
        self.progress.phase(Phase::Sealing);
        let dialect = self.request.order.member.dialect();
        fs::create_dir_all(self.dir.join("index")).map_err(DiskError::at(self.dir.join("index")))?;
        let pending = replay::leave_index_log(&self.dir, dialect, &logs, None, self.log_format, self.progress)?;
        let header = Header::open(&self.dir)?;
        let last = header.last_transaction()?;
        let old = |source| before.and_then(|manifest| manifest.last_transaction(source));
        manifest.last_transactions = vec![
            replay::last_transaction(DataSource::Graph, last, &logs, old(DataSource::Graph)),
            replay::last_transaction(DataSource::Lucene, pending.last_tx, &logs, old(DataSource::Lucene)),
        ];
        let pruned = history::prune(&self.dir, self.request.keep, SystemTime::now())?;
        if !nothing_new || pruned > 0 {
            self.checksum(before, &touched, &mut manifest)?;
            if before.is_some() {
                manifest.add_run(self.new_run(started, &logs));
            }
        }
        manifest.store_id = Some(header.store_id()?.into());
        manifest.store_format = Some(self.format.version().to_owned());
        manifest.state = State::Complete;
        manifest.finished = Some(now());
        self.progress.phase(Phase::Syncing);
        self.publish_manifest(&manifest)?;
        Ok(BackupOutcome {
            mode: TakenMode::Incremental,
            member: self.request.order.member.address().to_owned(),
            dialect: dialect.name().to_owned(),
            releases: dialect.releases().to_owned(),
            target: self.dir.clone(),
            store_id: header.store_id()?,
            last_transactions: BTreeMap::from([(DataSource::Graph, last), (DataSource::Lucene, pending.last_tx)]),
            files: 0,
            bytes: logs.bytes(),
            transactions: logs.count(),
            history: proof,
            pending_index_log_bytes: pending.bytes,
            history_log_bytes: history::bytes(&self.dir)?,
            verdict: Verdict::Good,
        })
    }

    fn new_run(&self, started: u64, logs: &ReceivedLogs) -> Run {
        Run {
            bytes: logs.bytes(),
            transactions: logs.count(),
            ..self.request.order.run(Mode::Incremental, started)
        }
    }

    /// Last transaction per data source.
    fn had(&self) -> Result<BTreeMap<DataSource, TxId>, Error> {
        let mut had = BTreeMap::from([(DataSource::Graph, Header::open(&self.dir)?.last_transaction()?)]);
        if self.dir.join(lucene_store::PATH).exists() {
            had.insert(
                DataSource::Lucene,
                PendingIndex::inspect(&self.dir, self.log_format)?.last_tx,
            );
        }
        Ok(had)
    }

    /// The log version to use: no archived log may have it.
    fn free_version(&self) -> Result<LogVersion, Error> {
        let header = Header::open(&self.dir)?;
        let found = header.log_version()?;
        let mut version = found;
        while self.dir.join(log::files::archived(DataSource::Graph, version)).exists() {
            version = version.next();
        }
        if version != found {
            header.set_log_version(version)?;
            header.sync()?;
        }
        Ok(version)
    }

    /// Takes the transactions since, after comparing the last one of the target with the source's.
    fn receive(
        &self,
        logs: &mut ReceivedLogs,
        had: &BTreeMap<DataSource, TxId>,
        before: Option<&Manifest>,
    ) -> Result<HistoryProof, Error> {
        let member = self.request.order.member;
        let (asked, answered) = logs.catch_up(member, had, Overlap::Compared, self.progress)?;
        if let Some(theirs) = answered {
            same_database(Header::open(&self.dir)?.store_id()?, theirs, &self.dir)?;
        }
        let proof = match asked {
            Asked::Plainly => HistoryProof::NotProven,
            Asked::WithLast => self.prove(logs, had, before)?,
        };
        if proof == HistoryProof::NotProven && self.request.unproven == Unproven::Refused {
            let text =
                "the source no longer has, or the target never had, the transaction that would prove a common history";
            return Err(
                Error::new(ErrorKind::NotOurs, text).with_hint("leave out -require-history, or take a full backup")
            );
        }
        logs.level(member, had, self.progress)?;
        Ok(proof)
    }

    fn prove(
        &self,
        logs: &ReceivedLogs,
        had: &BTreeMap<DataSource, TxId>,
        before: Option<&Manifest>,
    ) -> Result<HistoryProof, Error> {
        let mut proof = HistoryProof::Proven;
        for (source, last) in had.iter().filter(|(_, last)| **last > TxId::BASE) {
            let Some(theirs) = logs.overlap(*source) else {
                let text = format!("the source is behind the target: it does not have transaction {last} of {source}");
                return Err(Error::new(ErrorKind::NotOurs, text).with_hint(
                    "it was restored from an older state, or is another server: take a full backup elsewhere",
                ));
            };
            match self.fingerprint(*source, *last, before)? {
                None => proof = HistoryProof::NotProven,
                Some(ours) if ours == theirs => {}
                Some(ours) => {
                    let text = format!(
                        "branched history: transaction {last} of {source} is {ours} in the target and {theirs} at the source"
                    );
                    return Err(Error::new(ErrorKind::NotOurs, text).with_hint(
                        "the target has transactions that the source never had: take a full backup elsewhere",
                    ));
                }
            }
        }
        Ok(proof)
    }

    /// Fingerprint of the target's own last transaction: from the manifest, or from its newest archived log.
    fn fingerprint(
        &self,
        source: DataSource,
        last: TxId,
        before: Option<&Manifest>,
    ) -> Result<Option<Fingerprint>, Error> {
        if let Some((id, Some(text))) = before.and_then(|manifest| manifest.last_transaction(source))
            && id == last
        {
            return Ok(text.parse().ok());
        }
        match source {
            DataSource::Graph => history::fingerprint(&self.dir, self.log_format, last),
            DataSource::Lucene => Ok(None),
        }
    }

    fn apply(
        &self,
        logs: &ReceivedLogs,
        version: LogVersion,
        touched: &mut BTreeMap<StoreFile, Touched>,
    ) -> Result<(), Error> {
        let Some(received) = logs.log(DataSource::Graph) else {
            return Ok(());
        };
        self.progress.phase(Phase::Applying);
        let slot = self.dir.join(log::files::slot(DataSource::Graph, Slot::One));
        remove(&self.dir.join(log::files::marker(DataSource::Graph)))?;
        sync_dir(&self.dir)?;
        rename(&received.path, &slot)?;
        self.replay_slot(&slot, received.last, version, touched)
    }

    /// A received log whose transactions were all applied only lacks its name; any other one will be asked for anew.
    fn finish_archiving(&self) -> Result<(), Error> {
        let path = self.dir.join(RECEIVED_GRAPH_LOG);
        let Ok(file) = File::open(&path) else { return Ok(()) };
        let layout = Layout {
            format: self.log_format,
            source: DataSource::Graph,
        };
        let mut buffer = Buffer::new();
        let header = Header::open(&self.dir)?;
        if let Ok(mut slot) = SlotReader::open(&file, layout, &mut buffer) {
            let version = slot.header().version;
            let mut last = None;
            while let Ok(Some(committed)) = slot.next() {
                last = Some(committed.tx);
            }
            let archived = self.dir.join(log::files::archived(DataSource::Graph, version));
            if last == Some(header.last_transaction()?) && !archived.exists() {
                header.set_log_version(header.log_version()?.max(version.next()))?;
                header.sync()?;
                return Ok(rename(&path, &archived)?);
            }
        }
        Ok(remove(&path)?)
    }

    /// What an interrupted run, or a Neo4j that was killed, left in the graph's active log is replayed first.
    fn finish_interrupted(&self, touched: &mut BTreeMap<StoreFile, Touched>) -> Result<bool, Error> {
        let marker = self.dir.join(log::files::marker(DataSource::Graph));
        let active = match fs::read(&marker) {
            Ok(bytes) => match Marker::decode(&bytes) {
                Some(Marker::Clean) => return Ok(false),
                Some(Marker::Active(slot)) => slot,
                None => {
                    let text = format!("{}: is no marker of an active log", marker.display());
                    return Err(Error::new(ErrorKind::FullNeeded, text).with_hint("take a full backup"));
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Slot::One,
            Err(e) => return Err(DiskError::new(marker, e).into()),
        };
        let path = self.dir.join(log::files::slot(DataSource::Graph, active));
        let Ok(file) = File::open(&path) else { return Ok(false) };
        if file.metadata().map_err(DiskError::at(&path))?.len() == 0 {
            return Ok(false);
        }
        self.progress
            .warning("the graph's log was left pending and is replayed first");
        let mut buffer = Buffer::new();
        let layout = Layout {
            format: self.log_format,
            source: DataSource::Graph,
        };
        let mut slot = SlotReader::open(&file, layout, &mut buffer).map_err(|e| e.in_file(&path))?;
        let version = slot.header().version;
        let mut last = Header::open(&self.dir)?.last_transaction()?;
        while let Some(committed) = slot.next().map_err(|e| e.in_file(&path))? {
            last = last.max(committed.tx);
        }
        let end = slot.finish().map_err(|e| e.in_file(&path))?;
        if end
            .unfinished
            .iter()
            .any(|left| left.progress == log::slot::Progress::Prepared)
        {
            let text = format!(
                "{}: holds a transaction that is prepared and not committed",
                path.display()
            );
            return Err(Error::new(ErrorKind::FullNeeded, text)
                .with_hint("start and stop Neo4j on it once, or take a full backup"));
        }
        self.replay_slot(&path, last, version, touched)?;
        remove(&marker)?;
        Ok(true)
    }

    /// Replays a slot onto the stores and archives it.
    fn replay_slot(
        &self,
        slot: &Path,
        last: TxId,
        version: LogVersion,
        touched: &mut BTreeMap<StoreFile, Touched>,
    ) -> Result<(), Error> {
        let kinds = || StoreFile::ALL.into_iter().filter(|kind| *kind != StoreFile::Neostore);
        for kind in kinds() {
            seal::unseal(&self.dir, kind, self.format)?;
            remove(&self.dir.join(kind.id_name()))?;
        }
        sync_dir(&self.dir)?;
        let mut applier = Applier::open(&self.dir, self.format, self.request.order.growth)?;
        let file = File::open(slot).map_err(DiskError::at(slot))?;
        let layout = Layout {
            format: self.log_format,
            source: DataSource::Graph,
        };
        replay::apply_log(&file, slot, layout, &mut applier, self.cancel)?;
        let header = Header::open(&self.dir)?;
        if let Some(property) = applier.graph_property() {
            header.set_graph_property(property)?;
        }
        header.set_last_transaction(last)?;
        for (kind, new) in applier.touched() {
            touched.entry(kind).or_default().merge(&new);
        }
        for kind in StoreFile::ALL {
            let touched = touched.entry(kind).or_default();
            touched.note(0, 1);
            seal::seal(&self.dir, kind, self.format, touched)?;
            for name in [kind.name().to_owned(), kind.id_name()] {
                let path = self.dir.join(name);
                File::open(&path)
                    .and_then(|file| file.sync_all())
                    .map_err(DiskError::at(&path))?;
            }
        }
        sync_dir(&self.dir)?;
        let archived = self.dir.join(RECEIVED_GRAPH_LOG);
        rename(slot, &archived)?;
        header.set_log_version(version.next())?;
        header.sync()?;
        rename(
            &archived,
            &self.dir.join(log::files::archived(DataSource::Graph, version)),
        )?;
        Ok(())
    }

    /// New digests; where the directory shows that Neo4j opened it since, or where there are none, of everything.
    fn checksum(
        &self,
        before: Option<&Manifest>,
        touched: &BTreeMap<StoreFile, Touched>,
        manifest: &mut Manifest,
    ) -> Result<(), Error> {
        let sums = self.dir.join(SUMS);
        let opened = ["messages.log", "active_tx_log", "tm_tx_log.1", "lock", "store_lock"];
        let known = before
            .filter(|manifest| manifest.is_complete() && sums.exists())
            .filter(|_| !opened.iter().any(|name| self.dir.join(name).exists()))
            .map(|manifest| Known {
                files: &manifest.files,
                sums: &sums,
            });
        checksums::write(&self.dir, known.as_ref(), touched, manifest)?;
        Ok(())
    }

    fn publish_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let (new, path) = (self.dir.join(NEW_MANIFEST), self.dir.join(MANIFEST));
        manifest.write(&new)?;
        Ok(rename(&new, &path)?)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(DiskError::at(to))?;
    to.parent().map_or(Ok(()), sync_dir)
}
