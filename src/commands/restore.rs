//! `restore`: a backup back into a data directory.

use std::{ffi::OsString, fmt::Write as _, path::PathBuf, process::ExitCode};

use indicatif::HumanBytes;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{definitions::CLUSTER, repository::RepositoryArgs, request::Output},
    commands::{
        check,
        cluster_plan::{self, ClusterPlan, quoted},
        inspect::first_start_rows,
    },
    output::{
        calendar::utc,
        report::{self, counted},
        signals,
        streams::{self, printable},
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    Error, ErrorKind, Restore, RestoreOutcome,
    cancel::Cancel,
    consistency::Checked,
    members::{require_database, require_stopped},
    restore::{Moment, Owner},
};
use neo4j_format::ids::TxId;

/// What is restored, and where to. Nothing is taken from the environment, which may hold the options of backups.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct RestoreArgs {
    /// Directory of the backup; or use -repo
    #[arg(long, value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    from: Option<OsString>,

    /// Generation to restore, or to start from [default: what the moment needs]
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    snapshot: Option<String>,

    /// Data directory of Neo4j, such as data/graph.db
    ///
    /// The parent directory must exist: temporary siblings, DIR.lock and DIR.restoring, are created there.
    #[arg(long, value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    to: Option<OsString>,

    /// Restore the state after this transaction of the graph
    #[arg(long, value_name = "N", conflicts_with = "at")]
    at_tx: Option<String>,

    /// Restore the state at this time: RFC 3339, or "YYYY-MM-DD HH:MM" or "YYYY-MM-DD HH:MM:SS" in local time
    ///
    /// The state after the last transaction that was committed at or before this time, by the clock of the server.
    /// Neo4j 1.3 and 1.4 keep no times: use -at-tx. Exit status 22 means that the backup does not reach it.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// Give the files to this user and group [default: the owner of what they replace]
    ///
    /// Names or numbers, as chown takes them. Needs root. If there is nothing to replace, root gives the files to the
    /// owner of the parent directory.
    #[arg(long, value_name = "USER:GROUP")]
    owner: Option<String>,

    /// Replace a database at the target; it is kept as DIR.before-TIME
    #[arg(long)]
    replace: bool,

    /// As root: work in a directory in which other users can rename files
    ///
    /// Without this option, root refuses if a user who is neither root nor the owner of the database can rename files in
    /// the target or its parent directory. The sticky bit (chmod +t) protects a directory of root.
    #[arg(long)]
    allow_shared_directory: bool,

    /// Show what would be restored; write nothing
    ///
    /// Judges the backup by its manifest and headers only.
    #[arg(long)]
    dry_run: bool,

    /// URI of the cluster that the server belongs to, as in -from
    ///
    /// Prints what has to be done for each member. Refuses while members are registered in ZooKeeper: a member that runs
    /// would give its data to those that were restored. With -dry-run, members may be registered.
    #[arg(long, value_name = "URI", help_heading = CLUSTER)]
    cluster_of: Option<String>,

    /// Name of the cluster [default: neo4j.ha, or the only one]
    #[arg(long, value_name = "NAME", requires = "cluster_of", help_heading = CLUSTER)]
    cluster: Option<String>,

    /// Restore although members of the cluster are registered
    #[arg(long, requires = "cluster_of", help_heading = CLUSTER)]
    allow_registered_members: bool,

    #[command(flatten)]
    repository: RepositoryArgs,
}

/// What was restored, and what else has to be done.
#[derive(Debug, Serialize)]
struct RestoreReport {
    #[serde(flatten)]
    outcome: RestoreOutcome,
    /// If it was done for a member of a cluster.
    cluster: Option<ClusterPlan>,
}

/// Restores and reports.
pub(crate) fn run(wanted: &RestoreArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let result = request(wanted).and_then(|restore| {
        let terminal = Terminal::start(loudness, logs);
        let result = signals::cancelling(ErrorKind::Failed, |cancel| {
            let Some(uri) = &wanted.cluster_of else {
                let outcome = restore.run(&terminal, cancel)?;
                return Ok(RestoreReport { outcome, cluster: None });
            };
            // all members get the same, whatever is archived meanwhile
            let judged = restore.clone().dry_run(true).run(&terminal, cancel)?;
            let cluster = plan(wanted, uri, &judged, cancel)?;
            let restore = match &judged.snapshot {
                Some(id) => restore.snapshot(id),
                None => restore,
            };
            let outcome = restore.run(&terminal, cancel)?;
            Ok(RestoreReport {
                outcome,
                cluster: Some(cluster),
            })
        });
        terminal.finish();
        result
    });
    if let Ok(report) = &result {
        streams::to_stderr(&report::check_lines(report.outcome.check.as_ref()));
    }
    let text = |report: &RestoreReport| match loudness {
        Verbosity::Normal => {
            let plan = report.cluster.as_ref().map(ClusterPlan::text);
            text(&report.outcome) + &plan.unwrap_or_default()
        }
        Verbosity::Quiet => String::new(),
    };
    report::command("restore", &result, output, text, |report| {
        report.outcome.verdict.exit_code()
    })
}

/// Plans the restore of a cluster, and refuses it while the cluster runs.
fn plan(wanted: &RestoreArgs, uri: &str, judged: &RestoreOutcome, cancel: &Cancel) -> Result<ClusterPlan, Error> {
    let found = cluster_plan::look(uri, wanted.cluster.as_deref(), cancel)?;
    if let Some(store_id) = &judged.store_id {
        require_database(&found, store_id)?;
    }
    let name = wanted
        .cluster
        .as_ref()
        .map(|name| format!(" -cluster {}", quoted(name)));
    let members = format!("neo4j-backup members -from {}{}", quoted(uri), name.unwrap_or_default());
    let plan = ClusterPlan::new(found, &same_restore(wanted, judged), &members);
    if !wanted.dry_run && !wanted.allow_registered_members {
        let stopped = require_stopped(&plan.found);
        if stopped.is_err() {
            streams::to_stderr(&plan.text());
        }
        stopped?;
    }
    Ok(plan)
}

/// The command that restores the same on another host.
fn same_restore(wanted: &RestoreArgs, judged: &RestoreOutcome) -> String {
    let to = judged.target.display().to_string();
    let mut words = vec!["neo4j-backup", "restore"];
    match &judged.snapshot {
        Some(id) => words.extend(["-repo", &judged.source, "-snapshot", id]),
        None => words.extend(["-from", &judged.source]),
    }
    for (option, value) in [
        ("-at-tx", &wanted.at_tx),
        ("-at", &wanted.at),
        ("-owner", &wanted.owner),
    ] {
        words.extend(value.iter().flat_map(|value| [option, value]));
    }
    words.extend(["-to", &to, "-replace"]);
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn request(wanted: &RestoreArgs) -> Result<Restore, Error> {
    let required = |name: &str, value: &Option<OsString>| match value {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(Error::new(ErrorKind::Usage, format!("-{name} is required"))
            .with_hint("neo4j-backup restore -help lists all options")),
    };
    let to = required("to", &wanted.to)?;
    let from = match &wanted.from {
        Some(_) => Restore::new(required("from", &wanted.from)?, to),
        None => Restore::from_repository(wanted.repository.required()?, wanted.snapshot.clone(), to),
    };
    let restore = from
        .moment(moment(wanted)?)
        .replace(wanted.replace)
        .allow_shared_directory(wanted.allow_shared_directory)
        .dry_run(wanted.dry_run);
    match &wanted.owner {
        Some(owner) => Ok(restore.owner(Owner::find(owner)?)),
        None => Ok(restore),
    }
}

fn moment(wanted: &RestoreArgs) -> Result<Moment, Error> {
    let invalid = |name: &str, what: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Usage, format!("invalid value for -{name}: {what}"))
    };
    if let Some(text) = &wanted.at_tx {
        return match text.parse() {
            Ok(id) if id >= TxId::BASE.0 => Ok(Moment::Transaction(TxId(id))),
            _ => Err(invalid("at-tx", &format!("{text:?} is not a transaction number"))),
        };
    }
    match &wanted.at {
        Some(text) => Moment::time(text).map_err(|error| invalid("at", &error)),
        None => Ok(Moment::Newest),
    }
}

fn text(outcome: &RestoreOutcome) -> String {
    let mut rows = vec![
        ("source", outcome.source.clone()),
        ("target", outcome.target.display().to_string()),
    ];
    let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    row("snapshot", outcome.snapshot.clone());
    row(
        "logs of",
        outcome.logs_of.as_ref().map(|id| {
            if outcome.dry_run {
                id.clone()
            } else {
                format!("{id}, {} applied", counted(outcome.transactions, "transaction"))
            }
        }),
    );
    row("moment", outcome.moment.clone());
    row("store id", outcome.store_id.clone());
    for last in &outcome.last_transactions {
        let committed = last.committed.map(|time| format!(", committed {}", utc(time)));
        let text = format!("{} of {}{}", last.id, last.data_source, committed.unwrap_or_default());
        row("last", Some(text));
    }
    row(
        "files",
        Some(format!(
            "{}, {}, all bytes verified",
            counted(outcome.files, "file"),
            HumanBytes(outcome.bytes)
        ))
        .filter(|_| !outcome.dry_run),
    );
    row(
        "check",
        outcome.check.as_ref().map(|check| match check {
            Checked::Report(report) => check::summary(report),
            Checked::NotRun { not_run } => format!("could not run: {not_run}"),
        }),
    );
    row("kept", outcome.previous.clone());
    row("opened by", outcome.releases.clone());
    if let Some(start) = &outcome.first_start {
        for (name, line) in first_start_rows(start) {
            row(name, Some(line));
        }
    }
    row("next", Some(next(outcome)));
    let mut text = String::new();
    if outcome.dry_run {
        text.push_str("Dry run: nothing was written\n");
    }
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<10}{}", printable(&value));
    }
    text
}

/// The command that follows.
fn next(outcome: &RestoreOutcome) -> String {
    if outcome.dry_run {
        return "the same command without -dry-run".to_owned();
    }
    format!(
        "bin/neo4j start, with org.neo4j.server.database.location={} in conf/neo4j-server.properties",
        outcome.target.display()
    )
}
