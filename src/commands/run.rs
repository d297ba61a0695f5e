//! `run` and `jobs`: the jobs of a file.

use std::{fmt::Write as _, num::NonZeroUsize, process::ExitCode};

use clap::ValueEnum;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{
        definitions::switch,
        environment::nearest,
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
            let jobs = choose(&wanted.file, &wanted.names, wanted.all)?;
            Ok((
                jobs,
                Settings {
                    parallel,
                    loudness,
                    logs,
                },
            ))
        });
    match chosen {
        Ok((jobs, settings)) => reported("run", &jobs, settings, wanted.dry_run, output),
        Err(failure) => report::refused(&failure, output),
    }
}

/// Checks or lists jobs.
pub(crate) fn jobs(wanted: &JobsArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let jobs = match choose(&wanted.file, &wanted.names, wanted.names.is_empty()) {
        Ok(jobs) => jobs,
        Err(failure) => return report::refused(&failure, output),
    };
    match wanted.action {
        Action::Check => {
            let parallel = NonZeroUsize::MIN;
            reported(
                "jobs",
                &jobs,
                Settings {
                    parallel,
                    loudness,
                    logs,
                },
                true,
                output,
            )
        }
        Action::List => {
            let listed = Listed {
                jobs: jobs.iter().map(Row::of).collect(),
            };
            report::command("jobs", &Ok(listed), output, Listed::text, |_| 0)
        }
    }
}

fn reported(command: &'static str, jobs: &[Job], settings: Settings, dry_run: bool, output: Output) -> ExitCode {
    let result = signals::cancelling(ErrorKind::Failed, |cancel| {
        let ended = |job: &report::jobs::JobReport| job.print(output, settings.loudness);
        let reports = if dry_run {
            runner::preflight(jobs, settings, cancel, ended)
        } else {
            runner::run(jobs, settings, cancel, ended)
        };
        Ok(JobsReport::new(reports, dry_run))
    });
    let text = |report: &JobsReport| match settings.loudness {
        Verbosity::Normal => report.summary(),
        Verbosity::Quiet => String::new(),
    };
    report::command(command, &result, output, text, JobsReport::exit_code)
}

/// The jobs of the file that are meant, in the order of the names or else of the file.
fn choose(file: &JobsFileArgs, names: &[String], all: bool) -> Result<Vec<Job>, Failure> {
    let usage = |text: &str, hint: &str| Error::new(ErrorKind::Usage, text.to_owned()).with_hint(hint);
    match (all, names) {
        (true, [_, ..]) => return Err(usage("either names of jobs or -all", "leave one of them out").into()),
        (false, []) => return Err(usage("no job is named", "name jobs, or run all with -all").into()),
        _ => {}
    }
    let path = file.path();
    let mut found = file::read(&path)?;
    if all {
        return Ok(found);
    }
    let known: Vec<String> = found.iter().map(|job| job.name.clone()).collect();
    let mut chosen = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if names.iter().take(place).any(|earlier| earlier == name) {
            continue;
        }
        let Some(index) = found.iter().position(|job| job.name == *name) else {
            let text = format!("{}: no job {name:?}", path.display());
            let hint = format!("a job of a similar name exists: {}", nearest(name, &known));
            return Err(usage(&text, &hint).into());
        };
        chosen.push(found.swap_remove(index));
    }
    Ok(chosen)
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
