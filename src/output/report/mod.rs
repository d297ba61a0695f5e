//! How a run ended: text for people or one JSON object, and the exit code. The only place that prints errors.
//!
//! Standard error is the same in both formats, so that a log always shows what went wrong; the format decides only
//! what standard output gets.

mod json;

use std::{collections::BTreeMap, error, fmt::Write as _, process::ExitCode, time::Duration};

use indicatif::HumanBytes;
use serde::Serialize;

use self::json::{JsonCommand, JsonError, JsonFinding, JsonReport, SCHEMA_VERSION, to_line, to_milliseconds};
use super::{
    calendar::rfc3339,
    hint,
    streams::{printable, to_stderr, to_stdout},
    terminal::{RunRecord, Verbosity},
};
use crate::{
    args::request::{BackupRequest, Output},
    commands::check,
};
use neo4j_backup_core::{
    Error, Mode,
    backup::{AskedMembers, BackupFailure},
    consistency::Checked,
    manifest::BackupKind,
    outcome::{BackupOutcome, HistoryProof, Verdict},
    repository::Archived,
};

/// A run that has ended.
pub(crate) struct Report<'a> {
    pub(crate) request: &'a BackupRequest,
    pub(crate) record: RunRecord,
    pub(crate) result: Result<BackupOutcome, BackupFailure>,
}

/// An error with the lines that show where in the arguments it is.
pub(crate) struct Failure {
    error: Error,
    marked: Option<String>,
}

impl Failure {
    /// The error, with lines as [`super::streams::marked`] makes them.
    pub(crate) fn marked(error: Error, marked: String) -> Failure {
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

impl Report<'_> {
    /// Prints the result, and the error if it is one.
    pub(crate) fn print(&self, output: Output, loudness: Verbosity) -> ExitCode {
        match &self.result {
            Ok(outcome) => {
                if let Some(warning) = verdict_warning(outcome.verdict) {
                    to_stderr(&format!("warning: {warning}\n"));
                }
                to_stderr(&check_lines(outcome.check.as_ref()));
                if outcome.history == HistoryProof::NotProven {
                    to_stderr("hint: -require-history refuses backups whose history cannot be proven\n");
                }
                if let Some(Archived::Failed { hint: Some(hint), .. }) = &outcome.archive {
                    to_stderr(&format!("hint: {}\n", printable(hint)));
                }
                if outcome.verdict == Verdict::Inconsistent {
                    to_stderr(&format!("hint: {INCONSISTENT_HINT}\n"));
                }
            }
            Err(failure) => to_stderr(&error_text(&failure.error, None)),
        }
        match (output, &self.result) {
            (Output::Json, _) => to_stdout(&to_line(&self.json())),
            (Output::Text, Ok(outcome)) if loudness == Verbosity::Normal => to_stdout(&self.text(outcome)),
            (Output::Text, _) => {}
        }
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match &self.result {
            Ok(outcome) => outcome.exit_code(),
            Err(failure) => failure.error.kind().exit_code(),
        }
    }

    fn members(&self) -> Option<&AskedMembers> {
        match &self.result {
            Ok(outcome) => outcome.members.as_ref(),
            Err(failure) => failure.members.as_deref(),
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
            members: self.members(),
            started: Some(rfc3339(self.record.started)),
            finished: Some(rfc3339(self.record.finished())),
            duration_seconds: Some(to_milliseconds(self.record.total)),
            seconds: phases
                .chain([total])
                .map(|(name, time)| (name, to_milliseconds(time)))
                .collect(),
            warnings: &self.record.warnings,
            error: self.result.as_ref().err().map(|failure| JsonError::new(&failure.error)),
        }
    }

    fn text(&self, outcome: &BackupOutcome) -> String {
        let taken = match outcome.mode {
            BackupKind::Full => "full",
            BackupKind::Incremental => "incremental",
        };
        let last: Vec<String> = outcome
            .last_transactions
            .iter()
            .map(|(source, id)| format!("{source} {id}"))
            .collect();
        let behind = outcome.behind_master.filter(|behind| *behind > 0);
        let behind = behind.map(|count| format!("{} behind the master", counted(count, "transaction")));
        let history = match outcome.history {
            HistoryProof::NotNeeded => None,
            HistoryProof::Proven => Some("verified: the source continues this backup".to_owned()),
            HistoryProof::Unchanged => Some("verified when the last transaction arrived: nothing is new".to_owned()),
            HistoryProof::NotProven => Some("not verified: nothing to compare with".to_owned()),
        };
        let index_log = (outcome.pending_index_log_bytes > 0).then(|| {
            format!(
                "{}, applied at the first start of Neo4j",
                HumanBytes(outcome.pending_index_log_bytes)
            )
        });
        let logs = (outcome.history_log_bytes > 0).then(|| HumanBytes(outcome.history_log_bytes).to_string());
        let received = format!(
            "{}, {}, {}",
            counted(outcome.files, "file"),
            counted(outcome.transactions, "transaction"),
            HumanBytes(outcome.bytes)
        );
        let stored = match outcome.mode {
            BackupKind::Full if outcome.stored_bytes < outcome.bytes => {
                format!(
                    "{}, without the unused space of store files",
                    HumanBytes(outcome.stored_bytes)
                )
            }
            _ => HumanBytes(outcome.stored_bytes).to_string(),
        };
        let served = self.members().and_then(|members| members.served);
        let served = served.map_or(String::new(), |member| {
            format!("{} ({}) at ", member.id, member.role.name())
        });
        let member = format!("{served}{}, {} ({})", outcome.member, outcome.releases, outcome.dialect);
        let rows = [
            ("mode", Some(taken.to_owned())),
            ("member", Some(member)),
            ("store id", Some(outcome.store_id.to_string())),
            ("received", Some(received)),
            ("stored", Some(stored)),
            ("last", Some(last.join(", "))),
            ("behind", behind),
            ("history", history),
            ("pending", index_log),
            ("archived", logs),
            ("check", outcome.check.as_ref().map(check_summary)),
            ("seconds", self.seconds()),
            ("target", Some(outcome.target.to_string_lossy().into_owned())),
            ("snapshot", outcome.archive.as_ref().map(snapshot)),
            (
                "forgotten",
                (outcome.forgotten > 0).then(|| counted(outcome.forgotten, "generation")),
            ),
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
        let Some(members) = self.members() else {
            return Vec::new();
        };
        let failed = members.failed.iter().map(|attempt| ("failed", attempt.to_string()));
        let skipped = members.skipped.iter().map(|member| {
            let text = format!("member {} ({}): {}", member.id, member.role.name(), member.reason);
            ("skipped", text)
        });
        failed.chain(skipped).collect()
    }

    /// Total and phases; `None` if all of them round to zero.
    fn seconds(&self) -> Option<String> {
        let shown = |time: Duration| (time.as_millis() >= 5).then(|| format!("{:.2}", time.as_secs_f64()));
        let total = shown(self.record.total)?;
        let phases: Vec<String> = (self.record.phases.iter())
            .filter_map(|(name, time)| Some(format!("{name} {}", shown(*time)?)))
            .collect();
        Some(match phases.as_slice() {
            [] => total,
            phases => format!("{total} ({})", phases.join(", ")),
        })
    }
}

/// The line the original begins with, which scripts may look for; newer originals leave out the mode they choose.
pub(crate) fn start_line(request: &BackupRequest) -> String {
    let mode = match request.mode {
        Mode::Auto => String::new(),
        mode => format!("{} ", mode.name()),
    };
    format!("Performing {mode}backup from '{}'\n", request.from)
}

/// Reports how a command that takes no backup ended: `text` shows its result to people, `exit_code` judges it.
pub(crate) fn command<T: Serialize>(
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
pub(crate) fn finding<T: Serialize>(command: &'static str, finding: &T) {
    to_stdout(&to_line(&JsonFinding {
        schema_version: SCHEMA_VERSION,
        command,
        finding,
    }));
}

/// Reports arguments that make no request.
pub(crate) fn refused(failure: &Failure, output: Output) -> ExitCode {
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
            started: None,
            finished: None,
            duration_seconds: None,
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
    if let Some(hint) = hint::of(error) {
        let _ = writeln!(text, "hint: {}", printable(&hint));
    }
    text
}

/// The chain of causes, without those whose text the error or an earlier cause repeats.
fn causes(error: &Error) -> Vec<String> {
    let mut told = vec![printable(&error.to_string())];
    for cause in std::iter::successors(error::Error::source(error), |cause| cause.source()) {
        let text = printable(&cause.to_string());
        if !told.iter().any(|earlier| earlier.contains(&text)) {
            told.push(text);
        }
    }
    told.split_off(1)
}

/// `1 file`, `2 files`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// What became of the backup in the repository.
fn snapshot(archived: &Archived) -> String {
    match archived {
        Archived::New { snapshot, added_bytes } => {
            let id = snapshot.get(..8).unwrap_or(snapshot);
            format!("{id}, {} added", HumanBytes(*added_bytes))
        }
        Archived::Unchanged => "nothing new since the last generation".to_owned(),
        Archived::Refused => "not archived, because the check found inconsistencies".to_owned(),
        Archived::Failed { reason, .. } => format!("failed, the next backup tries again: {reason}"),
    }
}

/// What the check found, on standard error, since it matters to quiet runs as well.
pub(crate) fn check_lines(check: Option<&Checked>) -> String {
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

/// What to do about a copy that is inconsistent although it was received whole and every transaction was applied: servers
/// write store files wrongly at times, and write them again for the next full backup (`docs/formats/wire-protocol.md` §9.4).
const INCONSISTENT_HINT: &str = "take another full backup into a directory of its own: what it does not show was written wrongly by \
     the server only this once (known of 1.3 - 1.8 with use_memory_mapped_buffers=false), what it shows again is in the \
     server's database too";

fn verdict_warning(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Good => None,
        Verdict::NotChecked => Some("the backup is complete, but the consistency check could not run"),
        Verdict::Inconsistent => Some("the backup is complete, but the consistency check found inconsistencies"),
        Verdict::IndexesMissing => Some("the backup is complete except for indexes that the server did not send"),
        Verdict::SourceDemoted => Some(
            "the backup is complete, but its source lost the master role during the backup: the cluster may discard the last \
             transactions in it",
        ),
    }
}

#[cfg(test)]
mod tests;
