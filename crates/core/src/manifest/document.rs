//! `neo4j-backup.json`: what a backup is, where it came from, and which files belong to it.
//!
//! Small and readable; Neo4j ignores it. The digests of the files' chunks are in [`super::sums`], whose own digest is
//! in here. How it lies on the disk: [`super::stored`].

use serde::{Deserialize, Serialize};

use super::Verification;
use neo4j_format::ids::{DataSource, StoreId, TxId};

/// Name of the manifest in a backup.
pub const MANIFEST: &str = "neo4j-backup.json";

/// Name of the checksum file in a backup.
pub const SUMS: &str = "neo4j-backup.sums";

/// Version of the manifest's layout.
pub const SCHEMA_VERSION: u32 = 2;

/// Newest runs kept in [`Manifest::chain`].
const MAX_CHAIN: usize = 1000;

/// Where a directory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A full backup is being received into it; nothing in it is of use.
    Receiving,
    /// An incremental backup is changing it; the next run repairs it if it was interrupted.
    Updating,
    /// A backup.
    Complete,
}

/// How a run got its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupKind {
    /// All store files.
    Full,
    /// Only the transactions since the last run.
    Incremental,
}

impl BackupKind {
    /// The word for it in reports, journals and tags.
    pub const fn name(self) -> &'static str {
        match self {
            BackupKind::Full => "full",
            BackupKind::Incremental => "incremental",
        }
    }
}

/// One run that led to the present state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Random id of the run.
    pub run_id: String,
    /// Full or incremental.
    pub mode: BackupKind,
    /// Milliseconds since 1970 at which it began.
    pub started: u64,
    /// The source as it was asked for.
    pub source: String,
    /// `host:port` of the server that served it.
    pub member: String,
    /// Wire dialect, which tells 1.3 from 1.4 where the files do not.
    pub dialect: String,
    /// Bytes received, framing not counted.
    pub bytes: u64,
    /// Transactions received.
    pub transactions: u64,
}

/// The newest transaction of one data source, kept to prove that a later source continues the same history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTransaction {
    /// `nioneodb` or `lucene-index`.
    pub data_source: String,
    /// Its id; 1 where there never was one.
    pub id: i64,
    /// Fingerprint over what a transaction has in common on every member; absent where it was not received.
    pub fingerprint: Option<String>,
}

/// One file of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the backup, `/` between its parts.
    pub path: String,
    /// Bytes.
    pub length: u64,
}

/// Store id as the manifest shows it; numbers as text, since JSON readers cut 64-bit integers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdText {
    /// Milliseconds since 1970.
    pub creation_time: String,
    /// Random part.
    pub random: String,
}

impl From<StoreId> for StoreIdText {
    fn from(id: StoreId) -> StoreIdText {
        StoreIdText {
            creation_time: id.creation_time.to_string(),
            random: id.random.to_string(),
        }
    }
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// Where the directory stands.
    pub state: State,
    /// What this backup took the place of: a run id, or what [`crate::target::staging`] knows the directory by.
    pub replaces: Option<String>,
    /// Milliseconds since 1970 at which a backup of another tool was taken over as it stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<u64>,
    /// The runs that led here, oldest first; the last one made the present state.
    pub chain: Vec<Run>,
    /// Which database.
    pub store_id: Option<StoreIdText>,
    /// `v0.9.9` or `v0.A.0`.
    pub store_format: Option<String>,
    /// Milliseconds since 1970 at which the last run was complete.
    pub finished: Option<u64>,
    /// Newest transaction per data source.
    pub last_transactions: Vec<LastTransaction>,
    /// BLAKE3 of the checksum file.
    pub sums_checksum: Option<String>,
    /// The newest verification by each command, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verifications: Vec<Verification>,
    /// Every file of the backup but the manifest and the checksums, in the order of the digests.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// Bytes of all its files together.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// The manifest of a directory into which `run` begins to receive.
    pub fn receiving(run: Run, replaces: Option<String>) -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            state: State::Receiving,
            replaces,
            adopted: None,
            chain: vec![run],
            store_id: None,
            store_format: None,
            finished: None,
            last_transactions: Vec::new(),
            sums_checksum: None,
            verifications: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The run that made the present state.
    pub fn run_id(&self) -> Option<&str> {
        self.chain.last().map(|run| run.run_id.as_str())
    }

    /// Whether it describes a backup that nothing is being done to.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Adds a run, forgetting the oldest incremental of a very long chain.
    pub fn add_run(&mut self, run: Run) {
        if self.chain.len() >= MAX_CHAIN {
            self.chain.remove(1);
        }
        self.chain.push(run);
    }

    /// The newest transaction kept of a data source.
    pub fn last_transaction(&self, source: DataSource) -> Option<(TxId, Option<&str>)> {
        let found = self
            .last_transactions
            .iter()
            .find(|last| last.data_source == source.name())?;
        Some((TxId(found.id), found.fingerprint.as_deref()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::manifest) fn run(id: &str) -> Run {
        Run {
            run_id: id.to_owned(),
            mode: BackupKind::Full,
            started: 1,
            source: "single://h".to_owned(),
            member: "h:6362".to_owned(),
            dialect: "D18".to_owned(),
            bytes: 2,
            transactions: 3,
        }
    }

    #[test]
    fn a_long_chain_keeps_its_full_backup_and_the_newest_runs() {
        let mut manifest = Manifest::receiving(run("full"), None);
        for i in 0..1500 {
            manifest.add_run(run(&i.to_string()));
        }
        assert_eq!(manifest.chain.len(), MAX_CHAIN);
        assert_eq!(manifest.chain[0].run_id, "full");
        assert_eq!(manifest.run_id(), Some("1499"));
    }
}
