//! Transactions from a response into log files, one per data source, and the moment at which both are level.
//!
//! The graph is asked for before its indexes, so the index part of a response may know transactions that its graph part
//! does not. Both parts of a transaction have the same global id, which shows it; the graph is then requested again and
//! taken as far as the last transaction that the index part knows.

mod index_graph_matcher;
mod received_log;

use std::collections::{BTreeMap, btree_map::Entry};

use self::{index_graph_matcher::IndexGraphMatcher, received_log::DuplicatePolicy};
use super::validation::Inspector;
use crate::replay::{
    apply::DirtyChunks,
    pending_index::{Existing, PendingIndexError},
};
use crate::source::body::Body;
use crate::{
    Error, ErrorKind,
    progress::Progress,
    source::client::{Incoming, Member},
};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, StoreId, TxId},
    log::{Buffer, Fingerprint, Item, Layout, LogFormat, TransactionReader},
    store::StoreFile,
    wire::{Dialect, Event},
};

pub(crate) use received_log::ReceivedLog;

/// Name of the received Lucene log before it becomes part of the pending one.
pub(crate) const RECEIVED_INDEX_LOG: &str = "index/neo4j-backup.received";

/// Where a log is written.
#[derive(Debug, Clone)]
pub(crate) struct LogPlace {
    dir: DirHandle,
    name: String,
    version: LogVersion,
}

impl LogPlace {
    pub(crate) fn new(dir: &DirHandle, name: impl Into<String>, version: LogVersion) -> LogPlace {
        LogPlace {
            dir: dir.clone(),
            name: name.into(),
            version,
        }
    }
}

/// The logs of one run.
#[derive(Debug)]
pub(crate) struct ReceivedLogs {
    format: LogFormat,
    places: BTreeMap<DataSource, LogPlace>,
    logs: BTreeMap<DataSource, ReceivedLog>,
    buffer: Buffer,
    moment: IndexGraphMatcher,
    /// The last transaction that the target had before this run.
    had: BTreeMap<DataSource, TxId>,
    overlap: BTreeMap<DataSource, Fingerprint>,
    /// The indexes that exist, where that matters.
    indexes: Option<Existing>,
    /// Judges what has to be applied in place.
    inspector: Option<Inspector>,
}

/// What becomes of a transaction that the logs have already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// None can come.
    Refused,
    /// It is the last one that the target has: its fingerprint is taken and it is left out.
    Compared,
}

/// What a source that has nothing in the logs was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProofRequest {
    /// What follows the target's last transaction, and that one as well, which proves the common history.
    WithLast,
    /// Only what follows: the source no longer has the last one, or takes minutes to find it.
    Plainly,
}

impl ReceivedLogs {
    /// Will write a log to each of these paths once a transaction comes for it.
    pub(crate) fn new(format: LogFormat, places: BTreeMap<DataSource, LogPlace>) -> ReceivedLogs {
        ReceivedLogs {
            format,
            places,
            logs: BTreeMap::new(),
            buffer: Buffer::new(),
            moment: IndexGraphMatcher::default(),
            had: BTreeMap::new(),
            overlap: BTreeMap::new(),
            indexes: None,
            inspector: None,
        }
    }

    /// These indexes are known, see [`ReceivedLogs::require_known_indexes`].
    pub(crate) fn with_indexes(mut self, indexes: Existing) -> ReceivedLogs {
        self.indexes = Some(indexes);
        self
    }

    /// What cannot be applied is refused while it arrives.
    pub(crate) fn judged_by(mut self, inspector: Inspector) -> ReceivedLogs {
        self.inspector = Some(inspector);
        self
    }

    /// What the received transactions will write, per store file; nothing where they are not judged.
    pub(crate) fn dirty(&self) -> BTreeMap<StoreFile, DirtyChunks> {
        self.inspector
            .as_ref()
            .map(|inspector| inspector.dirty().clone())
            .unwrap_or_default()
    }

    /// What follows must go on from these transactions.
    pub(crate) fn going_on_from(mut self, had: BTreeMap<DataSource, TxId>) -> ReceivedLogs {
        self.had = had;
        self
    }

    /// Fingerprint of the target's last transaction as the source has it, if it was asked for and came.
    pub(crate) fn overlap(&self, source: DataSource) -> Option<Fingerprint> {
        self.overlap.get(&source).copied()
    }

    /// The log of a data source, if there were transactions.
    pub(crate) fn log(&self, source: DataSource) -> Option<&ReceivedLog> {
        self.logs.get(&source)
    }

    /// Transactions in all logs.
    pub(crate) fn count(&self) -> u64 {
        self.logs.values().map(|log| log.count).sum()
    }

    /// Bytes of all logs.
    pub(crate) fn bytes(&self) -> u64 {
        self.logs.values().map(ReceivedLog::bytes).sum()
    }

    /// Takes the transactions of a response up to its end.
    ///
    /// # Errors
    /// Of the response; of the disk; transactions that do not follow those before.
    pub(crate) fn receive(
        &mut self,
        incoming: &mut Incoming,
        overlap: Overlap,
        progress: &dyn Progress,
    ) -> Result<Option<StoreId>, Error> {
        let mut store_id = None;
        loop {
            match incoming.next()? {
                Event::Transaction(source, id) => {
                    let Some(source) = DataSource::from_name(&source) else {
                        return Err(Error::new(
                            ErrorKind::Protocol,
                            format!("the server sent a transaction of the data source {source:?}, which is not known"),
                        )
                        .with_hint("databases with index providers of plug-ins cannot be backed up by this tool"));
                    };
                    let mut body = Body::new(incoming);
                    let received = self.transaction(&mut body, source, id, overlap);
                    progress.bytes(body.received);
                    received?;
                    progress.transactions(1);
                }
                Event::StoreId(id) => store_id = Some(id),
                Event::End => return Ok(store_id),
                Event::File(path) => {
                    return Err(Error::new(
                        ErrorKind::Protocol,
                        format!("the file {path} where none can come"),
                    ));
                }
                Event::Data(_) | Event::FileEnd | Event::TransactionEnd => {}
            }
        }
    }

    /// Asks `member` for all that follows the logs, or `base` where there is no log yet, graph first; there the last
    /// transaction is asked for again, and only what follows it where the member refuses that.
    ///
    /// Returns what was asked for in the end and which database answered.
    ///
    /// # Errors
    /// As [`ReceivedLogs::receive`].
    pub(crate) fn catch_up(
        &mut self,
        member: &Member,
        base: &BTreeMap<DataSource, TxId>,
        overlap: Overlap,
        progress: &dyn Progress,
    ) -> Result<(ProofRequest, Option<StoreId>), Error> {
        let plain = self.following(base);
        // 1.3 looks for old transactions for minutes
        if member.dialect() == Dialect::D13 {
            let answer = self.answer(member, &plain, Overlap::Refused, progress)?;
            return Ok((ProofRequest::Plainly, answer));
        }
        let with_last: Vec<_> = plain
            .iter()
            .map(|(source, last)| match self.logs.get(source) {
                Some(_) => (*source, *last),
                None => (*source, last.previous().max(TxId::BASE)),
            })
            .collect();
        let count = self.count();
        match self.answer(member, &with_last, overlap, progress) {
            Err(e) if e.kind() == ErrorKind::FullNeeded && with_last != plain && self.count() == count => {
                let answer = self.answer(member, &plain, Overlap::Refused, progress)?;
                Ok((ProofRequest::Plainly, answer))
            }
            answer => Ok((ProofRequest::WithLast, answer?)),
        }
    }

    /// Asks `member` for what follows these transactions: of all data sources at once, and of each by itself where a
    /// server that knows no failures keeps silent. 1.3 – 1.4.1 lose an answer of 256·2ⁿ bytes
    /// (`docs/formats/wire-protocol.md` §2.3), which its parts are not.
    fn answer(
        &mut self,
        member: &Member,
        asked: &[(DataSource, TxId)],
        overlap: Overlap,
        progress: &dyn Progress,
    ) -> Result<Option<StoreId>, Error> {
        let count = self.count();
        match self.receive(&mut member.incremental(asked), overlap, progress) {
            Err(e) if e.kind() == ErrorKind::TimeLimit && member.dialect().is_one_byte() && self.count() == count => {
                progress.warning(&format!("{e}; asking for each data source alone"));
                let mut store_id = None;
                for one in asked {
                    store_id = self.receive(&mut member.incremental(&[*one]), overlap, progress)?;
                }
                Ok(store_id)
            }
            answer => answer,
        }
    }

    /// Where index transactions were received whose graph part was not, requests the graph again and takes it as far
    /// as the last transaction that the index part knows.
    ///
    /// # Errors
    /// As [`ReceivedLogs::receive`].
    pub(crate) fn align_graph_to_index(
        &mut self,
        member: &Member,
        base: &BTreeMap<DataSource, TxId>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        if self.moment.is_level() {
            return Ok(());
        }
        self.moment
            .search_from(self.logs.get(&DataSource::Graph).map(ReceivedLog::mark));
        let mut graph = self.following(base);
        graph.retain(|(source, _)| *source == DataSource::Graph);
        self.receive(&mut member.incremental(&graph), Overlap::Refused, progress)?;
        match self.moment.end_search() {
            Some(mark) => self
                .logs
                .get_mut(&DataSource::Graph)
                .map_or(Ok(()), |log| log.cut(mark)),
            // all of it came just now, and the index part knows none of it
            None => Ok(self
                .logs
                .remove(&DataSource::Graph)
                .map_or(Ok(()), ReceivedLog::remove)?),
        }
    }

    /// The last transaction of each data source of `base`, in the logs or else there.
    fn following(&self, base: &BTreeMap<DataSource, TxId>) -> Vec<(DataSource, TxId)> {
        base.iter()
            .map(|(source, last)| (*source, self.logs.get(source).map_or(*last, |log| log.last)))
            .collect()
    }

    /// Whether each index that the transactions change was known before, or is created by them.
    ///
    /// # Errors
    /// [`PendingIndexError::UnknownIndexes`].
    pub(crate) fn require_known_indexes(&self) -> Result<(), PendingIndexError> {
        self.indexes.as_ref().map_or(Ok(()), Existing::knows_all)
    }

    /// Hands everything to the files and makes the graph's durable; the indexes' is read in this run, and never again.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn complete(&mut self) -> Result<(), Error> {
        for (source, log) in &mut self.logs {
            let fate = match source {
                DataSource::Graph => DuplicatePolicy::Kept,
                DataSource::Lucene => DuplicatePolicy::Passing,
            };
            log.complete(&mut self.buffer, fate)?;
        }
        Ok(())
    }

    fn transaction(
        &mut self,
        body: &mut Body<'_>,
        source: DataSource,
        id: TxId,
        overlap: Overlap,
    ) -> Result<(), Error> {
        let layout = Layout {
            format: self.format,
            source,
        };
        let had = self.had.get(&source).copied();
        if overlap == Overlap::Compared && had == Some(id) && !self.logs.contains_key(&source) {
            let fingerprint = TransactionReader::new(&mut *body, layout, id, &mut self.buffer).fingerprint();
            let fingerprint = fingerprint.map_err(|error| body.error.take().unwrap_or_else(|| error.into()))?;
            self.overlap.insert(source, fingerprint);
            return Ok(());
        }
        let expected = self.logs.get(&source).map(|log| log.last).or(had).map(TxId::next);
        if let Some(expected) = expected.filter(|expected| *expected != id) {
            let text = format!("transaction {id} of {source} where {expected} has to follow");
            return Err(Error::new(ErrorKind::Protocol, text).with_hint("run again"));
        }
        let log = match self.logs.entry(source) {
            Entry::Occupied(log) => log.into_mut(),
            Entry::Vacant(place) => {
                let Some(log) = self.places.get(&source) else {
                    let text = format!("a transaction of {source}, which was not asked for");
                    return Err(Error::new(ErrorKind::Protocol, text));
                };
                place.insert(ReceivedLog::create(log, id, layout)?)
            }
        };
        let mut reader = TransactionReader::new(&mut *body, layout, id, &mut self.buffer);
        let (inspector, indexes) = (&mut self.inspector, &mut self.indexes);
        let judge = |item: &Item<'_>| {
            if let (Item::Lucene(command), Some(indexes)) = (item, indexes.as_mut()) {
                indexes.follow(command)?;
            }
            match inspector {
                Some(inspector) => inspector.look(item).map_err(Error::from),
                None => Ok(()),
            }
        };
        match log.append(&mut reader, judge) {
            Ok(summary) => self.moment.note(source, &summary, log.mark()),
            Err(error) => return Err(body.error.take().unwrap_or(error)),
        }
        Ok(())
    }
}
