//! A live database as a source of backups: files while they are written to, and the transactions since.
//!
//! Readers never hold the writer up: they read files and logs without a lock, and wait for the end of at most one commit
//! when they ask for the last transaction. Index transactions are sent from the first one on, since there are no Lucene
//! files that could hold them.

use std::path::{Path, PathBuf};

use super::database::{Database, DatabaseError, Feed};
use neo4j_backup_core::serve::{Copy, Identity, Moment, Refusal, Release, Source, files_of};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, TxId},
    log::{Layout, LogFormat, TransactionRange},
};

/// What readers share with the writer of a database; lives on when the database is closed.
#[derive(Debug, Clone)]
pub struct Live {
    dir: PathBuf,
    identity: Identity,
    feed: Feed,
}

impl Live {
    /// The readers' side of `database`, served as `release` serves it.
    ///
    /// # Errors
    /// The header cannot be read.
    pub fn of(database: &Database, release: Release) -> Result<Live, DatabaseError> {
        Ok(Live {
            dir: database.dir().to_owned(),
            identity: Identity {
                store_id: database.store_id()?,
                format: database.format(),
                release,
            },
            feed: database.feed().clone(),
        })
    }

    /// Where the database lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its transactions.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    fn handle(&self) -> Result<DirHandle, Refusal> {
        DirHandle::open(&self.dir).map_err(|error| Refusal::Failed(error.to_string()))
    }

    fn range(&self, source: DataSource, after: TxId) -> Result<TransactionRange, Refusal> {
        let layout = Layout {
            format: LogFormat::from(self.identity.format),
            source,
        };
        let last = self.feed.settled(source);
        if let Some(first) = self.feed.first(source)
            && after < last
            && after.next() < first
        {
            return Err(Refusal::LogsMissing {
                data_source: source,
                first: after.next(),
                version: neo4j_format::ids::LogVersion(0),
            });
        }
        let active = self.feed.active_log(source);
        Ok(TransactionRange::find(
            &self.handle()?,
            layout,
            active.as_deref(),
            after,
            last,
        )?)
    }
}

impl Source for Live {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn copy(&self) -> Result<Copy, Refusal> {
        // first the moment, then the files: what is committed in between is sent twice and does no harm
        let after = vec![
            (DataSource::Graph, self.feed.last(DataSource::Graph)),
            (DataSource::Lucene, TxId::BASE),
        ];
        Ok(Copy {
            files: files_of(&self.handle()?, self.identity.format)?,
            moment: Moment { after, copy: None },
        })
    }

    fn since(&self, moment: &Moment) -> Result<Vec<TransactionRange>, Refusal> {
        moment
            .after
            .iter()
            .map(|(source, after)| self.range(*source, *after))
            .collect()
    }
}
