//! Which indexes there are: in `index.db`, and from one transaction to the next.

use std::collections::BTreeSet;

use super::{
    disk,
    error::PendingIndexError,
    filter::{INDEXES_MAX, limited},
    prepare::directory,
};
use neo4j_format::{
    DirHandle,
    log::{LuceneCommand, lucene::LuceneAction},
    store::{IndexConfig, IndexKey, index_config},
};

/// Unknown indexes that an error names.
const SHOWN: usize = 5;

/// The indexes that there are: `index.db`, or what a crash while it was written left of it.
///
/// # Errors
/// [`PendingIndexError`]: a file that cannot be read.
pub fn read_config(dir: &DirHandle) -> Result<IndexConfig, PendingIndexError> {
    let bytes = match disk::read(dir, &dir.join(index_config::PATH), index_config::FILE_MAX)? {
        None => disk::read(dir, &dir.join(index_config::OLD_PATH), index_config::FILE_MAX)?,
        bytes => bytes,
    };
    Ok(bytes.map_or(Ok(IndexConfig::default()), |bytes| IndexConfig::decode(&bytes))?)
}

/// Indexes that a log creates or deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    created: BTreeSet<IndexKey>,
    deleted: BTreeSet<IndexKey>,
}

impl Changes {
    /// Takes the next command.
    ///
    /// # Errors
    /// [`PendingIndexError::TooManyIndexes`].
    pub(super) fn follow(&mut self, command: &LuceneCommand<'_>) -> Result<(), PendingIndexError> {
        let (to, from) = match command.action {
            LuceneAction::Create(_) => (&mut self.created, &mut self.deleted),
            LuceneAction::Delete => (&mut self.deleted, &mut self.created),
            LuceneAction::Add { .. } | LuceneAction::Remove { .. } => return Ok(()),
        };
        from.remove(&command.key());
        to.insert(command.key());
        limited(to.len())
    }

    /// The indexes that exist behind the log where `config` says what there was before it.
    pub fn to(&self, config: &IndexConfig) -> BTreeSet<IndexKey> {
        let mut indexes = config.indexes();
        indexes.retain(|index| !self.deleted.contains(index));
        indexes.extend(self.created.iter().cloned());
        indexes
    }
}

/// The indexes that exist at some point of the index transactions.
#[derive(Debug, Clone)]
pub struct Existing {
    indexes: BTreeSet<IndexKey>,
    /// So many may there be.
    limit: usize,
    unknown: BTreeSet<IndexKey>,
}

impl Existing {
    /// Those that there are before the first transaction.
    pub fn new(indexes: BTreeSet<IndexKey>) -> Existing {
        Existing {
            limit: indexes.len().saturating_add(INDEXES_MAX),
            indexes,
            unknown: BTreeSet::new(),
        }
    }

    /// Takes the next command; says whether it is of an index that exists.
    ///
    /// # Errors
    /// [`PendingIndexError::TooManyIndexes`], [`PendingIndexError::IndexName`].
    pub fn follow(&mut self, command: &LuceneCommand<'_>) -> Result<bool, PendingIndexError> {
        let index = command.key();
        match command.action {
            LuceneAction::Create(_) => {
                self.indexes.insert(index);
                if self.indexes.len() > self.limit {
                    return Err(PendingIndexError::TooManyIndexes(INDEXES_MAX));
                }
                Ok(true)
            }
            LuceneAction::Delete => {
                // it will be executed, which must not fail once transactions are applied
                directory(&index)?;
                self.indexes.remove(&index);
                self.unknown.remove(&index);
                Ok(true)
            }
            LuceneAction::Add { .. } | LuceneAction::Remove { .. } => {
                let exists = self.indexes.contains(&index);
                if !exists {
                    self.unknown.insert(index);
                    limited(self.unknown.len())?;
                }
                Ok(exists)
            }
        }
    }

    /// Whether all commands were of indexes that exist, or are deleted further on: then they had gone from the `index.db`
    /// of a full copy before it was read.
    ///
    /// # Errors
    /// [`PendingIndexError::UnknownIndexes`].
    pub fn knows_all(&self) -> Result<(), PendingIndexError> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> = self.unknown.iter().take(SHOWN).map(ToString::to_string).collect();
        if self.unknown.len() > SHOWN {
            names.push("…".to_owned());
        }
        Err(PendingIndexError::UnknownIndexes(names.join(", ")))
    }
}
