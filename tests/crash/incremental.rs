//! Incremental backups that are killed, or whose disk fails, at a system call that changes something: the same command
//! run again brings the store to the same bytes as a run that nobody stopped, and Neo4j starts from what is left. A generation
//! beside the backup that shares its files stays as it is.
//!
//! Runs at some of the calls; `CRASH_POINTS=all` (`tests/run full crash`) takes every one, and `CRASH_BOOTS` says on how many
//! of them Neo4j is started. Needs `strace` and a real Neo4j.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "panicking is how tests report")]

use std::{env, fs};

use crate::disk_trace::{Call, Effect, FAULTS, Fault, record, require_strace, run_with_fault};
use crate::interrupted::{PROGRAM, Scene, takes_all};
use crate::support::{Release, link_dir, require_peers, snapshot};

/// Of the calls, the short run takes one of so many.
const SAMPLE: usize = 7;
/// In the short run Neo4j is started on one of so many points, in the long one on so many of them.
const BOOT: usize = 12;
const BOOTS_OF_ALL: usize = 60;

#[test]
fn an_incremental_interrupted_anywhere_is_repaired_1_8() {
    every_point_is_repaired(Release::V1_8);
}

/// The format before 1.5.
#[test]
#[ignore = "takes minutes; tests/run full"]
fn an_incremental_interrupted_anywhere_is_repaired_1_4_2() {
    every_point_is_repaired(Release::V1_4_2);
}

#[test]
#[ignore = "takes minutes; tests/run full"]
fn an_incremental_interrupted_anywhere_is_repaired_1_9_9() {
    every_point_is_repaired(Release::V1_9_9);
}

fn every_point_is_repaired(release: Release) {
    if !require_peers(release) || !require_strace("crash points") {
        return;
    }
    let scene = Scene::new(release);
    let generation = scene.dir("generation");
    let fresh = || {
        let copy = scene.copy("copy");
        let _ = fs::remove_dir_all(&generation);
        link_dir(&copy, &generation);
        copy
    };
    let copy = fresh();
    let kept = snapshot(&generation);
    let arguments = scene.arguments(&copy);
    // the folder also holds the lock file beside the copy
    let folder = copy.parent().unwrap();
    let calls = record(PROGRAM, &arguments, folder);
    let changing: Vec<_> = calls.iter().filter(|call| call.effect != Effect::Nothing).collect();
    assert!(changing.len() > 200, "{} calls", changing.len());
    let cases = cases(&changing);
    let wanted = boots_wanted(cases.len());
    let (mut boots, mut wrong) = (0, Vec::new());
    for (number, (fault, call)) in cases.iter().enumerate() {
        let copy = fresh();
        let hit = run_with_fault(PROGRAM, &arguments, folder, call, &fault.inject());
        let what = format!("{fault:?} at {} {} {}", call.name, call.number, call.path.display());
        if *fault == Fault::Killed && hit.status.success() {
            wrong.push(format!("{what}: was not hit"));
        }
        if let Fault::Fails(_) = fault
            && !matches!(hit.status.code(), Some(0 | 18 | 19))
        {
            let text = String::from_utf8_lossy(&hit.stderr).into_owned();
            wrong.push(format!("{what}: {}: {text}", hit.status));
        }
        // evenly among the points
        if number * wanted / cases.len() != (number + 1) * wanted / cases.len() {
            boots += 1;
            let error = scene.repaired_by_neo4j(&copy).err();
            wrong.extend(error.map(|error| format!("{what}: {error}")));
        }
        let error = scene.repaired_by_next_run(&copy).err();
        wrong.extend(error.map(|error| format!("{what}: {error}")));
        if snapshot(&generation) != kept {
            wrong.push(format!("{what}: the generation beside it was changed"));
        }
    }
    eprintln!(
        "neo4j {}: {} calls, {} points, Neo4j started on {boots}, {} wrong",
        release.name(),
        changing.len(),
        cases.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The points to try.
fn cases<'a>(changing: &[&'a Call]) -> Vec<(Fault, &'a Call)> {
    let step = if takes_all() { 1 } else { SAMPLE };
    let mut cases = Vec::new();
    for fault in FAULTS {
        let hit = changing.iter().copied().filter(|call| fault.can_hit(&call.name));
        cases.extend(hit.step_by(step).map(|call| (fault, call)));
    }
    cases
}

/// On how many of so many points Neo4j is started.
fn boots_wanted(points: usize) -> usize {
    let usual = if takes_all() { BOOTS_OF_ALL } else { points / BOOT };
    env::var("CRASH_BOOTS").map_or(usual, |text| text.parse().unwrap())
}
