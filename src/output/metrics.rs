//! Metrics of a target as a text file that the node exporter of Prometheus serves.
//!
//! Gauges alone: a text file is read in Prometheus' own format, which does not know the counters of `OpenMetrics`.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::AtomicU64,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::streams::{printable, to_stderr};
use neo4j_backup_core::{Status, cancel::Cancel, journal::Time, serve::Counters, status::TargetStatus};

/// Where metrics are written.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = crate::args::definitions::OUTPUT)]
pub(crate) struct MetricsArgs {
    /// Write metrics for the node exporter of Prometheus to this file
    ///
    /// After the run, good or bad; the file is replaced in one step. In a directory, each job or target gets a file of its
    /// own. The node exporter reads files whose names end with .prom.
    #[arg(long, value_name = "FILE", hide_env = true, hide_short_help = true, env = "NEO4J_BACKUP_METRICS",
          value_parser = clap::value_parser!(OsString))]
    pub(crate) metrics: Option<OsString>,
}

impl MetricsArgs {
    /// Writes the metrics of a target if that is wanted. A file that cannot be written is a warning: the run is over, and
    /// its result stands.
    pub(crate) fn write(&self, job: &str, target: &Status) {
        let Some(file) = self.metrics.as_ref().filter(|file| !file.is_empty()) else {
            return;
        };
        let written = target
            .find(&Cancel::default())
            .map_err(|error| error.to_string())
            .and_then(|found| {
                let text = text(job, &found).map_err(|error| error.to_string())?;
                replace(&file_of(Path::new(file), job, &found), &text).map_err(|error| error.to_string())
            });
        if let Err(error) = written {
            let file = file.to_string_lossy();
            to_stderr(&format!(
                "warning: {}: metrics not written: {}\n",
                printable(&file),
                printable(&error)
            ));
        }
    }
}

/// The metrics of a service, in the text format of `OpenMetrics`.
pub(crate) fn of_service(counters: &Counters) -> String {
    let mut registry = Registry::with_prefix("neo4j_backup_serve");
    let clients = Gauge::<f64, AtomicU64>::default();
    clients.set(number(counters.clients()));
    registry.register("clients", "Clients that are served now", clients);
    for (name, help, value) in [
        (
            "connections",
            "Connections, refused ones included",
            counters.connections(),
        ),
        (
            "requests",
            "Requests that were answered or refused",
            counters.requests(),
        ),
        ("sent_bytes", "Bytes sent to clients", counters.sent_bytes()),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
    let refusals = Family::<Labels, Counter>::default();
    for (reason, value) in [
        ("address_not_allowed", counters.not_allowed()),
        ("too_many_clients", counters.too_many()),
    ] {
        let labels = vec![("reason", reason.to_owned())];
        refusals.get_or_create(&labels).inc_by(value);
    }
    registry.register("refusals", "Connections that were refused", refusals);
    let mut text = String::new();
    // a string takes everything
    let _ = encode(&mut text, &registry);
    text
}

type Labels = Vec<(&'static str, String)>;
type Values = Family<Labels, Gauge<f64, AtomicU64>>;

/// The file itself, or the one of this job or target in the directory.
fn file_of(path: &Path, job: &str, status: &TargetStatus) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let target = Path::new(&status.target).file_name().unwrap_or_default();
    let name = if job.is_empty() {
        &*target.to_string_lossy()
    } else {
        job
    };
    path.join(format!("neo4j-backup-{name}.prom"))
}

/// The metrics of the target of a job.
fn text(job: &str, status: &TargetStatus) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("neo4j_backup");
    let mut gauge = |name: &str, help: &str, found: &[(Option<&str>, Option<f64>)]| {
        let values = Values::default();
        for (data_source, value) in found {
            if let Some(value) = value {
                values.get_or_create(&labels(job, status, *data_source)).set(*value);
            }
        }
        registry.register(name, help, values);
    };
    for (name, help, value) in values(status) {
        gauge(name, help, &[(None, value)]);
    }
    let last = &status.last_transactions;
    let ids: Vec<_> = last
        .iter()
        .map(|last| (Some(last.data_source.as_str()), Some(number(last.id.unsigned_abs()))))
        .collect();
    gauge("last_transaction_id", "Last transaction of the backup", &ids);
    let times: Vec<_> = last
        .iter()
        .map(|last| (Some(last.data_source.as_str()), last.committed.map(seconds)))
        .collect();
    gauge(
        "last_transaction_timestamp_seconds",
        "When the last transaction of the backup was committed",
        &times,
    );
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Name, help and value of each gauge of which a target has one.
fn values(status: &TargetStatus) -> [(&'static str, &'static str, Option<f64>); 14] {
    let run = status.last_run.as_ref();
    let drill = status.last_drill_run.as_ref();
    let verified = status
        .last_verification
        .as_ref()
        .map(|verification| verification.finished);
    let moment = |time: Option<Time>| Some(time.map_or(0.0, seconds));
    [
        (
            "last_success_timestamp_seconds",
            "When the last good backup was complete; 0 if there is none",
            moment(status.last_good),
        ),
        (
            "last_attempt_timestamp_seconds",
            "When the last run began",
            run.map(|run| seconds(run.started)),
        ),
        (
            "last_attempt_exit_code",
            "Exit code of the last run",
            run.map(|run| f64::from(run.exit_code)),
        ),
        (
            "last_attempt_duration_seconds",
            "How long the last run took",
            run.map(|run| run.seconds),
        ),
        (
            "last_attempt_received_bytes",
            "Bytes that the last run received",
            run.and_then(|run| run.bytes).map(number),
        ),
        (
            "last_attempt_transactions",
            "Transactions that the last run received",
            run.and_then(|run| run.transactions).map(number),
        ),
        (
            "master_lag_transactions",
            "Transactions that the master had beyond those of the last run",
            run.and_then(|run| run.behind_master).map(number),
        ),
        ("size_bytes", "Bytes of the backup", status.stored_bytes.map(number)),
        (
            "free_bytes",
            "Bytes that are free for the backup",
            status.free_bytes.map(number),
        ),
        (
            "needed_bytes",
            "Bytes that the next full backup needs",
            status.needed_bytes.map(number),
        ),
        (
            "last_verification_timestamp_seconds",
            "When the backup was last verified; 0 if never",
            moment(verified),
        ),
        (
            "last_drill_timestamp_seconds",
            "When a restore was last proven; 0 if never",
            moment(status.last_drill),
        ),
        (
            "last_drill_exit_code",
            "Exit code of the last drill",
            drill.map(|run| f64::from(run.exit_code)),
        ),
        (
            "defects",
            "What keeps the backup from being a good one: 0 is good",
            Some(number(status.defects.len() as u64)),
        ),
    ]
}

fn labels(job: &str, status: &TargetStatus, data_source: Option<&str>) -> Labels {
    let mut labels = vec![("job", job.to_owned()), ("target", printable(&status.target))];
    labels.retain(|(_, value)| !value.is_empty());
    labels.extend(data_source.map(|name| ("data_source", name.to_owned())));
    labels
}

/// Seconds since 1970.
fn seconds(time: Time) -> f64 {
    time.0.as_duration().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn number(value: u64) -> f64 {
    value as f64
}

/// Replaces a file in one step, so that it is always whole.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", process::id()));
    let temporary = file.parent().unwrap_or(Path::new("")).join(temporary);
    let written = write_new(&temporary, text).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        // there is an error to report already
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &PathBuf, text: &str) -> io::Result<()> {
    let mut file = match File::create_new(path) {
        // of a process with the same id that was killed
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::create_new(path)?
        }
        created => created?,
    };
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
