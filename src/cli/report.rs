//! How a run ended: text for people or one JSON object, and the exit code. The only place that prints errors.
//!
//! Standard error is the same in both formats, so that a log always shows what went wrong; the format decides only
//! what standard output gets.

use std::{
    collections::BTreeMap,
    error,
    fmt::Write as _,
    io::{self, Write as _},
    ops::Range,
    process::ExitCode,
    time::Duration,
};

use indicatif::HumanBytes;
use serde::Serialize;

use super::{
    request::{BackupRequest, Mode, Output},
    terminal::{Loudness, Record},
};
use crate::{
    Error,
    transfer::{BackupOutcome, HistoryProof, TakenMode, Verdict},
};

/// Counted up whenever a field of the JSON object changes its meaning or goes away; new fields may come at any time.
const SCHEMA_VERSION: u32 = 1;

/// A run that has ended.
pub(super) struct Report<'a> {
    pub(super) request: &'a BackupRequest,
    pub(super) record: Record,
    pub(super) result: Result<BackupOutcome, Error>,
}

/// An error with the lines that show where in the arguments it is.
pub(super) struct Failure {
    error: Error,
    marked: Option<String>,
}

impl Failure {
    /// The error, with lines as [`marked`] makes them.
    pub(super) fn marked(error: Error, marked: String) -> Failure {
        Failure {
            error,
            marked: Some(marked),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, marked: None }
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    schema_version: u32,
    version: &'static str,
    exit_code: u8,
    mode: Option<&'static str>,
    source: Option<&'a str>,
    target: Option<String>,
    result: Option<&'a BackupOutcome>,
    seconds: BTreeMap<&'static str, f64>,
    warnings: &'a [String],
    error: Option<JsonError>,
}

#[derive(Serialize)]
struct JsonError {
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl JsonError {
    fn new(error: &Error) -> JsonError {
        JsonError {
            kind: error.kind().name(),
            message: printable(&error.to_string()),
            causes: causes(error),
            hint: error.hint().map(printable),
        }
    }
}

impl Report<'_> {
    /// Prints the result, and the error if it is one.
    pub(super) fn print(&self, output: Output, loudness: Loudness) -> ExitCode {
        match &self.result {
            Ok(outcome) => {
                if let Some(warning) = verdict_warning(outcome.verdict) {
                    to_stderr(&format!("warning: {warning}\n"));
                }
            }
            Err(error) => to_stderr(&error_text(error, None)),
        }
        match (output, &self.result) {
            (Output::Json, _) => to_stdout(&to_line(&self.json())),
            (Output::Text, Ok(outcome)) if loudness == Loudness::Normal => to_stdout(&self.text(outcome)),
            (Output::Text, _) => {}
        }
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match &self.result {
            Ok(outcome) => outcome.verdict.exit_code(),
            Err(error) => error.kind().exit_code(),
        }
    }

    fn json(&self) -> JsonReport<'_> {
        let total = ("total", self.record.total);
        let phases = self.record.phases.iter().map(|(name, time)| (*name, *time));
        JsonReport {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            exit_code: self.exit_code(),
            mode: Some(self.request.mode.name()),
            source: Some(&self.request.from),
            target: Some(self.request.target.to_string_lossy().into_owned()),
            result: self.result.as_ref().ok(),
            seconds: phases
                .chain([total])
                .map(|(name, time)| (name, milliseconds_exact(time)))
                .collect(),
            warnings: &self.record.warnings,
            error: self.result.as_ref().err().map(JsonError::new),
        }
    }

    fn text(&self, outcome: &BackupOutcome) -> String {
        let taken = match outcome.mode {
            TakenMode::Full => "full",
            TakenMode::Incremental => "incremental",
        };
        let last: Vec<String> = outcome
            .last_transactions
            .iter()
            .map(|(source, id)| format!("{source} {id}"))
            .collect();
        let history = match outcome.history {
            HistoryProof::NotNeeded => None,
            HistoryProof::Proven => Some("proven to be the same".to_owned()),
            HistoryProof::NotProven => Some("not proven".to_owned()),
        };
        let index_log = (outcome.pending_index_log_bytes > 0).then(|| {
            format!(
                "{} wait for the server's first start",
                HumanBytes(outcome.pending_index_log_bytes)
            )
        });
        let logs = (outcome.history_log_bytes > 0).then(|| HumanBytes(outcome.history_log_bytes).to_string());
        let received = format!(
            "{} files, {} transactions, {}",
            outcome.files,
            outcome.transactions,
            HumanBytes(outcome.bytes)
        );
        let member = format!("{}, Neo4j {} ({})", outcome.member, outcome.releases, outcome.dialect);
        let rows = [
            ("mode", Some(taken.to_owned())),
            ("member", Some(member)),
            ("store id", Some(outcome.store_id.to_string())),
            ("received", Some(received)),
            ("last", Some(last.join(", "))),
            ("history", history),
            ("index log", index_log),
            ("kept logs", logs),
            ("seconds", Some(self.seconds())),
            ("target", Some(outcome.target.to_string_lossy().into_owned())),
        ];
        let mut text = String::new();
        for (name, value) in rows {
            if let Some(value) = value {
                let _ = writeln!(text, "  {name:<10}{}", printable(&value));
            }
        }
        text.push_str("Done\n");
        text
    }

    fn seconds(&self) -> String {
        let phases: Vec<String> = self
            .record
            .phases
            .iter()
            .map(|(name, time)| format!("{name} {:.2}", time.as_secs_f64()))
            .collect();
        let total = self.record.total.as_secs_f64();
        if phases.is_empty() {
            format!("{total:.2}")
        } else {
            format!("{total:.2} ({})", phases.join(", "))
        }
    }
}

/// The line the original begins with, which scripts may look for; newer originals leave out the mode they choose.
pub(super) fn start_line(request: &BackupRequest) -> String {
    let mode = match request.mode {
        Mode::Auto => String::new(),
        mode => format!("{} ", mode.name()),
    };
    format!("Performing {mode}backup from '{}'\n", request.from)
}

/// Reports arguments that make no request.
pub(super) fn refused(failure: &Failure, output: Output) -> ExitCode {
    to_stderr(&error_text(&failure.error, failure.marked.as_deref()));
    let exit_code = failure.error.kind().exit_code();
    if output == Output::Json {
        to_stdout(&to_line(&JsonReport {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            exit_code,
            mode: None,
            source: None,
            target: None,
            result: None,
            seconds: BTreeMap::new(),
            warnings: &[],
            error: Some(JsonError::new(&failure.error)),
        }));
    }
    ExitCode::from(exit_code)
}

/// The URI with carets under `range`; one caret where something is missing.
pub(super) fn marked(uri: &str, range: &Range<usize>) -> String {
    let column = |end: usize| uri.get(..end).unwrap_or(uri).chars().count();
    let (start, end) = (column(range.start), column(range.end));
    let shown: String = uri
        .chars()
        .map(|one| if is_unprintable(one) { '?' } else { one })
        .collect();
    let carets = "^".repeat(end.saturating_sub(start).max(1));
    format!("  -from {shown}\n        {:start$}{carets}\n", "")
}

/// `text` as one line without control characters: it may come from a peer.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|one| if matches!(one, '\n' | '\t') { ' ' } else { one })
        .filter(|one| !is_unprintable(*one))
        .collect()
}

/// Control characters, and those that turn the direction of the text around.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes to standard output. Whoever stops reading it loses the text, not the backup.
pub(super) fn to_stdout(text: &str) {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            to_stderr(&format!("warning: cannot write to standard output: {error}\n"));
        }
        _ => {}
    }
}

/// Where standard error cannot be written to either, nobody is left to tell.
fn to_stderr(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn error_text(error: &Error, marked: Option<&str>) -> String {
    let mut text = format!("error: {}\n", printable(&error.to_string()));
    text.push_str(marked.unwrap_or_default());
    for cause in causes(error) {
        let _ = writeln!(text, "  caused by: {cause}");
    }
    if let Some(hint) = error.hint() {
        let _ = writeln!(text, "hint: {}", printable(hint));
    }
    text
}

fn causes(error: &Error) -> Vec<String> {
    std::iter::successors(error::Error::source(error), |cause| cause.source())
        .map(|cause| printable(&cause.to_string()))
        .collect()
}

fn verdict_warning(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Good => None,
        Verdict::NotChecked => Some("the backup is complete, but the consistency check could not run"),
        Verdict::Inconsistent => Some("the backup is complete, but the consistency check found inconsistencies"),
        Verdict::SourceDemoted => Some(
            "the backup is complete, but its source lost the master role meanwhile: the cluster may lose its last transactions",
        ),
    }
}

/// Enough digits for any use, and few enough to read.
fn milliseconds_exact(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn to_line(report: &JsonReport<'_>) -> String {
    match serde_json::to_string(report) {
        Ok(json) => json + "\n",
        // Only a map with keys that are no text, or a number that is none, could do this.
        Err(error) => format!("{{\"schema_version\":{SCHEMA_VERSION},\"error\":{{\"message\":\"{error}\"}}}}\n"),
    }
}
