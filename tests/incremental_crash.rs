//! Incremental backups that are killed at a system call that changes something: Neo4j starts from what is left, and the
//! same command run again brings the store to the same bytes as a run that nobody stopped.
//!
//! Runs at some of the calls; `CRASH_POINTS=all` takes every one. Needs `strace` and a real Neo4j 1.8.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use support::{Options, Peer, Release, copy_dir, require_peers};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");
/// Seed of the load and transactions before and after the full backup.
const LOAD: (u64, u32, u32) = (11, 150, 200);
/// Of these calls, the short run stops at every one of so many.
const CALLS: [(&str, usize); 5] = [
    ("rename,renameat2", 2),
    ("fsync,fdatasync", 5),
    ("unlink", 7),
    ("ftruncate", 6),
    ("pwrite64", 700),
];
/// Neo4j is started on every one of so many points.
const BOOT: usize = 5;

#[test]
fn an_incremental_killed_anywhere_is_repaired_by_neo4j_and_by_the_next_run() {
    let release = Release::V1_8;
    if !require_peers(release) {
        return;
    }
    let all = env::var("CRASH_POINTS").as_deref() == Ok("all");
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    let mut source = Peer::start(release, &dir("source"), &Options::source(release));
    source.load(LOAD.0, LOAD.1);
    assert!(run(None, "-full", &source.uri(), &dir("base")), "the full backup");
    source.load(LOAD.0, LOAD.1 + LOAD.2);
    copy_dir(&dir("base"), &dir("whole"));
    assert!(
        run(None, "-incremental", &source.uri(), &dir("whole")),
        "the run that nobody stops"
    );
    let expected = stores(&dir("whole"));

    let mut points = 0;
    for (calls, sample) in CALLS {
        let step = if all { 1 } else { sample };
        for n in (1..).step_by(step) {
            let copy = dir("copy");
            remove(&copy);
            copy_dir(&dir("base"), &copy);
            if run(Some((calls, n)), "-incremental", &source.uri(), &copy) {
                break;
            }
            points += 1;
            if points % BOOT == 0 {
                let booted = dir("booted");
                remove(&booted);
                copy_dir(&copy, &booted);
                // starting, and reading all of it, is the test
                Peer::boot(release, &booted).contents();
            }
            assert!(
                run(None, "-incremental", &source.uri(), &copy),
                "again after {calls} {n}"
            );
            assert!(stores(&copy) == expected, "another store after {calls} {n}");
        }
    }
    eprintln!("killed at {points} points");
    assert!(points >= CALLS.len(), "only {points} points were reached");
}

/// Runs the program, killed at the n-th of some system calls; whether it ended well.
fn run(kill_at: Option<(&str, usize)>, mode: &str, from: &str, to: &Path) -> bool {
    let mut command = match kill_at {
        None => Command::new(PROGRAM),
        Some((calls, n)) => {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
            strace.args([
                format!("trace={calls}"),
                "-e".into(),
                format!("inject={calls}:signal=KILL:when={n}"),
            ]);
            strace.arg(PROGRAM);
            strace
        }
    };
    command.args([mode, "-from", from, "-quiet", "-to"]).arg(to);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// The graph's files and the indexes' pending log.
fn stores(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("neostore") || name.contains("logical") {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found.insert(
        "index".into(),
        fs::read(dir.join("index/lucene.log.1")).unwrap_or_default(),
    );
    found
}

fn remove(dir: &Path) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
}
