//! An incremental backup: the transactions since the last run, applied in place.
//!
//! Order of writes; between the steps files and directory are synced (the new name of 2 with what 3 takes away, before
//! the replay), and every state in between is one that each release of Neo4j opens and that the next run goes on from.
//! No sync is made that nothing needs: `tests/crash/syncs.rs` forgets one after the other.
//!
//! | step | found by the next run → do |
//! |---|---|
//! | 1 receive into names that Neo4j does not know | removed |
//! | 2 manifest says `updating`; marker away; the graph's log → slot 1 (`replay::graph_log`) | slot 1 is replayed as in 3 – 5 |
//! | 3 trailers and id files of the stores it touches away; replay; seal | the same |
//! | 4 slot 1 → applied log, log version + 1 | 5 |
//! | 5 applied log → archived log | nothing |
//! | 6 index transactions into the pending log ([`super::replay::pending_index`]) | what it lacks is asked for |
//! | 7 checksums, manifest | the next run writes them again |
//!
//! Everything the source sends is validated before step 2 (`receive::validation`), so that only the disk can fail after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::SystemTime,
};

use super::{
    check::WrittenRecords,
    consistency::{self, Checked, Checks, CompletedStore},
    context::{BackupContext, now},
    manifest::{
        BackupKind, Manifest, Run, SUMS, State,
        checksums::{self, Known},
        files::{self, NEW_MANIFEST},
        precheck::{self, Changes},
    },
    outcome::{BackupOutcome, HistoryProof, Verdict},
    receive::{
        database::{ask_store_id, same_database},
        proof::{self, Unproven},
        transactions::{LogPlace, Overlap, RECEIVED_INDEX_LOG, ReceivedLogs},
        validation::Inspector,
    },
    replay::{
        self,
        apply::DirtyChunks,
        graph_log::{self, Graph},
        pending_index::{Existing, PendingIndex, read_config},
        seal,
    },
    target::{
        archived_logs::{self, KeepLogs},
        base,
        durable::{self, remove},
        hard_links, links,
        owners::warn_of_refused,
        staging::{Occupant, Target},
    },
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    progress::{Phase, Progress},
    source::client::Member,
    verify::traces::{self, Since},
};
use jiff::Timestamp;
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion, StoreId, TxId},
    log::{self, Layout, LogFormat},
    store::{Header, StoreFile, StoreFormat, lucene_store, neo4j_lock::Neo4jLock},
    wire::Dialect,
};

/// What an incremental backup is to do.
#[derive(Debug)]
pub(crate) struct Incremental<'a> {
    /// Who is asked, and which backup is brought up to date.
    pub(crate) context: BackupContext<'a>,
    /// How much an unproven history matters.
    pub(crate) unproven: Unproven,
    /// How much of the history is kept.
    pub(crate) keep: KeepLogs,
}

/// Brings a backup up to date in place; when it returns, the result is durable.
///
/// # Errors
/// Of the target, the member and the disk. The target then holds the old or a newer prefix of the source's history, and
/// the next run needs no clean-up.
pub(crate) fn incremental(
    request: &Incremental<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BackupOutcome, Error> {
    let target = request.context.lock_target()?;
    let result = locked(request, &target, progress, cancel);
    target.release(&result);
    durable::warn_of_missing_syncs(request.context.target, progress);
    result
}

fn locked(
    request: &Incremental<'_>,
    target: &Target,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BackupOutcome, Error> {
    target.recover_interrupted_run(progress, cancel)?;
    if target.site().occupant()? != Occupant::Database {
        return Err(no_database(target.site().dir()));
    }
    let dir = &target.site().open()?;
    links::refuse(dir, progress)?;
    let _lock = Neo4jLock::take(dir)?;
    let before = Manifest::read(dir)?;
    refuse_known_damage(dir, before.as_ref())?;
    let since = traces::since(dir, before.as_ref());
    if since == Since::Opened {
        progress.warning(
            "Neo4j has opened the backup since the last run: recomputing checksums; earlier damage can no longer be detected",
        );
    }
    base::is_whole(dir, before.as_ref().filter(|_| since == Since::Untouched))?;
    let format = Header::open(dir)?.format()?;
    let run = IncrementalRun {
        request,
        dir,
        graph: Graph {
            dir,
            format,
            growth: request.context.growth,
            cancel,
        },
        before,
        since,
        started: now(),
        progress,
        cancel,
    };
    let result = run.take();
    // the next run asks again for what was received and not used, however this one ended
    let discarded = run.discard_received();
    let outcome = result?;
    discarded?;
    warn_of_refused(dir, progress);
    Ok(outcome)
}

/// Refuses a backup that a verification found damaged: nothing that this run does would repair it, and some of it could hide
/// the damage.
fn refuse_known_damage(dir: &DirHandle, before: Option<&Manifest>) -> Result<(), Error> {
    let Some(found) = before.and_then(Manifest::known_damage) else {
        return Ok(());
    };
    let when = i64::try_from(found.finished)
        .ok()
        .and_then(|time| Timestamp::from_millisecond(time / 1000 * 1000).ok());
    let when = when.map_or_else(String::new, |when| format!(" at {when}"));
    let text = format!("{}: damaged: the last verification{when} found damage", dir.display());
    Err(Error::new(ErrorKind::FullNeeded, text)
        .with_hint("take a full backup; or, if the damage was repaired, verify the backup again"))
}

struct IncrementalRun<'a> {
    request: &'a Incremental<'a>,
    dir: &'a DirHandle,
    graph: Graph<'a>,
    /// The manifest as the last run left it.
    before: Option<Manifest>,
    /// What became of the directory since that run.
    since: Since,
    /// When this run began, in milliseconds since 1970.
    started: u64,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

/// What an earlier run, or Neo4j, left in the graph's active log is applied.
struct Recovered {
    /// The manifest as it is on disk now.
    manifest: Option<Manifest>,
    dirty: BTreeMap<StoreFile, DirtyChunks>,
    /// Locks of files that got a new inode.
    locks: Vec<Neo4jLock>,
    /// Whether there was such a log.
    has_replayed: bool,
}

/// What the source sent is in logs of its own, proven and judged.
struct Received {
    logs: ReceivedLogs,
    version: LogVersion,
    proof: HistoryProof,
    /// As [`BackupOutcome::behind_master`].
    behind_master: Option<u64>,
}

/// The transactions of the graph are in the store files, and the log of them is archived.
struct Applied {
    received: Received,
    manifest: Manifest,
    dirty: BTreeMap<StoreFile, DirtyChunks>,
    /// Held until the run ends.
    _locks: Vec<Neo4jLock>,
    has_replayed: bool,
    /// What the received transactions wrote, where that is what is checked.
    written: Option<WrittenRecords>,
    /// Whether anything differs from what the last run left.
    is_changed: bool,
}

/// Index log, archived logs and checksums are written; the manifest that counts on them is not.
struct Sealed {
    applied: Applied,
    pending: PendingIndex,
    last: TxId,
    store_id: StoreId,
}

impl IncrementalRun<'_> {
    fn take(&self) -> Result<BackupOutcome, Error> {
        self.discard_received()?;
        remove(self.dir, NEW_MANIFEST)?;
        self.graph.finish_archiving()?;
        let recovered = self.recover()?;
        let received = self.receive()?;
        let applied = self.apply(recovered, received)?;
        let sealed = self.seal(applied)?;
        self.publish(sealed)
    }

    fn recover(&self) -> Result<Recovered, Error> {
        let mut recovered = Recovered {
            manifest: self.before.clone(),
            dirty: BTreeMap::new(),
            locks: Vec::new(),
            has_replayed: false,
        };
        let Some(active) = self.graph.left_active()? else {
            return Ok(recovered);
        };
        self.progress
            .warning("the graph's log was left pending and is replayed first");
        recovered.has_replayed = true;
        // what this log and the new transactions change cannot be told apart afterwards
        self.require_undamaged(Changes::Unknown)?;
        if let Some(manifest) = &mut recovered.manifest {
            self.begin_update(manifest)?;
        }
        recovered.locks.extend(self.separate_links(&active.stores)?);
        self.graph.apply(&active, &mut recovered.dirty)?;
        Ok(recovered)
    }

    fn apply(&self, recovered: Recovered, received: Received) -> Result<Applied, Error> {
        let Recovered {
            manifest,
            mut dirty,
            mut locks,
            has_replayed,
        } = recovered;
        let was_complete = self.before.as_ref().is_some_and(Manifest::is_complete);
        let is_changed = !was_complete || has_replayed || received.logs.count() > 0;
        let mut manifest = manifest.unwrap_or_else(|| Manifest::receiving(self.new_run(&received.logs), None));
        let written = match received.logs.log(DataSource::Graph) {
            // what an interrupted run wrote is in another log
            Some(log) if self.request.context.checks == Checks::Usual && !has_replayed => Some(
                consistency::before_writing(self.dir, &log.path, self.graph_layout(), self.cancel)?,
            ),
            _ => None,
        };
        if is_changed {
            let will_change = received.logs.dirty();
            if !has_replayed {
                self.require_undamaged(Changes::Chunks(&will_change))?;
            }
            self.begin_update(&mut manifest)?;
            locks.extend(self.separate_links(&will_change.into_keys().collect())?);
            self.apply_graph(&received, &mut dirty)?;
        }
        Ok(Applied {
            received,
            manifest,
            dirty,
            _locks: locks,
            has_replayed,
            written,
            is_changed,
        })
    }

    fn seal(&self, mut applied: Applied) -> Result<Sealed, Error> {
        self.progress.phase(Phase::Sealing);
        let logs = &applied.received.logs;
        let manifest = &mut applied.manifest;
        self.dir
            .create_folders("index")
            .map_err(DiskError::at(self.dir.join("index")))?;
        let dialect = self.request.context.member.dialect();
        let pending = replay::leave_index_log(self.dir, dialect, logs, None, self.log_format())?;
        let header = Header::open(self.dir)?;
        let (last, store_id) = (header.last_transaction()?, header.store_id()?);
        let known = |source, id| replay::last_transaction(source, id, logs, self.kept_transaction(source));
        manifest.last_transactions = vec![
            known(DataSource::Graph, last),
            known(DataSource::Lucene, pending.last_tx),
        ];
        let prunable = archived_logs::prunable(self.dir, self.request.keep, SystemTime::now())?;
        if !applied.is_changed && !prunable.is_empty() {
            self.require_undamaged(Changes::Chunks(&BTreeMap::new()))?;
            self.begin_update(manifest)?;
        }
        archived_logs::prune(self.dir, &prunable)?;
        if applied.is_changed || !prunable.is_empty() {
            self.checksum(&applied.dirty, manifest)?;
            if self.before.is_some() {
                manifest.add_run(self.new_run(logs));
            }
        }
        manifest.store_id = Some(store_id.into());
        manifest.store_format = Some(self.graph.format.version().to_owned());
        manifest.state = State::Complete;
        manifest.finished = Some(now());
        Ok(Sealed {
            applied,
            pending,
            last,
            store_id,
        })
    }

    /// Makes the backup a complete one again, and checks it then.
    fn publish(&self, sealed: Sealed) -> Result<BackupOutcome, Error> {
        let Sealed {
            mut applied,
            pending,
            last,
            store_id,
        } = sealed;
        self.progress.phase(Phase::Syncing);
        applied.manifest.publish(self.dir)?;
        let check = if applied.is_changed || self.request.context.checks == Checks::Whole {
            self.check(&applied)
        } else {
            None
        };
        if self.request.context.checks == Checks::Whole
            && let Some(verification) = check.as_ref().and_then(Checked::verification)
        {
            applied.manifest.add_verification(verification);
            // the backup is complete without it
            if let Err(error) = applied.manifest.publish(self.dir) {
                self.progress
                    .warning(&format!("the check is not recorded in the backup: {error}"));
            }
        }
        let logs = &applied.received.logs;
        let member = self.request.context.member;
        let mut outcome = BackupOutcome::of(BackupKind::Incremental, member, self.dir.path(), store_id);
        outcome.last_transactions = BTreeMap::from([(DataSource::Graph, last), (DataSource::Lucene, pending.last_tx)]);
        outcome.bytes = logs.bytes();
        outcome.stored_bytes = applied.manifest.stored_bytes();
        outcome.transactions = logs.count();
        outcome.behind_master = applied.received.behind_master;
        outcome.history = applied.received.proof;
        outcome.pending_index_log_bytes = pending.bytes;
        outcome.history_log_bytes = archived_logs::bytes(self.dir)?;
        if let Some(check) = &check {
            outcome.verdict = check.verdict(Verdict::Good);
        }
        outcome.check = check;
        Ok(outcome)
    }

    fn log_format(&self) -> LogFormat {
        self.graph.format.into()
    }

    fn graph_layout(&self) -> Layout {
        Layout {
            format: self.log_format(),
            source: DataSource::Graph,
        }
    }

    /// What the manifest says of a data source.
    fn kept_transaction(&self, source: DataSource) -> Option<(TxId, Option<&str>)> {
        self.before.as_ref()?.last_transaction(source)
    }

    fn new_run(&self, logs: &ReceivedLogs) -> Run {
        Run {
            bytes: logs.bytes(),
            transactions: logs.count(),
            ..self.request.context.run(BackupKind::Incremental, self.started)
        }
    }

    /// Last transaction per data source.
    fn had(&self, index: &PendingIndex) -> Result<BTreeMap<DataSource, TxId>, Error> {
        let mut had = BTreeMap::from([(DataSource::Graph, Header::open(self.dir)?.last_transaction()?)]);
        if self.dir.has(lucene_store::PATH) {
            had.insert(DataSource::Lucene, index.last_tx);
        }
        Ok(had)
    }

    /// Takes the transactions since into logs of their own, synced, after comparing the last one of the target with the
    /// source's. Nothing else is written.
    fn receive(&self) -> Result<Received, Error> {
        self.progress.phase(Phase::Transactions);
        let member = self.request.context.member;
        let index = PendingIndex::inspect(self.dir, self.log_format())?;
        let had = self.had(&index)?;
        let version = self.graph.free_version()?;
        let places = BTreeMap::from([
            (DataSource::Graph, LogPlace::new(self.dir, graph_log::RECEIVED, version)),
            (
                DataSource::Lucene,
                LogPlace::new(self.dir, RECEIVED_INDEX_LOG, LogVersion(0)),
            ),
        ]);
        let inspector = Inspector::open(self.dir, self.graph.format, self.request.context.growth)?;
        let mut logs = ReceivedLogs::new(self.log_format(), places)
            .going_on_from(had.clone())
            .with_indexes(Existing::new(index.changes.to(&read_config(self.dir)?)))
            .judged_by(inspector);
        let target = proof::Target {
            dir: self.dir,
            format: self.log_format(),
            member,
            manifest: self.before.as_ref(),
            had: &had,
        };
        let proof = same_format(member, self.graph.format, self.dir).and_then(|()| {
            if let Some(theirs) = target.is_unchanged(self.request.unproven)? {
                same_database(Header::open(self.dir)?.store_id()?, theirs, self.dir)?;
                return Ok(HistoryProof::Unchanged);
            }
            let (asked, answered) = logs.catch_up(member, &had, Overlap::Compared, self.progress)?;
            if let Some(theirs) = answered {
                same_database(Header::open(self.dir)?.store_id()?, theirs, self.dir)?;
            }
            let proof = target.prove(&logs, asked, self.request.unproven, self.progress)?;
            logs.align_graph_to_index(member, &had, self.progress)?;
            Ok(proof)
        });
        let proof = proof.map_err(|error| self.of_this_database(error, &had))?;
        // a server that was killed while it created an index may have it in its `index.db` alone
        logs.require_known_indexes()?;
        logs.complete()?;
        let behind_master =
            self.request
                .context
                .confirm(self.log_format(), self.progress, || match logs.log(DataSource::Graph) {
                    Some(log) => Ok((log.last, log.fingerprint)),
                    None => target.end_of_graph(),
                })?;
        self.cancel.check()?;
        Ok(Received {
            logs,
            version,
            proof,
            behind_master,
        })
    }

    /// An answer from another database is reported before anything else that is wrong with it.
    fn of_this_database(&self, error: Error, had: &BTreeMap<DataSource, TxId>) -> Error {
        let whose = || {
            let ours = Header::open(self.dir)?.store_id()?;
            same_database(ours, ask_store_id(self.request.context.member)?, self.dir)
        };
        match error.kind() {
            ErrorKind::Protocol | ErrorKind::FullNeeded | ErrorKind::NotOurs => match whose() {
                Err(other) if other.kind() == ErrorKind::NotOurs => other,
                _ if error.kind() == ErrorKind::FullNeeded => proof::needing(&error, had),
                _ => error,
            },
            _ => error,
        }
    }

    /// Applies what was received of the graph, durably.
    fn apply_graph(&self, received: &Received, touched: &mut BTreeMap<StoreFile, DirtyChunks>) -> Result<(), Error> {
        let Some(log) = received.logs.log(DataSource::Graph) else {
            return Ok(());
        };
        self.progress.phase(Phase::Applying);
        let stores = received.logs.dirty().into_keys().collect();
        let active = self.graph.activate(&log.path, received.version, log.last, stores)?;
        self.graph.apply(&active, touched)
    }

    /// Checks the store, which is durable by now: where the run is cancelled, the check alone did not come to its end.
    fn check(&self, applied: &Applied) -> Option<Checked> {
        let received = &applied.received;
        let checks = self.request.context.checks;
        if checks == Checks::None {
            return None;
        }
        self.progress.phase(Phase::Checking);
        let archived = self.dir.join(log::files::archived(DataSource::Graph, received.version));
        let finished = CompletedStore {
            dir: self.dir,
            log: received.logs.log(DataSource::Graph).map(|_| archived),
            layout: self.graph_layout(),
        };
        let nothing = WrittenRecords::default();
        let checked = if checks == Checks::Whole || applied.has_replayed {
            finished.whole(self.cancel)
        } else {
            finished.part(applied.written.as_ref().unwrap_or(&nothing), self.cancel)
        };
        Some(checked.unwrap_or_else(|cancelled| Checked::not_run(&cancelled)))
    }

    fn discard_received(&self) -> Result<(), DiskError> {
        remove(self.dir, hard_links::OWN_COPY)?;
        remove(self.dir, graph_log::RECEIVED)?;
        remove(self.dir, RECEIVED_INDEX_LOG)
    }

    /// Refuses a base in which something that is going to be written or digested again is not what it was.
    fn require_undamaged(&self, changes: Changes<'_>) -> Result<(), Error> {
        match self.known_digests()? {
            Some(known) => precheck::require_undamaged(self.dir, self.graph.format, &known, changes, self.cancel),
            None => Ok(()),
        }
    }

    /// Gives every file that is going to be changed in place, and that a generation beside the backup shares, an inode of
    /// its own; these store files are. A new `neostore` has to be locked again.
    fn separate_links(&self, stores: &BTreeSet<StoreFile>) -> Result<Option<Neo4jLock>, Error> {
        let mut names = Vec::new();
        for found in files::list(self.dir)? {
            let is_changed = match StoreFile::from_name(&found.path) {
                Some(StoreFile::Neostore) => true,
                Some(kind) => stores.contains(&kind) || !seal::is_clean(self.dir, kind, self.graph.format)?,
                None => !files::is_written_once(&found.path) && files::is_of_a_store(&found.path),
            };
            if is_changed {
                names.push(found.path);
            }
        }
        let separated = hard_links::separate(self.dir, names.iter().map(String::as_str), self.cancel)?;
        let is_new = separated.iter().any(|name| *name == StoreFile::Neostore.name());
        Ok(is_new.then(|| Neo4jLock::take_store(self.dir)).transpose()?)
    }

    /// The digests that the last run recorded; `None` where they say nothing about the directory as it is.
    fn known_digests(&self) -> Result<Option<Known<'_>>, Error> {
        let Some(manifest) = self.before.as_ref().filter(|_| self.since == Since::Untouched) else {
            return Ok(None);
        };
        let known = Known::of(self.dir, manifest, SUMS)?.ok_or_else(|| {
            let text = format!(
                "{}: damaged, or does not belong to this manifest",
                self.dir.join(SUMS).display()
            );
            Error::new(ErrorKind::FullNeeded, text).with_hint("the backup is damaged: take a full backup")
        })?;
        Ok(Some(known))
    }

    /// Says in the manifest that what it lists is being changed.
    fn begin_update(&self, manifest: &mut Manifest) -> Result<(), DiskError> {
        manifest.state = State::Updating;
        manifest.publish(self.dir)
    }

    /// Records new digests: of what was touched, where the others still hold, and of everything elsewhere.
    fn checksum(&self, touched: &BTreeMap<StoreFile, DirtyChunks>, manifest: &mut Manifest) -> Result<(), Error> {
        let known = self.known_digests()?;
        checksums::write(self.dir, known.as_ref(), touched, manifest, self.cancel)?;
        // their name and the archived log's, before the manifest counts on both
        Ok(durable::sync(self.dir)?)
    }
}

/// A source that was upgraded sends what does not fit the store.
pub(crate) fn same_format(member: &Member, format: StoreFormat, dir: &DirHandle) -> Result<(), Error> {
    let dialect = member.dialect();
    let legacy = matches!(dialect, Dialect::D13 | Dialect::D14);
    if legacy == (format == StoreFormat::Legacy) {
        return Ok(());
    }
    let text = format!(
        "{}: a store of format {}, which {} does not continue",
        dir.display(),
        format.version(),
        dialect.releases()
    );
    Err(Error::new(ErrorKind::FullNeeded, text).with_hint("the source was upgraded since: take a full backup"))
}

/// The error of a target in which nothing can be continued.
pub(crate) fn no_database(dir: &Path) -> Error {
    let text = format!("{} doesn't contain a database", dir.display());
    Error::new(ErrorKind::FullNeeded, text).with_hint("take a full backup first")
}
