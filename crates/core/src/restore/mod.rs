//! A backup back into a data directory: copied beside it, compared with the manifest, checked, synced, renamed.
//!
//! ```text
//! judge source and moment ─▶ RestoreTarget::lock ─▶ copy + verify ─▶ forward ─▶ check ─▶ sync ─▶ publish
//! ```
//!
//! The states on disk are in [`crate::target`]'s `restoring`. `forward` applies the logs of a later generation, where the
//! moment lies behind the base.

mod copy;
mod directory;
mod forward;
mod moment;
mod owner;
mod plan;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    Error, ErrorKind,
    backup_files::BackupFiles,
    cancel::Cancel,
    check::{CheckError, CheckOptions, check_handle},
    consistency::Checked,
    context::now,
    inspect::{Inspection, directory::LastTransaction, inspect, start::FirstStart},
    manifest::{MANIFEST, Manifest},
    outcome::{self, Verdict},
    progress::{Phase, Progress},
    repository::{Generation, Repository},
    run_id::RunId,
    target::{
        durable,
        owners::{SharedDirectories, warn_of_refused},
        restoring::{Existing, Ids, RestoreTarget},
    },
};
use directory::Directory;
use forward::{Cut, Forward};
use moment::{KnownMoment, require_same};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, TxId},
};

pub use moment::{Moment, MomentError};
pub use owner::Owner;

/// Findings of each rule in the report of a restore; `check` shows more.
const SHOWN: usize = 10;

/// Beside its files a directory takes this much for names.
const FOLDERS: u64 = 1 << 20;

/// The logs of a later generation, in the directory that is being restored.
const LATER: &str = "neo4j-backup.later";

/// A restore to make: of a backup, into a data directory.
///
/// Without further options it restores the state of the backup and replaces nothing.
#[derive(Debug, Clone)]
pub struct Restore {
    from: Origin,
    to: PathBuf,
    moment: Moment,
    owner: Option<Owner>,
    existing: Existing,
    shared: SharedDirectories,
    dry_run: bool,
}

/// Where the backup is.
#[derive(Debug, Clone)]
enum Origin {
    Directory(PathBuf),
    Repository {
        repository: Repository,
        snapshot: Option<String>,
    },
}

/// A database that was restored, durable and in place; or would be, if it was a dry run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RestoreOutcome {
    /// The backup.
    pub source: String,
    /// The generation that it was restored from, if it was one.
    pub snapshot: Option<String>,
    /// The generation whose logs were applied, if the moment lies behind the first.
    pub logs_of: Option<String>,
    /// The directory that now holds the database.
    #[serde(serialize_with = "outcome::lossy")]
    pub target: PathBuf,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Where the database that was replaced is now.
    pub previous: Option<String>,
    /// Which database.
    pub store_id: Option<String>,
    /// The moment that was asked for; `None` if it was the state of the backup.
    pub moment: Option<String>,
    /// Newest transaction per data source; empty if a dry run cannot tell.
    pub last_transactions: Vec<LastTransaction>,
    /// Files restored.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Transactions of the graph that were applied to reach the moment.
    pub transactions: u64,
    /// What the consistency check found; `None` after a dry run.
    pub check: Option<Checked>,
    /// Who opens it.
    pub releases: Option<String>,
    /// What the first start will do; `None` if a dry run cannot tell.
    pub first_start: Option<FirstStart>,
    /// How good it is.
    pub verdict: Verdict,
}

/// What is restored.
struct Chosen {
    source: String,
    files: Box<dyn BackupFiles>,
    /// Of a directory.
    found: Option<Inspection>,
    base: Option<Generation>,
    later: Option<(Generation, Cut)>,
}

/// What was restored.
struct Restored {
    check: Checked,
    previous: Option<PathBuf>,
    transactions: u64,
}

impl Restore {
    /// Restores the backup in the directory `from` into the data directory `to`.
    pub fn new(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Restore {
        Restore::of(Origin::Directory(from.into()), to.into())
    }

    /// Restores a generation into the data directory `to`: the one whose id begins with `snapshot`; without, the newest, or
    /// the one from which the moment is reached.
    pub fn from_repository(repository: Repository, snapshot: Option<String>, to: impl Into<PathBuf>) -> Restore {
        Restore::of(Origin::Repository { repository, snapshot }, to.into())
    }

    fn of(from: Origin, to: PathBuf) -> Restore {
        Restore {
            from,
            to,
            moment: Moment::Newest,
            owner: None,
            existing: Existing::Refused,
            shared: SharedDirectories::Refused,
            dry_run: false,
        }
    }

    /// Which state is restored; default: [`Moment::Newest`].
    #[must_use]
    pub fn moment(self, moment: Moment) -> Restore {
        Restore { moment, ..self }
    }

    /// The generation of a repository to restore, or to start from, by its id.
    #[must_use]
    pub fn snapshot(self, id: impl Into<String>) -> Restore {
        match self.from {
            Origin::Directory(_) => self,
            Origin::Repository { repository, .. } => Restore {
                from: Origin::Repository {
                    repository,
                    snapshot: Some(id.into()),
                },
                ..self
            },
        }
    }

    /// Whom the files are given to; default: the owner of what they replace, or of the parent directory, if this process
    /// is root.
    #[must_use]
    pub fn owner(self, owner: Owner) -> Restore {
        Restore {
            owner: Some(owner),
            ..self
        }
    }

    /// Whether a database at the target is replaced, in one step and only when the new one is complete. It is kept beside
    /// the target, under a name that ends with `.before-` and the time.
    #[must_use]
    pub fn replace(self, replace: bool) -> Restore {
        let existing = if replace { Existing::Kept } else { Existing::Refused };
        Restore { existing, ..self }
    }

    /// Whether root works in a directory in which a user can rename files who is neither root nor the owner of the
    /// database; by default it refuses.
    #[must_use]
    pub fn allow_shared_directory(self, allow: bool) -> Restore {
        let shared = SharedDirectories::if_allowed(allow);
        Restore { shared, ..self }
    }

    /// Whether to judge everything that can be judged without reading the backup as a whole, and to write nothing.
    #[must_use]
    pub fn dry_run(self, dry_run: bool) -> Restore {
        Restore { dry_run, ..self }
    }

    /// Restores. When it returns `Ok`, the database is in place and durable, unless it was a dry run.
    ///
    /// # Errors
    /// The target is what it was before: it is in use, or holds a database that may not be replaced; the backup is damaged,
    /// or was changed by Neo4j; it does not reach the moment; of the disk; the run was cancelled.
    pub fn run(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<RestoreOutcome, Error> {
        cancel.check()?;
        let chosen = self.choose(progress, cancel)?;
        let files = &chosen.files.manifest().files;
        let bytes: u64 = files.iter().map(|file| file.length).sum();
        let needed = bytes.saturating_add(FOLDERS);
        if self.dry_run {
            RestoreTarget::judge(&self.to, self.existing, self.shared, needed)?;
            return Ok(self.outcome(&chosen, None, None));
        }
        let run_id = RunId::random()?.to_string();
        let target = RestoreTarget::lock(&self.to, self.existing, self.shared, needed, &run_id, now())?;
        let restored = self.restore(&target, &chosen, progress, cancel);
        if restored.is_err() {
            target.discard_staging();
        }
        let result = restored.and_then(|restored| {
            let found = inspect(target.dir())?;
            Ok(self.outcome(&chosen, Some(found), Some(restored)))
        });
        target.release(&result);
        durable::warn_of_missing_syncs(&self.to, progress);
        result
    }

    fn choose(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<Chosen, Error> {
        match &self.from {
            Origin::Directory(dir) => {
                let files = Directory::open(dir, progress)?;
                let found = inspect(dir)?;
                require_same(self.moment, known(&found), found.finished)?;
                Ok(Chosen {
                    source: dir.display().to_string(),
                    files: Box::new(files),
                    found: Some(found),
                    base: None,
                    later: None,
                })
            }
            Origin::Repository { repository, snapshot } => {
                let all = repository.generations(cancel)?;
                let newest = repository.find(&all, snapshot.as_deref())?;
                let of_database: Vec<Generation> = all
                    .iter()
                    .filter(|found| found.store_id == newest.store_id)
                    .cloned()
                    .collect();
                let named = snapshot.as_ref().map(|_| newest);
                let plan = plan::plan(&of_database, named, self.moment)?;
                Ok(Chosen {
                    source: repository.location().to_string(),
                    files: Box::new(repository.open_files(plan.base, cancel)?),
                    found: None,
                    base: Some(plan.base.clone()),
                    later: plan.forward.map(|(later, cut)| (later.clone(), cut)),
                })
            }
        }
    }

    /// Builds the database beside the target and puts it in place.
    fn restore(
        &self,
        target: &RestoreTarget,
        chosen: &Chosen,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Restored, Error> {
        let owner: Option<Ids> = self.owner.map(|Owner(ids)| ids);
        let staging = target.create_staging(owner)?;
        progress.phase(Phase::Receiving);
        copy::copy(chosen.files.as_ref(), &staging, |_| true, progress, cancel)?;
        let (mut manifest, transactions) = match &chosen.later {
            Some((later, cut)) => self.forward(&staging, chosen, later, *cut, progress, cancel)?,
            None => (chosen.files.manifest().clone(), 0),
        };
        // those of the backup say nothing about this copy
        manifest.verifications.clear();
        manifest.write(&staging, MANIFEST)?;
        progress.phase(Phase::Checking);
        let check = checked(&staging, cancel)?;
        let given = staging.give(staging.new_files());
        given.map_err(DiskError::at(staging.path()))?;
        warn_of_refused(&staging, progress);
        progress.phase(Phase::Syncing);
        copy::sync(&staging, &manifest)?;
        cancel.check()?;
        progress.phase(Phase::Publishing);
        Ok(Restored {
            check,
            previous: target.publish(now())?,
            transactions,
        })
    }

    /// Applies the logs of a later generation to the base in `staging`.
    fn forward(
        &self,
        staging: &DirHandle,
        chosen: &Chosen,
        later: &Generation,
        cut: Cut,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(Manifest, u64), Error> {
        let Origin::Repository { repository, .. } = &self.from else {
            return Err(Error::new(
                ErrorKind::NoSuchMoment,
                "a single backup reaches one moment",
            ));
        };
        let index = Path::new(LATER).join("index");
        let logs = staging.create_folders(index).and_then(|()| staging.folder(LATER));
        let logs = logs.map_err(DiskError::at(staging.join(LATER)))?;
        let files = repository.open_files(later, cancel)?;
        copy::copy(&files, &logs, forward::is_log, progress, cancel)?;
        progress.phase(Phase::Applying);
        let forward = Forward {
            dir: staging,
            manifest: chosen.files.manifest(),
            logs: &logs,
            later: files.manifest(),
            cancel,
        };
        forward.run(cut, progress)
    }

    fn outcome(&self, chosen: &Chosen, restored: Option<Inspection>, done: Option<Restored>) -> RestoreOutcome {
        let files = &chosen.files.manifest().files;
        let found = restored.or_else(|| chosen.found.clone());
        let base = chosen.base.as_ref();
        let (check, previous, transactions) = match done {
            Some(done) => (Some(done.check), done.previous, done.transactions),
            None => (None, None, 0),
        };
        let (store_id, last_transactions, releases, first_start) = match found {
            Some(found) => (
                found.store_id,
                found.last_transactions,
                found.releases,
                Some(found.first_start),
            ),
            None => (base.map(|base| base.store_id.clone()), Vec::new(), None, None),
        };
        RestoreOutcome {
            source: chosen.source.clone(),
            snapshot: base.map(|base| base.id.clone()),
            logs_of: chosen.later.as_ref().map(|(later, _)| later.id.clone()),
            target: self.to.clone(),
            dry_run: self.dry_run,
            previous: previous.map(|path| path.display().to_string()),
            store_id,
            moment: (self.moment != Moment::Newest).then(|| self.moment.to_string()),
            last_transactions,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.length).sum(),
            transactions,
            verdict: check
                .as_ref()
                .map_or(Verdict::Good, |check| check.verdict(Verdict::Good)),
            check,
            releases,
            first_start,
        }
    }
}

/// The state of a backup.
fn known(found: &Inspection) -> KnownMoment {
    let graph = found
        .last_transactions
        .iter()
        .find(|last| last.data_source == DataSource::Graph.name());
    KnownMoment {
        last: TxId(graph.map_or(TxId::BASE.0, |last| last.id)),
        committed: graph.and_then(|last| last.committed),
    }
}

/// Checks all of the graph.
fn checked(dir: &DirHandle, cancel: &Cancel) -> Result<Checked, Error> {
    let options = CheckOptions {
        limit: SHOWN,
        ..CheckOptions::default()
    };
    match check_handle(dir, &options, cancel) {
        Ok(report) => Ok(Checked::Report(report)),
        Err(CheckError::Cancelled(error)) => Err(*error),
        Err(error) => Ok(Checked::not_run(&error)),
    }
}
