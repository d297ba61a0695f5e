//! Whether a source continues the history that a backup holds (`docs/formats/wire-protocol.md` §9.3).
//!
//! Equal store ids and a higher transaction id do not prove it: a server that was restored from an older state counts on
//! from there, and an old master may take its role back. So the last transaction of each data source is asked for again
//! and compared with what the target keeps of it: a fingerprint in its manifest, or the transaction itself in the newest
//! archived log.
//!
//! A server takes seconds to find a very large transaction in its logs. Where a backup has received its last transaction
//! from a server of this history and there is nothing new, such a one is not asked for again: it is compared before the
//! next transaction is applied.

use std::collections::BTreeMap;

use super::transactions::{ProofRequest, ReceivedLogs};
use crate::{
    Error, ErrorKind,
    error::{Condition, ErrorScope, Setting},
    manifest::Manifest,
    outcome::HistoryProof,
    progress::Progress,
    source::{
        client::Member,
        questions::{fingerprint_at, newest_before, nothing_after},
    },
    target::archived_logs,
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, StoreId, TxId},
    log::{Buffer, Fingerprint, Layout, LogFormat, SlotReader, archived_logs},
    wire::Dialect,
};

/// From this length on, a transaction is not asked for again while nothing follows it.
const LARGE: u64 = 1 << 20;

/// What happens where it cannot be proven that the source continues the target's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// The report says so.
    Reported,
    /// The run is refused.
    Refused,
}

/// What the target can show.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) dir: &'a DirHandle,
    pub(crate) format: LogFormat,
    /// The source.
    pub(crate) member: &'a Member,
    pub(crate) manifest: Option<&'a Manifest>,
    /// Last transaction per data source.
    pub(crate) had: &'a BTreeMap<DataSource, TxId>,
}

/// The source lacks the transaction with which the target ends.
#[derive(Debug, thiserror::Error)]
#[error(
    "the source is behind the target: it does not have transaction {last} of {source_name}{}",
    newest.map(|id| format!(", its last one is {id}")).unwrap_or_default()
)]
pub struct Behind {
    pub(crate) source_name: DataSource,
    pub(crate) last: TxId,
    /// What the source has, if it can be told.
    pub(crate) newest: Option<TxId>,
}

impl From<Behind> for Error {
    fn from(behind: Behind) -> Error {
        Error::new(ErrorKind::NotOurs, behind)
            .with_condition(Condition::BehindTarget)
            .with_hint("it was restored from an older state, or is another server: take a full backup elsewhere")
    }
}

/// Why a source is not the one to go on with.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("branched history: transaction {last} of {source_name} is {ours} in the target and {theirs} at the source")]
    Branched {
        source_name: DataSource,
        last: TxId,
        ours: Fingerprint,
        theirs: Fingerprint,
    },
    #[error(
        "the target was written to since its last backup, which ended with transaction {backup} of {source_name}: it \
         has transaction {last} now, and nothing shows that this is the source's"
    )]
    WrittenTo {
        source_name: DataSource,
        backup: TxId,
        last: TxId,
    },
    #[error("the common history cannot be proven: {0}")]
    NotProven(NotProven),
}

/// Why nothing proves that the source continues the target's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NotProven {
    #[error("Neo4j 1.3 takes minutes to find an old transaction")]
    SearchedForMinutes,
    #[error("the source no longer has transaction {last} of {source_name}, with which the backup ends")]
    Dropped { source_name: DataSource, last: TxId },
    #[error(
        "the backup does not hold transaction {last} of {source_name}, with which it ends: another tool or Neo4j wrote it, \
         or its log is gone"
    )]
    NotKept { source_name: DataSource, last: TxId },
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Error {
        let hint = match broken {
            Broken::Branched { .. } => {
                "the target has transactions that the source never had: take a full backup elsewhere"
            }
            Broken::WrittenTo { .. } => "keep it as a database of its own and take a full backup elsewhere",
            Broken::NotProven(_) => "do not require a proof, or take a full backup",
        };
        let settings: &[Setting] = match broken {
            Broken::NotProven(_) => &[Setting::RequireHistory],
            Broken::Branched { .. } | Broken::WrittenTo { .. } => &[],
        };
        Error::new(ErrorKind::NotOurs, broken).with_hint(hint).see(settings)
    }
}

impl Target<'_> {
    /// Compares the last transactions with those that the source sent for that. A warning says why that proves nothing.
    ///
    /// # Errors
    /// The source does not continue this history; it cannot be proven, and that was asked for; disk errors.
    pub(crate) fn prove(
        &self,
        logs: &ReceivedLogs,
        asked: ProofRequest,
        unproven: Unproven,
        progress: &dyn Progress,
    ) -> Result<HistoryProof, Error> {
        self.compare(|source| logs.overlap(source), asked, unproven, progress)
    }

    /// The same without what follows them: asks for the last transactions alone.
    ///
    /// # Errors
    /// As [`Target::prove`]; of the responses.
    pub(crate) fn ask(&self, unproven: Unproven, progress: &dyn Progress) -> Result<HistoryProof, Error> {
        let asked = match self.member.dialect() {
            // looks for old transactions for minutes
            Dialect::D13 => None,
            _ => self.last_transactions()?,
        };
        if let Some(theirs) = asked {
            let theirs = |source| theirs.get(&source).copied();
            return self.compare(theirs, ProofRequest::WithLast, unproven, progress);
        }
        let had: Vec<_> = self.had.iter().map(|(source, last)| (*source, *last)).collect();
        nothing_after(self.member, &had)?;
        self.compare(|_| None, ProofRequest::Plainly, unproven, progress)
    }

    /// The fingerprints of the last transactions as the source has them; `None` if it has dropped its logs of that time.
    fn last_transactions(&self) -> Result<Option<BTreeMap<DataSource, Fingerprint>>, Error> {
        let mut theirs = BTreeMap::new();
        for (source, last) in self.had.iter().filter(|(_, last)| **last > TxId::BASE) {
            match fingerprint_at(self.member, self.format, *source, *last) {
                Ok(found) => theirs.extend(found.map(|found| (*source, found))),
                Err(error) if error.kind() == ErrorKind::FullNeeded => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(theirs))
    }

    fn compare(
        &self,
        theirs: impl Fn(DataSource) -> Option<Fingerprint>,
        asked: ProofRequest,
        unproven: Unproven,
        progress: &dyn Progress,
    ) -> Result<HistoryProof, Error> {
        let mut not_proven = None;
        for (source, last) in self.had.iter().filter(|(_, last)| **last > TxId::BASE) {
            let (source_name, last) = (*source, *last);
            let theirs = theirs(source_name);
            if asked == ProofRequest::WithLast && theirs.is_none() {
                let newest = newest_before(self.member, source_name, last).unwrap_or(None);
                return Err(Behind {
                    source_name,
                    last,
                    newest,
                }
                .into());
            }
            let ours = self.fingerprint(source_name, last)?;
            match (theirs, ours) {
                (Some(theirs), Some(ours)) if theirs == ours => {}
                (Some(theirs), Some(ours)) => {
                    return Err(Broken::Branched {
                        source_name,
                        last,
                        ours,
                        theirs,
                    }
                    .into());
                }
                (theirs, _) => {
                    self.not_written_to(source_name, last)?;
                    not_proven.get_or_insert(match theirs {
                        Some(_) => NotProven::NotKept { source_name, last },
                        None if self.member.dialect() == Dialect::D13 => NotProven::SearchedForMinutes,
                        None => NotProven::Dropped { source_name, last },
                    });
                }
            }
        }
        if asked == ProofRequest::Plainly {
            // where there is nothing to ask for, only 1.3 is asked plainly
            not_proven.get_or_insert(NotProven::SearchedForMinutes);
        }
        match (not_proven, unproven) {
            (None, _) => Ok(HistoryProof::Proven),
            (Some(cause), Unproven::Refused) => Err(Broken::NotProven(cause).into()),
            (Some(cause), Unproven::Reported) => {
                progress.warning(&format!(
                    "{}; the store id and the numbers match",
                    Broken::NotProven(cause)
                ));
                Ok(HistoryProof::NotProven)
            }
        }
    }

    /// Whether the source has nothing new and would take long to send the last transactions again, which a run before this
    /// one has received and compared; the database that answered.
    ///
    /// # Errors
    /// Of the disk and the response.
    pub(crate) fn is_unchanged(&self, unproven: Unproven) -> Result<Option<StoreId>, Error> {
        let is_asked_plainly = self.member.dialect() == Dialect::D13;
        if unproven == Unproven::Refused || is_asked_plainly || !self.is_known() || !self.ends_with_large()? {
            return Ok(None);
        }
        let had: Vec<_> = self.had.iter().map(|(source, last)| (*source, *last)).collect();
        match nothing_after(self.member, &had) {
            Err(error) if error.kind() == ErrorKind::FullNeeded => Ok(None),
            answer => answer,
        }
    }

    /// Whether the manifest of a complete backup has the fingerprints of all last transactions.
    fn is_known(&self) -> bool {
        let manifest = self.manifest.filter(|manifest| manifest.is_complete());
        self.had
            .iter()
            .filter(|(_, last)| **last > TxId::BASE)
            .all(|(source, last)| {
                let kept = manifest.and_then(|manifest| manifest.last_transaction(*source));
                matches!(kept, Some((id, Some(_))) if id == *last)
            })
    }

    /// Whether a last transaction is very long in the newest archived log.
    fn ends_with_large(&self) -> Result<bool, Error> {
        let source = DataSource::Graph;
        let last = self.had.get(&source).copied().unwrap_or(TxId::BASE);
        let layout = Layout {
            format: self.format,
            source,
        };
        let logs = archived_logs(self.dir, source)?;
        let Some(newest) = logs.last() else { return Ok(false) };
        if newest.bytes < LARGE {
            return Ok(false);
        }
        let file = self.dir.open_file(&newest.name).map_err(DiskError::at(&newest.path))?;
        let mut buffer = Buffer::new();
        let mut length = 0;
        // a log that cannot be read is judged where the proof needs it
        if let Ok(mut log) = SlotReader::open(&file, layout, &mut buffer) {
            while let Ok(Some(found)) = log.next() {
                if found.tx == last {
                    length = found.end.saturating_sub(found.start);
                }
            }
        }
        Ok(length >= LARGE)
    }

    /// The target's last transaction of the graph, and its fingerprint where that is known.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn end_of_graph(&self) -> Result<(TxId, Option<Fingerprint>), Error> {
        let last = self.had.get(&DataSource::Graph).copied().unwrap_or(TxId::BASE);
        Ok((last, self.fingerprint(DataSource::Graph, last)?))
    }

    /// Fingerprint of the target's own last transaction.
    fn fingerprint(&self, source: DataSource, last: TxId) -> Result<Option<Fingerprint>, Error> {
        if let Some((id, Some(text))) = self.manifest.and_then(|manifest| manifest.last_transaction(source))
            && id == last
        {
            return Ok(text.parse().ok());
        }
        // what is left to Neo4j of an index transaction may be less than the server has, and Neo4j archives that
        if source == DataSource::Lucene && self.manifest.is_some_and(|manifest| !manifest.is_complete()) {
            return Ok(None);
        }
        archived_logs::fingerprint(self.dir, self.format, source, last)
    }

    /// A complete backup whose graph has other transactions than its manifest says got them from somebody else. That may
    /// have been the original tool: of 1.3, which keeps no log to show it, or of the indexes, of which 1.4 keeps none.
    fn not_written_to(&self, source_name: DataSource, last: TxId) -> Result<(), Error> {
        let complete = self.manifest.filter(|manifest| manifest.is_complete());
        match complete.and_then(|manifest| manifest.last_transaction(source_name)) {
            Some((backup, _)) if backup != last && logs_show(source_name, self.member.dialect()) => {
                Err(Broken::WrittenTo {
                    source_name,
                    backup,
                    last,
                }
                .into())
            }
            _ => Ok(()),
        }
    }
}

/// Whether the original tool of this release leaves logs behind that show what it brought.
fn logs_show(source: DataSource, dialect: Dialect) -> bool {
    source == DataSource::Graph && dialect != Dialect::D13
}

/// The server has dropped logs that are needed: names the first transactions that would have been. Another member of its
/// cluster may have them.
pub(crate) fn needing(error: &Error, had: &BTreeMap<DataSource, TxId>) -> Error {
    let needed: Vec<String> = had
        .iter()
        .map(|(source, last)| format!("transaction {} of {source}", last.next()))
        .collect();
    let dropped = LogsDropped {
        said: error.to_string(),
        needed: needed.join(" and "),
    };
    let needing = Error::new(ErrorKind::FullNeeded, dropped)
        .with_scope(ErrorScope::Member)
        .with_advice(error.advice());
    match error.condition() {
        Some(Condition::ResponseFailed) => needing.with_condition(Condition::NotYetWritten),
        _ => needing,
    }
}

/// A member no longer has what a backup lacks.
#[derive(Debug, thiserror::Error)]
#[error("{said}; the first ones needed are {needed}; the server does not tell which is the first that it has")]
struct LogsDropped {
    said: String,
    needed: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::client::ClientError;
    use neo4j_format::wire::Dialect;

    #[test]
    fn dropped_logs_are_named_and_known_as_the_members() {
        let refused = Error::from(ClientError::Refused {
            address: "db:6362".into(),
            dialect: Dialect::D14,
        });
        let had = BTreeMap::from([(DataSource::Graph, TxId(41)), (DataSource::Lucene, TxId(7))]);
        let error = needing(&refused, &had);
        assert_eq!((error.kind(), error.hint()), (ErrorKind::FullNeeded, refused.hint()));
        assert_eq!(error.scope(), ErrorScope::Member);
        let text = error.to_string();
        let needed = "the first ones needed are transaction 42 of nioneodb and transaction 8 of lucene-index; ";
        assert!(text.starts_with("db:6362") && text.contains(needed), "{text}");
    }
}
