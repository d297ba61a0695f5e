//! All parts together.

use std::path::Path;

use serde::Serialize;

use super::{
    indexes::{self, IndexSummary},
    logs::{self, LogSummary},
    releases::{self, Evidence},
    start::{self, FirstStart},
    stores::{self, StoreSummary},
};
use crate::{
    Error, ErrorKind, file_system,
    manifest::{MANIFEST, Manifest, Run, State, Verification},
    target::staging::refuse_if_at_work,
    verification::readable,
    verify::traces::{Opened, Traces},
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, StoreId, TxId},
    store::{Header, StoreFile, StoreFormat, neo4j_lock},
};

/// What a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryKind {
    /// A backup of this tool.
    Backup,
    /// A backup of another tool, or a database, that was taken over.
    Adopted,
    /// There is no manifest: a backup of another tool, or a plain database.
    Database,
    /// There is a manifest, and it cannot be read.
    Unknown,
}

/// The newest transaction of a data source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastTransaction {
    /// `nioneodb` or `lucene-index`.
    pub data_source: &'static str,
    /// Its id, pending ones included.
    pub id: i64,
    /// Milliseconds since 1970 at which it was committed, where a log tells.
    pub committed: Option<i64>,
}

/// A verification, and what came after it.
#[derive(Debug, Clone, Serialize)]
pub struct VerificationSummary {
    /// As the manifest has it.
    #[serde(flatten)]
    pub verification: Verification,
    /// First and last transaction of the graph that incremental backups added since.
    pub transactions_after: Option<(i64, i64)>,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// What it is.
    pub kind: DirectoryKind,
    /// Where it stands, by its manifest.
    pub state: Option<State>,
    /// Which database.
    pub store_id: Option<String>,
    /// Milliseconds since 1970 at which the database was created.
    pub created: Option<i64>,
    /// `v0.9.9` or `v0.A.0`.
    pub store_format: Option<&'static str>,
    /// Who opens it.
    pub releases: Option<String>,
    /// Newest transaction per data source.
    pub last_transactions: Vec<LastTransaction>,
    /// Milliseconds since 1970 at which the last run was complete.
    pub finished: Option<u64>,
    /// Milliseconds since 1970 at which it was taken over.
    pub adopted: Option<u64>,
    /// The runs that led here, oldest first.
    pub chain: Vec<Run>,
    /// The newest verification by each command, oldest first.
    pub verifications: Vec<VerificationSummary>,
    /// Whether Neo4j opened it since; `None` where there is no manifest to tell by.
    pub opened: Option<Opened>,
    /// Whether another process, such as a running Neo4j, has it open now. A run of this tool does not count.
    pub in_use: bool,
    /// The ten files of the graph.
    pub stores: Vec<StoreSummary>,
    /// The indexes.
    pub indexes: Vec<IndexSummary>,
    /// The logs of both data sources.
    pub logs: Vec<LogSummary>,
    /// What the first start will do.
    pub first_start: FirstStart,
    /// What could not be read, or is not as it ought to be.
    pub problems: Vec<String>,
}

/// Describes the directory from headers and names. Writes nothing and reads no store as a whole.
///
/// # Errors
/// The directory does not exist or holds no database.
pub fn inspect(dir: &Path) -> Result<Inspection, Error> {
    let dir = &readable(dir)?;
    judge(dir)?;
    let mut problems = Vec::new();
    let (kind, manifest) = match Manifest::read(dir) {
        Ok(Some(manifest)) if manifest.adopted.is_some() && manifest.chain.is_empty() => {
            (DirectoryKind::Adopted, Some(manifest))
        }
        Ok(Some(manifest)) => (DirectoryKind::Backup, Some(manifest)),
        Ok(None) => (DirectoryKind::Database, None),
        Err(error) => {
            problems.push(error.to_string());
            (DirectoryKind::Unknown, None)
        }
    };
    let header = Head::read(dir, &mut problems);
    let format = header.format.or_else(|| {
        let text = manifest.as_ref()?.store_format.as_deref()?;
        StoreFormat::from_version(text)
    });
    let stores = stores::look(dir, format, &mut problems);
    let indexes = indexes::look(dir, &mut problems);
    let lucene_store = indexes::lucene_store(dir, &mut problems);
    let logs: Vec<LogSummary> = DataSource::ALL
        .into_iter()
        .map(|source| logs::look(dir, source, &mut problems))
        .collect();
    let last_transactions = last_transactions(&header, lucene_store.map(|(store, _)| store.last_tx), &logs);
    let log_version = header.header.as_ref().and_then(|header| header.log_version().ok());
    let releases = format.map(|format| {
        releases::releases(Evidence {
            format,
            header_records: header.header.as_ref().and_then(|header| header.records().ok()),
            lucene_store: lucene_store.map(|(_, bytes)| bytes),
            manifest: manifest.as_ref(),
        })
    });
    Ok(Inspection {
        kind,
        state: manifest.as_ref().map(|manifest| manifest.state),
        store_id: header.store_id.map(|id| id.to_string()),
        created: header.store_id.map(|id| id.creation_time),
        store_format: format.map(StoreFormat::version),
        releases,
        last_transactions,
        finished: manifest.as_ref().and_then(|manifest| manifest.finished),
        adopted: manifest.as_ref().and_then(|manifest| manifest.adopted),
        opened: manifest
            .as_ref()
            .map(|manifest| Traces::read(dir, manifest).opened(manifest)),
        in_use: matches!(neo4j_lock::holder(dir), Some(neo4j_lock::Holder::Process(_))),
        first_start: start::predict_first_start(dir, &stores, &logs, log_version),
        verifications: manifest.as_ref().map(verifications).unwrap_or_default(),
        chain: manifest.map(|manifest| manifest.chain).unwrap_or_default(),
        stores,
        indexes,
        logs,
        problems,
    })
}

fn verifications(manifest: &Manifest) -> Vec<VerificationSummary> {
    let summary = |verification: &Verification| VerificationSummary {
        verification: verification.clone(),
        transactions_after: manifest
            .transactions_after(verification)
            .map(|(first, last)| (first.0, last.0)),
    };
    manifest.verifications.iter().map(summary).collect()
}

fn judge(dir: &DirHandle) -> Result<(), Error> {
    for name in StoreFile::ALL.into_iter().map(StoreFile::name).chain([MANIFEST]) {
        match dir.status_of(name) {
            Ok(_) => return Ok(()),
            Err(error) if file_system::is_denied(&error) => return Err(DiskError::new(dir.join(name), error).into()),
            Err(_) => {}
        }
    }
    refuse_if_at_work(dir.path())?;
    let text = format!("{}: holds neither a backup nor a database", dir.display());
    Err(Error::new(ErrorKind::NotOurs, text).with_hint("name the directory of a backup or of a database"))
}

/// What can be read of `neostore`.
struct Head {
    header: Option<Header>,
    format: Option<StoreFormat>,
    store_id: Option<StoreId>,
    last: Option<TxId>,
}

impl Head {
    fn read(dir: &DirHandle, problems: &mut Vec<String>) -> Head {
        let mut head = Head {
            header: None,
            format: None,
            store_id: None,
            last: None,
        };
        let mut read = || {
            let header = head.header.insert(Header::open_read_only(dir)?);
            head.format = Some(header.format()?);
            head.store_id = Some(header.store_id()?);
            head.last = Some(header.last_transaction()?);
            Ok::<_, neo4j_format::store::HeaderError>(())
        };
        if let Err(error) = read() {
            problems.push(error.to_string());
        }
        head
    }
}

/// Ids from the headers, which a pending log may be ahead of; times from the logs.
fn last_transactions(head: &Head, index: Option<TxId>, logs: &[LogSummary]) -> Vec<LastTransaction> {
    let stored = [(DataSource::Graph, head.last), (DataSource::Lucene, index)];
    let found = stored.into_iter().zip(logs).filter_map(|((source, stored), logs)| {
        let pending = logs.last.filter(|_| logs.pending_bytes > 0).map(|last| last.id);
        let id = stored.max(pending)?;
        let time = logs.last.filter(|last| last.id == id).and_then(|last| last.time);
        Some(LastTransaction {
            data_source: source.name(),
            id: id.0,
            committed: time,
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo4j_format::store::neo4j_lock::Neo4jLock;

    #[test]
    fn a_directory_locked_by_a_run_of_this_tool_is_not_open_in_another_process() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("neostore"), [1; 54]).expect("a file");
        let lock = Neo4jLock::take(&DirHandle::open(dir.path()).unwrap()).expect("the directory was just created");
        assert!(!inspect(dir.path()).expect("a database").in_use);
        drop(lock);
    }
}
