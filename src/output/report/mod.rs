//! How a run ended: text for people or one JSON object, and the exit code. The only place that prints errors.
//!
//! Standard error is the same in both formats, so that a log always shows what went wrong; the format decides only
//! what standard output gets.

mod backup;
pub(crate) mod jobs;
mod json;
mod preflight;

use std::{collections::BTreeMap, error, fmt::Write as _, process::ExitCode};

use serde::Serialize;

use self::json::{JsonCommand, JsonError, JsonFinding, JsonReport, SCHEMA_VERSION, to_line, to_milliseconds};
use super::{
    calendar::rfc3339,
    hint, log,
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
};

/// A run that has ended, or a dry run.
pub(crate) struct Report<'a, T> {
    pub(crate) request: &'a BackupRequest,
    pub(crate) record: RunRecord,
    pub(crate) result: Result<T, BackupFailure>,
}

/// What a run ends with if it succeeds.
pub(crate) trait Outcome: Serialize {
    /// Whether nothing was written.
    const IS_DRY_RUN: bool;
    /// The process exit code.
    fn exit_code(&self) -> u8;
    /// Who was asked.
    fn members(&self) -> Option<&AskedMembers>;
    /// Warnings and hints for standard error.
    fn remarks(&self) -> String;
    /// Its rows, for people.
    fn rows(&self, record: &RunRecord) -> Vec<(&'static str, Option<String>)>;
}

/// An error with the lines that show where in the arguments it is.
pub(crate) struct Failure {
    error: Error,
    marked: Option<String>,
}

impl Failure {
    /// The error alone.
    pub(crate) fn error(&self) -> &Error {
        &self.error
    }

    /// The error, with lines as [`super::streams::marked`] makes them.
    pub(crate) fn marked(error: Error, marked: String) -> Failure {
        Failure {
            error,
            marked: Some(marked),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, marked: None }
    }
}

impl<T: Outcome> Report<'_, T> {
    /// Prints the result, and the error if it is one.
    pub(crate) fn print(&self, output: Output, loudness: Verbosity) -> ExitCode {
        to_stderr(&self.remarks());
        match output {
            Output::Json => to_stdout(&to_line(&self.json())),
            Output::Text if loudness == Verbosity::Normal => to_stdout(&self.text()),
            Output::Text => {}
        }
        log::finished("backup", self.exit_code());
        ExitCode::from(self.exit_code())
    }

    /// The error, or what there is to say of a backup that has a result.
    fn remarks(&self) -> String {
        match &self.result {
            Ok(outcome) => outcome.remarks(),
            Err(failure) => error_text(&failure.error, None),
        }
    }

    /// The exit code of the backup.
    pub(crate) fn exit_code(&self) -> u8 {
        match &self.result {
            Ok(outcome) => outcome.exit_code(),
            Err(failure) => failure.error.kind().exit_code(),
        }
    }

    fn members(&self) -> Option<&AskedMembers> {
        match &self.result {
            Ok(outcome) => outcome.members(),
            Err(failure) => failure.members.as_deref(),
        }
    }

    fn json(&self) -> JsonReport<'_, T> {
        let total = ("total", self.record.total);
        let phases = self.record.phases.iter().map(|(name, time)| (*name, *time));
        JsonReport {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            exit_code: self.exit_code(),
            dry_run: T::IS_DRY_RUN,
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

    /// The result for people; a failure has none.
    fn text(&self) -> String {
        let Ok(outcome) = &self.result else {
            return String::new();
        };
        let rows = outcome.rows(&self.record).into_iter();
        let rows = rows.filter_map(|(name, value)| Some((name, value?)));
        let mut text = String::new();
        for (name, value) in rows.chain(self.others()) {
            let _ = writeln!(text, "  {name:<10}{}", printable(&value));
        }
        text.push_str(if T::IS_DRY_RUN {
            "Nothing was written\n"
        } else {
            "Done\n"
        });
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
}

/// The line the original begins with, which scripts may look for; newer originals leave out the mode they choose.
pub(crate) fn start_line(request: &BackupRequest, is_dry_run: bool) -> String {
    let mode = match request.mode {
        Mode::Auto => String::new(),
        mode => format!("{} ", mode.name()),
    };
    let what = if is_dry_run { "Dry run of" } else { "Performing" };
    format!("{what} {mode}backup from '{}'\n", request.from)
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
    log::finished(command, exit_code);
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
        to_stdout(&to_line(&JsonReport::<()> {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            exit_code,
            dry_run: false,
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

/// What the check found, on standard error, since it matters to quiet runs as well.
pub(crate) fn check_lines(check: Option<&Checked>) -> String {
    match check {
        Some(Checked::Report(report)) => check::findings(report),
        Some(Checked::NotRun { not_run }) => format!("  caused by: {}\n", printable(not_run)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
