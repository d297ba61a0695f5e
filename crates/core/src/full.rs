//! A full backup: files, the transactions that followed them, replay, seal, publish.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    consistency::{Checked, Checks, Finished},
    context::{BackupContext, now},
    manifest::{
        BackupKind, MANIFEST, Manifest, Run, State,
        checksums::{self, Known},
    },
    outcome::{BackupOutcome, HistoryProof},
    receive::{
        database::same_database,
        files::{self, RECEIVED_SUMS, ReceivedFiles},
        missing_indexes,
        transactions::{Overlap, RECEIVED_INDEX_LOG, ReceivedLogs},
    },
    replace::{self, Replace, Replaced},
    replay::{
        self,
        apply::{Applier, DirtyChunks},
        pending_index::{Existing, read_config},
        seal,
    },
    target::{durable, staging::Target},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Condition,
    progress::{Phase, Progress},
    retry::{self, Policy, Retry},
};
use neo4j_format::{
    DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{self, Layout, LogFormat},
    store::{
        Header, StoreFile, StoreFormat, index_config,
        lucene_store::{self, LuceneStore},
    },
    wire::Dialect,
};

/// How a full backup is begun anew where the server fails; a race with an index is not lost many times in a row.
const RACES: Policy = Policy {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    total: Duration::from_secs(10),
    tries: 5,
};

/// What a full backup is to do.
#[derive(Debug)]
pub struct Full<'a> {
    /// Who is backed up, and where to.
    pub order: BackupContext<'a>,
    /// Whether an older backup may be replaced.
    pub replace: Replace,
}

/// Takes a full backup; when it returns, the backup is in place and durable.
///
/// # Errors
/// Of the target, the member and the disk. The target is then what it was before, and the next run needs no clean-up.
pub fn full(request: &Full<'_>, progress: &dyn Progress, cancel: &Cancel) -> Result<BackupOutcome, Error> {
    let target = Target::lock(request.order.target, request.order.run_id, now())?;
    let result = staged(request, &target, progress, cancel);
    if result.is_err() {
        target.discard_partial();
    }
    target.release(&result);
    result
}

fn staged(
    request: &Full<'_>,
    target: &Target,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BackupOutcome, Error> {
    let replaces = replace::judge(request.replace, request.order.member, target, progress, cancel)?;
    let mut tries = 0_u32;
    let fill = || {
        tries = tries.saturating_add(1);
        let mut job = Job {
            request,
            dir: target.create_partial()?,
            progress,
            cancel,
            run: request.order.run(BackupKind::Full, now()),
            tries,
        };
        let (manifest, outcome) = job.fill(target, replaces.as_ref())?;
        Ok((job, manifest, outcome))
    };
    let (job, manifest, outcome) = Retry::new(RACES, retry::seed(request.order.run_id), cancel).run(
        fill,
        |error| lost_a_race(error, request.order.member.dialect()),
        |error| progress.warning(&format!("{error}; starting again from the beginning")),
    )?;
    progress.phase(Phase::Syncing);
    job.make_durable(target, &manifest)?;
    cancel.check()?;
    progress.phase(Phase::Publishing);
    target.make_ready()?;
    target.publish()?;
    Ok(outcome)
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

struct Job<'a> {
    request: &'a Full<'a>,
    dir: PathBuf,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    run: Run,
    /// How often the backup was begun.
    tries: u32,
}

impl Job<'_> {
    fn fill(&mut self, target: &Target, replaces: Option<&Replaced>) -> Result<(Manifest, BackupOutcome), Error> {
        let mut manifest = Manifest::receiving(self.run.clone(), replaces.and_then(|old| old.name.clone()));
        manifest.write(&self.dir.join(MANIFEST))?;
        self.progress.phase(Phase::Receiving);
        let mut incoming = self.request.order.member.full();
        let received = files::receive(&mut incoming, &self.dir, self.progress)?;
        let (format, version) = self.judge_files(&received)?;
        let log_format = LogFormat::from(format);
        self.progress.phase(Phase::Transactions);
        let history = log::files::archived(DataSource::Graph, version);
        fs::create_dir_all(self.dir.join("index")).map_err(DiskError::at(self.dir.join("index")))?;
        let mut logs = ReceivedLogs::new(
            log_format,
            BTreeMap::from([
                (DataSource::Graph, (self.dir.join(&history), version)),
                (DataSource::Lucene, (self.dir.join(RECEIVED_INDEX_LOG), LogVersion(0))),
            ]),
        )
        .with_indexes(Existing::new(read_config(&self.dir)?.indexes()));
        logs.receive(&mut incoming, Overlap::Refused, self.progress)?;
        drop(incoming);
        let base = self.base()?;
        let unopened = missing_indexes::fetch(
            self.request.order.member,
            &self.dir,
            &received.files,
            self.progress,
            self.cancel,
        )?;
        // a source that sent none is asked for its last transaction, which proves to a later run that it continues this
        // history
        let member = self.request.order.member;
        let (_, answered) = logs.catch_up(member, &base, Overlap::Refused, self.progress)?;
        if let Some(theirs) = answered {
            same_database(received.store_id, theirs, &self.dir)?;
        }
        logs.align_graph_to_index(member, &base, self.progress)?;
        logs.require_known_indexes()
            .map_err(|error| self.lost_an_index(error, "take the backup from another member of the cluster"))?;
        logs.complete()?;
        let graph = logs.log(DataSource::Graph);
        let last_graph = graph
            .map(|log| log.last)
            .or_else(|| base.get(&DataSource::Graph).copied())
            .unwrap_or(TxId::BASE);
        if let Some(old) = replaces {
            old.require_no_less(last_graph, base.contains_key(&DataSource::Lucene))?;
        }
        let behind_master = self.request.order.confirm(log_format, self.progress, || {
            Ok((last_graph, graph.and_then(|log| log.fingerprint)))
        })?;

        self.progress.phase(Phase::Applying);
        let mut touched = self.replay(&logs, format)?;
        self.progress.phase(Phase::Sealing);
        let pending = replay::leave_index_log(
            &self.dir,
            self.request.order.member.dialect(),
            &logs,
            unopened.transactions(),
            log_format,
        )?;
        self.seal(format, version, &logs, last_graph, &mut touched)?;

        let graph = replay::last_transaction(DataSource::Graph, last_graph, &logs, None);
        let lucene = replay::last_transaction(DataSource::Lucene, pending.last_tx, &logs, None);
        manifest.last_transactions = vec![graph, lucene];
        manifest.store_id = Some(received.store_id.into());
        manifest.store_format = Some(format.version().to_owned());
        let old = Known {
            files: &received.files,
            sums: &self.dir.join(RECEIVED_SUMS),
        };
        checksums::write(&self.dir, Some(&old), &touched, &mut manifest, self.cancel)?;
        let old = self.dir.join(RECEIVED_SUMS);
        fs::remove_file(&old).map_err(DiskError::at(&old))?;
        self.run.bytes = received.bytes;
        self.run.transactions = logs.count();
        manifest.chain = vec![self.run.clone()];
        manifest.state = State::Complete;
        manifest.finished = Some(now());
        let check = self.check(&logs, log_format)?;
        let verdict = unopened.verdict();
        let history_bytes = fs::metadata(self.dir.join(&history)).map_or(0, |found| found.len());
        let outcome = BackupOutcome {
            mode: BackupKind::Full,
            member: self.run.member.clone(),
            dialect: self.run.dialect.clone(),
            releases: self.request.order.member.dialect().releases().to_owned(),
            target: target.dir().to_owned(),
            store_id: received.store_id,
            last_transactions: BTreeMap::from([(DataSource::Graph, last_graph), (DataSource::Lucene, pending.last_tx)]),
            files: received.files.len() as u64,
            bytes: received.bytes,
            transactions: logs.count(),
            behind_master,
            history: HistoryProof::NotNeeded,
            pending_index_log_bytes: pending.bytes,
            history_log_bytes: history_bytes,
            verdict: check.as_ref().map_or(verdict, |check| check.verdict(verdict)),
            check,
            members: None,
        };
        Ok((manifest, outcome))
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
        let legacy = self.request.order.member.dialect().is_one_byte();
        if legacy != (format == StoreFormat::Legacy) {
            let text = format!(
                "a store of format {} from {}",
                format.version(),
                self.request.order.member.dialect()
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
             writes the file anew, and run again",
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
        match fs::read(&path) {
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
        let mut applier = Applier::open(&self.dir, format, self.request.order.growth)?;
        if let Some(received) = logs.log(DataSource::Graph) {
            let file = File::open(&received.path).map_err(DiskError::at(&received.path))?;
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
        if self.request.order.checks == Checks::None {
            return Ok(None);
        }
        self.progress.phase(Phase::Checking);
        let finished = Finished {
            dir: &self.dir,
            log: logs.log(DataSource::Graph).map(|log| log.path.clone()),
            layout: Layout {
                format,
                source: DataSource::Graph,
            },
        };
        finished.whole(self.cancel).map(Some)
    }

    fn seal(
        &self,
        format: StoreFormat,
        version: LogVersion,
        logs: &ReceivedLogs,
        last: TxId,
        touched: &mut BTreeMap<StoreFile, DirtyChunks>,
    ) -> Result<(), Error> {
        let header = Header::open(&self.dir)?;
        header.set_last_transaction(last)?;
        if logs.log(DataSource::Graph).is_some() {
            header.set_log_version(version.next())?;
        }
        for kind in StoreFile::ALL {
            let touched = touched.entry(kind).or_default();
            if kind == StoreFile::Neostore {
                touched.note(0, 1);
            }
            seal::seal(&self.dir, kind, format, touched)?;
        }
        Ok(())
    }

    fn make_durable(&self, target: &Target, manifest: &Manifest) -> Result<(), Error> {
        manifest.write(&self.dir.join(MANIFEST))?;
        target.adopt_owner()?;
        // all of it at once: the directory gets its name only behind this
        let mut paths = BTreeSet::from([self.dir.clone()]);
        for entry in &manifest.files {
            let path = self.dir.join(&entry.path);
            let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.dir);
            paths.extend(folders.map(Path::to_owned));
            paths.insert(path);
        }
        // files that were synced while they arrived cost nothing here
        Ok(durable::sync_together(&Vec::from_iter(paths))?)
    }
}
