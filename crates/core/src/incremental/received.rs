//! What the source sends: received into logs of its own, proven and judged before anything is changed.

use std::collections::BTreeMap;

use super::IncrementalRun;
use crate::{
    Error, ErrorKind,
    outcome::HistoryProof,
    progress::Phase,
    receive::{
        database::{ask_store_id, same_database},
        proof,
        transactions::{LogPlace, Overlap, RECEIVED_INDEX_LOG, ReceivedLogs},
        validation::Inspector,
    },
    replay::{
        graph_log,
        pending_index::{Existing, PendingIndex, read_config},
    },
    source::client::Member,
};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, TxId},
    store::{Header, StoreFormat, lucene_store},
    wire::Dialect,
};

/// What the source sent is in logs of its own, proven and judged.
pub(super) struct Received {
    pub(super) logs: ReceivedLogs,
    pub(super) version: LogVersion,
    pub(super) proof: HistoryProof,
    /// As [`crate::BackupOutcome::behind_master`].
    pub(super) behind_master: Option<u64>,
}

impl IncrementalRun<'_> {
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
    pub(super) fn receive(&self) -> Result<Received, Error> {
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
