//! `demo`: the whole program in ten seconds, on a cluster of the sandbox.
//!
//! Each step runs this program as a user would, shows its output and compares the result with what the cluster
//! committed. A difference ends the demo with an error.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output as Finished, Stdio},
    time::{Duration, Instant},
};

use tokio::runtime;
use tracing::level_filters::LevelFilter;

use super::scratch::Scratch;
use crate::{
    args::request::{Output, given},
    output::{
        report, signals,
        streams::to_stdout,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{DirHandle, Error, ErrorKind, cancel::Cancel, manifest::Manifest};
use neo4j_format::{
    DiskError,
    ids::{DataSource, MemberId, TxId},
};
use neo4j_sandbox::{Cluster, ClusterError, Plan, database::Contents};

/// Directories of the two backups.
const BACKUP: &str = "backup";
const SECOND: &str = "second-backup";

/// How fast the master sends before it is killed, and after how many bytes it is.
const SLOW: u64 = 256 * 1024;
const KILLED_AFTER: u64 = 96 * 1024;

/// Transactions that are waited for between two backups.
const MEANWHILE: i64 = 40;

/// How long anything in the cluster may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is kept.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Keep databases and backups in this directory [default: delete them]
    ///
    /// The directory must not exist yet.
    #[arg(long, value_name = "DIR", hide_env = true, env = "NEO4J_BACKUP_KEEP")]
    keep: Option<String>,
}

/// Plays the demo.
pub(crate) fn run(args: &DemoArgs, logs: LevelFilter) -> ExitCode {
    let _terminal = Terminal::start(Verbosity::Quiet, logs);
    match play(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::refused(&error.into(), Output::Text),
    }
}

fn play(args: &DemoArgs) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::new(ErrorKind::Failed, error);
    let scratch = Scratch::make(given(args.keep.as_deref()), "demo")?;
    let program = env::current_exe().map_err(failed)?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed)?;
    let played = runtime.block_on(async {
        let cancel = Cancel::default();
        signals::watch(&cancel).map_err(failed)?;
        let stage = Stage {
            dir: scratch.path().to_owned(),
            program,
        };
        tokio::select! {
            interrupted = cancel.cancelled() => Err(interrupted),
            played = story(&stage) => played,
        }
    });
    runtime.shutdown_timeout(PATIENCE);
    played?;
    if let Some(keep) = given(args.keep.as_deref()) {
        to_stdout(&format!("\nDatabases and backups are in {keep}\n"));
    }
    scratch.close()
}

/// All steps in their order.
async fn story(stage: &Stage) -> Result<(), Error> {
    let start = Instant::now();
    title("A cluster of three members that behaves like Neo4j 1.8 and commits all the time");
    let plan = Plan {
        rate: 200,
        session_timeout: Duration::from_secs(1),
        ..Plan::new(&stage.dir)
    };
    let mut cluster = Cluster::start(plan).await?;
    let uri = cluster.uri();
    for member in cluster.status() {
        to_stdout(&format!("member {}: backup service on {}\n", member.id, member.backup));
    }

    title("The members, and which of them a backup would use");
    stage.shown(&["members", "-from", &uri]).await?;

    title("A full backup while the master commits");
    stage.shown(&["-full", "-from", &uri, "-to", BACKUP]).await?;
    let full = stage.judge(&cluster, BACKUP)?;

    title("An incremental backup");
    reached(&cluster, full.last.0 + MEANWHILE).await?;
    stage.shown(&["-incremental", "-from", &uri, "-to", BACKUP]).await?;
    let incremental = stage.judge(&cluster, BACKUP)?;
    holds(incremental.last > full.last, "the incremental backup is empty")?;

    title("The master is killed during a full backup: a slave takes over");
    let killed = full.member;
    cluster.slow(killed, SLOW)?;
    let sent = sent(&cluster, killed)?;
    let backup = stage.start(&["-full", "-from", &uri, "-to", SECOND]);
    let in_the_middle = until(|| Ok(self::sent(&cluster, killed)? > sent + KILLED_AFTER)).await;
    if in_the_middle.is_ok() {
        cluster.kill(killed).await?;
        to_stdout(&format!("(member {killed} is killed)\n"));
    }
    show(&backup.await.map_err(|error| Error::new(ErrorKind::Failed, error))??)?;
    in_the_middle?;
    let second = stage.judge(&cluster, SECOND)?;
    holds(second.member != killed, "the backup is not from another member")?;

    title("Every byte of both backups matches its checksum");
    stage.shown(&["verify", BACKUP]).await?;
    stage.shown(&["verify", SECOND]).await?;

    title("Every record of both backups is consistent");
    stage.shown(&["check", BACKUP]).await?;
    stage.shown(&["check", SECOND]).await?;

    title("What is on disk, and what the first start of Neo4j will do");
    stage.shown(&["inspect", BACKUP]).await?;
    to_stdout(&listing(&stage.dir.join(BACKUP))?);
    to_stdout(&format!("\nThat took {:.1} seconds.\n", start.elapsed().as_secs_f64()));
    cluster.shut_down().await?;
    Ok(())
}

/// Where the demo plays.
struct Stage {
    dir: PathBuf,
    program: PathBuf,
}

/// A backup that was found to be what it says.
struct Judged {
    member: MemberId,
    last: TxId,
}

impl Stage {
    /// Runs this program and shows its output; an error if it fails.
    async fn shown(&self, arguments: &[&str]) -> Result<(), Error> {
        let finished = self
            .start(arguments)
            .await
            .map_err(|error| Error::new(ErrorKind::Failed, error))??;
        show(&finished)
    }

    fn start(&self, arguments: &[&str]) -> tokio::task::JoinHandle<Result<Finished, Error>> {
        to_stdout(&format!("$ neo4j-backup {}\n", arguments.join(" ")));
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null());
        // what the user has set is meant for other runs
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("NEO4J_BACKUP_") {
                command.env_remove(name);
            }
        }
        tokio::task::spawn_blocking(move || command.output().map_err(|error| Error::new(ErrorKind::Failed, error)))
    }

    /// Compares a backup with what the member it came from held at its last transaction, and says so.
    fn judge(&self, cluster: &Cluster, name: &str) -> Result<Judged, Error> {
        let dir = self.dir.join(name);
        let handle = DirHandle::open(&dir).map_err(DiskError::at(&dir))?;
        let manifest = Manifest::read(&handle)?.ok_or_else(|| wrong("the backup has no manifest"))?;
        let run = manifest
            .chain
            .last()
            .ok_or_else(|| wrong("the manifest has no backup run"))?;
        let member = cluster
            .status()
            .into_iter()
            .find(|member| run.member.contains(&member.backup.to_string()))
            .ok_or_else(|| wrong("the manifest names no member of the cluster"))?;
        let last = |source| manifest.last_transaction(source).map_or(TxId::BASE, |(last, _)| last);
        let (graph, lucene) = (last(DataSource::Graph), last(DataSource::Lucene));
        let held = cluster.contents_at(member.id, graph, lucene)?;
        let found = Contents::read(&dir).map_err(Error::from)?;
        holds(found == held, "the backup differs from its source")?;
        to_stdout(&format!(
            "(identical to member {} at transaction {graph}: {} nodes, {} relationships)\n",
            member.id,
            found.nodes.len(),
            found.relationships.len()
        ));
        Ok(Judged {
            member: member.id,
            last: graph,
        })
    }
}

fn title(text: &str) {
    to_stdout(&format!("\n== {text}\n"));
}

fn show(finished: &Finished) -> Result<(), Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    to_stdout(&text(&finished.stderr));
    to_stdout(&text(&finished.stdout));
    holds(
        finished.status.success(),
        &format!("the command failed: {}", finished.status),
    )
}

/// Waits until the master has come to this transaction.
async fn reached(cluster: &Cluster, transaction: i64) -> Result<(), Error> {
    until(|| {
        Ok(cluster
            .status()
            .iter()
            .any(|member| member.is_master && member.last.0 >= transaction))
    })
    .await
}

async fn until(mut is_true: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
    let start = Instant::now();
    while !is_true()? {
        holds(start.elapsed() < PATIENCE, "the cluster did not make progress")?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn sent(cluster: &Cluster, id: MemberId) -> Result<u64, Error> {
    let member = cluster.status().into_iter().find(|member| member.id == id);
    Ok(member.ok_or(ClusterError::Unknown(id))?.sent)
}

fn holds(claim: bool, unless: &str) -> Result<(), Error> {
    if claim { Ok(()) } else { Err(wrong(unless)) }
}

fn wrong(text: &str) -> Error {
    Error::new(ErrorKind::Failed, text.to_owned())
}

/// The files of a directory with their sizes, as `du -b` shows them.
fn listing(dir: &Path) -> Result<String, Error> {
    let failed = |error: std::io::Error| Error::from(DiskError::new(dir, error));
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let meta = entry.metadata().map_err(failed)?;
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path(), meta.len()));
            }
        }
    }
    files.sort();
    let mut text = String::from("\n");
    for (path, length) in files {
        let name = path.strip_prefix(dir).unwrap_or(&path);
        let _ = writeln!(text, "{length:>9}  {}", name.display());
    }
    Ok(text)
}
