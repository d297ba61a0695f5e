//! Removing generations and freeing their space, alone in the repository.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Span, tz::TimeZone};
use rustic_core::{FileType, LimitOption, PruneOptions, repofile::SnapshotFile};
use serde::Serialize;

use super::{
    archive::UNFINISHED,
    engine::{self, Health, Opened, call},
    generation::Generation,
    generations,
    location::{Location, open_directory},
    retention::{KeepPolicy, Reason, decide},
};
use crate::{Error, target::durable};
use neo4j_format::{DiskError, directory::EntryKind};

/// What became of the generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ForgetOutcome {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// All generations and what was decided, each database's oldest first.
    pub generations: Vec<Forgotten>,
    /// Bytes that were freed, or would be.
    pub freed_bytes: u64,
}

/// What was decided of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// The generation.
    #[serde(flatten)]
    pub generation: Generation,
    /// Why it stays; empty if it goes.
    pub keep: BTreeSet<Reason>,
}

pub(super) fn forget(
    repository: &Opened,
    location: &Location,
    policy: KeepPolicy,
    dry_run: bool,
    health: &Health,
) -> Result<ForgetOutcome, Error> {
    let snapshots = call(health, location, || repository.get_all_snapshots())?;
    let mut databases: BTreeMap<String, Vec<Generation>> = BTreeMap::new();
    for generation in generations(&snapshots) {
        databases
            .entry(generation.store_id.clone())
            .or_default()
            .push(generation);
    }
    let mut decided = Vec::new();
    for of_database in databases.into_values() {
        let reasons = decide(&of_database, policy, &TimeZone::system());
        let both = of_database.into_iter().zip(reasons);
        decided.extend(both.map(|(generation, keep)| Forgotten { generation, keep }));
    }
    let kept: BTreeSet<&str> = decided
        .iter()
        .filter(|one| !one.keep.is_empty())
        .map(|one| one.generation.id.as_str())
        .collect();
    // also what a run that was killed left: a second snapshot of a generation, or one that was not finished
    let is_removed = |snapshot: &SnapshotFile| {
        if generations(std::slice::from_ref(snapshot)).is_empty() {
            return snapshot.tags.contains(UNFINISHED);
        }
        !kept.contains(snapshot.id.to_hex().to_string().as_str())
    };
    let ids: Vec<_> = snapshots
        .iter()
        .filter(|found| is_removed(found))
        .map(|found| found.id)
        .collect();
    // the lock is exclusive, so packs can be deleted at once instead of by a second prune
    let options = PruneOptions::default()
        .instant_delete(true)
        .keep_delete(Span::new())
        .keep_pack(Span::new())
        .max_unused(LimitOption::Percentage(5))
        .ignore_snaps(if dry_run { ids.clone() } else { Vec::new() });
    if !dry_run {
        remove_temporary_files(location)?;
        if !ids.is_empty() {
            call(health, location, || repository.delete_snapshots(&ids))?;
            engine::sync(location)?;
        }
    }
    let freed_bytes = call(health, location, || {
        let plan = repository.prune_plan(&options)?;
        let freed = plan.stats.size_sum().remove + plan.stats.size_sum().repackrm;
        if !dry_run {
            repository.prune(&options, plan)?;
        }
        Ok(freed)
    })?;
    if !dry_run {
        engine::sync(location)?;
    }
    Ok(ForgetOutcome {
        dry_run,
        generations: decided,
        freed_bytes,
    })
}

/// Removes what writes that were killed left behind.
fn remove_temporary_files(location: &Location) -> Result<(), Error> {
    // an object store has none: its writes are whole
    let Some(path) = location.directory() else {
        return Ok(());
    };
    let dir = open_directory(path).map_err(DiskError::at(path))?;
    let mut pending = Vec::new();
    for kind in [FileType::Pack, FileType::Index, FileType::Snapshot, FileType::Key] {
        match dir.folder(kind.dirname()) {
            Ok(folder) => pending.push(folder),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(DiskError::new(dir.join(kind.dirname()), error).into()),
        }
    }
    while let Some(folder) = pending.pop() {
        for entry in folder.entries().map_err(DiskError::at(folder.path()))? {
            match entry.status.kind() {
                EntryKind::Folder => {
                    let below = folder.folder(&entry.name);
                    pending.push(below.map_err(DiskError::at(folder.join(&entry.name)))?);
                }
                EntryKind::File if entry.name.to_string_lossy().ends_with("-tmp-") => {
                    durable::remove(&folder, &entry.name)?;
                }
                EntryKind::File | EntryKind::Other => {}
            }
        }
    }
    Ok(())
}
