//! `drill`: a restore for practice, with a server if one is named.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{
        definitions::REPOSITORY,
        quantity,
        repository::RepositoryArgs,
        request::{self, Output},
    },
    output::{
        metrics::MetricsArgs,
        report, signals,
        streams::{self, printable},
        terminal::{Terminal, Verbosity},
    },
    process_group::{self, Ended, signal},
};
use neo4j_backup_core::{
    Error, ErrorKind, Status,
    cancel::Cancel,
    drill::{Drill, DrillOutcome},
};

/// Tells the commands where the restored database is.
pub(crate) const DATA_VARIABLE: &str = "NEO4J_BACKUP_DRILL_DATA";

/// How long the probe may fail while the server starts, by default.
const START_LIMIT: Duration = Duration::from_mins(5);

/// How long a server may take to end before it is killed.
const END_LIMIT: Duration = Duration::from_mins(1);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What is restored for practice.
#[derive(Debug, clap::Args)]
pub(crate) struct DrillArgs {
    /// Directory of the backup; or use -repo
    #[arg(long, value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    from: Option<OsString>,

    /// Directory to restore below [default: the directory for temporary files]
    #[arg(long, value_name = "DIR", hide_env = true, env = "NEO4J_BACKUP_SCRATCH",
          value_parser = clap::value_parser!(OsString))]
    scratch: Option<OsString>,

    /// Restore a random generation, drawn with this number [default: the newest]
    #[arg(long, value_name = "N", help_heading = REPOSITORY, hide_env = true, env = "NEO4J_BACKUP_SEED")]
    seed: Option<String>,

    /// Start a server with this shell command, which keeps running: for example bin/neo4j console
    ///
    /// The environment variable `NEO4J_BACKUP_DRILL_DATA` has the directory of the restored database. The server is ended
    /// with SIGTERM after the probe.
    #[arg(long, value_name = "COMMAND", hide_env = true, env = "NEO4J_BACKUP_START")]
    start: Option<String>,

    /// Succeed only if this shell command does: it asks the server, or looks at the directory
    ///
    /// It is repeated while the server starts.
    #[arg(long, value_name = "COMMAND", hide_env = true, env = "NEO4J_BACKUP_PROBE")]
    probe: Option<String>,

    /// Let the server take this long to answer the probe [default: 5m]
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_PROBE_TIMEOUT")]
    probe_timeout: Option<String>,

    #[command(flatten)]
    repository: RepositoryArgs,

    #[command(flatten)]
    metrics: MetricsArgs,
}

/// Holds the drill and reports.
pub(crate) fn run(wanted: &DrillArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let result = drill(wanted).and_then(|(drill, limit)| {
        let terminal = Terminal::start(loudness, logs);
        let result = signals::cancelling(ErrorKind::Failed, |cancel| {
            let ask = |data: &Path, cancel: &Cancel| ask(wanted, limit, data, cancel);
            drill.run(ask, &terminal, cancel)
        });
        terminal.finish();
        result
    });
    if let Ok(outcome) = &result {
        streams::to_stderr(&report::check_lines(outcome.restored.check.as_ref()));
    }
    let text = |outcome: &DrillOutcome| match loudness {
        Verbosity::Normal => text(outcome),
        Verbosity::Quiet => String::new(),
    };
    let code = report::command("drill", &result, output, text, |outcome| outcome.verdict.exit_code());
    if let Some(target) = drilled(wanted) {
        wanted.metrics.write("", &target);
    }
    code
}

/// What is drilled, if it is named.
fn drilled(wanted: &DrillArgs) -> Option<Status> {
    match wanted.from.as_ref().filter(|from| !from.is_empty()) {
        Some(from) => Some(Status::of_directory(from)),
        None => Some(Status::of_repository(wanted.repository.required().ok()?)),
    }
}

fn drill(wanted: &DrillArgs) -> Result<(Drill, Duration), Error> {
    let given = |value: &Option<OsString>| value.clone().filter(|value| !value.is_empty()).map(PathBuf::from);
    let scratch = given(&wanted.scratch).unwrap_or_else(env::temp_dir);
    let mut drill = match given(&wanted.from) {
        Some(from) => Drill::of_directory(from, scratch),
        None => Drill::of_repository(wanted.repository.required()?, scratch),
    };
    if let Some(text) = wanted.seed.as_deref().filter(|text| !text.is_empty()) {
        let seed = text.parse().map_err(|_| {
            Error::new(
                ErrorKind::Usage,
                format!("invalid value {text:?} for -seed: a whole number is expected"),
            )
        })?;
        drill = drill.random(seed);
    }
    if wanted.start.is_some() && wanted.probe.is_none() {
        return Err(Error::new(ErrorKind::Usage, "-start needs -probe")
            .with_hint("a server that nobody asks proves nothing: give a command that asks it"));
    }
    let limit = request::quantity("probe-timeout", wanted.probe_timeout.as_deref(), quantity::time)?;
    Ok((drill, limit.unwrap_or(START_LIMIT)))
}

/// Starts the server, asks it, and ends it.
fn ask(wanted: &DrillArgs, limit: Duration, data: &Path, cancel: &Cancel) -> Result<(), Error> {
    let Some(probe) = wanted.probe.as_deref().filter(|probe| !probe.is_empty()) else {
        return Ok(());
    };
    let mut server = match &wanted.start {
        Some(start) => Some(Server(spawn(start, data)?)),
        None => None,
    };
    let started = Instant::now();
    loop {
        cancel.check()?;
        let probed = ended(spawn(probe, data)?, limit.saturating_sub(started.elapsed()), cancel)?;
        if probed.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let failed = |what: String| Err(Error::new(ErrorKind::Failed, what));
        match &mut server {
            None => return failed("the probe failed".to_owned()),
            Some(Server(child)) => {
                if let Ok(Some(status)) = child.try_wait() {
                    return failed(format!("the server ended before it answered: {status}"));
                }
            }
        }
        if started.elapsed() >= limit {
            return failed(format!("the probe did not succeed within {} s", limit.as_secs()));
        }
        thread::sleep(PAUSE);
    }
}

fn spawn(command: &str, data: &Path) -> Result<Child, Error> {
    Command::new("sh")
        .arg("-c")
        .arg(command)
        .env(DATA_VARIABLE, data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // with whatever it starts, so that all of it can be ended
        .process_group(0)
        .spawn()
        .map_err(|error| Error::new(ErrorKind::Failed, format!("cannot run {command:?}: {error}")))
}

/// How a command ended; `None` if it took too long and was killed.
fn ended(mut child: Child, limit: Duration, cancel: &Cancel) -> Result<Option<ExitStatus>, Error> {
    match process_group::wait(&mut child, limit, cancel) {
        Ok(Ended::Exited(status)) => Ok(Some(status)),
        Ok(Ended::TimedOut) => Ok(None),
        Ok(Ended::Cancelled(error)) => Err(error),
        Err(error) => Err(Error::new(ErrorKind::Failed, error)),
    }
}

/// A server that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let Server(child) = self;
        signal(child, Signal::TERM);
        let started = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if started.elapsed() >= END_LIMIT {
                signal(child, Signal::KILL);
                let _ = child.wait();
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

fn text(outcome: &DrillOutcome) -> String {
    let restored = &outcome.restored;
    let snapshot = restored
        .snapshot
        .as_ref()
        .map(|id| format!(":{}", id.get(..8).unwrap_or(id)));
    let last = restored
        .last_transactions
        .first()
        .map(|last| format!(", transaction {} of {}", last.id, last.data_source));
    let recorded = if outcome.recorded { ", recorded" } else { "" };
    format!(
        "Restored {}{}{} in {:.1} s, every byte verified{recorded}\n",
        printable(&restored.source),
        snapshot.unwrap_or_default(),
        last.unwrap_or_default(),
        outcome.seconds
    )
}
