//! How long a commit of a live sandbox database takes, alone and while full backups are taken from it without a pause.
//!
//! ```text
//! commits ROUNDS COMMITS [RATE]
//! ```
//!
//! The clients throw away what they get: what a backup costs the side that serves it is measured, not the disk that the
//! backup is written to. They take it as fast as it comes, which on a loopback keeps two processors busy, or RATE bytes a
//! second, as over a network. Windows with and without backups take turns within a round, so that both meet the same
//! machine.
//!
//! Each line it prints is `ROUND IDLE_MEDIAN IDLE_P99 BUSY_MEDIAN BUSY_P99 BACKUPS`, in microseconds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement ends where something fails, and prints what it found"
)]

mod throw_away;

use std::{
    env,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use neo4j_backup_core::serve::{Limits, Release, Service, Stop};
use neo4j_format::{
    ids::StoreId,
    store::{StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    Live,
    database::Database,
    generator::{Generator, WorkloadProfile},
};

/// Commits before anything is measured: a store of some megabytes.
const BEFORE: i64 = 20_000;

/// Commits of a window; a backup takes a fraction of it.
const WINDOW: usize = 250;

/// Between two commits, so that a writer that waits for work is measured, not one that has a core for itself.
const PAUSE: Duration = Duration::from_micros(500);

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        [rounds, commits] => measure(rounds.parse().unwrap(), commits.parse().unwrap(), None),
        [rounds, commits, rate] => {
            let rate = Some(rate.parse().unwrap());
            measure(rounds.parse().unwrap(), commits.parse().unwrap(), rate);
        }
        _ => println!("usage: commits ROUNDS COMMITS [RATE]"),
    }
}

fn measure(rounds: u32, commits: usize, max_rate: Option<NonZeroU64>) {
    let work = tempfile::tempdir().unwrap();
    let id = StoreId {
        creation_time: 1,
        random: 2,
        store_version: Some(CURRENT_VERSION),
    };
    let mut database = Database::create(&work.path().join("live"), StoreFormat::Current, id).unwrap();
    let generator = Generator::new(1, WorkloadProfile::of(StoreFormat::Current));
    for time in 0..BEFORE {
        generator.step(&mut database, time).unwrap();
    }
    let live = Live::of(&database, Release::Other).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let limits = Limits {
        max_rate,
        ..Limits::default()
    };
    runtime.spawn(async move {
        Service::new(Arc::new(live), limits)
            .run(listener, &Stop::default())
            .await
    });

    let mut window = |took: &mut Vec<Duration>| {
        for _ in 0..WINDOW {
            let start = Instant::now();
            generator.step(&mut database, BEFORE).unwrap();
            took.push(start.elapsed());
            thread::sleep(PAUSE);
        }
    };
    for round in 1..=rounds {
        let (mut idle, mut busy, mut backups) = (Vec::new(), Vec::new(), 0);
        for _ in 0..commits.div_ceil(WINDOW) {
            window(&mut idle);
            backups += beside_backups(&address, || window(&mut busy));
        }
        let [idle, busy] = [idle, busy].map(|mut took| {
            took.sort();
            [50, 99].map(|percent| took[took.len() * percent / 100].as_micros())
        });
        println!("{round} {} {} {} {} {backups}", idle[0], idle[1], busy[0], busy[1]);
    }
}

/// Does something while full backups are taken, one after the other; how many they were.
fn beside_backups(address: &str, something: impl FnOnce()) -> u32 {
    let goes_on = AtomicBool::new(true);
    thread::scope(|scope| {
        let taking = scope.spawn(|| {
            let mut count = 0;
            while goes_on.load(Ordering::Relaxed) {
                throw_away::full_backup(address);
                count += 1;
            }
            count
        });
        something();
        goes_on.store(false, Ordering::Relaxed);
        taking.join().unwrap()
    })
}
