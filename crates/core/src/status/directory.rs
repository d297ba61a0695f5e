//! The state of a target directory.

use std::path::Path;

use super::{LastVerification, TargetStatus};
use crate::{
    Error,
    inspect::logs,
    journal::{Journal, JournalEntry, RecordedTransaction, RunKind, Time},
    manifest::{Manifest, State},
    target::free_space,
};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, TxId},
};

pub(super) fn find(dir: &Path) -> Result<TargetStatus, Error> {
    let journal = Journal::of(dir)?;
    let mut found = TargetStatus::new(dir.display().to_string());
    let entries = journal.entries().unwrap_or_else(|error| {
        found.problems.push(error.to_string());
        Vec::new()
    });
    let newest = |kind| entries.iter().rfind(move |entry: &&JournalEntry| entry.command == kind);
    found.last_run = newest(RunKind::Backup).cloned();
    found.last_drill_run = newest(RunKind::Drill).cloned();
    let drills = entries.iter().filter(|entry| entry.command == RunKind::Drill);
    found.last_drill = drills.filter(|drill| drill.is_good()).map(ended).max();
    found.source = found.last_run.as_ref().and_then(|run| run.source.clone());
    found.running = journal.running()?;
    found.free_bytes = Some(free_space::free(journal.parent())?);
    match journal.target() {
        Ok(target) => backup(&mut found, &target, &entries),
        Err(_) if found.running.is_some() => {}
        Err(error) => found.defects.push(format!("no backup: {error}")),
    }
    Ok(found)
}

/// What the backup itself says.
fn backup(found: &mut TargetStatus, dir: &DirHandle, entries: &[JournalEntry]) {
    let manifest = match Manifest::read(dir) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            return found
                .defects
                .push("the directory is not a backup: it has no manifest".to_owned());
        }
        Err(error) => return found.defects.push(error.to_string()),
    };
    match manifest.state {
        State::Complete => {}
        State::Updating if found.running.is_some() => {}
        State::Updating => found
            .defects
            .push("the last update did not end: run it again".to_owned()),
        State::Receiving => return found.defects.push("a full backup did not end".to_owned()),
    }
    if let Some(damage) = manifest.known_damage() {
        let by = damage.by.name();
        found.defects.push(format!("damaged: {by} found differences"));
    }
    found.last_good = last_good(&manifest, entries);
    let run = manifest.run_id().and_then(|id| of_run(entries, id));
    found.last_transactions = last_transactions(dir, &manifest, run);
    found.source = manifest
        .chain
        .last()
        .map(|run| run.source.clone())
        .or(found.source.take());
    let verification = manifest.last_verification();
    found.last_verification = verification.and_then(|verification| {
        Some(LastVerification {
            by: verification.by.name().to_owned(),
            finished: time(verification.finished)?,
            result: verification.result.name().to_owned(),
        })
    });
    found.stored_bytes = Some(manifest.stored_bytes());
    match free_space::taken(dir) {
        Ok(bytes) => found.needed_bytes = Some(bytes),
        Err(error) => found.problems.push(error.to_string()),
    }
}

/// When the backup was last good: when its last run ended, unless the journal knows that what that run made is not.
fn last_good(manifest: &Manifest, entries: &[JournalEntry]) -> Option<Time> {
    let finished = manifest.finished.or(manifest.adopted).and_then(time);
    let is_good = |entry: &JournalEntry| entry.verdict.as_deref() == Some("good");
    match manifest.run_id().and_then(|id| of_run(entries, id)) {
        Some(entry) if !is_good(entry) => {
            let of_chain = |entry: &&JournalEntry| manifest.chain.iter().any(|run| run.run_id == entry.run_id);
            let mut earlier = entries.iter().rev().filter(|entry| is_good(entry));
            earlier.find(of_chain).map(ended)
        }
        _ => finished,
    }
}

fn of_run<'a>(entries: &'a [JournalEntry], run_id: &str) -> Option<&'a JournalEntry> {
    let mut backups = entries.iter().rev().filter(|entry| entry.command == RunKind::Backup);
    backups.find(|entry| entry.run_id == run_id)
}

/// Newest transactions, with their times: the run noted them, or else a log has them.
fn last_transactions(dir: &DirHandle, manifest: &Manifest, run: Option<&JournalEntry>) -> Vec<RecordedTransaction> {
    let recorded = run.map(|run| run.last_transactions.as_slice()).unwrap_or_default();
    let last = manifest.last_transactions.iter().map(|last| {
        let mut recorded = recorded.iter();
        let recorded = recorded.find(|one| one.data_source == last.data_source && one.id == last.id);
        recorded.cloned().unwrap_or_else(|| {
            let source = DataSource::ALL
                .into_iter()
                .find(|source| source.name() == last.data_source);
            let committed = source.and_then(|source| logs::committed(dir, source, TxId(last.id)));
            RecordedTransaction {
                data_source: last.data_source.clone(),
                id: last.id,
                committed: committed.and_then(Time::of_milliseconds),
            }
        })
    });
    last.collect()
}

fn ended(entry: &JournalEntry) -> Time {
    Time(entry.finished())
}

fn time(milliseconds: u64) -> Option<Time> {
    Time::of_milliseconds(i64::try_from(milliseconds).ok()?)
}
