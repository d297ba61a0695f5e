//! What the first start of Neo4j on a directory will do (`docs/formats/store-format.md` §8).

use serde::Serialize;

use super::{
    bounded,
    logs::{Active, LogSummary},
    stores::{IdFile, Seal, StoreSummary},
};
use crate::verify::traces::ACTIVE_TX_LOG;
use neo4j_format::{DirHandle, ids::LogVersion};

/// What is to be expected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FirstStart {
    /// Why it will fail; empty where nothing is known to keep it from starting.
    pub refused: Vec<String>,
    /// What it does before it serves.
    pub work: Vec<String>,
    /// What does harm later.
    pub later: Vec<String>,
}

/// Foretells it. `log_version` is the one that the next log of the graph gets.
pub fn predict_first_start(
    dir: &DirHandle,
    stores: &[StoreSummary],
    logs: &[LogSummary],
    log_version: Option<LogVersion>,
) -> FirstStart {
    let mut start = FirstStart::default();
    let missing = stores.iter().filter(|store| store.bytes.is_none());
    let names: Vec<&str> = missing.map(|store| store.name).collect();
    if !names.is_empty() {
        start
            .refused
            .push(format!("a store file is missing: {}", names.join(", ")));
    }
    for store in stores {
        match store.seal {
            Some(Seal::Misaligned) => start
                .refused
                .push(format!("{}: its trailer does not follow a whole record", store.name)),
            Some(Seal::OtherFormat) => start
                .refused
                .push(format!("{}: has another format than neostore", store.name)),
            _ => {}
        }
        if store.id_file == Some(IdFile::TooLow) {
            start.later.push(format!(
                "{}.id has a high id that is too low: releases before 1.9 truncate the records beyond it",
                store.name
            ));
        }
    }
    for log in logs {
        replay(log, &mut start);
    }
    if let Some(reason) = transaction_manager(dir) {
        start.refused.push(reason);
    }
    let unclean: Vec<&str> = stores
        .iter()
        .filter(|store| store.bytes.is_some() && !store.is_clean())
        .map(|store| store.name)
        .collect();
    match unclean.len() {
        0 => {}
        10 => start
            .work
            .push("finds the end of all ten store files, which were not closed".to_owned()),
        _ => start.work.push(format!(
            "finds the end of files that were not closed: {}",
            unclean.join(", ")
        )),
    }
    let graph = logs.first();
    if let (Some(next), Some(newest)) = (log_version, graph.and_then(|log| log.newest))
        && newest >= next
    {
        start.later.push(format!(
            "the next log of the graph will be version {next}, but version {newest} already exists: 1.5 and 1.6 fail at shutdown"
        ));
    }
    start
}

fn replay(log: &LogSummary, start: &mut FirstStart) {
    match &log.active {
        Active::Nothing => {}
        Active::Broken(reason) => start.refused.push(reason.clone()),
        Active::Pending(pending) => {
            let count = pending
                .header
                .zip(pending.last)
                .map(|(header, last)| last.id.0.saturating_sub(header.previous_last_tx.0));
            let transactions = match count {
                Some(1) => "1 transaction".to_owned(),
                Some(count) => format!("up to {count} transactions"),
                None => "transactions".to_owned(),
            };
            start.work.push(format!(
                "replays {transactions} of {} from {} ({} bytes)",
                log.data_source, pending.path, pending.bytes
            ));
        }
    }
}

/// Why the transaction manager's files keep Neo4j from starting (`docs/formats/transaction-log.md` §11.1).
fn transaction_manager(dir: &DirHandle) -> Option<String> {
    let there = |name: &str| dir.has(name);
    match bounded::whole(dir, ACTIVE_TX_LOG, 4096) {
        Ok(None) => ["tm_tx_log.1", "tm_tx_log.2"]
            .into_iter()
            .find(|name| there(name))
            .map(|name| format!("{name} exists, but {ACTIVE_TX_LOG} is missing")),
        Ok(Some(bytes)) => match std::str::from_utf8(&bytes) {
            Ok(name @ ("tm_tx_log.1" | "tm_tx_log.2")) if there(name) => None,
            Ok(name @ ("tm_tx_log.1" | "tm_tx_log.2")) => {
                Some(format!("{ACTIVE_TX_LOG} names {name}, which is missing"))
            }
            _ => Some(format!(
                "{ACTIVE_TX_LOG} does not name a log of the transaction manager"
            )),
        },
        Err(error) => Some(format!("{ACTIVE_TX_LOG}: {error}")),
    }
}
