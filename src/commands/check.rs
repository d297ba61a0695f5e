//! `check`: the rules of consistency over one directory.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use serde::{Serialize, Serializer};
use tracing::level_filters::LevelFilter;

use crate::{
    args::{
        quantity,
        request::{self, Output},
    },
    output::{
        report, signals,
        streams::printable,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    DirHandle, Error, ErrorKind,
    check::{CheckOptions, CheckReport, Finding, Listener, Memory, Rule, Severity, What},
    outcome::Verdict,
    progress::{Phase, Progress},
};
use neo4j_format::store::neo4j_lock;

/// What is checked, and with how much memory.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Directory of the backup or database
    #[arg(value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    dir: OsString,

    /// Use at most this much memory, at least 24m [default: 256m]
    ///
    /// Less memory takes more passes and finds the same. k, m and g are powers of 1024.
    #[arg(long, value_name = "SIZE", hide_env = true, env = "NEO4J_BACKUP_MEMORY")]
    memory: Option<String>,

    /// Show at most this many findings per rule; all are counted [default: 100]
    ///
    /// With -output json each finding is a line of its own, printed when it is found; the last line has the totals.
    #[arg(long, value_name = "COUNT", hide_env = true, env = "NEO4J_BACKUP_LIMIT")]
    limit: Option<String>,
}

/// Checks a directory and reports what was found.
pub(crate) fn run(wanted: &CheckArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let result = options(wanted).and_then(|options| {
        let lines = FindingLines {
            limit: options.limit,
            told: Mutex::default(),
        };
        let options = CheckOptions {
            listener: (output == Output::Json).then_some(&lines as &dyn Listener),
            ..options
        };
        let terminal = Terminal::start(loudness, logs);
        let dir = DirHandle::open(&wanted.dir).ok();
        if let Some(neo4j_lock::Holder::Process(pid)) = dir.as_ref().and_then(neo4j_lock::holder) {
            terminal.warning(&format!(
                "process {pid} has the database open: what it has not written yet is reported as inconsistent, or missed"
            ));
        }
        terminal.phase(Phase::Checking);
        let result = signals::cancelling(ErrorKind::NotChecked, |cancel| {
            neo4j_backup_core::check(Path::new(&wanted.dir), &options, cancel)
        });
        terminal.finish();
        result
    });
    let text = |Totals(found): &Totals| match loudness {
        Verbosity::Normal => text(found),
        Verbosity::Quiet => findings(found),
    };
    report::command("check", &result.map(Totals), output, text, |Totals(found)| {
        if found.is_consistent() {
            Verdict::Good
        } else {
            Verdict::Inconsistent
        }
        .exit_code()
    })
}

/// Tells each finding as a line of JSON as soon as it is found, up to the limit of each rule.
#[derive(Debug)]
struct FindingLines {
    limit: usize,
    told: Mutex<BTreeMap<Rule, usize>>,
}

impl Listener for FindingLines {
    fn found(&self, finding: &Finding) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let count = told.entry(finding.rule).or_default();
        if *count < self.limit {
            *count += 1;
            report::finding("check", finding);
        }
    }
}

/// A report whose findings were printed before.
struct Totals(CheckReport);

impl Serialize for Totals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.totals().serialize(serializer)
    }
}

fn options(wanted: &CheckArgs) -> Result<CheckOptions<'static>, Error> {
    let memory = match request::quantity("memory", wanted.memory.as_deref(), quantity::size)? {
        None => Memory::default(),
        Some(bytes) if bytes.get() >= Memory::MIN => Memory::new(bytes.get()),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::Usage,
                "invalid value for -memory: at least 24m is expected",
            ));
        }
    };
    let limit = match wanted.limit.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        None => CheckOptions::default().limit,
        Some(text) => text.parse().map_err(|_| {
            Error::new(
                ErrorKind::Usage,
                format!("invalid value {text:?} for -limit: a whole number is expected"),
            )
        })?,
    };
    Ok(CheckOptions {
        what: What::Whole,
        memory,
        limit,
        ..CheckOptions::default()
    })
}

/// One line for each finding that is shown.
pub(crate) fn findings(found: &CheckReport) -> String {
    found.findings.iter().fold(String::new(), |mut text, finding| {
        let _ = writeln!(text, "{}", printable(&finding.to_string()));
        text
    })
}

fn text(found: &CheckReport) -> String {
    let mut text = findings(found);
    let records: Vec<String> = found
        .records
        .iter()
        .map(|(kind, count)| format!("{count} in {}", kind.name()))
        .collect();
    let _ = writeln!(
        text,
        "format {}, records in use: {}",
        found.format.version(),
        records.join(", ")
    );
    for (rule, total) in found.findings.totals() {
        let _ = writeln!(text, "{total} × {rule}: {}", rule.meaning());
    }
    let _ = writeln!(text, "{}", summary(found));
    text
}

/// The totals in one line.
pub(crate) fn summary(found: &CheckReport) -> String {
    let total = |severity| found.findings.total(severity);
    if found.findings.is_empty() {
        return "consistent".to_owned();
    }
    format!(
        "{}: {} errors, {} records without owner, {} warnings",
        if found.is_consistent() {
            "consistent"
        } else {
            "inconsistent"
        },
        total(Severity::Error),
        total(Severity::Ownership),
        total(Severity::Warning)
    )
}
