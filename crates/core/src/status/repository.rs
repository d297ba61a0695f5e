//! The state of a repository.

use super::{LastVerification, TargetStatus};
use crate::{
    Error,
    cancel::Cancel,
    journal::{Journal, JournalEntry, RecordedTransaction, RunKind, Time},
    repository::{Generation, Repository},
    target::free_space,
};
use neo4j_format::{DirHandle, DiskError, ids::DataSource};

pub(super) fn find(repository: &Repository, cancel: &Cancel) -> Result<TargetStatus, Error> {
    let generations = repository.generations(cancel)?;
    let mut found = TargetStatus::new(repository.location().to_string());
    let newest = generations.iter().max_by_key(|generation| generation.time);
    if let Some(newest) = newest {
        found.source = Some(newest.source.clone());
        found.last_transactions = last_transactions(newest);
        found.stored_bytes = Some(newest.bytes);
    }
    let good = generations.iter().filter(|generation| generation.is_good());
    found.last_good = good
        .max_by_key(|generation| generation.time)
        .and_then(|generation| Time::of_milliseconds(generation.time));
    let drilled = generations.iter().filter_map(|generation| generation.verified).max();
    found.last_drill = drilled.and_then(Time::of_milliseconds);
    found.last_verification = found.last_drill.map(|finished| LastVerification {
        by: "drill".to_owned(),
        finished,
        result: "intact".to_owned(),
    });
    if let Some(dir) = repository.location().directory() {
        let open = DirHandle::open(dir).map_err(DiskError::at(dir))?;
        found.free_bytes = Some(free_space::free(&open)?);
        match Journal::of(dir).and_then(|journal| journal.entries()) {
            Ok(entries) => {
                let mut entries = entries.into_iter();
                found.last_drill_run = entries.rfind(|entry: &JournalEntry| entry.command == RunKind::Drill);
            }
            Err(error) => found.problems.push(error.to_string()),
        }
    }
    Ok(found)
}

fn last_transactions(generation: &Generation) -> Vec<RecordedTransaction> {
    let graph = RecordedTransaction {
        data_source: DataSource::Graph.name().to_owned(),
        id: generation.last,
        committed: generation.committed.and_then(Time::of_milliseconds),
    };
    let index = generation.last_index.map(|id| RecordedTransaction {
        data_source: DataSource::Lucene.name().to_owned(),
        id,
        committed: None,
    });
    [Some(graph), index].into_iter().flatten().collect()
}
