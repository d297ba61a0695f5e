//! A full backup: files, the transactions that followed them, replay, seal, publish.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    time::Duration,
};

use super::{
    consistency::{Checked, Checks, CompletedStore},
    context::{BackupContext, now},
    manifest::{
        BackupKind, MANIFEST, Manifest, Run, State,
        checksums::{self, Known},
    },
    outcome::BackupOutcome,
    receive::{
        database::same_database,
        files::{self, RECEIVED_SUMS, ReceivedFiles},
        missing_indexes::{self, MissingIndexes},
        transactions::{LogPlace, Overlap, RECEIVED_INDEX_LOG, ReceivedLogs},
    },
    replace::{self, Replace, Replaced},
    replay::{
        self,
        apply::{Applier, DirtyChunks},
        pending_index::{Existing, PendingIndex, read_config},
        seal,
    },
    target::{
        archived_logs,
        durable::{self, remove},
        owners::warn_of_refused,
        staging::Target,
    },
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Condition,
    progress::{Phase, Progress, Total},
    retry::{self, Policy, Retry},
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{self, Layout, LogFormat},
    store::{
        Header, StoreFile, StoreFormat, index_config,
        lucene_store::{self, LuceneStore},
    },
    wire::Dialect,
};

/// How often a full backup begins again after the server failed. A race with an index is not lost many times in a row.
const RACES: Policy = Policy {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    total: Duration::from_secs(10),
    tries: 5,
};

/// What a full backup is to do.
#[derive(Debug)]
pub(crate) struct Full<'a> {
    /// Who is backed up, and where to.
    pub(crate) context: BackupContext<'a>,
    /// Whether an older backup may be replaced.
    pub(crate) replace: Replace,
    /// The mode of a new directory; by default it is private.
    pub(crate) mode: Option<u32>,
    /// A warning to give once it is certain that the target may be filled or replaced, and before anything is received.
    pub(crate) announcement: &'a Announcement,
}

/// A warning that is given once, as soon as nothing forbids what it says.
#[derive(Debug, Default)]
pub(crate) struct Announcement(RefCell<Option<String>>);

impl Announcement {
    /// This text.
    pub(crate) fn of(text: String) -> Announcement {
        Announcement(RefCell::new(Some(text)))
    }

    /// Whether it was not given yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.borrow().is_some()
    }

    fn give(&self, progress: &dyn Progress) {
        if let Some(text) = self.0.take() {
            progress.warning(&text);
        }
    }
}

/// Takes a full backup; when it returns, the backup is in place and durable.
///
/// # Errors
/// Of the target, the member and the disk. The target is then what it was before, and the next run needs no clean-up.
pub(crate) fn full(request: &Full<'_>, progress: &dyn Progress, cancel: &Cancel) -> Result<BackupOutcome, Error> {
    let target = request.context.lock_target()?;
    let result = staged(request, &target, progress, cancel);
    if result.is_err() {
        target.discard_partial();
    }
    target.release(&result);
    durable::warn_of_missing_syncs(request.context.target, progress);
    result
}

/// Receives, applies and seals in the staging directory, again from the beginning if a race with an index was lost, and
/// publishes the result.
fn staged(
    request: &Full<'_>,
    target: &Target,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BackupOutcome, Error> {
    let replaced = replace::judge(request.replace, request.context.member, target, progress, cancel)?;
    request.announcement.give(progress);
    let mut tries = 0_u32;
    let sealed = || {
        tries = tries.saturating_add(1);
        let run = FullRun {
            request,
            dir: target.create_partial(request.mode)?,
            progress,
            cancel,
            replaced: replaced.as_ref(),
            run: request.context.run(BackupKind::Full, now()),
            tries,
        };
        let received = run.receive()?;
        let applied = run.apply(received)?;
        run.seal(applied, target)
    };
    let sealed = Retry::new(RACES, retry::seed(request.context.run_id), cancel).run(
        sealed,
        |error| lost_a_race(error, request.context.member.dialect()),
        |error| progress.warning(&format!("{error}; starting again from the beginning")),
    )?;
    progress.phase(Phase::Syncing);
    sealed.make_durable()?;
    cancel.check()?;
    progress.phase(Phase::Publishing);
    target.make_ready(&sealed.dir)?;
    target.publish()?;
    warn_of_refused(&sealed.dir, progress);
    Ok(sealed.outcome)
}

/// Whether the server may have stumbled over an index that was created or deleted while it listed its files: every
/// release fails the whole backup then, and the one-byte dialects say so by closing the connection.
fn lost_a_race(error: &Error, dialect: Dialect) -> bool {
    match error.kind() {
        ErrorKind::Server => true,
        ErrorKind::Unreachable => error.condition() == Some(Condition::ConnectionClosed) && dialect.is_one_byte(),
        _ => false,
    }
}

/// One try of a full backup.
struct FullRun<'a> {
    request: &'a Full<'a>,
    /// The staging directory.
    dir: DirHandle,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    /// The backup that is going to be replaced.
    replaced: Option<&'a Replaced>,
    run: Run,
    /// How often the backup was begun.
    tries: u32,
}

/// Everything that the source sends is in the staging directory, and the master has confirmed it.
struct Received {
    manifest: Manifest,
    files: ReceivedFiles,
    format: StoreFormat,
    /// The version of the graph's log of this run.
    version: LogVersion,
    logs: ReceivedLogs,
    /// Indexes of which no files came.
    missing: MissingIndexes,
    /// Last transaction of the graph.
    last: TxId,
    behind_master: Option<u64>,
}

/// The transactions are in the store files, and those of the indexes in the pending index log.
struct Applied {
    received: Received,
    dirty: BTreeMap<StoreFile, DirtyChunks>,
    pending: PendingIndex,
}

/// A backup that is complete but for its durability.
struct Sealed {
    dir: DirHandle,
    manifest: Manifest,
    outcome: BackupOutcome,
}

impl FullRun<'_> {
    /// Receives the files and the transactions that followed them, and judges them.
    fn receive(&self) -> Result<Received, Error> {
        let context = &self.request.context;
        let member = context.member;
        let manifest = Manifest::receiving(self.run.clone(), self.replaced.and_then(|old| old.name.clone()));
        manifest.write(&self.dir, MANIFEST)?;
        self.progress.phase(Phase::Receiving);
        if let Some(bytes) = self.replaced.and_then(|old| old.bytes) {
            self.progress.expected(Total::Bytes(bytes));
        }
        let mut incoming = member.full();
        let files = files::receive(&mut incoming, &self.dir, self.progress)?;
        let (format, version) = self.judge_files(&files)?;

        self.progress.phase(Phase::Transactions);
        let mut logs = self.new_logs(format, version)?;
        logs.receive(&mut incoming, Overlap::Refused, self.progress)?;
        drop(incoming);
        let base = self.base()?;
        let missing = missing_indexes::fetch(member, &self.dir, &files.files, self.progress, self.cancel)?;
        self.complete(&mut logs, &base, &files)?;
        let last = logs
            .log(DataSource::Graph)
            .map(|log| log.last)
            .or_else(|| base.get(&DataSource::Graph).copied())
            .unwrap_or(TxId::BASE);
        if let Some(old) = self.replaced {
            old.require_no_less(last, base.contains_key(&DataSource::Lucene))?;
        }
        let behind_master = context.confirm(format.into(), self.progress, || {
            let fingerprint = logs.log(DataSource::Graph).and_then(|log| log.fingerprint);
            Ok((last, fingerprint))
        })?;
        Ok(Received {
            manifest,
            files,
            format,
            version,
            logs,
            missing,
            last,
            behind_master,
        })
    }

    /// Logs for what follows the files.
    fn new_logs(&self, format: StoreFormat, version: LogVersion) -> Result<ReceivedLogs, Error> {
        self.dir
            .create_folders("index")
            .map_err(DiskError::at(self.dir.join("index")))?;
        let graph = log::files::archived(DataSource::Graph, version);
        let logs = ReceivedLogs::new(
            format.into(),
            BTreeMap::from([
                (DataSource::Graph, LogPlace::new(&self.dir, graph, version)),
                (
                    DataSource::Lucene,
                    LogPlace::new(&self.dir, RECEIVED_INDEX_LOG, LogVersion(0)),
                ),
            ]),
        );
        Ok(logs.with_indexes(Existing::new(read_config(&self.dir)?.indexes())))
    }

    /// Asks for what is missing at the end of the logs: a source that sent none is asked for its last transaction, which
    /// proves to a later run that it continues this history.
    fn complete(
        &self,
        logs: &mut ReceivedLogs,
        base: &BTreeMap<DataSource, TxId>,
        files: &ReceivedFiles,
    ) -> Result<(), Error> {
        let member = self.request.context.member;
        let (_, answered) = logs.catch_up(member, base, Overlap::Refused, self.progress)?;
        if let Some(theirs) = answered {
            same_database(files.store_id, theirs, &self.dir)?;
        }
        logs.align_graph_to_index(member, base, self.progress)?;
        logs.require_known_indexes()
            .map_err(|error| self.lost_an_index(error, "take the backup from another member of the cluster"))?;
        logs.complete()
    }

    fn apply(&self, received: Received) -> Result<Applied, Error> {
        self.progress.phase(Phase::Applying);
        let dirty = self.replay(&received.logs, received.format)?;
        let pending = replay::leave_index_log(
            &self.dir,
            self.request.context.member.dialect(),
            &received.logs,
            received.missing.transactions(),
            received.format.into(),
        )?;
        Ok(Applied {
            received,
            dirty,
            pending,
        })
    }

    /// Closes the store files, records their digests and checks them.
    fn seal(&self, applied: Applied, target: &Target) -> Result<Sealed, Error> {
        self.progress.phase(Phase::Sealing);
        let Applied {
            received,
            mut dirty,
            pending,
        } = applied;
        let log_format = LogFormat::from(received.format);
        let logs = &received.logs;
        self.seal_stores(&received, &mut dirty)?;
        let run = Run {
            bytes: received.files.bytes,
            transactions: logs.count(),
            ..self.run.clone()
        };
        let mut manifest = received.manifest;
        manifest.last_transactions = vec![
            replay::last_transaction(DataSource::Graph, received.last, logs, None),
            replay::last_transaction(DataSource::Lucene, pending.last_tx, logs, None),
        ];
        manifest.store_id = Some(received.files.store_id.into());
        manifest.store_format = Some(received.format.version().to_owned());
        let known = Known {
            files: &received.files.files,
            sums: RECEIVED_SUMS,
        };
        checksums::write(&self.dir, Some(&known), &dirty, &mut manifest, self.cancel)?;
        remove(&self.dir, RECEIVED_SUMS)?;
        manifest.chain = vec![run];
        manifest.state = State::Complete;
        manifest.finished = Some(now());
        let check = self.check(logs, log_format)?;
        if let Some(verification) = check.as_ref().and_then(Checked::verification) {
            manifest.add_verification(verification);
        }
        let verdict = received.missing.verdict();
        let member = self.request.context.member;
        let mut outcome = BackupOutcome::of(BackupKind::Full, member, target.site().dir(), received.files.store_id);
        outcome.last_transactions = BTreeMap::from([
            (DataSource::Graph, received.last),
            (DataSource::Lucene, pending.last_tx),
        ]);
        outcome.files = received.files.files.len() as u64;
        outcome.bytes = received.files.bytes;
        outcome.stored_bytes = manifest.stored_bytes();
        outcome.transactions = logs.count();
        outcome.behind_master = received.behind_master;
        outcome.pending_index_log_bytes = pending.bytes;
        outcome.history_log_bytes = archived_logs::bytes(&self.dir)?;
        outcome.verdict = check.as_ref().map_or(verdict, |check| check.verdict(verdict));
        outcome.check = check;
        Ok(Sealed {
            dir: self.dir.clone(),
            manifest,
            outcome,
        })
    }

    /// All ten files must be there, and `index.db` where there are indexes; they say which format they have and which
    /// version the next log gets.
    fn judge_files(&self, received: &ReceivedFiles) -> Result<(StoreFormat, LogVersion), Error> {
        for kind in StoreFile::ALL {
            if !received.files.iter().any(|file| file.path == kind.name()) {
                let text = format!("the server did not send {}", kind.name());
                return Err(Error::new(ErrorKind::Protocol, text).with_hint("run again, or look at the server"));
            }
        }
        self.judge_indexes(received)?;
        let header = Header::open(&self.dir)?;
        let format = header.format()?;
        let legacy = self.request.context.member.dialect().is_one_byte();
        if legacy != (format == StoreFormat::Legacy) {
            let text = format!(
                "a store of format {} from {}",
                format.version(),
                self.request.context.member.dialect()
            );
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        same_database(header.store_id()?, received.store_id, &self.dir)?;
        for kind in StoreFile::ALL {
            seal::unseal(&self.dir, kind, format)?;
        }
        Ok((format, header.log_version()?))
    }

    /// A server that replaces its `index.db` has none for a moment, and then lists its files without it
    /// (`docs/formats/transaction-log.md` §10.2): a copy in which no index could be used.
    fn judge_indexes(&self, received: &ReceivedFiles) -> Result<(), Error> {
        let mut paths = received.files.iter().map(|file| Path::new(&file.path));
        let has_config = paths.clone().any(|path| path == index_config::PATH);
        if has_config || !paths.any(|path| path.starts_with(index_config::LUCENE_DIR)) {
            return Ok(());
        }
        let text = format!(
            "the server sent files of indexes, but not {}, which says what they are",
            index_config::PATH
        );
        Err(self.lost_an_index(
            text,
            "it is missing on the server, which loses its indexes at its next start: create an index there, which \
             writes the file again, and run again",
        ))
    }

    /// An index came in part: the server was creating or deleting one. That moment is not met twice in a row.
    fn lost_an_index(&self, what: impl Into<Box<dyn std::error::Error + Send + Sync>>, lasting: &str) -> Error {
        match self.tries {
            1 => Error::new(ErrorKind::Server, what).with_hint("run again"),
            _ => Error::new(ErrorKind::Protocol, what).with_hint(lasting),
        }
    }

    /// Last transactions as the copied files have them.
    fn base(&self) -> Result<BTreeMap<DataSource, TxId>, Error> {
        let mut base = BTreeMap::from([(DataSource::Graph, Header::open(&self.dir)?.last_transaction()?)]);
        let path = self.dir.join(lucene_store::PATH);
        match self.dir.read(&path, lucene_store::SIZE_MAX) {
            Ok(bytes) => {
                let store = LuceneStore::decode(&bytes).map_err(|e| Error::new(ErrorKind::Protocol, e))?;
                base.insert(DataSource::Lucene, store.last_tx);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(DiskError::new(path, e).into()),
        }
        Ok(base)
    }

    fn replay(&self, logs: &ReceivedLogs, format: StoreFormat) -> Result<BTreeMap<StoreFile, DirtyChunks>, Error> {
        let mut applier = Applier::open(&self.dir, format, self.request.context.growth)?;
        if let Some(received) = logs.log(DataSource::Graph) {
            let file = self
                .dir
                .open_file(&received.path)
                .map_err(DiskError::at(&received.path))?;
            let layout = Layout {
                format: LogFormat::from(format),
                source: DataSource::Graph,
            };
            replay::apply_log(&file, &received.path, layout, &mut applier, self.cancel)?;
        }
        let done = applier.finish()?;
        if let Some(property) = done.graph_property {
            Header::open(&self.dir)?.set_graph_property(property)?;
        }
        Ok(done.touched)
    }

    /// Checks the finished store, if that was asked for.
    fn check(&self, logs: &ReceivedLogs, format: LogFormat) -> Result<Option<Checked>, Error> {
        if self.request.context.checks == Checks::None {
            return Ok(None);
        }
        self.progress.phase(Phase::Checking);
        let finished = CompletedStore {
            dir: &self.dir,
            log: logs.log(DataSource::Graph).map(|log| log.path.clone()),
            layout: Layout {
                format,
                source: DataSource::Graph,
            },
        };
        finished.whole(self.cancel).map(Some)
    }

    fn seal_stores(&self, received: &Received, dirty: &mut BTreeMap<StoreFile, DirtyChunks>) -> Result<(), Error> {
        let header = Header::open(&self.dir)?;
        header.set_last_transaction(received.last)?;
        if received.logs.log(DataSource::Graph).is_some() {
            header.set_log_version(received.version.next())?;
        }
        for kind in StoreFile::ALL {
            let dirty = dirty.entry(kind).or_default();
            if kind == StoreFile::Neostore {
                dirty.note(0, 1);
            }
            seal::seal(&self.dir, kind, received.format, dirty)?;
        }
        Ok(())
    }
}

impl Sealed {
    fn make_durable(&self) -> Result<(), Error> {
        self.manifest.write(&self.dir, MANIFEST)?;
        // all of it at once: the directory gets its name only after this
        let mut paths = BTreeSet::from([self.dir.path().to_owned()]);
        for entry in &self.manifest.files {
            let path = self.dir.join(&entry.path);
            let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.dir.path());
            paths.extend(folders.map(Path::to_owned));
            paths.insert(path);
        }
        // files that were synced while they arrived cost nothing here
        Ok(durable::sync_together(&self.dir, &Vec::from_iter(paths))?)
    }
}
