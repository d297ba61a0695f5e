//! `diff`: what differs between two graphs?

use std::{ffi::OsString, fmt::Write as _, process::ExitCode};

use tracing::level_filters::LevelFilter;

use super::export::damaged;
use crate::{
    args::request::Output,
    output::{
        report, signals,
        streams::{printable, to_stdout},
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    Diff, ErrorKind,
    diff::{Change, Changes, DiffOutcome, DiffVerdict, Difference, Ends},
};

/// What is compared.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// Directory of a backup or database
    #[arg(value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    a: OsString,

    /// Directory to compare it with
    #[arg(value_name = "OTHER", value_parser = clap::value_parser!(OsString))]
    b: OsString,
}

/// Compares and reports; every difference on a line if `is_verbose`.
pub(crate) fn run(
    wanted: &DiffArgs,
    output: Output,
    is_verbose: bool,
    loudness: Verbosity,
    logs: LevelFilter,
) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    let result = signals::cancelling(ErrorKind::Failed, |cancel| {
        Diff::new(&wanted.a, &wanted.b).run(&terminal, cancel, |difference| match output {
            _ if !is_verbose => {}
            Output::Json => report::finding("diff", difference),
            Output::Text => to_stdout(&line(difference)),
        })
    });
    terminal.finish();
    let text = |outcome: &DiffOutcome| match loudness {
        Verbosity::Normal => text(outcome),
        Verbosity::Quiet => String::new(),
    };
    report::command("diff", &result, output, text, |outcome| outcome.verdict.exit_code())
}

/// A difference in one line, and its properties below.
fn line(difference: &Difference) -> String {
    let sign = match difference.change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
    };
    let mut text = format!("{sign} {}", difference.entity);
    if let Some([before, after]) = &difference.ends {
        let ends = |ends: &Ends| format!("({})-[{}]->({})", ends.start, printable(&ends.of), ends.end);
        let _ = write!(text, ": {} became {}", ends(before), ends(after));
    }
    text.push('\n');
    for property in &difference.properties {
        let value = |value: &Option<serde_json::Value>| match value {
            None => "nothing".to_owned(),
            Some(value) => printable(&value.to_string()),
        };
        let _ = writeln!(
            text,
            "    {}: {} became {}",
            printable(&property.key),
            value(&property.before),
            value(&property.after)
        );
    }
    text
}

fn text(outcome: &DiffOutcome) -> String {
    let mut text: String = outcome.damage.iter().map(damaged).collect();
    let row = |name: &str, changes: &Changes| {
        format!(
            "  {name:<14}{} added, {} removed, {} changed, {} equal\n",
            changes.added, changes.removed, changes.changed, changes.equal
        )
    };
    let [a, b] = outcome.last_transactions;
    let _ = writeln!(text, "  {:<14}{a} and {b}", "transactions");
    text.push_str(&row("nodes", &outcome.nodes));
    text.push_str(&row("relationships", &outcome.relationships));
    text.push_str(&row("properties", &outcome.properties));
    if outcome.is_graph_changed {
        text.push_str("  graph         its own properties changed\n");
    }
    text.push_str(match outcome.verdict {
        DiffVerdict::Equal => "Equal\n",
        DiffVerdict::Different => "Different\n",
        DiffVerdict::Damaged => "Equal, without damaged records\n",
    });
    text
}
