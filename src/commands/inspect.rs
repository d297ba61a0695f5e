//! `inspect`: what is this directory?

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use indicatif::HumanBytes;

use crate::{
    args::request::Output,
    output::{calendar::utc, report, streams::printable},
};
use neo4j_backup_core::{
    inspect::{
        DirectoryKind, Inspection, VerificationSummary, inspect, logs::LogSummary, start::FirstStart,
        stores::StoreSummary,
    },
    manifest::{Run, State, VerificationResult, VerifiedBy},
    verify::traces::Opened,
};

/// Runs of a chain that are shown; the JSON object has all.
const RUNS: usize = 5;

/// What is inspected.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Directory of a backup or database
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Inspects and reports.
pub(crate) fn run(wanted: &InspectArgs, output: Output) -> ExitCode {
    report::command("inspect", &inspect(&wanted.dir), output, text, |_| 0)
}

fn text(found: &Inspection) -> String {
    let mut rows = vec![("kind", kind(found))];
    let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    row(
        "store id",
        found.store_id.as_ref().map(|id| match found.created {
            Some(created) => format!("{id}, created {}", utc(created)),
            None => id.clone(),
        }),
    );
    row("format", found.store_format.map(str::to_owned));
    row("opened by", found.releases.clone());
    for last in &found.last_transactions {
        let committed = last.committed.map(|time| format!(", committed {}", utc(time)));
        let text = format!("{} of {}{}", last.id, last.data_source, committed.unwrap_or_default());
        row("last", Some(text));
    }
    for store in &found.stores {
        row("store", Some(store_line(store)));
    }
    for index in &found.indexes {
        let provider = index.provider.as_deref().unwrap_or("not configured");
        let what = index.index_type.as_deref().unwrap_or("of no type");
        let bytes = index
            .bytes
            .map_or("no files yet".to_owned(), |bytes| HumanBytes(bytes).to_string());
        row(
            "index",
            Some(format!("{} {:?}: {provider}, {what}, {bytes}", index.kind, index.name)),
        );
    }
    for logs in &found.logs {
        row("logs", log_line(logs));
    }
    let hidden = found.chain.len().saturating_sub(RUNS);
    if hidden > 0 {
        row("run", Some(format!("{hidden} earlier ones")));
    }
    for run in found.chain.iter().skip(hidden) {
        row("run", Some(run_line(run)));
    }
    for verification in &found.verifications {
        row("verified", Some(verification_line(verification)));
    }
    row("neo4j", Some(neo4j(found).to_owned()));
    for (name, line) in first_start_rows(&found.first_start) {
        row(name, Some(line));
    }
    for problem in &found.problems {
        row("problem", Some(problem.clone()));
    }
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<10}{}", printable(&value));
    }
    text
}

fn kind(found: &Inspection) -> String {
    let finished = found
        .finished
        .or(found.adopted)
        .and_then(|time| i64::try_from(time).ok());
    let when = finished
        .map(|time| format!(", as of {}", utc(time)))
        .unwrap_or_default();
    match (found.kind, found.state) {
        (DirectoryKind::Backup | DirectoryKind::Adopted, Some(State::Receiving)) => {
            "a full backup that did not end: of no use".to_owned()
        }
        (DirectoryKind::Backup | DirectoryKind::Adopted, Some(State::Updating)) => {
            "a backup whose last update did not end: run it again".to_owned()
        }
        (DirectoryKind::Backup, _) => format!("a backup of this tool{when}"),
        (DirectoryKind::Adopted, _) => format!("taken over from another tool{when}"),
        (DirectoryKind::Database, _) => "no manifest: a backup of another tool, or a database".to_owned(),
        (DirectoryKind::Unknown, _) => "its manifest cannot be read".to_owned(),
    }
}

fn store_line(store: &StoreSummary) -> String {
    let mut line = store.name.to_owned();
    match (store.bytes, store.records) {
        (Some(bytes), Some(records)) => {
            let _ = write!(line, ": {}, room for {records} records", HumanBytes(bytes));
        }
        (Some(bytes), None) => {
            let _ = write!(line, ": {}", HumanBytes(bytes));
        }
        (None, _) => line.push_str(": missing or unreadable"),
    }
    if store.bytes.is_some() && !store.is_clean() {
        line.push_str(", not closed");
    }
    line
}

fn log_line(logs: &LogSummary) -> Option<String> {
    let (first, last) = logs.versions?;
    let covered = match logs.transactions {
        Some((first, last)) => format!("transactions {first} to {last}"),
        None => "transactions unknown".to_owned(),
    };
    let gaps = match logs.gaps {
        0 => String::new(),
        gaps => format!("; {gaps} are missing among those before"),
    };
    let bytes = HumanBytes(logs.archived_bytes);
    Some(format!(
        "{}: {} kept, {bytes}; versions {first} to {last}, {covered}{gaps}",
        logs.data_source, logs.archived
    ))
}

/// What the first start will do, as rows of a report.
pub(super) fn first_start_rows(start: &FirstStart) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    for (name, lines) in [
        ("refused", &start.refused),
        ("start", &start.work),
        ("later", &start.later),
    ] {
        rows.extend(lines.iter().map(|line| (name, line.clone())));
    }
    if start.refused.is_empty() && start.work.is_empty() {
        rows.push(("start", "nothing to do before it serves".to_owned()));
    }
    rows
}

fn run_line(run: &Run) -> String {
    let mode = run.mode.name();
    let when = i64::try_from(run.started).map(utc).unwrap_or_default();
    format!(
        "{when}, {mode}, {} transactions, {} from {} ({})",
        run.transactions,
        HumanBytes(run.bytes),
        run.member,
        run.dialect
    )
}

fn verification_line(summary: &VerificationSummary) -> String {
    let verification = &summary.verification;
    let by = match verification.by {
        VerifiedBy::Verify => "verify",
        VerifiedBy::Backup => "the check of a backup",
        VerifiedBy::Drill => "a drill",
    };
    let result = match verification.result {
        VerificationResult::Intact => "intact",
        VerificationResult::Consistent => "consistent",
        VerificationResult::ChangedByNeo4j => "changed by Neo4j, no damage",
        VerificationResult::InterruptedUpdate => "interrupted update, no damage",
        VerificationResult::Damaged => "DAMAGED",
        VerificationResult::Inconsistent => "INCONSISTENT",
    };
    let when = i64::try_from(verification.finished).map(utc).unwrap_or_default();
    let mut line = format!("{when}, by {by}: {result}");
    if let Some(bytes) = verification.bytes {
        let _ = write!(line, "; {} compared with their checksums", HumanBytes(bytes));
    }
    if let Some(records) = verification.records {
        let _ = write!(line, "; {records} records checked");
    }
    if let Some((first, last)) = summary.transactions_after {
        let _ = write!(line, "; transactions {first} to {last} came after it");
    }
    line
}

fn neo4j(found: &Inspection) -> &'static str {
    match (found.in_use, found.opened) {
        (true, _) => "another process has it open now",
        (false, None) => "unknown whether Neo4j has opened it since the backup",
        (false, Some(Opened::No)) => "not opened since the backup",
        (false, Some(Opened::Closed)) => "opened since the backup, and closed",
        (false, Some(Opened::NotClosed)) => "opened since the backup, and not closed",
        (false, Some(Opened::Contradictory)) => "contradictory traces of a start; run verify for details",
    }
}
