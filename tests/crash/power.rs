//! Power that is lost during an incremental backup: of the writes that were not synced any may be missing, whatever their
//! order, and a last one may be torn. What a real run wrote is recorded, and disks are made of it as they may be found
//! afterwards; from each the next run goes on to the same bytes as a run that nobody stopped, and Neo4j starts.
//!
//! The model of the disk is `lost_power`'s. Runs at some points; `CRASH_POINTS=all` (`tests/run full crash`) takes many more and starts Neo4j on at least 50
//! of them. Needs `strace` and a real Neo4j.

#![expect(clippy::print_stderr, reason = "panicking is how tests report")]

use crate::disk_trace::{record, require_strace};
use crate::interrupted::{PROGRAM, Scene, takes_all};
use crate::lost_power::{Fate, Random, Recording};
use crate::support::{Release, require_peers};

/// Points of the short run, and on one of how many of them Neo4j is started.
const POINTS: usize = 160;
const BOOT: usize = 20;
const POINTS_OF_ALL: usize = 2000;
const BOOT_OF_ALL: usize = 33;

#[test]
fn power_lost_during_an_incremental_does_no_harm_1_8() {
    power_lost_anywhere_does_no_harm(Release::V1_8);
}

#[test]
#[ignore = "takes minutes; tests/run full"]
fn power_lost_during_an_incremental_does_no_harm_1_4_2() {
    power_lost_anywhere_does_no_harm(Release::V1_4_2);
}

#[test]
#[ignore = "takes minutes; tests/run full"]
fn power_lost_during_an_incremental_does_no_harm_1_9_9() {
    power_lost_anywhere_does_no_harm(Release::V1_9_9);
}

fn power_lost_anywhere_does_no_harm(release: Release) {
    if !require_peers(release) || !require_strace("lost power") {
        return;
    }
    let scene = Scene::new(release);
    let copy = scene.copy("copy");
    let arguments = scene.arguments(&copy);
    let calls = record(PROGRAM, &arguments, &copy);
    let recording = Recording::new(&scene.copy("copy"), calls);
    let (points, boot) = if takes_all() {
        (POINTS_OF_ALL, BOOT_OF_ALL)
    } else {
        (POINTS, BOOT)
    };
    let mut random = Random(1);
    let (mut boots, mut missing, mut wrong) = (0, 0, Vec::new());
    for point in 0..points {
        let until = point * (recording.calls().len() + 1) / points;
        let loss = Loss::of_point(point, &mut random);
        let pending = recording.pending(until);
        let disk = recording.disk(until, |call| loss.fate(call, &pending, &mut random));
        missing += disk.missing;
        let found = scene.dir("found");
        disk.write(&found);
        let what = format!(
            "point {point}, {loss:?} behind call {until} of {}",
            recording.calls().len()
        );
        if point % boot == boot / 2 {
            boots += 1;
            wrong.extend(
                scene
                    .repaired_by_neo4j(&found)
                    .err()
                    .map(|error| format!("{what}: {error}")),
            );
        }
        wrong.extend(
            scene
                .repaired_by_next_run(&found)
                .err()
                .map(|error| format!("{what}: {error}")),
        );
    }
    eprintln!(
        "neo4j {}: {} calls, {points} points, {missing} writes lost, Neo4j started on {boots}, {} wrong",
        release.name(),
        recording.calls().len(),
        wrong.len()
    );
    assert!(missing > points, "only {missing} writes were lost");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Which of the writes that were not synced are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    All,
    /// All but the first of them, in percent.
    Behind(u64),
    /// Each with this probability, in percent; those that extend a file may leave zeros.
    Some(u64),
}

impl Loss {
    fn of_point(point: usize, random: &mut Random) -> Loss {
        match point % 4 {
            0 => Loss::All,
            1 => Loss::Behind(random.below(100)),
            2 => Loss::Some(80),
            _ => Loss::Some(30),
        }
    }

    /// What becomes of one of the pending calls.
    fn fate(self, call: usize, pending: &[usize], random: &mut Random) -> Fate {
        let place = pending.partition_point(|other| *other < call) as u64;
        let lost = match self {
            Loss::All => true,
            Loss::Behind(percent) => place * 100 >= pending.len() as u64 * percent,
            Loss::Some(percent) => random.below(100) < percent,
        };
        match (lost, self) {
            (true, Loss::Some(_)) if random.below(3) == 0 => Fate::Length,
            (true, _) => Fate::Lost,
            (false, _) if random.below(8) == 0 => Fate::Torn(u8::try_from(random.below(255)).unwrap_or(0)),
            (false, _) => Fate::Kept,
        }
    }
}
