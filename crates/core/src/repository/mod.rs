//! A history of backups: encrypted, deduplicated generations in a repository of restic's format.
//!
//! ```text
//! Backup ─▶ archive (lock shared)     one snapshot of what the manifest lists
//! forget ─▶ retention ─▶ prune (lock exclusive)
//! Restore ─▶ contents                 files of a snapshot, each chunk compared with the manifest
//! ```
//!
//! `rustic_core` does the work; only this folder knows it. Anything that speaks restic's format reads the result.

mod archive;
mod contents;
mod engine;
mod forget;
mod generation;
mod location;
mod lock;
#[cfg(feature = "cloud")]
mod objects;
mod retention;

use std::collections::BTreeMap;

use rustic_core::repofile::SnapshotFile;
use serde::Serialize;

use self::{
    engine::{Health, Opened, call},
    location::open_directory,
    lock::{RepositoryLock, Use},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Setting,
    inspect::inspect,
    manifest::{BackupKind, Manifest},
    outcome::Verdict,
};
use neo4j_format::{DirHandle, DiskError, ids::DataSource};

pub(crate) use contents::SnapshotFiles;
pub use forget::{ForgetOutcome, Forgotten};
pub use generation::Generation;
pub use location::{Location, Password};
pub use retention::{KeepPolicy, PolicyError, Reason};

/// A repository and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    location: Location,
    password: Password,
}

/// What became of the archiving of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Archived {
    /// It is a new generation.
    New {
        /// The snapshot.
        snapshot: String,
        /// Bytes that it added to the repository.
        added_bytes: u64,
    },
    /// It was a generation already.
    Unchanged,
    /// Its check does not allow it.
    Refused,
    /// It failed; the next run tries again.
    Failed {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl Archived {
    /// The word for it in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Archived::New { .. } => "new",
            Archived::Unchanged => "unchanged",
            Archived::Refused => "refused",
            Archived::Failed { .. } => "failed",
        }
    }

    pub(crate) fn failed(error: &Error) -> Archived {
        Archived::Failed {
            reason: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl Repository {
    /// The repository at `location`.
    pub fn new(location: Location, password: Password) -> Repository {
        Repository { location, password }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Creates it, where there is nothing: in a directory that is absent or empty, in an empty folder of a bucket.
    ///
    /// # Errors
    /// There is something already; of the disk or the store.
    pub fn create(&self) -> Result<(), Error> {
        engine::create(&self.location, &self.password, &Health::new(&Cancel::default()))
    }

    /// Opens it and locks it; nothing that the lock guards has been read by then.
    fn open(&self, wanted: Use, cancel: &Cancel) -> Result<(Opened, Health, RepositoryLock), Error> {
        let health = Health::new(cancel);
        let repository = engine::open(&self.location, &self.password, &health)?;
        let lock = RepositoryLock::take(&self.location, wanted, &health)?;
        Ok((repository, health, lock))
    }

    /// Opens it, and finds out whether this user may write to it; writes nothing.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::NoRepository`]; of the disk; cancelled.
    pub fn require_usable(&self, cancel: &Cancel) -> Result<(), Error> {
        engine::open(&self.location, &self.password, &Health::new(cancel))?;
        if let Some(path) = self.location.directory() {
            let may_write = open_directory(path).and_then(|dir| dir.may_create());
            may_write.map_err(DiskError::at(path))?;
        }
        Ok(())
    }

    /// All generations, those of one database after the other, each oldest first.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::NoRepository`]; of the disk; cancelled.
    pub fn generations(&self, cancel: &Cancel) -> Result<Vec<Generation>, Error> {
        let (repository, health, _lock) = self.open(Use::Shared, cancel)?;
        let snapshots = call(&health, &self.location, || repository.get_all_snapshots())?;
        Ok(generations(&snapshots))
    }

    /// The generation whose id begins with `id`; the newest one without.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::NotOurs`] if there is none, several, or the newest of several databases.
    pub(crate) fn find<'a>(&self, generations: &'a [Generation], id: Option<&str>) -> Result<&'a Generation, Error> {
        let refused = |what: String| {
            Error::new(ErrorKind::NotOurs, format!("{}: {what}", self.location))
                .with_hint("list the generations")
                .see(&[Setting::Generations])
        };
        let found: Vec<&Generation> = match id {
            Some(id) => generations.iter().filter(|found| found.id.starts_with(id)).collect(),
            None => generations.last().into_iter().collect(),
        };
        let stores: std::collections::BTreeSet<_> = generations.iter().map(|found| &found.store_id).collect();
        match (found.as_slice(), id) {
            ([], None) => Err(refused("has no generation".to_owned())),
            ([], Some(id)) => Err(refused(format!("has no generation {id:?}"))),
            ([_], None) if stores.len() > 1 => Err(refused(format!(
                "has generations of {} databases: name a snapshot",
                stores.len()
            ))),
            ([found], _) => Ok(found),
            (_, id) => Err(refused(format!("has several generations {:?}", id.unwrap_or_default()))),
        }
    }

    /// Archives the backup in `dir`. The caller holds its lock.
    pub(crate) fn archive(&self, dir: &DirHandle, source: &str, verdict: Verdict, cancel: &Cancel) -> Archived {
        if verdict == Verdict::Inconsistent {
            return Archived::Refused;
        }
        self.try_archive(dir, source, verdict, cancel)
            .unwrap_or_else(|error| Archived::failed(&error))
    }

    fn try_archive(&self, dir: &DirHandle, source: &str, verdict: Verdict, cancel: &Cancel) -> Result<Archived, Error> {
        let manifest = Manifest::read(dir)?
            .filter(Manifest::is_complete)
            .ok_or_else(|| Error::new(ErrorKind::Failed, format!("{}: is not complete", dir.display())))?;
        let (repository, health, _lock) = self.open(Use::Shared, cancel)?;
        let generation = describe(dir, &manifest, source, verdict)?;
        let snapshots = call(&health, &self.location, || repository.get_all_snapshots())?;
        let is_there = |found: &Generation| {
            (&found.store_id, &found.run_id) == (&generation.store_id, &generation.run_id) && !found.run_id.is_empty()
        };
        if generations(&snapshots).iter().any(is_there) {
            return Ok(Archived::Unchanged);
        }
        let new = archive::archive(repository, &self.location, dir, &manifest, generation, &health)?;
        Ok(Archived::New {
            snapshot: new.id,
            added_bytes: new.added_bytes,
        })
    }

    /// The files of a generation.
    ///
    /// # Errors
    /// Of the repository; cancelled.
    pub(crate) fn open_files(&self, generation: &Generation, cancel: &Cancel) -> Result<SnapshotFiles, Error> {
        let (repository, health, lock) = self.open(Use::Shared, cancel)?;
        SnapshotFiles::open(repository, &self.location, generation, health, lock)
    }

    /// Removes the generations of each database that `policy` does not keep, and frees their space.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::TargetInUse`] if another run uses the repository; of the repository; cancelled.
    pub fn forget(&self, policy: KeepPolicy, dry_run: bool, cancel: &Cancel) -> Result<ForgetOutcome, Error> {
        let wanted = if dry_run { Use::Shared } else { Use::Exclusive };
        let (repository, health, _lock) = self.open(wanted, cancel)?;
        forget::forget(&repository, &self.location, policy, dry_run, &health)
    }

    /// Notes in a generation that it was restored and found to be good, `now` in milliseconds since 1970.
    ///
    /// # Errors
    /// Of the repository; cancelled.
    pub(crate) fn note_verified(&self, generation: &Generation, now: u64, cancel: &Cancel) -> Result<(), Error> {
        let (repository, health, _lock) = self.open(Use::Shared, cancel)?;
        let snapshots = call(&health, &self.location, || repository.get_all_snapshots())?;
        let found = snapshots
            .into_iter()
            .find(|found| found.id.to_hex().to_string() == generation.id);
        let Some(old) = found else {
            let text = format!("{}: generation {} was removed", self.location, generation.id);
            return Err(Error::new(ErrorKind::NotOurs, text));
        };
        let mut new = old.clone();
        new.tags.add(format!("verified={now}"));
        // a kill in between leaves both, which is one generation
        call(&health, &self.location, || repository.save_snapshots(vec![new]))?;
        engine::sync(&self.location)?;
        call(&health, &self.location, || repository.delete_snapshots(&[old.id]))
    }
}

/// What there is to say of a backup.
fn describe(dir: &DirHandle, manifest: &Manifest, source: &str, verdict: Verdict) -> Result<Generation, Error> {
    let found = inspect(dir.path())?;
    let last = |source: DataSource| {
        found
            .last_transactions
            .iter()
            .find(|last| last.data_source == source.name())
    };
    let graph = last(DataSource::Graph);
    let logs = found
        .logs
        .iter()
        .find(|logs| logs.data_source == DataSource::Graph.name());
    let time = manifest.finished.or(manifest.adopted).unwrap_or_default();
    let run = manifest.chain.last();
    Ok(Generation {
        id: String::new(),
        source: source.to_owned(),
        store_id: found.store_id.clone().unwrap_or_default(),
        time: i64::try_from(time).unwrap_or(i64::MAX),
        mode: run.map_or(BackupKind::Full, |run| run.mode).name().to_owned(),
        last: graph.map_or(1, |last| last.id),
        last_index: last(DataSource::Lucene).map(|last| last.id),
        committed: graph.and_then(|last| last.committed),
        logs: logs.and_then(|logs| logs.transactions),
        verdict,
        run_id: manifest.run_id().unwrap_or_default().to_owned(),
        bytes: 0,
        added_bytes: 0,
        verified: None,
    })
}

/// The generations among the snapshots, each once, by database and time.
fn generations(snapshots: &[SnapshotFile]) -> Vec<Generation> {
    let mut found: BTreeMap<(String, i64, i64, String), Generation> = BTreeMap::new();
    for snapshot in snapshots {
        let id = snapshot.id.to_hex().to_string();
        let unknown = Generation::unknown(id, snapshot.hostname.clone(), snapshot.time.timestamp());
        let Some(mut generation) = unknown.tagged(snapshot.tags.iter().map(String::as_str)) else {
            continue;
        };
        if let Some(summary) = &snapshot.summary {
            generation.bytes = summary.total_bytes_processed;
            generation.added_bytes = summary.data_added_packed;
        }
        let key = (
            generation.store_id.clone(),
            generation.time,
            generation.last,
            generation.run_id.clone(),
        );
        let is_newer = found.get(&key).is_none_or(|other| other.verified < generation.verified);
        if is_newer {
            found.insert(key, generation);
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustic_core::SnapshotOptions;

    use super::*;

    #[test]
    fn a_thousand_generations_are_listed_at_once() {
        const COUNT: i64 = 1000;
        const HOUR: i64 = 3_600_000;
        let dir = tempfile::tempdir().unwrap();
        let location = Location::parse(dir.path().join("repository").to_str().unwrap(), |_| None).unwrap();
        let repository = Repository::new(location, Password::new("secret").unwrap());
        repository.create().unwrap();
        let (opened, _, lock) = repository.open(Use::Shared, &Cancel::default()).unwrap();
        let snapshots = (0..COUNT).map(|number| {
            let generation = Generation {
                last: number + 10,
                run_id: format!("{number:032x}"),
                ..Generation::sample()
            };
            let time = jiff::Timestamp::from_millisecond(number * HOUR).unwrap();
            let mut snapshot = SnapshotOptions::default()
                .host(generation.source.clone())
                .time(time.to_zoned(jiff::tz::TimeZone::UTC))
                .to_snapshot()
                .unwrap();
            for tag in generation.tags() {
                snapshot.tags.add(tag);
            }
            snapshot
        });
        opened.save_snapshots(snapshots.collect()).unwrap();
        drop((opened, lock));
        let start = Instant::now();
        let found = repository.generations(&Cancel::default()).unwrap();
        let took = start.elapsed();
        let lasts: Vec<i64> = found.iter().map(|found| found.last).collect();
        assert_eq!(lasts, (10..10 + COUNT).collect::<Vec<_>>());
        println!("{COUNT} generations in {took:?}");
        // an optimized build on a quiet machine takes less than a second
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
