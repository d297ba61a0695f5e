//! `sandbox`: a throw-away cluster to try everything on, and a prompt to break it with.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use serde::Serialize;
use tokio::{runtime, sync::mpsc};
use tracing::level_filters::LevelFilter;

use super::scratch::Scratch;
use crate::{
    args::request::{Output, given},
    output::{
        report, signals,
        streams::{to_stderr, to_stdout},
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{Error, ErrorKind, cancel::Cancel};
use neo4j_sandbox::{Cluster, Generation, HELP, Plan, PromptCommand, coordinator::Condition};

/// Lines that may wait while one is carried out.
const LINES: usize = 16;

/// Most members and coordinators; each member takes a thread.
const MOST: u16 = 16;

/// What kind of cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct SandboxArgs {
    /// Neo4j release that the cluster behaves like, 1.3 to 1.8 [default: 1.8]
    #[arg(long, value_name = "RELEASE", hide_env = true, env = "NEO4J_BACKUP_RELEASE")]
    release: Option<String>,

    /// Number of members, 1 to 16 [default: 3]
    #[arg(long, value_name = "COUNT", hide_env = true, env = "NEO4J_BACKUP_MEMBERS")]
    members: Option<String>,

    #[arg(
        long,
        help = "Number of ZooKeeper servers, 1 to 16 [default: 1]",
        value_name = "COUNT",
        hide_env = true,
        env = "NEO4J_BACKUP_COORDINATORS"
    )]
    coordinators: Option<String>,

    /// Transactions that the master commits per second [default: 20]
    #[arg(long, value_name = "COUNT", hide_env = true, env = "NEO4J_BACKUP_RATE")]
    rate: Option<String>,

    /// Transactions before the cluster starts [default: 500]
    #[arg(long, value_name = "COUNT", hide_env = true, env = "NEO4J_BACKUP_TRANSACTIONS")]
    transactions: Option<String>,

    /// Seed of the transactions; the same seed gives the same ones [default: 1]
    #[arg(long, value_name = "NUMBER", hide_env = true, env = "NEO4J_BACKUP_SEED")]
    seed: Option<String>,

    /// Keep the databases in this directory [default: delete them]
    ///
    /// The directory must not exist yet.
    #[arg(long, value_name = "DIR", hide_env = true, env = "NEO4J_BACKUP_KEEP")]
    keep: Option<String>,
}

/// What is said once it runs.
#[derive(Debug, Serialize)]
struct Started {
    uri: String,
    release: &'static str,
    directory: PathBuf,
    members: Vec<StartedMember>,
}

#[derive(Debug, Serialize)]
struct StartedMember {
    id: i32,
    is_master: bool,
    backup_address: String,
    directory: PathBuf,
}

/// Runs until a signal or the `quit` command.
pub(crate) fn run(args: &SandboxArgs, output: Output, logs: LevelFilter) -> ExitCode {
    let _terminal = Terminal::start(Verbosity::Quiet, logs);
    let (scratch, runtime, cancel, cluster) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => return report::command("sandbox", &Err::<Started, _>(error), output, text, |_| 0),
    };
    report::command("sandbox", &Ok(started(&cluster, &scratch, args)), output, text, |_| 0);
    let ended = runtime.block_on(serve(cluster, &cancel));
    runtime.shutdown_timeout(Duration::from_secs(2));
    let ended = ended.and(scratch.close());
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::refused(&error.into(), Output::Text),
    }
}

fn prepare(args: &SandboxArgs) -> Result<(Scratch, runtime::Runtime, Cancel, Cluster), Error> {
    let mut plan = plan(args)?;
    let scratch = Scratch::make(given(args.keep.as_deref()), "sandbox")?;
    scratch.path().clone_into(&mut plan.dir);
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Failed, error))?;
    let cancel = Cancel::default();
    let cluster = runtime.block_on(async {
        signals::watch(&cancel).map_err(|error| Error::new(ErrorKind::Failed, error))?;
        Ok::<_, Error>(Cluster::start(plan).await?)
    })?;
    Ok((scratch, runtime, cancel, cluster))
}

fn plan(args: &SandboxArgs) -> Result<Plan, Error> {
    let mut plan = Plan::new(&PathBuf::new());
    if let Some(release) = given(args.release.as_deref()) {
        let generation = Generation::of_release(release);
        plan.generation = generation.ok_or_else(|| usage(format!("-release {release}: 1.3 to 1.8 is expected")))?;
    }
    let count = |name: &str, typed: &Option<String>, unless_given: u16| match given(typed.as_deref()) {
        None => Ok(unless_given),
        Some(text) => {
            let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
            count.ok_or_else(|| usage(format!("-{name} {text}: a number from 1 to {MOST} is expected")))
        }
    };
    plan.members = count("members", &args.members, plan.members)?;
    let coordinators = count("coordinators", &args.coordinators, 1)?;
    plan.coordinators = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); coordinators.into()];
    plan.rate = number("rate", args.rate.as_deref(), plan.rate)?;
    plan.transactions = number("transactions", args.transactions.as_deref(), plan.transactions)?;
    plan.seed = number("seed", args.seed.as_deref(), plan.seed)?;
    Ok(plan)
}

fn number<N: std::str::FromStr>(name: &str, typed: Option<&str>, unless_given: N) -> Result<N, Error> {
    match given(typed) {
        None => Ok(unless_given),
        Some(text) => text
            .parse()
            .map_err(|_| usage(format!("-{name} {text}: a number is expected"))),
    }
}

fn usage(text: String) -> Error {
    Error::new(ErrorKind::Usage, text).with_hint("neo4j-backup sandbox -help lists all options")
}

fn started(cluster: &Cluster, scratch: &Scratch, args: &SandboxArgs) -> Started {
    let release = given(args.release.as_deref()).and_then(Generation::of_release);
    let member = |member: neo4j_sandbox::Status| StartedMember {
        id: member.id.0,
        is_master: member.is_master,
        backup_address: member.backup.to_string(),
        directory: member.dir,
    };
    Started {
        uri: cluster.uri(),
        release: release.unwrap_or(Generation::Neo4j18).release(),
        directory: scratch.path().to_owned(),
        members: cluster.status().into_iter().map(member).collect(),
    }
}

fn text(started: &Started) -> String {
    let mut text = format!(
        "A cluster that behaves like {}, in {}\n",
        started.release,
        started.directory.display()
    );
    for member in &started.members {
        let role = if member.is_master { ", master" } else { "" };
        let _ = writeln!(text, "  member {}: single://{}{role}", member.id, member.backup_address);
    }
    let _ = write!(
        text,
        "In another terminal:\n  neo4j-backup members -from {0}\n  neo4j-backup -full -from {0} -to /tmp/sandbox-backup\n  \
         neo4j-backup -incremental -from {0} -to /tmp/sandbox-backup\nHere: kill 1, stall 2, status; help lists more. \
         Ctrl-C ends it.\n",
        started.uri
    );
    text
}

/// Carries out lines until a signal comes or `quit`; the end of standard input alone ends nothing.
async fn serve(mut cluster: Cluster, cancel: &Cancel) -> Result<(), Error> {
    let mut lines = lines();
    let mut is_open = true;
    loop {
        let line = tokio::select! {
            _ = cancel.cancelled() => break,
            line = lines.recv(), if is_open => line,
        };
        let Some(line) = line else {
            is_open = false;
            continue;
        };
        match PromptCommand::parse(&line) {
            Ok(PromptCommand::Quit) => break,
            Ok(PromptCommand::Help) => to_stdout(HELP),
            Ok(PromptCommand::Status) => to_stdout(&status(&cluster)),
            Ok(PromptCommand::Nothing) => {}
            Ok(order) => match cluster.carry_out(order).await {
                Ok(()) => to_stdout(&status(&cluster)),
                Err(error) => to_stderr(&format!("error: {error}\n")),
            },
            Err(error) => to_stderr(&format!("error: {error}\n")),
        }
    }
    cluster.shut_down().await?;
    Ok(())
}

fn status(cluster: &Cluster) -> String {
    let mut text = String::new();
    for member in cluster.status() {
        let role = if member.is_master { "master" } else { "slave" };
        let _ = writeln!(
            text,
            "member {}  {role:6}  {:8} single://{}  transaction {}",
            member.id,
            member.state.to_string(),
            member.backup,
            member.last
        );
    }
    for (number, (address, condition)) in cluster.coordinators().into_iter().enumerate() {
        let condition = match condition {
            Condition::Serving => "serving",
            Condition::Silent => "silent",
            Condition::WithoutQuorum => "without quorum",
            Condition::Down => "down",
        };
        let _ = writeln!(text, "coordinator {}  {condition}  {address}", number + 1);
    }
    text
}

/// The lines of standard input; read on a thread of their own, which ends with the process.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
