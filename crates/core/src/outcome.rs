//! The outcome of a backup that succeeded; warnings and times of phases go through [`crate::progress::Progress`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use crate::{
    backup::AskedMembers, consistency::Checked, error, manifest::BackupKind, repository::Archived,
    source::client::Member,
};
use neo4j_format::ids::{DataSource, StoreId, TxId};

/// Whether the source's history is known to be the continuation of the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryProof {
    /// A full backup continues nothing.
    NotNeeded,
    /// The last transaction of every data source was compared and is the same on both sides.
    Proven,
    /// Nothing was new, and the last transactions were compared when they arrived: they are so large that the source would
    /// take seconds to send them again.
    Unchanged,
    /// There was nothing to compare with: logs pruned, or a base without its last transaction.
    NotProven,
}

/// How good the backup is; it is durable in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing to say against it.
    Good,
    /// The consistency check could not run.
    NotChecked,
    /// The consistency check found something.
    Inconsistent,
    /// Indexes are missing in it that the server did not give.
    IndexesMissing,
    /// The source lost the master role meanwhile: its last transactions may be lost by the cluster.
    SourceDemoted,
}

impl Verdict {
    const ALL: [Verdict; 5] = [
        Verdict::Good,
        Verdict::NotChecked,
        Verdict::Inconsistent,
        Verdict::IndexesMissing,
        Verdict::SourceDemoted,
    ];

    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::NotChecked => "not-checked",
            Verdict::Inconsistent => "inconsistent",
            Verdict::IndexesMissing => "indexes-missing",
            Verdict::SourceDemoted => "source-demoted",
        }
    }

    /// The verdict of this name.
    pub fn from_name(name: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Good => error::SUCCESS,
            Verdict::NotChecked => error::NOT_CHECKED,
            Verdict::Inconsistent | Verdict::IndexesMissing => error::INCONSISTENT,
            Verdict::SourceDemoted => error::SOURCE_DEMOTED,
        }
        .code
    }
}

/// A durable backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupOutcome {
    /// What was taken, where the request left the choice.
    pub mode: BackupKind,
    /// `host:port` of the member that served it.
    pub member: String,
    /// The wire dialect found, by the name `docs/formats/wire-protocol.md` §1 gives it.
    pub dialect: String,
    /// The releases that speak it, such as `Neo4j 1.3`.
    pub releases: String,
    /// The directory that now holds the backup.
    #[serde(serialize_with = "lossy")]
    pub target: PathBuf,
    /// Which database it is.
    #[serde(serialize_with = "display")]
    pub store_id: StoreId,
    /// Last transaction per data source in the target.
    #[serde(serialize_with = "by_name")]
    pub last_transactions: BTreeMap<DataSource, TxId>,
    /// Files received.
    pub files: u64,
    /// Bytes of files and transactions received, without framing.
    pub bytes: u64,
    /// Bytes of the backup's files. Servers also send the unused space at the end of their store files, which is not kept.
    pub stored_bytes: u64,
    /// Transactions received and applied.
    pub transactions: u64,
    /// Transactions of the graph that the master had beyond the last one, where a slave served; `None` where the master
    /// served or could not be asked.
    pub behind_master: Option<u64>,
    /// Whether the history was proven.
    pub history: HistoryProof,
    /// Bytes of index log that the server replays at its first start on the target.
    pub pending_index_log_bytes: u64,
    /// Bytes of history logs kept in the target.
    pub history_log_bytes: u64,
    /// What the consistency check found, if it was asked for and there was something to check.
    pub check: Option<Checked>,
    /// How good it is.
    pub verdict: Verdict,
    /// What became of it in the repository; `None` without one.
    pub archive: Option<Archived>,
    /// Generations that were removed afterwards.
    pub forgotten: u64,
    /// Who gave the backup, who failed and who was skipped; `None` if the source is a single server.
    #[serde(skip)]
    pub members: Option<AskedMembers>,
}

impl BackupOutcome {
    /// The process exit code.
    pub fn exit_code(&self) -> u8 {
        match (self.verdict, &self.archive) {
            (Verdict::Good, Some(Archived::Failed { .. })) => error::NOT_ARCHIVED.code,
            (verdict, _) => verdict.exit_code(),
        }
    }

    /// A backup by this member that is good and received nothing: what a run fills in.
    pub(crate) fn of(mode: BackupKind, member: &Member, target: &Path, store_id: StoreId) -> BackupOutcome {
        let dialect = member.dialect();
        BackupOutcome {
            member: member.address().to_owned(),
            dialect: dialect.name().to_owned(),
            releases: dialect.releases().to_owned(),
            ..BackupOutcome::new(mode, target.to_owned(), store_id)
        }
    }

    /// A good backup of which nothing else is known.
    pub fn new(mode: BackupKind, target: PathBuf, store_id: StoreId) -> BackupOutcome {
        BackupOutcome {
            mode,
            member: String::new(),
            dialect: String::new(),
            releases: String::new(),
            target,
            store_id,
            last_transactions: BTreeMap::new(),
            files: 0,
            bytes: 0,
            stored_bytes: 0,
            transactions: 0,
            behind_master: None,
            history: HistoryProof::NotNeeded,
            pending_index_log_bytes: 0,
            history_log_bytes: 0,
            check: None,
            verdict: Verdict::Good,
            archive: None,
            forgotten: 0,
            members: None,
        }
    }
}

pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

pub(crate) fn display<S: Serializer>(id: &StoreId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

pub(crate) fn by_name<S: Serializer>(ids: &BTreeMap<DataSource, TxId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(ids.iter().map(|(source, id)| (source.name(), id.0)))
}
