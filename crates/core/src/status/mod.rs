//! Is there a good backup, how old is it, was it verified, and could the next run succeed? Answered from the manifest,
//! the journal and the file system, or from a repository; the source is asked only if that is wanted.
//!
//! `directory` looks at a target, `repository` at a repository, `lag` asks the source, `judgement` says what is
//! wrong.

mod directory;
mod judgement;
mod lag;
mod repository;

use std::path::PathBuf;

use serde::Serialize;

pub use self::judgement::{Judgement, Level, Thresholds, in_words};
use crate::{
    Error,
    cancel::Cancel,
    cluster_options::ClusterOptions,
    context::{now, timestamp},
    journal::{JournalEntry, RecordedTransaction, Time},
    repository::Repository,
    source::uri::Source,
};

/// A question for the state of one target.
#[derive(Debug, Clone)]
pub struct Status {
    of: Origin,
    source: Option<Asked>,
    cluster: ClusterOptions,
}

#[derive(Debug, Clone)]
enum Origin {
    Directory(PathBuf),
    Repository(Repository),
}

/// Which source is asked how far it is.
#[derive(Debug, Clone)]
enum Asked {
    /// The one that the manifest names.
    Recorded,
    This(Source),
}

/// The state of a target.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TargetStatus {
    /// The directory, or the repository.
    pub target: String,
    /// When this was found.
    pub at: Time,
    /// The source of the last run, or the one that was asked for.
    pub source: Option<String>,
    /// When the last good backup was complete.
    pub last_good: Option<Time>,
    /// Newest transaction per data source of the backup.
    pub last_transactions: Vec<RecordedTransaction>,
    /// How far the source is.
    pub lag: Option<Lag>,
    /// The last backup that was tried.
    pub last_run: Option<JournalEntry>,
    /// The last verification.
    pub last_verification: Option<LastVerification>,
    /// The last restore for practice that was good.
    pub last_drill: Option<Time>,
    /// The last restore for practice that was tried.
    pub last_drill_run: Option<JournalEntry>,
    /// Bytes of the backup.
    pub stored_bytes: Option<u64>,
    /// Bytes that are free.
    pub free_bytes: Option<u64>,
    /// Bytes that the next full backup needs, until it has replaced this one.
    pub needed_bytes: Option<u64>,
    /// The run that is under way.
    pub running: Option<String>,
    /// What keeps it from being a good backup: a directory that is missing, an update that did not end, damage.
    pub defects: Vec<String>,
    /// What else is not as it ought to be.
    pub problems: Vec<String>,
}

/// How far the source is ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// Transactions of the graph that the source has and the backup lacks; `None` if it could not be found out.
    pub transactions: Option<u64>,
    /// Why not.
    pub error: Option<String>,
}

/// The newest verification of a backup, by whatever command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastVerification {
    /// The command: `verify`, `backup` or `drill`.
    pub by: String,
    /// When it ended.
    pub finished: Time,
    /// What it came to.
    pub result: String,
}

impl Status {
    /// Of the backup in this directory.
    pub fn of_directory(dir: impl Into<PathBuf>) -> Status {
        Status::of(Origin::Directory(dir.into()))
    }

    /// Of the generations in this repository.
    pub fn of_repository(repository: Repository) -> Status {
        Status::of(Origin::Repository(repository))
    }

    fn of(of: Origin) -> Status {
        Status {
            of,
            source: None,
            cluster: ClusterOptions::default(),
        }
    }

    /// Asks the source of the last run how far it is.
    #[must_use]
    pub fn ask(self) -> Status {
        Status {
            source: Some(Asked::Recorded),
            ..self
        }
    }

    /// Asks this source how far it is.
    #[must_use]
    pub fn ask_source(self, source: Source) -> Status {
        Status {
            source: Some(Asked::This(source)),
            ..self
        }
    }

    /// How a cluster is asked.
    #[must_use]
    pub fn cluster(self, cluster: ClusterOptions) -> Status {
        Status { cluster, ..self }
    }

    /// Finds it out. Writes nothing. A target that is missing or damaged is a state, not an error.
    ///
    /// # Errors
    /// The state cannot be found out: the directory that the target lies in, or the repository, cannot be read.
    pub fn find(&self, cancel: &Cancel) -> Result<TargetStatus, Error> {
        let mut found = match &self.of {
            Origin::Directory(dir) => directory::find(dir)?,
            Origin::Repository(repository) => repository::find(repository, cancel)?,
        };
        let source = match &self.source {
            None => return Ok(found),
            Some(Asked::This(source)) => Ok(Some(source.clone())),
            Some(Asked::Recorded) => found.source.as_deref().map(Source::parse).transpose(),
        };
        found.lag = Some(match source {
            Ok(Some(source)) => {
                found.source = Some(source.to_string());
                lag::find(&source, &found, &self.cluster, cancel)
            }
            Ok(None) => Lag::unknown(&"no run says which source it had"),
            Err(error) => Lag::unknown(&error),
        });
        Ok(found)
    }
}

impl TargetStatus {
    fn new(target: String) -> TargetStatus {
        TargetStatus {
            target,
            at: Time(timestamp(now())),
            source: None,
            last_good: None,
            last_transactions: Vec::new(),
            lag: None,
            last_run: None,
            last_verification: None,
            last_drill: None,
            last_drill_run: None,
            stored_bytes: None,
            free_bytes: None,
            needed_bytes: None,
            running: None,
            defects: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Seconds from `time` until this was found; negative for a time that had not come.
    pub fn seconds_since(&self, time: Time) -> i64 {
        self.at.0.as_second() - time.0.as_second()
    }
}

impl Lag {
    fn unknown(error: &impl ToString) -> Lag {
        Lag {
            transactions: None,
            error: Some(error.to_string()),
        }
    }
}
