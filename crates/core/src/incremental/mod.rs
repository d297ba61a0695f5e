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
//! `base` judges what is there, `received` what the source sends; the steps are here.
//!
//! Everything the source sends is validated before step 2 (`receive::validation`), so that only the disk can fail after it.

mod base;
mod received;

use std::{collections::BTreeMap, time::SystemTime};

use self::received::Received;
pub(crate) use self::{
    base::{Base, no_database},
    received::same_format,
};
use super::{
    check::WrittenRecords,
    consistency::{self, Checked, Checks, CompletedStore},
    context::{BackupContext, now},
    manifest::{BackupKind, Manifest, Run, State, checksums, files::NEW_MANIFEST, precheck::Changes},
    outcome::{BackupOutcome, Verdict},
    receive::{
        proof::Unproven,
        transactions::{RECEIVED_INDEX_LOG, ReceivedLogs},
    },
    replay::{
        self,
        apply::DirtyChunks,
        graph_log::{self, Graph},
        pending_index::PendingIndex,
    },
    target::{
        archived_logs::{self, KeepLogs},
        durable::{self, remove},
        hard_links, links,
        owners::warn_of_refused,
        staging::{Occupant, Target},
    },
};
use crate::{
    Error,
    cancel::Cancel,
    progress::{Phase, Progress},
    verify::traces::Since,
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, StoreId, TxId},
    log::{self, Layout, LogFormat},
    store::{Header, StoreFile, neo4j_lock::Neo4jLock},
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
    let Base {
        manifest: before,
        since,
    } = Base::judge(dir)?;
    if since == Since::Opened {
        progress.warning(
            "Neo4j has opened the backup since the last run: recomputing checksums; earlier damage can no longer be detected",
        );
    }
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
