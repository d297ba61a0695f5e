//! Full backups that are killed, or whose disk fails, at a system call that changes something: whatever the call, the
//! target is absent or a complete backup, and the same command run again ends well.
//!
//! Runs at some of the calls; `CRASH_POINTS=all` (`tests/crash_points`) takes every one. Needs `strace`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "panicking is how tests report")]

mod disk_trace;
mod replay;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use disk_trace::{FAULTS, Fault, require_strace};
use replay::{Answer, Server, Transactions, judge, left_over, sibling, with_large_file};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// Calls that change a file system. `openat` counts where it may create.
const CALLS: &str = "write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,mkdir,\
                     mkdirat,ftruncate,fallocate,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,openat";

/// Bytes of one of the files: more than two blocks that are written directly, and an end that is not.
const LARGE: usize = (2 << 20) + 1000;

/// Of the points of one fault, the short run takes every one of this many.
const SAMPLE: usize = 13;

/// What is at the target before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    OlderBackup,
}

/// A target in a folder of its own, and the server it is filled from.
struct Scene<'a> {
    folder: TempDir,
    server: &'a Server,
    before: Before,
}

impl Scene<'_> {
    fn new(server: &Server, before: Before) -> Scene<'_> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        };
        let scene = Scene {
            folder: folder.unwrap(),
            server,
            before,
        };
        if before == Before::OlderBackup {
            assert!(scene.finish(Command::new(PROGRAM)).status.success());
        }
        scene
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    /// Lets `command` take the backup.
    fn finish(&self, mut command: Command) -> Output {
        command
            .args(["-full", "-from", &self.server.uri(), "-to"])
            .arg(self.target());
        if self.before == Before::OlderBackup {
            command.arg("-overwrite");
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn traced(&self, options: &[&str]) -> Output {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq"]).args(options).arg(PROGRAM);
        self.finish(strace)
    }
}

/// A call that changes something.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    /// The first path it names, below the folder of the target.
    path: PathBuf,
    /// Which of its thread's calls with this path it is, from 1.
    number: usize,
}

/// Every such call in the folder of the target. Sockets, pipes and event counters are no disk and do not count.
fn points(server: &Server, before: Before) -> BTreeSet<Point> {
    let scene = Scene::new(server, before);
    let log = scene.folder.path().join("calls");
    let trace = format!("trace={CALLS}");
    let traced = scene.traced(&["-y", "-s", "4096", "-e", &trace, "-o", log.to_str().unwrap()]);
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let folder = scene.folder.path().display().to_string();
    let (mut numbers, mut found) = (BTreeMap::new(), BTreeSet::new());
    for line in fs::read_to_string(&log).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some((call, _)), Some((_, path))) = (
            words.next(),
            words.next().and_then(|word| word.split_once('(')),
            line.split_once(&folder),
        ) else {
            continue;
        };
        let path = path
            .split(['"', '>'])
            .next()
            .unwrap_or_default()
            .trim_start_matches('/');
        // a report that names the target
        if path.contains('\\') {
            continue;
        }
        let number = numbers
            .entry((thread.to_owned(), call.to_owned(), path.to_owned()))
            .or_insert(0);
        *number += 1;
        if call != "openat" || line.contains("O_CREAT") {
            found.insert(Point {
                call: call.to_owned(),
                path: PathBuf::from(path),
                number: *number,
            });
        }
    }
    found
}

/// What is wrong after a fault at a call, and after the run that follows.
fn try_point(server: &Server, before: Before, fault: Fault, point: &Point) -> Result<(), String> {
    let Point { call, path, number } = point;
    let scene = Scene::new(server, before);
    let target = scene.target();
    let (trace, inject) = (
        format!("trace={call}"),
        format!("inject={call}:{}:when={number}", fault.inject()),
    );
    // without a slash at the end, which the folder itself would get
    let path: PathBuf = scene.folder.path().components().chain(path.components()).collect();
    let hit = scene.traced(&[
        "-P",
        path.to_str().unwrap(),
        "-e",
        &trace,
        "-e",
        &inject,
        "-o",
        "/dev/null",
    ]);
    if matches!(fault, Fault::Killed) && hit.status.signal().is_none() {
        return Err(format!("was not hit: {}", hit.status));
    }
    if matches!(fault, Fault::Fails(_)) && !matches!(hit.status.code(), Some(0 | 18 | 19)) {
        return Err(format!("{}: {}", hit.status, String::from_utf8_lossy(&hit.stderr)));
    }
    if hit.status.code() == Some(0) || before == Before::OlderBackup || target.exists() {
        judge(&target).map_err(|error| format!("after the fault ({}): {error}", hit.status))?;
    }
    if matches!(fault, Fault::Fails(_)) && sibling(&target, ".partial").exists() && !cannot_clear(call) {
        return Err("a partial backup was left".to_owned());
    }
    // done, and perhaps even said so: nothing is left to be done again
    let done = target.exists() && left_over(&target).is_empty() && hit.status.code().is_none_or(|code| code == 0);
    if before == Before::Nothing && done {
        return Ok(());
    }
    let again = scene.finish(Command::new(PROGRAM));
    if !again.status.success() {
        let text = String::from_utf8_lossy(&again.stderr).into_owned();
        return Err(format!(
            "the next run after {} (signal {:?}): {text}",
            hit.status,
            hit.status.signal()
        ));
    }
    judge(&target).map_err(|error| format!("after the next run: {error}"))?;
    match left_over(&target) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("after the next run: {left:?} left")),
    }
}

/// Whether a fault at this call is one of clearing away itself.
fn cannot_clear(call: &str) -> bool {
    matches!(call, "unlink" | "unlinkat" | "rmdir")
}

fn every_point_is_survived(before: Before) {
    if !require_strace("crash points") {
        return;
    }
    let server = Server::start(Answer::Whole(with_large_file(LARGE)), Transactions::Recorded);
    let points = points(&server, before);
    assert!(points.len() > 100, "{points:?}");
    let step = if env::var("CRASH_POINTS").as_deref() == Ok("all") {
        1
    } else {
        SAMPLE
    };
    let mut cases = Vec::new();
    for fault in FAULTS {
        let hit = points.iter().filter(|point| fault.can_hit(&point.call));
        cases.extend(hit.step_by(step).map(|point| (fault, point)));
    }
    let wrong: Vec<String> = thread::scope(|scope| {
        let halves = cases.chunks(cases.len().div_ceil(2)).map(|cases| {
            let server = &server;
            scope.spawn(move || {
                let attempt = |(fault, point): &(Fault, &Point)| {
                    try_point(server, before, *fault, point)
                        .err()
                        .map(|error| format!("{fault:?} at {point:?}: {error}"))
                };
                cases.iter().filter_map(attempt).collect::<Vec<_>>()
            })
        });
        let halves: Vec<_> = halves.collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    eprintln!("{before:?}: {} points, {} wrong", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_new_backup_survives_every_crash() {
    every_point_is_survived(Before::Nothing);
}

#[test]
fn a_replaced_backup_survives_every_crash() {
    every_point_is_survived(Before::OlderBackup);
}
