//! `status`: is there a good and recent backup?

use std::{ffi::OsString, fmt::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use indicatif::HumanBytes;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{
        cluster::{self, ClusterArgs},
        definitions::switch,
        jobs::JobsFileArgs,
        quantity,
        repository::RepositoryArgs,
        request::{self, Output, given},
    },
    jobs::file,
    output::{
        calendar::utc,
        report::{self, Failure},
        signals,
        streams::{printable, to_stdout},
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    Error, ErrorKind, Status,
    cancel::Cancel,
    journal::{JournalEntry, Time},
    source::uri::Source,
    status::{Judgement, Level, TargetStatus, Thresholds},
};

/// The exit code of a plugin that could not find out.
const UNKNOWN: u8 = 3;

/// What is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Directories of backups; or use -job, -all or -repo
    #[arg(value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    dirs: Vec<OsString>,

    /// Warn if the last good backup is older: 26h, 90m, 2d [default: 26h]
    ///
    /// A number without a unit is in seconds.
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_WARN")]
    warn: Option<String>,

    /// Critical if the last good backup is older [default: 50h]
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_CRIT")]
    crit: Option<String>,

    /// Ask the source how far it is: that of the last run, or URI
    ///
    /// Without this option, no source is asked. A source that does not answer within 20 seconds is not a problem of the
    /// backup.
    #[arg(long, value_name = "URI", hide_env = true, env = "NEO4J_BACKUP_ASK",
          num_args = 0..=1, require_equals = true, default_missing_value = "recorded")]
    ask: Option<String>,

    /// Print one line with performance data for Nagios and its kin
    ///
    /// The exit code is 0 (ok), 1 (warning), 2 (critical) or 3 (unknown) then.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_NAGIOS", value_parser = switch)]
    nagios: bool,

    /// Look at this job of the jobs file; may be repeated
    #[arg(long, value_name = "NAME", hide_env = true, env = "NEO4J_BACKUP_JOB")]
    job: Vec<String>,

    /// Look at all jobs of the file
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_ALL", value_parser = switch)]
    all: bool,

    #[command(flatten)]
    file: JobsFileArgs,

    #[command(flatten)]
    repository: RepositoryArgs,

    #[command(flatten)]
    of_cluster: ClusterArgs,
}

/// Which source is asked.
enum Asked {
    Nobody,
    Recorded,
    This(Source),
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct StatusReport {
    level: Level,
    warning_seconds: u64,
    critical_seconds: u64,
    targets: Vec<Row>,
}

/// One target.
#[derive(Debug, Serialize)]
struct Row {
    /// The job of the jobs file.
    job: Option<String>,
    #[serde(flatten)]
    status: TargetStatus,
    #[serde(flatten)]
    judgement: Judgement,
    /// Age of the last good backup.
    age_seconds: Option<i64>,
}

/// A target, of this job if it is of one.
type Question = (Option<String>, Status);

/// Looks and reports.
pub(crate) fn run(wanted: &StatusArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let questions = match questions(wanted) {
        Ok(questions) => questions,
        Err(failure) if wanted.nagios => {
            to_stdout(&unknown(failure.error()));
            return ExitCode::from(UNKNOWN);
        }
        Err(failure) => return report::refused(&failure, output),
    };
    let terminal = Terminal::start(Verbosity::Quiet, logs);
    let result = signals::cancelling(ErrorKind::Failed, |cancel| find(wanted, questions, cancel));
    terminal.finish();
    if wanted.nagios {
        let (line, code) = plugin(&result);
        to_stdout(&line);
        return ExitCode::from(code);
    }
    let text = |report: &StatusReport| match loudness {
        Verbosity::Normal => report.text(),
        Verbosity::Quiet => String::new(),
    };
    report::command("status", &result, output, text, |report| report.level.exit_code())
}

/// The targets that are meant: directories, or else jobs, or else a repository.
fn questions(wanted: &StatusArgs) -> Result<Vec<Question>, Failure> {
    let dirs = wanted.dirs.iter().filter(|dir| !dir.is_empty());
    let dirs: Vec<Question> = dirs
        .map(|dir| (None, Status::of_directory(PathBuf::from(dir))))
        .collect();
    if !dirs.is_empty() {
        return Ok(dirs);
    }
    let names = wanted.job.iter().filter(|name| !name.is_empty());
    let names: Vec<String> = names.cloned().collect();
    if wanted.all || !names.is_empty() {
        let jobs = file::choose(&wanted.file.path(), &names, names.is_empty())?;
        return Ok(jobs
            .into_iter()
            .map(|job| (Some(job.name.clone()), job.status()))
            .collect());
    }
    match wanted.repository.named()? {
        Some(repository) => Ok(vec![(None, Status::of_repository(repository))]),
        None => Err(Error::new(
            ErrorKind::Usage,
            "name the directory of a backup, a job or a repository",
        )
        .with_hint("for example status /mnt/backup/neo4j, status -all, or status -repo /mnt/repo")
        .into()),
    }
}

fn find(wanted: &StatusArgs, questions: Vec<Question>, cancel: &Cancel) -> Result<StatusReport, Error> {
    let thresholds = thresholds(wanted)?;
    let asked = match given(wanted.ask.as_deref()) {
        None => Asked::Nobody,
        Some("recorded") => Asked::Recorded,
        Some(uri) => Asked::This(Source::parse(uri)?),
    };
    let cluster = cluster::options(&wanted.of_cluster)?;
    let rows = questions.into_iter().map(|(job, question)| {
        let question = question.cluster(cluster.clone());
        let question = match &asked {
            Asked::Nobody => question,
            Asked::Recorded => question.ask(),
            Asked::This(source) => question.ask_source(source.clone()),
        };
        let status = question.find(cancel)?;
        Ok(Row {
            job,
            judgement: status.judge(thresholds),
            age_seconds: status.last_good.map(|time| status.seconds_since(time)),
            status,
        })
    });
    let targets = rows.collect::<Result<Vec<Row>, Error>>()?;
    let levels = targets.iter().map(|row| row.judgement.level);
    Ok(StatusReport {
        level: levels.max().unwrap_or(Level::Ok),
        warning_seconds: thresholds.warning.as_secs(),
        critical_seconds: thresholds.critical.as_secs(),
        targets,
    })
}

fn thresholds(wanted: &StatusArgs) -> Result<Thresholds, Error> {
    let defaults = Thresholds::default();
    let warning = request::quantity("warn", wanted.warn.as_deref(), quantity::time)?;
    let critical = request::quantity("crit", wanted.crit.as_deref(), quantity::time)?;
    let thresholds = match (warning, critical) {
        (Some(warning), None) => Thresholds {
            warning,
            critical: defaults.critical.max(warning),
        },
        (None, Some(critical)) => Thresholds {
            warning: defaults.warning.min(critical),
            critical,
        },
        (Some(warning), Some(critical)) => Thresholds { warning, critical },
        (None, None) => defaults,
    };
    if thresholds.critical < thresholds.warning {
        return Err(Error::new(ErrorKind::Usage, "-crit is less than -warn")
            .with_hint("a backup becomes a warning first, and critical later"));
    }
    Ok(thresholds)
}

impl StatusReport {
    fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.targets {
            let (name, level) = (printable(&row.name()), row.judgement.level.name());
            let _ = writeln!(text, "{name}: {level}");
            for (name, value) in row.lines() {
                let _ = writeln!(text, "  {name:<10}{}", printable(&value));
            }
        }
        text
    }
}

impl Row {
    /// The job with its target, or the target.
    fn name(&self) -> String {
        match &self.job {
            Some(job) => format!("{job} ({})", self.status.target),
            None => self.status.target.clone(),
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let status = &self.status;
        let mut lines = Vec::new();
        let mut line = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
        for reason in &self.judgement.reasons {
            line("problem", Some(reason.clone()));
        }
        line(
            "good",
            Some(status.last_good.map_or("never".to_owned(), |time| when(status, time))),
        );
        for last in &status.last_transactions {
            let committed = last.committed.map(|time| format!(", committed {}", date(time)));
            let text = format!("{} of {}{}", last.id, last.data_source, committed.unwrap_or_default());
            line("last", Some(text));
        }
        let ahead = status.lag.as_ref().map(|lag| match (lag.transactions, &lag.error) {
            (Some(0), _) => ", nothing new".to_owned(),
            (Some(count), _) => format!(", {} ahead", report::counted(count, "transaction")),
            (None, error) => format!(", not known how far: {}", error.as_deref().unwrap_or_default()),
        });
        line(
            "source",
            status
                .source
                .as_ref()
                .map(|source| format!("{source}{}", ahead.unwrap_or_default())),
        );
        line("run", status.last_run.as_ref().map(|run| run_line(status, run)));
        let verification = status.last_verification.as_ref();
        let verified =
            verification.map(|found| format!("{}, {}: {}", when(status, found.finished), found.by, found.result));
        line("verified", Some(verified.unwrap_or("never".to_owned())));
        line(
            "drill",
            Some(status.last_drill.map_or("never".to_owned(), |time| when(status, time))),
        );
        line("running", status.running.clone());
        let needed = status
            .needed_bytes
            .map(|bytes| format!(", a full backup needs {}", HumanBytes(bytes)));
        line(
            "space",
            status
                .free_bytes
                .map(|bytes| format!("{} free{}", HumanBytes(bytes), needed.unwrap_or_default())),
        );
        lines
    }
}

fn run_line(status: &TargetStatus, run: &JournalEntry) -> String {
    let mut line = format!(
        "{}, {}",
        when(status, Time(run.finished())),
        run.mode.as_deref().unwrap_or("backup")
    );
    let _ = write!(line, ", {:.1} s, exit code {}", run.seconds, run.exit_code);
    if let Some(message) = &run.message {
        let _ = write!(line, ": {message}");
    }
    if let Some(archive) = &run.archive {
        let _ = write!(line, ", archive: {archive}");
    }
    line
}

/// `3 h 12 min ago (2026-11-30 10:00:00 UTC)`.
fn when(status: &TargetStatus, time: Time) -> String {
    let seconds = status.seconds_since(time);
    let age = Duration::from_secs(seconds.unsigned_abs());
    let words = neo4j_backup_core::status::in_words(age);
    let words = if seconds < 0 {
        format!("in {words}")
    } else {
        format!("{words} ago")
    };
    format!("{words} ({})", date(time))
}

fn date(time: Time) -> String {
    utc(time.0.as_millisecond())
}

/// The line of a Nagios plugin and its exit code.
fn plugin(result: &Result<StatusReport, Error>) -> (String, u8) {
    let report = match result {
        Ok(report) => report,
        Err(error) => return (unknown(error), UNKNOWN),
    };
    let (word, code) = match report.level {
        Level::Ok => ("OK", 0),
        Level::Warning => ("WARNING", 1),
        Level::Critical => ("CRITICAL", 2),
    };
    let summaries: Vec<String> = report.targets.iter().map(|row| harmless(&summary(row))).collect();
    let several = report.targets.len() > 1;
    let data: Vec<String> = report
        .targets
        .iter()
        .flat_map(|row| performance(row, report, several))
        .collect();
    (
        format!("BACKUP {word} - {} | {}\n", summaries.join("; "), data.join(" ")),
        code,
    )
}

fn unknown(error: &Error) -> String {
    format!("BACKUP UNKNOWN - {}\n", harmless(&error.to_string()))
}

fn summary(row: &Row) -> String {
    let status = &row.status;
    let mut parts = row.judgement.reasons.clone();
    if let (Level::Ok, Some(good)) = (row.judgement.level, status.last_good) {
        parts.push(format!("last good backup {}", when(status, good)));
        parts.extend(
            status
                .last_transactions
                .first()
                .map(|last| format!("transaction {}", last.id)),
        );
    }
    let name = row.job.as_ref().unwrap_or(&status.target);
    format!("{name}: {}", parts.join(", "))
}

/// A bar ends the text of a plugin.
fn harmless(text: &str) -> String {
    printable(text).replace('|', "/")
}

/// `'label'=value[unit];warning;critical;minimum`.
fn performance(row: &Row, report: &StatusReport, several: bool) -> Vec<String> {
    let status = &row.status;
    let prefix = if several {
        format!("{} ", row.job.as_ref().unwrap_or(&status.target))
    } else {
        String::new()
    };
    let label = |name: &str| format!("'{}'", harmless(&format!("{prefix}{name}")).replace(['\'', '='], "_"));
    let age = |time: Option<Time>| time.map(|time| status.seconds_since(time).max(0).unsigned_abs());
    let (warning, critical) = (report.warning_seconds, report.critical_seconds);
    let last = status.last_transactions.first().map(|last| last.id.unsigned_abs());
    let run = status.last_run.as_ref();
    let verified = status
        .last_verification
        .as_ref()
        .map(|verification| verification.finished);
    let values = [
        ("age", age(status.last_good), "s", format!(";{warning};{critical};0")),
        ("transaction", last, "", String::new()),
        (
            "lag",
            status.lag.as_ref().and_then(|lag| lag.transactions),
            "",
            ";;;0".to_owned(),
        ),
        (
            "duration",
            run.and_then(|run| whole(run.seconds)),
            "s",
            ";;;0".to_owned(),
        ),
        ("exit_code", run.map(|run| u64::from(run.exit_code)), "", String::new()),
        ("size", status.stored_bytes, "B", ";;;0".to_owned()),
        ("free", status.free_bytes, "B", ";;;0".to_owned()),
        ("verified", age(verified), "s", ";;;0".to_owned()),
        ("drill", age(status.last_drill), "s", ";;;0".to_owned()),
    ];
    let known = values
        .into_iter()
        .filter_map(|(name, value, unit, limits)| Some((name, value?, unit, limits)));
    known
        .map(|(name, value, unit, limits)| format!("{}={value}{unit}{limits}", label(name)))
        .collect()
}

/// Whole seconds, rounded up.
fn whole(seconds: f64) -> Option<u64> {
    Some(Duration::try_from_secs_f64(seconds.ceil()).ok()?.as_secs())
}
