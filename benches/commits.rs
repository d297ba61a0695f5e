//! How long a commit of a live sandbox database takes, alone and while full backups are taken from it without a pause:
//! in turns of equally many commits, so that both meet the same machine.
//!
//! ```text
//! commits PROGRAM ROUNDS COMMITS
//! ```
//!
//! PROGRAM is the backup tool, run as a process of its own. Each line it prints is
//! `ROUND IDLE_MEDIAN IDLE_P99 BUSY_MEDIAN BUSY_P99 BACKUPS`, in microseconds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement ends where something fails, and prints what it found"
)]

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use neo4j_backup::{
    ids::StoreId,
    sandbox::{
        Live,
        database::Database,
        generator::{Generator, Taste},
    },
    server::{Limits, Release, Service, Stop},
    store::{StoreFormat, header::CURRENT_VERSION},
};

/// Commits before anything is measured: a store of some megabytes.
const BEFORE: i64 = 20_000;

/// Between two commits, so that a writer that waits for work is measured, not one that has a core for itself.
const PAUSE: Duration = Duration::from_micros(500);

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        [program, rounds, commits] => measure(program, rounds.parse().unwrap(), commits.parse().unwrap()),
        _ => println!("usage: commits PROGRAM ROUNDS COMMITS"),
    }
}

fn measure(program: &str, rounds: u32, commits: usize) {
    let work = tempfile::tempdir().unwrap();
    let id = StoreId {
        creation_time: 1,
        random: 2,
        store_version: Some(CURRENT_VERSION),
    };
    let mut database = Database::create(&work.path().join("live"), StoreFormat::Current, id).unwrap();
    let generator = Generator::new(1, Taste::of(StoreFormat::Current));
    for time in 0..BEFORE {
        generator.step(&mut database, time).unwrap();
    }
    let live = Live::of(&database, Release::Other).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let uri = format!("single://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        Service::new(Arc::new(live), Limits::default())
            .run(listener, &Stop::default())
            .await
    });

    let mut turn = || {
        let mut took: Vec<Duration> = (0..commits)
            .map(|_| {
                let start = Instant::now();
                generator.step(&mut database, BEFORE).unwrap();
                let took = start.elapsed();
                thread::sleep(PAUSE);
                took
            })
            .collect();
        took.sort();
        let at = |percent: usize| took.get(took.len() * percent / 100).unwrap().as_micros();
        (at(50), at(99))
    };
    for round in 1..=rounds {
        let idle = turn();
        let backups = Backups::start(program, &uri, &work.path().join("backup"));
        let busy = turn();
        println!("{round} {} {} {} {} {}", idle.0, idle.1, busy.0, busy.1, backups.end());
    }
}

/// Full backups, one after the other.
struct Backups {
    goes_on: Arc<AtomicBool>,
    taking: thread::JoinHandle<u32>,
}

impl Backups {
    fn start(program: &str, uri: &str, to: &Path) -> Backups {
        let goes_on = Arc::new(AtomicBool::new(true));
        let (going_on, program, uri, to) = (Arc::clone(&goes_on), program.to_owned(), uri.to_owned(), to.to_owned());
        let taking = thread::spawn(move || {
            let mut count = 0;
            while going_on.load(Ordering::Relaxed) {
                let mut tool = Command::new(&program);
                tool.args(["-full", "-overwrite", "-verify=false", "-quiet", "-from", &uri, "-to"]);
                let status = tool.arg(&to).stdout(Stdio::null()).status().unwrap();
                assert!(status.success(), "a backup failed: {status}");
                count += 1;
            }
            count
        });
        Backups { goes_on, taking }
    }

    fn end(self) -> u32 {
        self.goes_on.store(false, Ordering::Relaxed);
        self.taking.join().unwrap()
    }
}
