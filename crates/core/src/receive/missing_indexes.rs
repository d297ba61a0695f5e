//! Indexes that a server leaves out of a full copy.
//!
//! One that could not open its index provider at its start goes on without it and sends nothing of any index
//! (`docs/formats/transaction-log.md` §10.3).
//!
//! A 1.3 (`docs/formats/neo4j-1.3.md` §6.2) sends the files of those indexes only that were written or queried since it
//! started, while `index.db` names them all. What the others hold is in the index transactions since the first one, if
//! the server still has all its logs: they are fetched, and of those that came before the copy's own stream the commands
//! of the missing indexes become part of the pending log.

use std::collections::{BTreeMap, BTreeSet};

use super::transactions::{LogPlace, Overlap, ReceivedLogs};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    manifest::FileEntry,
    outcome::Verdict,
    progress::Progress,
    replay::{Older, pending_index},
    source::client::Member,
    target::durable::remove,
};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, TxId},
    log::LogFormat,
    store::{IndexKey, index_config, lucene_store},
    wire::Dialect,
};

/// Name of the log of all index transactions.
const OLDER: &str = "index/neo4j-backup.older";

/// The Lucene indexes that are configured in `dir` and of which no file came.
///
/// # Errors
/// Of the disk; of an `index.db` that cannot be read.
fn left_out(dir: &DirHandle, files: &[FileEntry]) -> Result<BTreeSet<IndexKey>, Error> {
    let config = pending_index::read_config(dir)?;
    let missing = config.of_lucene().filter(|index| {
        // a name that is not text cannot name a file either
        let name = index.name.to_text().unwrap_or_default();
        let prefix = format!("{}/{}/{name}/", index_config::LUCENE_DIR, index.kind);
        !files.iter().any(|file| file.path.starts_with(&prefix))
    });
    Ok(missing.cloned().collect())
}

/// What became of the indexes that a server did not send.
#[derive(Debug)]
pub(crate) enum MissingIndexes {
    /// There is none.
    Nothing,
    /// Their transactions are here.
    Fetched(Older),
    /// They stay empty.
    Missing,
}

impl MissingIndexes {
    /// The transactions that were fetched.
    pub(crate) fn transactions(&self) -> Option<&Older> {
        match self {
            MissingIndexes::Fetched(older) => Some(older),
            MissingIndexes::Nothing | MissingIndexes::Missing => None,
        }
    }

    /// How good a backup is in which they are like this.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            MissingIndexes::Nothing | MissingIndexes::Fetched(_) => Verdict::Good,
            MissingIndexes::Missing => Verdict::IndexesMissing,
        }
    }
}

/// What became of the indexes of which nothing is among `files`, which came from `member`; their transactions are fetched
/// where that helps.
///
/// # Errors
/// Of an answer that cannot be; of the disk; a cancelled run. A server that does not send them causes a warning, not an error.
pub(crate) fn fetch(
    member: &Member,
    dir: &DirHandle,
    files: &[FileEntry],
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<MissingIndexes, Error> {
    let indexes = left_out(dir, files)?;
    if indexes.is_empty() {
        return Ok(MissingIndexes::Nothing);
    }
    if !files.iter().any(|file| file.path == lucene_store::PATH) {
        progress.warning(&format!(
            "the server could not open its indexes, its messages.log says why: nothing of {} is in the backup",
            listed(&indexes)
        ));
        return Ok(MissingIndexes::Missing);
    }
    match member.dialect() {
        Dialect::D13 => fetch_transactions(indexes, member, dir, progress, cancel),
        Dialect::D14 => {
            progress.warning(&format!(
                "the server sent no files of {}: nothing was ever written there, unless it is a 1.4.0, which sends what \
                 was opened since its start: then run a query on each of them, and take another full backup",
                listed(&indexes)
            ));
            Ok(MissingIndexes::Nothing)
        }
        // nothing was ever written there
        Dialect::D15 | Dialect::D18 => Ok(MissingIndexes::Nothing),
    }
}

fn fetch_transactions(
    indexes: BTreeSet<IndexKey>,
    member: &Member,
    dir: &DirHandle,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<MissingIndexes, Error> {
    progress.warning(&format!(
        "the server has not opened {} since its start and does not send it as files; its transactions are fetched, \
         which a 1.3 may take minutes for",
        listed(&indexes)
    ));
    let path = dir.join(OLDER);
    let places = BTreeMap::from([(DataSource::Lucene, LogPlace::new(dir, OLDER, LogVersion(0)))]);
    let mut logs = ReceivedLogs::new(LogFormat::V1, places);
    let all = [(DataSource::Lucene, TxId::BASE)];
    match logs.receive(&mut member.incremental(&all), Overlap::Refused, progress) {
        Ok(_) if logs.log(DataSource::Lucene).is_some() => {
            logs.complete()?;
            Ok(MissingIndexes::Fetched(Older { path, indexes }))
        }
        Err(error) if !is_refusal(error.kind()) => Err(error),
        answer => {
            cancel.check()?;
            let cause = answer.err().map_or("it has none".to_owned(), |error| error.to_string());
            progress.warning(&format!(
                "what {} holds is not in the backup, since the server does not give its transactions ({cause}): run a \
                 query on each of them on the server, and take another full backup",
                listed(&indexes)
            ));
            remove(dir, &path)?;
            Ok(MissingIndexes::Missing)
        }
    }
}

/// What a server without old logs does: it keeps silent, or ends the connection.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TimeLimit | ErrorKind::FullNeeded | ErrorKind::Unreachable | ErrorKind::Server
    )
}

fn listed(indexes: &BTreeSet<IndexKey>) -> String {
    let names: Vec<String> = indexes.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo4j_format::store::{IndexConfig, IndexKind, index_config::IndexProperties};

    #[test]
    fn an_index_without_files_was_left_out_unless_another_provider_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = |kind, name: &str| IndexKey {
            kind,
            name: name.into(),
        };
        let provider = |name: &str| IndexProperties(vec![("provider".into(), name.into())]);
        let mut config = IndexConfig::default();
        for index in [
            key(IndexKind::Node, "sent"),
            key(IndexKind::Node, "sen"),
            key(IndexKind::Relationship, "sent"),
        ] {
            config.insert(index, provider("lucene"));
        }
        config.insert(key(IndexKind::Node, "other"), provider("graph-collections"));
        std::fs::write(dir.path().join("index.db"), config.encode()).unwrap();
        let file = FileEntry {
            path: "index/lucene/node/sent/_0.cfs".to_owned(),
            length: 1,
        };
        assert_eq!(
            left_out(&DirHandle::open(dir.path()).unwrap(), &[file]).unwrap(),
            [key(IndexKind::Node, "sen"), key(IndexKind::Relationship, "sent")].into()
        );
    }
}
