//! The indexes as far as their log tells: configuration and entries.
//!
//! There are no Lucene files here. All index transactions stay in the pending log, which Neo4j replays at its start and
//! which goes out as transactions in a backup.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use neo4j_format::{
    DiskError,
    log::lucene::{LuceneAction, LuceneCommand, LuceneValue, Text},
    store::index_config::{self, IndexConfig, IndexKey, IndexName, IndexProperties},
};

/// Name of the configuration file that replaces the old one.
const NEW_FILE: &str = "index.db.tmp";

/// An indexed value: text, or a number in the form `Int(5)`.
pub type Indexed = String;

/// Indexed values of one entity by key.
pub type Entry = BTreeMap<String, BTreeSet<Indexed>>;

/// The indexes of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes {
    config: IndexConfig,
    entries: BTreeMap<IndexKey, BTreeMap<i64, Entry>>,
}

impl Indexes {
    /// The configuration that lies in `dir`, without entries.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn configured(dir: &Path) -> Result<Indexes, neo4j_backup_core::Error> {
        let path = dir.join(index_config::PATH);
        let config = match fs::read(&path) {
            Ok(bytes) => IndexConfig::decode(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => IndexConfig::default(),
            Err(error) => return Err(DiskError::new(&path, error).into()),
        };
        Ok(Indexes {
            config,
            entries: BTreeMap::new(),
        })
    }

    /// Does what a command of the log does; says whether the configuration changed.
    pub fn apply(&mut self, command: &LuceneCommand<'_>) -> bool {
        let index = command.key();
        match command.action {
            LuceneAction::Add { entity, key, value, .. } => {
                let entry = self.entries.entry(index).or_default().entry(entity).or_default();
                entry.entry(text(key)).or_default().insert(indexed(value));
                false
            }
            LuceneAction::Remove { entity, key, value } => {
                let Some(entities) = self.entries.get_mut(&index) else {
                    return false;
                };
                if let Some(entry) = entities.get_mut(&entity) {
                    match (key, value) {
                        (None, _) => entry.clear(),
                        (key, LuceneValue::Null) => drop(entry.remove(&text(key))),
                        (key, value) => {
                            let values = entry.entry(text(key)).or_default();
                            values.remove(&indexed(value));
                            if values.is_empty() {
                                entry.remove(&text(key));
                            }
                        }
                    }
                    if entry.is_empty() {
                        entities.remove(&entity);
                    }
                }
                false
            }
            LuceneAction::Create(properties) => {
                let entries = properties.entries().map(|(key, value)| (key.into(), value.into()));
                let changed = !self.config.contains(&index);
                self.config.insert(index, IndexProperties(entries.collect()));
                changed
            }
            LuceneAction::Delete => {
                self.entries.remove(&index);
                self.config.remove(&index)
            }
        }
    }

    /// Whether the index exists.
    pub fn contains(&self, index: &IndexKey) -> bool {
        self.config.contains(index)
    }

    /// Each index with what it holds, by entity.
    pub fn entries(&self) -> impl Iterator<Item = (&IndexKey, &BTreeMap<i64, Entry>)> {
        self.entries.iter()
    }

    /// What an index holds about an entity.
    pub fn entry(&self, index: &IndexKey, entity: i64) -> Option<&Entry> {
        self.entries.get(index)?.get(&entity)
    }

    /// Replaces the configuration file in `dir`, as a server does: whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), DiskError> {
        let (new, path) = (dir.join(NEW_FILE), dir.join(index_config::PATH));
        fs::write(&new, self.config.encode()).map_err(DiskError::at(&new))?;
        fs::rename(&new, &path).map_err(DiskError::at(&path))
    }
}

fn text(key: Option<Text<'_>>) -> String {
    key.map(IndexName::from)
        .and_then(|name| name.to_text())
        .unwrap_or_default()
}

fn indexed(value: LuceneValue<'_>) -> Indexed {
    match value {
        LuceneValue::Text(value) => text(Some(value)),
        other => format!("{other:?}"),
    }
}
