//! A restored base, brought forward with the logs of a later backup (`docs/formats/transaction-log.md` §13).
//!
//! The graph is cut after the transaction that is wanted. Of the indexes everything follows up to the first transaction
//! whose graph part lies behind the cut, or, if it has none, that was committed later than the cut. So graph and indexes
//! end aligned.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::File,
    path::PathBuf,
};

use crate::{
    Error, ErrorKind,
    adopt::last_transactions,
    cancel::Cancel,
    manifest::{
        Manifest, SUMS,
        checksums::{self, Known},
        files,
    },
    progress::Progress,
    receive::transactions::RECEIVED_INDEX_LOG,
    replay::{
        self,
        apply::Growth,
        graph_log::{Graph, RECEIVED},
        pending_index::{Keep, PendingIndex, PendingState, read_config},
    },
    target::durable,
};
use jiff::Timestamp;
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{
        self, Item, Layout, LogFormat, LogHeader, LogWriter, TransactionRange, TransactionRangeError,
        TransactionSummary,
        entry::{CommitKind, CommitStamp},
    },
    store::{Header, StoreFormat},
    wire::Dialect,
};

/// Where the graph is cut.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// After this transaction.
    After(TxId),
    /// Before the first transaction that was committed after this time.
    At(Timestamp),
}

/// Whether a file of a backup is needed to go forward.
pub(super) fn is_log(path: &str) -> bool {
    path == "index.db"
        || files::is_archived_log(path)
        || path.starts_with("nioneo_logical.log.")
        || path.starts_with("index/lucene.log.")
}

/// What was brought forward.
#[derive(Debug)]
pub(super) struct Forward<'a> {
    /// The restored base, whose manifest this is.
    pub(super) dir: &'a DirHandle,
    pub(super) manifest: &'a Manifest,
    /// A directory with the logs of a later backup, which is removed.
    pub(super) logs: &'a DirHandle,
    /// Last transactions of the later backup.
    pub(super) later: &'a Manifest,
    pub(super) cancel: &'a Cancel,
}

/// A graph log that was cut.
struct GraphLog {
    path: PathBuf,
    version: LogVersion,
    last: TxId,
    committed: Option<i64>,
}

impl Forward<'_> {
    /// Applies what lies between the base and the cut; returns the new manifest, and how many transactions of the graph
    /// were applied. Nothing is synced.
    ///
    /// # Errors
    /// The logs do not reach; they are damaged; of the disk; cancelled.
    pub(super) fn run(&self, cut: Cut, progress: &dyn Progress) -> Result<(Manifest, u64), Error> {
        let header = Header::open(self.dir)?;
        let (format, base) = (header.format()?, header.last_transaction()?);
        let end = self.later_last(DataSource::Graph).unwrap_or(base);
        let graph = Graph {
            dir: self.dir,
            format,
            growth: Growth::Usual,
            cancel: self.cancel,
        };
        let log_format: LogFormat = format.into();
        self.same_history(log_format, base)?;
        let cut_log = self.cut_graph(&graph, log_format, base, end, cut)?;
        let mut touched = BTreeMap::new();
        let last = cut_log.last;
        let applied = last.0.saturating_sub(base.0).unsigned_abs();
        self.bring_indexes(log_format, last, end, cut_log.committed, cut, progress)?;
        if last > base {
            graph.activate(&cut_log.path, cut_log.version, last, BTreeSet::new())?;
            let active = graph
                .left_active()?
                .expect("the log that was just activated is found: the staging directory belongs to this run");
            graph.apply(&active, &mut touched)?;
        } else {
            durable::remove(self.dir, &cut_log.path)?;
        }
        let runs = &self.manifest.chain;
        // the rules of 1.3 are fit for 1.4 as well
        let unknown = match format {
            StoreFormat::Legacy => Dialect::D13,
            StoreFormat::Current => Dialect::D18,
        };
        let dialect = runs
            .last()
            .and_then(|run| Dialect::from_name(&run.dialect))
            .unwrap_or(unknown);
        let index_log = self.dir.join(RECEIVED_INDEX_LOG);
        if self.dir.has(&index_log) {
            replay::prepare_index_log(self.dir, dialect, &[(&index_log, Keep::All)], log_format)?;
            durable::remove(self.dir, &index_log)?;
        }
        // they are no part of the database, so that no checksum may be taken of them
        let logs = self.logs.path();
        self.dir.remove_tree(logs).map_err(DiskError::at(logs))?;
        let mut manifest = self.manifest.clone();
        manifest.last_transactions = last_transactions(self.dir, &Header::open(self.dir)?, log_format, progress)?;
        let known = Known::of(self.dir, self.manifest, SUMS)?;
        checksums::write(self.dir, known.as_ref(), &touched, &mut manifest, self.cancel)?;
        Ok((manifest, applied))
    }

    fn later_last(&self, source: DataSource) -> Option<TxId> {
        self.later.last_transaction(source).map(|(last, _)| last)
    }

    /// Refuses logs of another history, if they have the base's last transaction.
    fn same_history(&self, format: LogFormat, base: TxId) -> Result<(), Error> {
        let Some((_, Some(ours))) = self.manifest.last_transaction(DataSource::Graph) else {
            return Ok(());
        };
        let layout = layout(format, DataSource::Graph);
        let Ok(range) = TransactionRange::find(self.logs, layout, None, base.previous(), base) else {
            return Ok(());
        };
        let mut theirs = None;
        let read = range.read(|transaction| {
            theirs = Some(
                transaction
                    .fingerprint()
                    .map_err(TransactionRangeError::from)?
                    .to_string(),
            );
            Ok::<_, Error>(())
        });
        if read.is_ok() && theirs.is_some_and(|theirs| theirs != ours) {
            let text = format!("the logs have another transaction {base} than the base: their histories differ");
            return Err(Error::new(ErrorKind::NoSuchMoment, text));
        }
        Ok(())
    }

    /// Copies the transactions between the base and the cut into a log of their own.
    fn cut_graph(
        &self,
        graph: &Graph<'_>,
        format: LogFormat,
        base: TxId,
        end: TxId,
        cut: Cut,
    ) -> Result<GraphLog, Error> {
        let layout = layout(format, DataSource::Graph);
        let end = match cut {
            Cut::After(last) => last,
            Cut::At(_) => end,
        };
        let range = TransactionRange::find(self.logs, layout, None, base, end)?;
        let path = self.dir.join(RECEIVED);
        let file = self.dir.create_new(&path);
        let version = graph.free_version()?;
        let header = LogHeader {
            format,
            version,
            previous_last_tx: base,
        };
        let mut writer = LogWriter::create(file.map_err(DiskError::at(&path))?, header, layout)?;
        let (mut last, mut committed) = (base, None);
        let limit = match cut {
            Cut::At(time) => time.as_millisecond(),
            Cut::After(_) => i64::MAX,
        };
        self.append_until(&range, &mut writer, |summary| {
            let time = match summary.stamp {
                CommitStamp::Time(time) => Some(time),
                CommitStamp::Master(_) => None,
            };
            let is_late = time.is_some_and(|time| time > limit);
            if !is_late {
                (last, committed) = (summary.tx, time);
            }
            is_late
        })?;
        writer.flush()?;
        let file = self.dir.open_file(&path).map_err(DiskError::at(&path))?;
        file.sync_all().map_err(DiskError::at(&path))?;
        Ok(GraphLog {
            path,
            version,
            last,
            committed,
        })
    }

    /// Copies the index transactions that belong before the cut into a log of their own; none if there are none.
    fn bring_indexes(
        &self,
        format: LogFormat,
        last: TxId,
        end: TxId,
        committed: Option<i64>,
        cut: Cut,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let Some(later) = self.later_last(DataSource::Lucene) else {
            return Ok(());
        };
        let base = PendingIndex::inspect(self.dir, format)?.last_tx;
        if later <= base {
            return Ok(());
        }
        let layout = layout(format, DataSource::Lucene);
        self.warn_of_deleted_indexes(progress)?;
        let behind = self.global_ids(format, last, end)?;
        let active = match PendingIndex::inspect(self.logs, format)?.state {
            PendingState::Pending(slot) => Some(self.logs.join(log::files::slot(DataSource::Lucene, slot))),
            PendingState::Closed | PendingState::Absent => None,
        };
        let range = TransactionRange::find(self.logs, layout, active.as_deref(), base, later)?;
        let path = self.dir.join(RECEIVED_INDEX_LOG);
        let file = self.dir.create_new(&path);
        let header = LogHeader {
            format,
            version: LogVersion(0),
            previous_last_tx: base,
        };
        let mut writer = LogWriter::create(file.map_err(DiskError::at(&path))?, header, layout)?;
        let limit = match cut {
            Cut::At(time) => Some(time.as_millisecond()),
            Cut::After(_) => committed,
        };
        let mut count = 0_u64;
        self.append_until(&range, &mut writer, |summary| {
            let is_alone = summary.kind == CommitKind::OnePhase;
            let is_late = match (summary.stamp, limit) {
                (CommitStamp::Time(time), Some(limit)) => is_alone && time > limit,
                _ => false,
            } || behind.contains(&hash(&summary.global_id));
            count += u64::from(!is_late);
            is_late
        })?;
        writer.flush()?;
        if count == 0 {
            durable::remove(self.dir, &path)?;
        }
        Ok(())
    }

    /// Copies transactions up to the first one that is too late.
    fn append_until(
        &self,
        range: &TransactionRange,
        writer: &mut LogWriter<File>,
        mut is_late: impl FnMut(&TransactionSummary) -> bool,
    ) -> Result<(), Error> {
        let mut is_over = false;
        range.read(|transaction| {
            self.cancel.check()?;
            if is_over {
                return Ok::<_, Error>(());
            }
            let position = writer.position();
            let summary = writer.append(transaction)?;
            if is_late(&summary) {
                writer.truncate(position)?;
                is_over = true;
            }
            Ok(())
        })
    }

    /// The pending log of the later backup no longer has the changes of an index that was deleted before it was taken.
    fn warn_of_deleted_indexes(&self, progress: &dyn Progress) -> Result<(), Error> {
        let later = read_config(self.logs)?;
        for key in read_config(self.dir)?.of_lucene().filter(|key| !later.contains(key)) {
            progress.warning(&format!(
                "{key} was deleted later: it is restored without its changes after the base"
            ));
        }
        Ok(())
    }

    /// The global ids, hashed, of the graph's transactions behind the cut.
    fn global_ids(&self, format: LogFormat, last: TxId, end: TxId) -> Result<HashSet<u64>, Error> {
        let layout = layout(format, DataSource::Graph);
        let mut found = HashSet::new();
        let range = TransactionRange::find(self.logs, layout, None, last, end)?;
        range.read(|transaction| {
            self.cancel.check()?;
            while let Some(item) = transaction.next().map_err(TransactionRangeError::from)? {
                if let Item::Start(start) = item {
                    found.insert(hash(start.global_id));
                }
            }
            Ok::<_, Error>(())
        })?;
        Ok(found)
    }
}

fn layout(format: LogFormat, source: DataSource) -> Layout {
    Layout { format, source }
}

fn hash(global_id: &[u8]) -> u64 {
    let hash = blake3::hash(global_id);
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
