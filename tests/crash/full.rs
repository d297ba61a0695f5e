//! Full backups that are killed, or whose disk fails, at a system call that changes something: whatever the call, the
//! target is absent or a complete backup, and the same command run again ends well. A generation beside the target that shares
//! the files of the backup in it stays as it is.
//!
//! Runs at some of the calls; `CRASH_POINTS=all` (`tests/run full crash`) takes every one. Needs `strace`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "panicking is how tests report")]

use std::{
    collections::BTreeMap,
    env,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
};

use crate::disk_trace::{Call, Effect, FAULTS, Fault, calls, folder_in_memory, require_strace, run_with_fault};
use crate::support::replay::{Answer, Server, Transactions, judge, left_over, sibling, with_large_file};
use crate::support::{link_dir, snapshot};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

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
        let scene = Scene {
            folder: folder_in_memory(),
            server,
            before,
        };
        if before == Before::OlderBackup {
            assert!(scene.finish().status.success());
            link_dir(&scene.target(), &scene.generation());
        }
        scene
    }

    /// Shares its files with the older backup.
    fn generation(&self) -> PathBuf {
        self.folder.path().join("generation")
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    fn arguments(&self) -> Vec<String> {
        let (uri, target) = (self.server.uri(), self.target().to_str().unwrap().to_owned());
        let mut words = vec!["-full".to_owned(), "-from".to_owned(), uri, "-to".to_owned(), target];
        if self.before == Before::OlderBackup {
            words.push("-overwrite".to_owned());
        }
        words
    }

    fn finish(&self) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(self.arguments()).stdin(Stdio::null()).output().unwrap()
    }
}

/// Every call in the folder of the target that changes something, each once: of two threads that make the same one either
/// may be hit.
fn points(server: &Server, before: Before) -> Vec<Call> {
    let scene = Scene::new(server, before);
    let calls = calls(PROGRAM, &scene.arguments(), scene.folder.path()).into_iter();
    let changing = calls.filter(|call| call.name != "openat" || call.effect != Effect::Nothing);
    let points: BTreeMap<_, _> = changing
        .map(|call| ((call.name.clone(), call.path.clone(), call.number), call))
        .collect();
    points.into_values().collect()
}

/// What is wrong after a fault at a call, and after the run that follows.
fn try_point(server: &Server, before: Before, fault: Fault, point: &Call) -> Result<(), String> {
    let scene = Scene::new(server, before);
    let target = scene.target();
    let generation = (before == Before::OlderBackup).then(|| snapshot(&scene.generation()));
    let hit = run_with_fault(PROGRAM, &scene.arguments(), scene.folder.path(), point, &fault.inject());
    if matches!(fault, Fault::Killed) && hit.status.signal().is_none() {
        return Err(format!("was not hit: {}", hit.status));
    }
    if matches!(fault, Fault::Fails(_)) && !matches!(hit.status.code(), Some(0 | 18 | 19)) {
        return Err(format!("{}: {}", hit.status, String::from_utf8_lossy(&hit.stderr)));
    }
    if hit.status.code() == Some(0) || before == Before::OlderBackup || target.exists() {
        judge(&target).map_err(|error| format!("after the fault ({}): {error}", hit.status))?;
    }
    if matches!(fault, Fault::Fails(_)) && sibling(&target, ".partial").exists() && !cannot_clear(&point.name) {
        return Err("a partial backup was left".to_owned());
    }
    // done, and perhaps even said so: nothing is left to be done again
    let done = target.exists() && left_over(&target).is_empty() && hit.status.code().is_none_or(|code| code == 0);
    if before == Before::Nothing && done {
        return Ok(());
    }
    let again = scene.finish();
    if !again.status.success() {
        let text = String::from_utf8_lossy(&again.stderr).into_owned();
        return Err(format!(
            "the next run after {} (signal {:?}): {text}",
            hit.status,
            hit.status.signal()
        ));
    }
    judge(&target).map_err(|error| format!("after the next run: {error}"))?;
    if generation.is_some_and(|before| before != snapshot(&scene.generation())) {
        return Err("the generation beside it was changed".to_owned());
    }
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
    assert!(points.len() > 100, "{} points", points.len());
    let step = if env::var("CRASH_POINTS").as_deref() == Ok("all") {
        1
    } else {
        SAMPLE
    };
    let mut cases = Vec::new();
    for fault in FAULTS {
        let hit = points.iter().filter(|point| fault.can_hit(&point.name));
        cases.extend(hit.step_by(step).map(|point| (fault, point)));
    }
    let wrong: Vec<String> = thread::scope(|scope| {
        let halves = cases.chunks(cases.len().div_ceil(2)).map(|cases| {
            let server = &server;
            scope.spawn(move || {
                let attempt = |(fault, point): &(Fault, &Call)| {
                    try_point(server, before, *fault, point).err().map(|error| {
                        format!(
                            "{fault:?} at {} {} {}: {error}",
                            point.name,
                            point.number,
                            point.path.display()
                        )
                    })
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
