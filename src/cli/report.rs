//! How a run ended: text for people or one JSON object, and the exit code. The only place that prints errors.
//!
//! Standard error is the same in both formats, so that a log always shows what went wrong; the format decides only
//! what standard output gets.

use std::{collections::BTreeMap, error, fmt::Write as _, process::ExitCode, time::Duration};

use indicatif::HumanBytes;
use serde::Serialize;

use super::{
    check,
    job::{Done, Members},
    output::{printable, to_stderr, to_stdout},
    request::{BackupRequest, Mode, Output},
    terminal::{Loudness, Record},
};
use crate::{
    Error,
    transfer::{BackupOutcome, Checked, HistoryProof, TakenMode, Verdict},
};

/// Counted up whenever a field of the JSON object changes its meaning or goes away; new fields may come at any time.
const SCHEMA_VERSION: u32 = 1;

/// A run that has ended.
pub(super) struct Report<'a> {
    pub(super) request: &'a BackupRequest,
    pub(super) record: Record,
    pub(super) done: Done,
}

/// An error with the lines that show where in the arguments it is.
pub(super) struct Failure {
    error: Error,
    marked: Option<String>,
}

impl Failure {
    /// The error, with lines as [`super::output::marked`] makes them.
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
    members: Option<&'a Members>,
    seconds: BTreeMap<&'static str, f64>,
    warnings: &'a [String],
    error: Option<JsonError>,
}

/// How a command that takes no backup ended, as one object.
#[derive(Serialize)]
struct JsonCommand<'a, T> {
    schema_version: u32,
    version: &'static str,
    exit_code: u8,
    command: &'static str,
    result: Option<&'a T>,
    error: Option<JsonError>,
}

/// Something that a command finds before it ends, as a line of its own.
#[derive(Serialize)]
struct JsonFinding<'a, T> {
    schema_version: u32,
    command: &'static str,
    finding: &'a T,
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
        match &self.done.result {
            Ok(outcome) => {
                if let Some(warning) = verdict_warning(outcome.verdict) {
                    to_stderr(&format!("warning: {warning}\n"));
                }
                to_stderr(&check_lines(outcome.check.as_ref()));
            }
            Err(error) => to_stderr(&error_text(error, None)),
        }
        match (output, &self.done.result) {
            (Output::Json, _) => to_stdout(&to_line(&self.json())),
            (Output::Text, Ok(outcome)) if loudness == Loudness::Normal => to_stdout(&self.text(outcome)),
            (Output::Text, _) => {}
        }
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match &self.done.result {
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
            result: self.done.result.as_ref().ok(),
            members: self.done.members.as_ref(),
            seconds: phases
                .chain([total])
                .map(|(name, time)| (name, to_milliseconds(time)))
                .collect(),
            warnings: &self.record.warnings,
            error: self.done.result.as_ref().err().map(JsonError::new),
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
        let served = self.done.members.as_ref().and_then(|members| members.served);
        let served = served.map_or(String::new(), |member| {
            format!("{} ({}) at ", member.id, member.role.name())
        });
        let member = format!("{served}{}, {} ({})", outcome.member, outcome.releases, outcome.dialect);
        let rows = [
            ("mode", Some(taken.to_owned())),
            ("member", Some(member)),
            ("store id", Some(outcome.store_id.to_string())),
            ("received", Some(received)),
            ("last", Some(last.join(", "))),
            ("history", history),
            ("index log", index_log),
            ("kept logs", logs),
            ("check", outcome.check.as_ref().map(check_summary)),
            ("seconds", Some(self.seconds())),
            ("target", Some(outcome.target.to_string_lossy().into_owned())),
        ];
        let rows = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut text = String::new();
        for (name, value) in rows.chain(self.others()) {
            let _ = writeln!(text, "  {name:<10}{}", printable(&value));
        }
        text.push_str("Done\n");
        text
    }

    /// Members that did not give the backup, each with the reason.
    fn others(&self) -> Vec<(&'static str, String)> {
        let Some(members) = &self.done.members else {
            return Vec::new();
        };
        let failed = members.failed.iter().map(|attempt| ("failed", attempt.to_string()));
        let passed_over = members.passed_over.iter().map(|member| {
            let text = format!("member {} ({}): {}", member.id, member.role.name(), member.reason);
            ("not asked", text)
        });
        failed.chain(passed_over).collect()
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

/// Reports how a command that takes no backup ended: `text` shows its result to people, `exit_code` judges it.
pub(super) fn command<T: Serialize>(
    command: &'static str,
    result: &Result<T, Error>,
    output: Output,
    text: impl FnOnce(&T) -> String,
    exit_code: impl FnOnce(&T) -> u8,
) -> ExitCode {
    let exit_code = match result {
        Ok(result) => exit_code(result),
        Err(error) => {
            to_stderr(&error_text(error, None));
            error.kind().exit_code()
        }
    };
    match (output, result) {
        (Output::Json, _) => to_stdout(&to_line(&JsonCommand {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            exit_code,
            command,
            result: result.as_ref().ok(),
            error: result.as_ref().err().map(JsonError::new),
        })),
        (Output::Text, Ok(result)) => to_stdout(&text(result)),
        (Output::Text, Err(_)) => {}
    }
    ExitCode::from(exit_code)
}

/// Tells of a finding at once; [`command`] ends what began like this.
pub(super) fn finding<T: Serialize>(command: &'static str, finding: &T) {
    to_stdout(&to_line(&JsonFinding {
        schema_version: SCHEMA_VERSION,
        command,
        finding,
    }));
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
            members: None,
            seconds: BTreeMap::new(),
            warnings: &[],
            error: Some(JsonError::new(&failure.error)),
        }));
    }
    ExitCode::from(exit_code)
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

/// What the check found, on standard error, since it matters to quiet runs as well.
fn check_lines(check: Option<&Checked>) -> String {
    match check {
        Some(Checked::Report(report)) => check::findings(report),
        Some(Checked::NotRun { not_run }) => format!("  caused by: {}\n", printable(not_run)),
        None => String::new(),
    }
}

fn check_summary(check: &Checked) -> String {
    match check {
        Checked::Report(report) if report.is_whole => check::summary(report),
        Checked::Report(report) => format!("{} in what changed", check::summary(report)),
        Checked::NotRun { .. } => "could not run".to_owned(),
    }
}

fn verdict_warning(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Good => None,
        Verdict::NotChecked => Some("the backup is complete, but the consistency check could not run"),
        Verdict::Inconsistent => Some("the backup is complete, but the consistency check found inconsistencies"),
        Verdict::IndexesMissing => Some("the backup is complete but for indexes that the server did not give"),
        Verdict::SourceDemoted => Some(
            "the backup is complete, but its source lost the master role meanwhile: the cluster may lose its last transactions",
        ),
    }
}

/// Enough digits for any use, and few enough to read.
fn to_milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn to_line(report: &impl Serialize) -> String {
    match serde_json::to_string(report) {
        Ok(json) => json + "\n",
        // Only a map with keys that are no text, or a number that is none, could do this.
        Err(error) => format!("{{\"schema_version\":{SCHEMA_VERSION},\"error\":{{\"message\":\"{error}\"}}}}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use serde_json::json;

    use super::*;
    use crate::{
        ErrorKind,
        cli::cluster::{ClusterArgs, ClusterRequest},
        cli::request::{Existing, Fallback, History, Verify},
        ids::{DataSource, StoreId, TxId},
        uri::Source,
    };

    fn request(mode: Mode) -> BackupRequest {
        BackupRequest {
            mode,
            source: Source::parse("db").unwrap(),
            cluster: ClusterRequest::from_args(&ClusterArgs::default()).unwrap(),
            from: "single://db".into(),
            target: "/b".into(),
            verify: Verify::On,
            existing: Existing::Refuse,
            fallback: Fallback::Stop,
            history: History::Reported,
            keep: None,
            timeout: None,
            silence_timeout: None,
            max_rate: NonZeroU64::new(1),
            max_growth: None,
        }
    }

    fn outcome() -> BackupOutcome {
        BackupOutcome {
            mode: TakenMode::Incremental,
            member: "db:6362".into(),
            dialect: "D18".into(),
            releases: "Neo4j 1.8".into(),
            target: "/b".into(),
            store_id: StoreId {
                creation_time: 1_352_000_000_000,
                random: -7,
                store_version: None,
            },
            last_transactions: [(DataSource::Graph, TxId(12)), (DataSource::Lucene, TxId(3))].into(),
            files: 34,
            bytes: 3 << 20,
            transactions: 10,
            history: HistoryProof::NotProven,
            pending_index_log_bytes: 2048,
            history_log_bytes: 0,
            check: None,
            verdict: Verdict::Good,
        }
    }

    fn record() -> Record {
        Record {
            total: Duration::from_micros(1_234_567),
            phases: [("receiving", Duration::from_secs(1))].into(),
            warnings: vec!["slow".into()],
        }
    }

    fn report(request: &BackupRequest, result: Result<BackupOutcome, Error>) -> Report<'_> {
        Report {
            request,
            record: record(),
            done: result.into(),
        }
    }

    #[test]
    fn a_good_backup_is_one_object() {
        let request = request(Mode::Auto);
        let json = to_line(&report(&request, Ok(outcome())).json());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            json!({
                "schema_version": 1,
                "version": env!("CARGO_PKG_VERSION"),
                "exit_code": 0,
                "mode": "auto",
                "source": "single://db",
                "target": "/b",
                "result": {
                    "mode": "incremental",
                    "member": "db:6362",
                    "dialect": "D18",
                    "releases": "Neo4j 1.8",
                    "target": "/b",
                    "store_id": "1352000000000--7",
                    "last_transactions": {"nioneodb": 12, "lucene-index": 3},
                    "files": 34,
                    "bytes": 3_145_728,
                    "transactions": 10,
                    "history": "not-proven",
                    "check": null,
                    "pending_index_log_bytes": 2048,
                    "history_log_bytes": 0,
                    "verdict": "good",
                },
                "members": null,
                "seconds": {"receiving": 1.0, "total": 1.235},
                "warnings": ["slow"],
                "error": null,
            })
        );
    }

    #[test]
    fn a_good_backup_is_a_few_lines_that_end_with_done() {
        let request = request(Mode::Full);
        let text = report(&request, Ok(outcome())).text(&outcome());
        let expected = [
            "  mode      incremental",
            "  member    db:6362, Neo4j 1.8 (D18)",
            "  store id  1352000000000--7",
            "  received  34 files, 10 transactions, 3.00 MiB",
            "  last      nioneodb 12, lucene-index 3",
            "  history   not proven",
            "  index log 2.00 KiB wait for the server's first start",
            "  seconds   1.23 (receiving 1.00)",
            "  target    /b",
            "Done",
            "",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn the_first_line_is_the_one_of_the_original() {
        let line = |mode| start_line(&request(mode));
        assert_eq!(line(Mode::Full), "Performing full backup from 'single://db'\n");
        assert_eq!(
            line(Mode::Incremental),
            "Performing incremental backup from 'single://db'\n"
        );
        assert_eq!(line(Mode::Auto), "Performing backup from 'single://db'\n");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("db:6362 closed\nthe connection")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_shows_causes_and_hint_one_line_each() {
        let cause = std::io::Error::other("reset\u{1b}[2J");
        let error = Error::new(ErrorKind::Unreachable, Outer(cause)).with_hint("try again");
        assert_eq!(
            error_text(&error, None),
            "error: db:6362 closed the connection\n  caused by: reset[2J\nhint: try again\n"
        );
        let json = serde_json::to_value(JsonError::new(&error)).unwrap();
        assert_eq!(
            json,
            json!({
                "kind": "unreachable",
                "message": "db:6362 closed the connection",
                "causes": ["reset[2J"],
                "hint": "try again",
            })
        );
    }

    #[test]
    fn a_verdict_below_good_has_its_own_exit_code_and_a_warning() {
        let request = request(Mode::Full);
        for (verdict, code) in [
            (Verdict::Good, 0),
            (Verdict::NotChecked, 2),
            (Verdict::Inconsistent, 3),
            (Verdict::IndexesMissing, 3),
            (Verdict::SourceDemoted, 4),
        ] {
            let report = report(&request, Ok(BackupOutcome { verdict, ..outcome() }));
            assert_eq!(report.exit_code(), code);
            assert_eq!(verdict_warning(verdict).is_none(), verdict == Verdict::Good);
        }
    }
}
