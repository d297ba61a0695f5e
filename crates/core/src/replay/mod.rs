//! Transactions onto store files: the graph's log is applied, the indexes' log is left to Neo4j.
//!
//! Full and incremental backups both come through here once the transactions are on disk.

pub mod apply;
pub(crate) mod graph_log;
pub(crate) mod open_store;
pub mod pending_index;
pub mod seal;

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use self::{
    apply::Applier,
    pending_index::{IndexRules, Input, Keep, PendingIndex},
};
use crate::{
    Error, cancel::Cancel, manifest::LastTransaction, receive::transactions::ReceivedLogs, target::durable::remove,
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, TxId},
    log::{self, Buffer, Change, Item, Layout, LogFormat, SecondPass, SlotReader},
    store::{
        IndexKey, StoreFile,
        record::{RecordId, Relationship},
    },
    wire::Dialect,
};

/// Applies every committed transaction of a log.
pub(crate) fn apply_log(
    file: &File,
    path: &Path,
    layout: Layout,
    applier: &mut Applier,
    cancel: &Cancel,
) -> Result<(), Error> {
    changes(file, path, layout, cancel, |change| Ok(applier.apply(change)?))
}

/// Hands out every change of the committed transactions of a log.
pub(crate) fn changes(
    file: &File,
    path: &Path,
    layout: Layout,
    cancel: &Cancel,
    mut each: impl FnMut(&Change<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut scan, mut pass) = (Buffer::new(), SecondPass::new(file, layout));
    let in_file = |error: log::LogError| error.in_file(path);
    let mut slot = SlotReader::open(file, layout, &mut scan).map_err(in_file)?;
    while let Some(committed) = slot.next().map_err(in_file)? {
        cancel.check()?;
        let mut transaction = pass.transaction(&committed);
        while let Some(item) = transaction.next().map_err(in_file)? {
            if let Item::Change(change) = item {
                each(&change)?;
            }
        }
    }
    Ok(())
}

/// All index transactions of a server, fetched for indexes of which it sent no files.
#[derive(Debug)]
pub(crate) struct Older {
    /// Their log.
    pub(crate) path: PathBuf,
    /// The indexes.
    pub(crate) indexes: BTreeSet<IndexKey>,
}

/// Makes the received index transactions part of the pending log that Neo4j replays at its next start.
pub(crate) fn leave_index_log(
    dir: &DirHandle,
    dialect: Dialect,
    logs: &ReceivedLogs,
    older: Option<&Older>,
    format: LogFormat,
) -> Result<PendingIndex, Error> {
    let mut received = Vec::new();
    let stream = logs.log(DataSource::Lucene);
    if let Some(Older { path, indexes }) = older {
        // where nothing was committed since, the last transaction stays whole: it has to end the pending log
        let before = match stream {
            Some(log) => log.first,
            None => PendingIndex::inspect(dir, format)?.last_tx,
        };
        received.push((path, Keep::Only { indexes, before }));
        if stream.is_none() {
            received.push((path, Keep::All));
        }
    }
    received.extend(stream.map(|log| (&log.path, Keep::All)));
    prepare_index_log(dir, dialect, &received, format)?;
    for (path, _) in received {
        remove(dir, path)?;
    }
    Ok(PendingIndex::inspect(dir, format)?)
}

/// Makes index transactions in logs of their own part of the pending log, and closes those logs again.
///
/// # Errors
/// Of the disk; a log that is damaged, or holds what cannot be left to Neo4j.
pub(crate) fn prepare_index_log(
    dir: &DirHandle,
    dialect: Dialect,
    received: &[(&PathBuf, Keep<'_>)],
    format: LogFormat,
) -> Result<(), Error> {
    let files = received
        .iter()
        .map(|(path, _)| dir.open_file(path).map_err(DiskError::at(path)))
        .collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<Input<'_>> = received
        .iter()
        .zip(&files)
        .map(|((path, keep), log)| Input { log, path, keep: *keep })
        .collect();
    let mut ends = |id| relationship_ends(dir, id);
    let mut rules = match dialect {
        Dialect::D13 => IndexRules::Neo4j13 { ends: &mut ends },
        _ => IndexRules::Later,
    };
    if let Some(update) = pending_index::prepare(dir, format, &mut rules, &inputs)? {
        update.commit()?;
    }
    Ok(())
}

/// The newest transaction of a data source, for the manifest; `before` is what the manifest said of it.
pub(crate) fn last_transaction(
    source: DataSource,
    id: TxId,
    logs: &ReceivedLogs,
    before: Option<(TxId, Option<&str>)>,
) -> LastTransaction {
    let received = logs
        .log(source)
        .filter(|log| log.last == id)
        .and_then(|log| log.fingerprint)
        .map(|fingerprint| fingerprint.to_string());
    let kept = before
        .filter(|(last, _)| *last == id)
        .and_then(|(_, fingerprint)| fingerprint.map(str::to_owned));
    LastTransaction {
        data_source: source.name().to_owned(),
        id: id.0,
        fingerprint: received.or(kept),
    }
}

/// Start and end node of a relationship, deleted ones included (`docs/formats/neo4j-1.3.md` §5.1).
fn relationship_ends(dir: &DirHandle, id: RecordId) -> io::Result<Option<(i64, i64)>> {
    let mut record = [0; Relationship::SIZE];
    let file = dir.open_file(StoreFile::Relationship.name())?;
    match file.read_exact_at(&mut record, id.0.saturating_mul(Relationship::SIZE as u64)) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    record[0] |= 1;
    let end = |node: Option<RecordId>| node.map_or(-1, |RecordId(id)| id.cast_signed());
    Ok(Relationship::decode(&record).map(|found| (end(found.first_node), end(found.second_node))))
}
