//! Takes over a backup that another tool made, or a database as it stands: checksums and manifest are written, the
//! files themselves are not touched.

use std::{collections::BTreeMap, path::Path};

use super::{
    context::now,
    manifest::checksums,
    replay::pending_index::PendingIndex,
    target::{
        archived_logs, links,
        owners::SharedDirectories,
        staging::{Occupant, Target, refuse_if_at_work},
    },
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Setting,
    manifest::{LastTransaction, MANIFEST, Manifest, SCHEMA_VERSION, State, files::NEW_SUMS},
    progress::{Phase, Progress},
    run_id::RunId,
};
use neo4j_format::{
    DirHandle,
    ids::DataSource,
    log::LogFormat,
    store::{Header, lucene_store, neo4j_lock::Neo4jLock},
};

/// Writes the manifest of `dir`, which has none; when it returns, the manifest is durable.
///
/// # Errors
/// There is a manifest already, or no database; it is in use; of the disk; the run was cancelled.
pub fn adopt(dir: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<Manifest, Error> {
    refuse_if_at_work(dir)?;
    let target = Target::lock(
        dir,
        &RunId::random()?.to_string(),
        now(),
        SharedDirectories::NeverAllowed,
    )?;
    let result = locked(&target, progress, cancel);
    target.release(&result);
    result
}

fn locked(target: &Target, progress: &dyn Progress, cancel: &Cancel) -> Result<Manifest, Error> {
    if target.site().occupant()? != Occupant::Database {
        let text = format!("{}: holds no database", target.site().dir().display());
        return Err(Error::new(ErrorKind::NotOurs, text).with_hint("name the directory that has the file neostore"));
    }
    let dir = &target.site().open()?;
    if dir.has(MANIFEST) {
        let text = format!("{}: has a manifest already", dir.display());
        return Err(Error::new(ErrorKind::NotOurs, text)
            .with_hint("verify it; to forget what it was, remove neo4j-backup.json first")
            .see(&[Setting::Adopt]));
    }
    links::refuse(dir, progress)?;
    let _lock = Neo4jLock::take(dir)?;
    let header = Header::open(dir)?;
    let format = header.format()?;
    progress.phase(Phase::Sealing);
    let mut manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        state: State::Complete,
        replaces: None,
        adopted: Some(now()),
        chain: Vec::new(),
        store_id: Some(header.store_id()?.into()),
        store_format: Some(format.version().to_owned()),
        finished: None,
        last_transactions: last_transactions(dir, &header, format.into(), progress)?,
        sums_checksum: None,
        verifications: Vec::new(),
        files: Vec::new(),
    };
    if let Err(error) = checksums::write(dir, None, &BTreeMap::new(), &mut manifest, cancel) {
        let _ = dir.remove_file(NEW_SUMS);
        return Err(error);
    }
    manifest.finished = Some(now());
    manifest.publish(dir)?;
    Ok(manifest)
}

/// Last transaction per data source of a directory that no run received: from its header and its logs.
pub(crate) fn last_transactions(
    dir: &DirHandle,
    header: &Header,
    format: LogFormat,
    progress: &dyn Progress,
) -> Result<Vec<LastTransaction>, Error> {
    let graph = header.last_transaction()?;
    // without it the manifest is as good, but nothing proves a common history
    let fingerprint = match archived_logs::fingerprint(dir, format, DataSource::Graph, graph) {
        Ok(fingerprint) => fingerprint,
        Err(error) => {
            progress.warning(&format!(
                "{error}; a later run cannot prove that its source continues this database"
            ));
            None
        }
    };
    let mut last = vec![LastTransaction {
        data_source: DataSource::Graph.name().to_owned(),
        id: graph.0,
        fingerprint: fingerprint.map(|fingerprint| fingerprint.to_string()),
    }];
    if dir.has(lucene_store::PATH) {
        last.push(LastTransaction {
            data_source: DataSource::Lucene.name().to_owned(),
            id: PendingIndex::inspect(dir, format)?.last_tx.0,
            fingerprint: None,
        });
    }
    Ok(last)
}
