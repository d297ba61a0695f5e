//! `serve`: a directory as a backup source.

use std::{ffi::OsString, fmt::Write, fs, ops::RangeInclusive, path::PathBuf, process::ExitCode};

use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{quantity, request::Output},
    output::{
        metrics, metrics_http, report, signals,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    Error, ErrorKind, Serve, Server,
    serve::{Enabled, Limits, Release, Settings},
    server::LOOPBACK,
    source::uri::Source,
};
use neo4j_format::store::StoreFormat;

/// Warning where the address is not a loopback one and no network was named.
const OPEN_TO_ALL: &str = "anyone who reaches this address can copy the database, since the protocol has no \
    authentication: name those who may with -allow";

/// More clients than this are more threads than a machine should have.
const MOST_CONNECTIONS: usize = 4096;

/// What is served, and to whom.
#[derive(Debug, clap::Args)]
#[command(override_usage = "neo4j-backup serve -db DIR [OPTIONS]")]
pub(crate) struct ServeArgs {
    /// Directory of a backup, or of a database that was closed cleanly
    #[arg(long, value_name = "DIR", hide_env = true, env = "NEO4J_BACKUP_DB",
          value_parser = clap::value_parser!(OsString))]
    db: Option<OsString>,

    /// Address to listen on: host, :port or host:port [default: 127.0.0.1:6362]
    ///
    /// Port 0 chooses a free port.
    #[arg(long, value_name = "HOST:PORT", hide_env = true, env = "NEO4J_BACKUP_LISTEN")]
    listen: Option<String>,

    /// Read address and port from this neo4j.properties
    #[arg(long, value_name = "FILE", hide_env = true, env = "NEO4J_BACKUP_CONFIG",
          value_parser = clap::value_parser!(OsString))]
    config: Option<OsString>,

    /// Neo4j release of the directory, for example 1.4.2 [default: detected]
    ///
    /// Needed if the directory does not show its release, and for settings that releases spell differently.
    #[arg(long, value_name = "RELEASE", hide_env = true, env = "NEO4J_BACKUP_RELEASE")]
    release: Option<String>,

    /// Accept clients from this address or network [default: all]
    ///
    /// For example 10.0.0.0/8. Can be repeated.
    #[arg(
        long,
        value_name = "CIDR",
        hide_env = true,
        env = "NEO4J_BACKUP_ALLOW",
        value_delimiter = ','
    )]
    allow: Vec<String>,

    /// Send at most this many bytes/s in total: 500k, 20m [default: no limit]
    ///
    /// k, m and g are powers of 1024.
    #[arg(long, value_name = "RATE", hide_env = true, env = "NEO4J_BACKUP_MAX_RATE")]
    max_rate: Option<String>,

    /// Accept at most this many clients at a time [default: 100]
    #[arg(long, value_name = "COUNT", hide_env = true, env = "NEO4J_BACKUP_MAX_CONNECTIONS")]
    max_connections: Option<String>,

    /// Accept at most this many clients of one address at a time [default: 10]
    ///
    /// One address is one IPv4 address or one /64 network of IPv6.
    #[arg(long, value_name = "COUNT", hide_env = true, env = "NEO4J_BACKUP_MAX_PER_ADDRESS")]
    max_per_address: Option<String>,

    /// Close a connection without a request for this time [default: 10m]
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_IDLE_TIMEOUT")]
    idle_timeout: Option<String>,

    /// Close a connection that takes under 256 KiB in this time [default: 10m]
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_READER_TIMEOUT")]
    reader_timeout: Option<String>,

    /// Serve metrics over HTTP at this address, :port or host:port
    ///
    /// For Prometheus, at /metrics: clients, bytes and refusals. The host is 127.0.0.1 by default; port 0 chooses a free
    /// port.
    #[arg(long, value_name = "ADDR", hide_env = true, env = "NEO4J_BACKUP_METRICS_LISTEN")]
    metrics_listen: Option<String>,

    /// After SIGTERM, wait this long for responses in progress [default: 30s]
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_DRAIN_TIMEOUT")]
    drain_timeout: Option<String>,
}

/// What was typed, judged.
#[derive(Debug)]
struct ServeRequest {
    db: PathBuf,
    /// Whether clients of all networks are served.
    is_open: bool,
    metrics: Option<(String, u16)>,
    serve: Serve,
}

/// What is said once it serves.
#[derive(Debug, Serialize)]
struct Serving {
    directory: PathBuf,
    address: String,
    store_id: String,
    store_format: &'static str,
    dialects: Vec<&'static str>,
    /// Where metrics are served.
    metrics: Option<String>,
    warnings: Vec<String>,
}

/// Serves until a signal comes.
pub(crate) fn run(args: &ServeArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let logs = match loudness {
        Verbosity::Quiet => logs.max(LevelFilter::WARN),
        Verbosity::Normal => logs.max(LevelFilter::INFO),
    };
    let _terminal = Terminal::start(Verbosity::Quiet, logs);
    let result = signals::cancelling(ErrorKind::Failed, |cancel| {
        let request = ServeRequest::from_args(args)?;
        let server = request.serve.start()?;
        let metrics = request
            .metrics
            .map(|listen| serve_metrics(&listen, &server))
            .transpose()?;
        if output == Output::Json || loudness == Verbosity::Normal {
            let serving = serving(request.db, request.is_open, &server, metrics);
            report::command("serve", &Ok(serving), output, text, |_| 0);
        }
        Ok(server.run(cancel))
    });
    match result {
        Err(error) => report::command("serve", &Err::<Serving, _>(error), output, text, |_| 0),
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tracing::error!(%error, "ended");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Serves metrics beside the database; returns where.
fn serve_metrics(listen: &(String, u16), server: &Server) -> Result<String, Error> {
    let counters = server.counters();
    let address = metrics_http::serve(listen, move || metrics::of_service(&counters)).map_err(|error| {
        let (host, port) = listen;
        let text = format!("-metrics-listen {host}:{port}: {error}");
        Error::new(ErrorKind::Configuration, text).with_hint("choose another address for the metrics")
    })?;
    Ok(format!("http://{address}/metrics"))
}

fn serving(directory: PathBuf, is_open: bool, server: &Server, metrics: Option<String>) -> Serving {
    let address = server.address();
    let mut warnings = server.shortcomings().to_vec();
    if !address.ip().is_loopback() && is_open {
        warnings.push(OPEN_TO_ALL.to_owned());
    }
    let identity = server.identity();
    Serving {
        directory,
        address: address.to_string(),
        store_id: identity.store_id.to_string(),
        store_format: identity.format.version(),
        dialects: identity.dialects().iter().map(|dialect| dialect.name()).collect(),
        metrics,
        warnings,
    }
}

fn text(serving: &Serving) -> String {
    let mut text = format!(
        "Serving {} (database {}, format {}) on {} in {}\n",
        serving.directory.display(),
        serving.store_id,
        serving.store_format,
        serving.address,
        serving.dialects.join(", ")
    );
    if let Some(metrics) = &serving.metrics {
        let _ = writeln!(text, "Metrics at {metrics}");
    }
    for warning in &serving.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

impl ServeRequest {
    fn from_args(args: &ServeArgs) -> Result<ServeRequest, Error> {
        let given = |value: &Option<String>| {
            value
                .as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let db = args.db.as_ref().filter(|db| !db.is_empty());
        let db = db.ok_or_else(|| usage("Please specify the directory with -db <directory>"))?;
        let release = given(&args.release);
        let settings = release
            .as_deref()
            .map(Settings::of_release)
            .transpose()
            .map_err(usage)?;
        let mut host = LOOPBACK.to_owned();
        let mut ports = Source::DEFAULT_BACKUP_PORT..=Source::DEFAULT_BACKUP_PORT;
        if let Some(config) = args.config.as_ref().filter(|config| !config.is_empty()) {
            let (from_file, range) = read_config(&PathBuf::from(config), settings)?;
            host = from_file.unwrap_or(host);
            ports = range;
        }
        if let Some(listen) = given(&args.listen) {
            let (typed, port) = listen_address("-listen", &listen)?;
            host = typed.unwrap_or(host);
            ports = port.map_or(ports, |port| port..=port);
        }
        let metrics = match given(&args.metrics_listen) {
            None => None,
            Some(listen) => match listen_address("-metrics-listen", &listen)? {
                (host, Some(port)) => Some((host.unwrap_or(LOOPBACK.to_owned()), port)),
                (_, None) => return Err(usage(format!("-metrics-listen {listen}: a port is expected"))),
            },
        };
        let mut allowed = Vec::new();
        for network in args
            .allow
            .iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
        {
            allowed.push(network.parse().map_err(|error| usage(format!("-allow: {error}")))?);
        }
        let mut limits = Limits::default();
        let quantity = |name: &str, error: quantity::QuantityError| usage(format!("{name}: {error}"));
        if let Some(rate) = given(&args.max_rate) {
            limits.max_rate = Some(quantity::rate(&rate).map_err(|e| quantity("-max-rate", e))?);
        }
        for (name, typed, limit) in [
            ("-max-connections", &args.max_connections, &mut limits.connections),
            ("-max-per-address", &args.max_per_address, &mut limits.per_address),
        ] {
            if let Some(count) = given(typed) {
                let count = count.parse().ok();
                let count = count.filter(|count| (1..=MOST_CONNECTIONS).contains(count));
                *limit =
                    count.ok_or_else(|| usage(format!("{name}: a number from 1 to {MOST_CONNECTIONS} is expected")))?;
            }
        }
        for (name, typed, limit) in [
            ("-idle-timeout", &args.idle_timeout, &mut limits.idle),
            ("-reader-timeout", &args.reader_timeout, &mut limits.reader),
            ("-drain-timeout", &args.drain_timeout, &mut limits.drain),
        ] {
            if let Some(typed) = given(typed) {
                *limit = quantity::time(&typed).map_err(|e| quantity(name, e))?;
            }
        }
        limits.first_request = limits.first_request.min(limits.idle);
        let is_open = allowed.is_empty();
        let mut serve = Serve::new(db).listen(host, ports).allow(allowed).limits(limits);
        if let Some(release) = release {
            serve = serve
                .release(if release.starts_with("1.3") {
                    Release::Neo4j13
                } else {
                    Release::Other
                })
                .require_format(if release.starts_with("1.3") || release.starts_with("1.4") {
                    StoreFormat::Legacy
                } else {
                    StoreFormat::Current
                });
        }
        Ok(ServeRequest {
            db: PathBuf::from(db),
            is_open,
            metrics,
            serve,
        })
    }
}

fn read_config(path: &PathBuf, settings: Option<Settings>) -> Result<(Option<String>, RangeInclusive<u16>), Error> {
    let wrong = |text: String| Error::new(ErrorKind::Configuration, format!("{}: {text}", path.display()));
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    // Java reads these files as Latin-1
    let text: String = bytes.into_iter().map(char::from).collect();
    match Settings::read(settings, &text).map_err(|error| wrong(error.to_string()))? {
        Enabled::Yes { host, ports } => Ok((host, ports)),
        Enabled::No => Err(wrong("does not enable online backup".to_owned())
            .with_hint("set enable_online_backup, or online_backup_enabled, or leave out -config")),
    }
}

/// `host`, `:port`, `host:port`, with an IPv6 address in brackets.
fn listen_address(option: &str, text: &str) -> Result<(Option<String>, Option<u16>), Error> {
    let wrong = || {
        usage(format!(
            "{option} {text}: host, :port or host:port is expected, [::1]:6362 for IPv6"
        ))
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().map_err(|_| wrong())?)),
        _ => (text, None),
    };
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    Ok(((!bare.is_empty()).then(|| bare.to_owned()), port))
}

fn usage(text: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Usage, text).with_hint("neo4j-backup serve -help lists all options")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_have_a_host_a_port_or_both() {
        let host = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("0.0.0.0", (host("0.0.0.0"), None)),
            (":9999", (None, Some(9999))),
            ("db1:0", (host("db1"), Some(0))),
            ("[::1]", (host("::1"), None)),
            ("[::1]:6362", (host("::1"), Some(6362))),
        ] {
            assert_eq!(listen_address("-listen", text).unwrap(), expected, "{text}");
        }
        for wrong in ["::1", "h:x", "h:70000", "[::1:5", "h:"] {
            assert!(listen_address("-listen", wrong).is_err(), "{wrong}");
        }
    }
}
