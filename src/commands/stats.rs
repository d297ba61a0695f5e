//! `stats`: what does the graph consist of?

use std::{ffi::OsString, fmt::Write as _, process::ExitCode};

use indicatif::HumanBytes;
use tracing::level_filters::LevelFilter;

use super::export::damaged;
use crate::{
    args::request::Output,
    output::{
        report, signals,
        streams::printable,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    ErrorKind, Stats,
    outcome::Verdict,
    stats::{KeyStats, StatsOutcome, ValueStats},
};
use neo4j_format::width::to_usize;

/// Types and keys that are shown; the JSON object has all.
const SHOWN: usize = 40;

/// Columns of the longest bar.
const BAR: u64 = 40;

/// What is read.
#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// Directory of the backup or database
    #[arg(value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    dir: OsString,
}

/// Reads and reports.
pub(crate) fn run(wanted: &StatsArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    let result = signals::cancelling(ErrorKind::Failed, |cancel| {
        Stats::new(&wanted.dir).run(&terminal, cancel)
    });
    terminal.finish();
    report::command("stats", &result, output, text, |outcome| match outcome.damage.total {
        0 => 0,
        _ => Verdict::Inconsistent.exit_code(),
    })
}

fn text(outcome: &StatsOutcome) -> String {
    let mut text = damaged(&outcome.damage);
    let _ = writeln!(
        text,
        "store {}, transaction {}: {} nodes, {} relationships, {} properties, {} indexes",
        outcome.store_format,
        outcome.last_transaction,
        outcome.nodes,
        outcome.relationships,
        outcome.properties,
        outcome.indexes.len()
    );
    if !outcome.types.is_empty() {
        text.push_str("\nrelationship types\n");
    }
    for of in outcome.types.iter().take(SHOWN) {
        let loops = match of.loops {
            0 => String::new(),
            loops => format!(", {loops} of them from a node to itself"),
        };
        let _ = writeln!(text, "{:>12}  {}{loops}", of.count, printable(&of.name));
    }
    more(&mut text, outcome.types.len());
    if !outcome.keys.is_empty() {
        text.push_str("\nproperty keys       nodes  relationships\n");
    }
    for key in outcome.keys.iter().take(SHOWN) {
        let _ = write!(text, "{}", of_key(key));
    }
    more(&mut text, outcome.keys.len());
    degrees(&mut text, outcome);
    if !outcome.largest.is_empty() {
        text.push_str("\nlargest properties\n");
    }
    for large in &outcome.largest {
        let _ = writeln!(
            text,
            "{:>12}  {}, {:?}, {}",
            HumanBytes(large.bytes).to_string(),
            large.entity,
            printable(&large.key),
            large.of
        );
    }
    text
}

fn more(text: &mut String, count: usize) {
    if count > SHOWN {
        let _ = writeln!(text, "              and {} more", count - SHOWN);
    }
}

fn of_key(key: &KeyStats) -> String {
    let mut text = format!(
        "  {:<14}  {:>7}  {:>13}\n",
        printable(&key.name),
        key.nodes,
        key.relationships
    );
    for values in &key.types {
        let _ = writeln!(text, "      {} × {}{}", values.count, values.of, range(values));
    }
    text
}

/// The range of the values, if it says something.
fn range(values: &ValueStats) -> String {
    match (values.min, values.max, values.shortest, values.longest) {
        (Some(min), Some(max), ..) => format!(", {min} to {max}"),
        (_, _, Some(shortest), Some(longest)) => format!(", {shortest} to {longest} long"),
        _ => String::new(),
    }
}

fn degrees(text: &mut String, outcome: &StatsOutcome) {
    let ranges = &outcome.degrees.ranges;
    let most = ranges.iter().map(|range| range.nodes).max().unwrap_or_default().max(1);
    if !ranges.is_empty() {
        text.push_str("\nrelationships of a node   nodes\n");
    }
    for range in ranges {
        let relationships = if range.from == range.to {
            range.from.to_string()
        } else {
            format!("{} to {}", range.from, range.to)
        };
        let length = to_usize((range.nodes * BAR).div_ceil(most));
        let _ = writeln!(text, "{relationships:>18}  {:>11}  {}", range.nodes, "#".repeat(length));
    }
    if let Some(node) = outcome.degrees.max_node {
        let _ = writeln!(text, "node {node} has the most, {}", outcome.degrees.max);
    }
}
