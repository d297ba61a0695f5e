//! `run` and `jobs`: the jobs of a file.

use std::{fmt::Write as _, num::NonZeroUsize, process::ExitCode};

use clap::ValueEnum;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{
        definitions::switch,
        jobs::JobsFileArgs,
        request::{Output, RequestError, given},
    },
    jobs::{
        Job, file,
        runner::{self, Settings},
    },
    output::{
        report::{self, Failure, jobs::JobsReport},
        signals,
        streams::printable,
        terminal::Verbosity,
    },
};
use neo4j_backup_core::{Error, ErrorKind};

/// Which jobs are run.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Names of jobs
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Run all jobs of the file
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_ALL", value_parser = switch)]
    all: bool,

    /// Run so many jobs at the same time [default: 1]
    #[arg(long, value_name = "N", hide_env = true, env = "NEO4J_BACKUP_PARALLEL")]
    parallel: Option<String>,

    /// Show what would be done and whether it can succeed; write nothing
    ///
    /// As -dry-run of a backup. Starts no hook.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_DRY_RUN", value_parser = switch)]
    dry_run: bool,

    #[command(flatten)]
    file: JobsFileArgs,
}

/// What is done with a jobs file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Try every source, target and repository
    Check,
    /// List the jobs
    List,
}

/// What is done with which jobs.
#[derive(Debug, clap::Args)]
pub(crate) struct JobsArgs {
    /// What to do: check or list
    #[arg(value_name = "ACTION")]
    action: Action,

    /// Only these jobs [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    file: JobsFileArgs,
}

#[derive(Debug, Serialize)]
struct Listed {
    jobs: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    job: String,
    mode: &'static str,
    source: String,
    target: String,
    repository: Option<String>,
    hooks: Vec<&'static str>,
}

/// Runs jobs.
pub(crate) fn run(wanted: &RunArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let chosen = parallel(wanted.parallel.as_deref())
        .map_err(Failure::from)
        .and_then(|parallel| {
            let jobs = file::choose(&wanted.file.path(), &wanted.names, wanted.all)?;
            let settings = Settings {
                parallel,
                dry_run: wanted.dry_run,
                loudness,
                logs,
            };
            Ok((jobs, settings))
        });
    match chosen {
        Ok((jobs, settings)) => reported("run", &jobs, settings, output),
        Err(failure) => report::refused(&failure, output),
    }
}

/// Checks or lists jobs.
pub(crate) fn jobs(wanted: &JobsArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let jobs = match file::choose(&wanted.file.path(), &wanted.names, wanted.names.is_empty()) {
        Ok(jobs) => jobs,
        Err(failure) => return report::refused(&failure, output),
    };
    match wanted.action {
        Action::Check => {
            let settings = Settings {
                parallel: NonZeroUsize::MIN,
                dry_run: true,
                loudness,
                logs,
            };
            reported("jobs", &jobs, settings, output)
        }
        Action::List => {
            let listed = Listed {
                jobs: jobs.iter().map(Row::of).collect(),
            };
            report::command("jobs", &Ok(listed), output, Listed::text, |_| 0)
        }
    }
}

fn reported(command: &'static str, jobs: &[Job], settings: Settings, output: Output) -> ExitCode {
    let result = signals::cancelling(ErrorKind::Failed, |cancel| {
        let ended = |job: &report::jobs::JobReport| job.print(output, settings.loudness);
        let reports = runner::run(jobs, settings, cancel, ended);
        Ok(JobsReport::new(reports, settings.dry_run))
    });
    let text = |report: &JobsReport| match settings.loudness {
        Verbosity::Normal => report.summary(),
        Verbosity::Quiet => String::new(),
    };
    report::command(command, &result, output, text, JobsReport::exit_code)
}

fn parallel(text: Option<&str>) -> Result<NonZeroUsize, Error> {
    let Some(text) = given(text) else {
        return Ok(NonZeroUsize::MIN);
    };
    let wrong = || RequestError::Word {
        option: "parallel",
        text: text.to_owned(),
        expected: "a number of jobs is expected",
    };
    text.parse().map_err(|_| wrong().into())
}

impl Row {
    fn of(job: &Job) -> Row {
        let request = job.described();
        Row {
            job: job.name.clone(),
            mode: request.mode.name(),
            source: request.from.clone(),
            target: request.target.to_string_lossy().into_owned(),
            repository: job.repository(),
            hooks: job.hooks.events(),
        }
    }
}

impl Listed {
    fn text(&self) -> String {
        let width = self.jobs.iter().map(|row| row.job.len()).max().unwrap_or_default();
        let mut text = String::new();
        for row in &self.jobs {
            let repository = row
                .repository
                .as_deref()
                .map_or(String::new(), |name| format!(", archived in {name}"));
            let line = format!(
                "{:<width$}  {} of {} to {}{repository}",
                row.job, row.mode, row.source, row.target
            );
            let _ = writeln!(text, "{}", printable(&line));
        }
        text
    }
}
