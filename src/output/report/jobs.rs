//! How jobs ended.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::{
    Outcome, Report, counted,
    json::{SCHEMA_VERSION, to_line},
    start_line,
};
use crate::{
    args::request::{BackupRequest, Output},
    jobs::hooks::{Event, HookRun},
    output::{
        streams::{printable, to_stderr, to_stdout},
        terminal::Verbosity,
    },
};
use neo4j_backup_core::error::EXIT_STATUSES;

/// What a hook finds on its standard input.
#[derive(Serialize)]
struct HookDocument<'a> {
    schema_version: u32,
    version: &'static str,
    event: Event,
    job: &'a str,
    mode: &'static str,
    source: &'a str,
    target: String,
    /// Of the backup; `None` before it.
    exit_code: Option<u8>,
    report: Option<Value>,
}

/// What the hook before a backup is told.
pub(crate) fn announcement(job: &str, request: &BackupRequest) -> Vec<u8> {
    document(Event::Before, job, request, None, None)
}

/// What the hook after a backup is told.
pub(crate) fn hook_document<T: Outcome>(event: Event, job: &str, report: &Report<'_, T>) -> Vec<u8> {
    document(
        event,
        job,
        report.request,
        Some(report.exit_code()),
        Some(value(report)),
    )
}

fn document(event: Event, job: &str, request: &BackupRequest, exit_code: Option<u8>, report: Option<Value>) -> Vec<u8> {
    to_line(&HookDocument {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        event,
        job,
        mode: request.mode.name(),
        source: &request.from,
        target: request.target.to_string_lossy().into_owned(),
        exit_code,
        report,
    })
    .into_bytes()
}

/// The document of a backup.
fn value<T: Outcome>(report: &Report<'_, T>) -> Value {
    // text, numbers and maps with text as keys are always JSON
    serde_json::to_value(report.json()).unwrap_or_default()
}

/// How a job ended.
#[derive(Debug, Serialize)]
pub(crate) struct JobReport {
    job: String,
    exit_code: u8,
    report: Value,
    hooks: Vec<HookRun>,
    /// For standard error and standard output.
    #[serde(skip)]
    remarks: String,
    #[serde(skip)]
    text: String,
}

impl JobReport {
    pub(crate) fn new<T: Outcome>(job: &str, report: &Report<'_, T>, hooks: Vec<HookRun>) -> JobReport {
        let mut remarks = labelled(&report.remarks(), job);
        for failure in hooks.iter().filter_map(HookRun::failure) {
            let _ = writeln!(remarks, "warning: {job}: {}", printable(&failure));
        }
        let text = format!(
            "Job {job}: {}{}",
            start_line(report.request, T::IS_DRY_RUN),
            report.text()
        );
        JobReport {
            job: job.to_owned(),
            exit_code: report.exit_code(),
            report: value(report),
            hooks,
            remarks,
            text,
        }
    }

    /// The exit code of its backup.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Prints it as soon as it has ended; JSON follows when all have.
    pub(crate) fn print(&self, output: Output, loudness: Verbosity) {
        to_stderr(&self.remarks);
        if output == Output::Text && loudness == Verbosity::Normal {
            to_stdout(&self.text);
        }
    }

    #[cfg(test)]
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap()
    }
}

/// The lines of a report with the job that they are about.
fn labelled(text: &str, job: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let parts = ["error: ", "warning: "].map(|word| line.strip_prefix(word).map(|rest| (word, rest)));
        match parts.into_iter().flatten().next() {
            Some((word, rest)) => format!("{word}{job}: {rest}"),
            None => line.to_owned(),
        }
    });
    lines.collect()
}

/// How all of them ended.
#[derive(Debug, Serialize)]
pub(crate) struct JobsReport {
    dry_run: bool,
    jobs: Vec<JobReport>,
}

impl JobsReport {
    pub(crate) fn new(jobs: Vec<JobReport>, dry_run: bool) -> JobsReport {
        JobsReport { dry_run, jobs }
    }

    /// The worst exit code of all.
    pub(crate) fn exit_code(&self) -> u8 {
        let codes = self.jobs.iter().map(JobReport::exit_code);
        codes.max_by_key(|code| severity(*code)).unwrap_or_default()
    }

    /// One line for each job, if there are several.
    pub(crate) fn summary(&self) -> String {
        if self.jobs.len() < 2 {
            return String::new();
        }
        let width = self.jobs.iter().map(|job| job.job.len()).max().unwrap_or_default();
        let mut text = format!("{}\n", counted(self.jobs.len() as u64, "job"));
        for JobReport { job, exit_code, .. } in &self.jobs {
            let status = EXIT_STATUSES.iter().find(|status| status.code == *exit_code);
            let name = status.map_or("", |status| status.name);
            let _ = writeln!(text, "  {job:<width$}  {exit_code:>3}  {name}");
        }
        text
    }
}

/// Exit codes by how bad they are: 1, with which there is no backup, is worse than 2 to 5, with which there is one.
fn severity(code: u8) -> (bool, u8) {
    (!matches!(code, 0 | 2..=5), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_is_that_of_all() {
        let worst = |codes: &[u8]| {
            let jobs = codes.iter().map(|code| JobReport {
                job: "a".to_owned(),
                exit_code: *code,
                report: Value::Null,
                hooks: Vec::new(),
                remarks: String::new(),
                text: String::new(),
            });
            JobsReport::new(jobs.collect(), false).exit_code()
        };
        assert_eq!(worst(&[]), 0);
        assert_eq!(worst(&[0, 0]), 0);
        assert_eq!(worst(&[0, 2, 0]), 2);
        assert_eq!(worst(&[5, 3]), 5);
        assert_eq!(worst(&[1, 5]), 1);
        assert_eq!(worst(&[10, 1]), 10);
        assert_eq!(worst(&[18, 143, 10]), 143);
    }

    #[test]
    fn lines_name_the_job() {
        assert_eq!(
            labelled("error: no\n  caused by: x\nhint: do\nwarning: y\n", "a"),
            "error: a: no\n  caused by: x\nhint: do\nwarning: a: y\n"
        );
    }
}
