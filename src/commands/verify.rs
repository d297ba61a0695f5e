//! `verify`: are these the bytes that were written?

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use indicatif::HumanBytes;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{definitions::switch, request::Output},
    output::{
        metrics::MetricsArgs,
        report, signals,
        streams::printable,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    ErrorKind, Status, adopt, verify,
    verify::{Cause, FileFinding, VerifyOutcome, VerifyVerdict},
};

/// What is verified.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Directory of the backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Write checksums for a directory that has none
    ///
    /// For a backup of another tool or a plain database. Later changes can then be detected; earlier damage cannot.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_ADOPT", value_parser = switch)]
    adopt: bool,

    #[command(flatten)]
    metrics: MetricsArgs,
}

/// Verifies, or takes over, and reports what was found.
pub(crate) fn run(wanted: &VerifyArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    let result = signals::cancelling(ErrorKind::Failed, |cancel| {
        if wanted.adopt {
            let manifest = adopt(&wanted.dir, &terminal, cancel)?;
            Ok(VerifyOutcome::adopted(&manifest))
        } else {
            verify(&wanted.dir, &terminal, cancel)
        }
    });
    terminal.finish();
    let text = |outcome: &VerifyOutcome| match loudness {
        Verbosity::Normal => text(outcome),
        Verbosity::Quiet => String::new(),
    };
    let code = report::command("verify", &result, output, text, |outcome| outcome.verdict.exit_code());
    wanted.metrics.write("", &Status::of_directory(&wanted.dir));
    code
}

fn text(outcome: &VerifyOutcome) -> String {
    let mut text = String::new();
    for finding in &outcome.findings {
        let _ = writeln!(text, "{}", printable(&line(finding)));
    }
    for note in &outcome.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
    let (files, bytes) = (outcome.files, HumanBytes(outcome.bytes));
    let of = |cause| outcome.findings.iter().filter(|finding| finding.cause == cause).count();
    let unchecked = match outcome.unchecked_bytes {
        0 => String::new(),
        bytes => format!("; {} have no checksum that can be read", HumanBytes(bytes)),
    };
    let verdict = match outcome.verdict {
        VerifyVerdict::Intact => "Intact".to_owned(),
        VerifyVerdict::ChangedByNeo4j => format!(
            "Changed since the backup by Neo4j, no damage: {} files differ",
            of(Cause::Neo4j)
        ),
        VerifyVerdict::InterruptedUpdate => {
            "Interrupted update, no damage: run the incremental backup again".to_owned()
        }
        VerifyVerdict::Damaged => format!("Damaged: {} files", of(Cause::Damage) + of(Cause::Checksums)),
    };
    let _ = writeln!(text, "{verdict}; {files} files, {bytes} in the manifest{unchecked}");
    text
}

/// One finding: what, where, and why where that is known.
fn line(finding: &FileFinding) -> String {
    let mut line = match finding.cause {
        Cause::Neo4j => format!("changed by Neo4j: {} ({})", finding.path, finding.problem.change()),
        Cause::Update => format!("interrupted update: {} ({})", finding.path, finding.problem.change()),
        Cause::Damage | Cause::Checksums => format!("{}: {}", finding.problem.name(), finding.path),
    };
    if let (Some(expected), Some(found)) = (finding.expected_length, finding.found_length)
        && expected != found
    {
        let _ = write!(line, ", {found} bytes instead of {expected}");
    }
    if !finding.ranges.is_empty() {
        let ranges = finding.ranges.iter().take(RANGES);
        let ranges: Vec<String> = ranges.map(|range| format!("{}-{}", range.start, range.end)).collect();
        let _ = write!(line, ", bytes {}", ranges.join(" "));
        if finding.ranges.len() > RANGES {
            let _ = write!(line, " and more, {} together", finding.bytes);
        }
    }
    if let Some(error) = &finding.error {
        let _ = write!(line, " ({error})");
    }
    if finding.cause == Cause::Checksums {
        line.push_str(" [or its checksums, which are damaged]");
    }
    line
}

/// Ranges of one file that are shown; the JSON object has more.
const RANGES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use neo4j_backup_core::verify::{FileProblem, finding::ByteRange};

    #[test]
    fn a_line_says_what_and_where() {
        let mut finding = FileFinding::whole("neostore", FileProblem::Truncated, Some(100), Some(60));
        finding.ranges = vec![ByteRange { start: 60, end: 100 }];
        assert_eq!(
            line(&finding),
            "truncated: neostore, 60 bytes instead of 100, bytes 60-100"
        );
        finding.ranges = (0..10).map(|i| ByteRange { start: i, end: i }).collect();
        finding.bytes = 77;
        assert!(line(&finding).ends_with(" 7-7 and more, 77 together"));
        let mut missing = FileFinding::whole("index.db", FileProblem::Missing, Some(100), None);
        missing.cause = Cause::Neo4j;
        assert_eq!(line(&missing), "changed by Neo4j: index.db (missing)");
        let mut changed = FileFinding::whole("neostore", FileProblem::Damaged, Some(100), Some(100));
        changed.cause = Cause::Neo4j;
        assert_eq!(line(&changed), "changed by Neo4j: neostore (other content)");
    }
}
