//! The indexes of a directory: those that are configured, and those whose files are there
//! (`docs/formats/store-format.md` §7).

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;

use super::bounded;
use neo4j_format::{
    DirHandle,
    store::{
        IndexConfig, IndexKey, IndexKind, IndexName, index_config,
        lucene_store::{self, LuceneStore},
    },
};

/// One index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexSummary {
    /// `node` or `relationship`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Whose it is; `None` where it is not configured.
    pub provider: Option<String>,
    /// `exact`, `fulltext`, or the configured value as it is.
    pub index_type: Option<String>,
    /// Bytes of its files; `None` where there are none yet.
    pub bytes: Option<u64>,
}

/// Indexes of `index.db`, and folders that it does not know.
pub fn look(dir: &DirHandle, problems: &mut Vec<String>) -> Vec<IndexSummary> {
    let config = config(dir, problems);
    let mut indexes: Vec<IndexSummary> = config
        .iter()
        .map(|(key, properties)| IndexSummary {
            kind: key.kind.directory(),
            name: key.name.to_string(),
            provider: properties.get("provider"),
            index_type: properties.get("type"),
            bytes: bytes(dir, key),
        })
        .collect();
    let known: BTreeSet<(&str, String)> = config
        .iter()
        .map(|(key, _)| (key.kind.directory(), key.name.to_string()))
        .collect();
    for kind in IndexKind::ALL {
        let folder = Path::new(index_config::LUCENE_DIR).join(kind.directory());
        let entries = dir.folder(folder).and_then(|folder| folder.entries());
        for entry in entries.into_iter().flatten() {
            let Ok(name) = entry.name.into_string() else {
                continue;
            };
            if entry.status.is_folder() && !known.contains(&(kind.directory(), name.clone())) {
                let key = IndexKey {
                    kind,
                    name: IndexName::from(name.as_str()),
                };
                problems.push(format!("{key} has files but is not in index.db"));
                indexes.push(IndexSummary {
                    kind: kind.directory(),
                    bytes: bytes(dir, &key),
                    name,
                    provider: None,
                    index_type: None,
                });
            }
        }
    }
    indexes
}

/// `index.db`, or `index.db.old` in its place as Neo4j would take it; empty where there is neither.
fn config(dir: &DirHandle, problems: &mut Vec<String>) -> IndexConfig {
    for name in [index_config::PATH, index_config::OLD_PATH] {
        match bounded::whole(dir, name, index_config::FILE_MAX) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                return IndexConfig::decode(&bytes).unwrap_or_else(|error| {
                    problems.push(format!("{name}: {error}"));
                    IndexConfig::default()
                });
            }
            Err(error) => {
                problems.push(format!("{name}: {error}"));
                return IndexConfig::default();
            }
        }
    }
    IndexConfig::default()
}

fn bytes(dir: &DirHandle, key: &IndexKey) -> Option<u64> {
    let folder = Path::new(index_config::LUCENE_DIR)
        .join(key.kind.directory())
        .join(key.name.to_text()?);
    let entries = dir.folder(folder).and_then(|folder| folder.entries()).ok()?;
    Some(entries.iter().map(|entry| entry.status.length()).sum())
}

/// `index/lucene-store.db` and its length; `None` where it is missing.
pub fn lucene_store(dir: &DirHandle, problems: &mut Vec<String>) -> Option<(LuceneStore, u64)> {
    match bounded::whole(dir, lucene_store::PATH, lucene_store::SIZE_MAX) {
        Ok(None) => None,
        Ok(Some(bytes)) => match LuceneStore::decode(&bytes) {
            Ok(store) => Some((store, bytes.len() as u64)),
            Err(error) => {
                problems.push(format!("{}: {error}", lucene_store::PATH));
                None
            }
        },
        Err(error) => {
            problems.push(format!("{}: {error}", lucene_store::PATH));
            None
        }
    }
}
