//! Every sync of an incremental backup is needed, and the model of lost power notices where one is missing.
//!
//! A run is recorded; then, for one sync after the other, disks are made as they may be found when power is lost and that
//! sync had been forgotten. On at least one of them Neo4j does not start, has a graph that there never was, or the next
//! run goes wrong. With no sync forgotten, nothing of that happens. Needs `strace`, and no Java: Neo4j's start is
//! `neo4j_start`'s.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::disk_trace::{Effect, require_strace};
use crate::lost_power::{Disk, Fate, Recording, Unit};
use crate::sandbox_run::{Base, Scene};
use tempfile::TempDir;

use neo4j_format::{ids::DataSource, log::files};

/// With no sync forgotten, Neo4j is started on one of so many disks, and the next run tried on one of so many of those.
/// `CRASH_POINTS=all` takes every one for both.
const START: usize = 20;
const NEXT_RUN: usize = 6;

fn takes_all() -> bool {
    env::var("CRASH_POINTS").as_deref() == Ok("all")
}

/// What may be found when power is lost behind so many calls: what `lost` names is lost in every way, and of the rest
/// that was not synced everything, nothing, or what one sync would have brought; one of `step` of these disks.
fn disks<'a>(
    recording: &'a Recording,
    untils: &'a [usize],
    lost: &'a BTreeSet<usize>,
    step: usize,
) -> impl Iterator<Item = (String, usize, Disk)> + 'a {
    let ways = if lost.is_empty() {
        &[Fate::Lost][..]
    } else {
        &[Fate::Lost, Fate::Length, Fate::Torn(128)]
    };
    // the more was done since, the more can be wrong
    let cases = untils.iter().rev().flat_map(move |until| {
        let pending = recording.pending(*until);
        let rest = pending.iter().filter(|call| !lost.contains(call));
        let units: BTreeSet<Unit> = rest.map(|call| recording.unit(*call)).collect();
        let of_units = units
            .into_iter()
            .flat_map(|unit| [Kept::AllBut(unit.clone()), Kept::Only(unit)]);
        let kept: Vec<Kept> = [Kept::All, Kept::Nothing].into_iter().chain(of_units).collect();
        ways.iter()
            .flat_map(move |way| kept.clone().into_iter().map(move |kept| (*until, *way, kept)))
    });
    cases.step_by(step).map(move |(until, way, kept)| {
        let what = format!("behind call {until}, {way:?}, else {kept:?}");
        let disk = recording.disk(until, |call| {
            if lost.contains(&call) {
                way
            } else if kept.has(&recording.unit(call)) {
                Fate::Kept
            } else {
                Fate::Lost
            }
        });
        (what, until, disk)
    })
}

/// What is left of that which was not synced.
#[derive(Debug, Clone)]
enum Kept {
    All,
    Nothing,
    AllBut(Unit),
    Only(Unit),
}

impl Kept {
    fn has(&self, unit: &Unit) -> bool {
        match self {
            Kept::All => true,
            Kept::Nothing => false,
            Kept::AllBut(lost) => unit != lost,
            Kept::Only(kept) => unit == kept,
        }
    }
}

/// Of these numbers of calls those that make a difference: not in the midst of the writes of a file, but once.
fn steps(recording: &Recording, from: usize, to: usize) -> Vec<usize> {
    let calls = recording.calls();
    let is_write = |at: usize| {
        calls
            .get(at)
            .is_some_and(|call| matches!(call.effect, Effect::Write { .. }))
    };
    let in_the_midst =
        |until: usize| is_write(until) && is_write(until - 1) && calls[until].path == calls[until - 1].path;
    let mut steps: Vec<usize> = (from.max(1)..=to).filter(|until| !in_the_midst(*until)).collect();
    // one of each stretch of writes that were left out
    let midst: Vec<usize> = steps
        .windows(2)
        .filter(|two| two[1] - two[0] > 2)
        .map(|two| two[0].midpoint(two[1]))
        .collect();
    steps.extend(midst);
    steps.sort_unstable();
    steps
}

fn every_sync_is_needed(base: Base) {
    syncs_are_needed(base, |_, _| true);
}

/// No disk does harm when no sync was forgotten, and some disk does when one was, of those that `matter`.
fn syncs_are_needed(base: Base, matter: impl Fn(&Recording, usize) -> bool) {
    if !require_strace("forgotten syncs") {
        return;
    }
    let scene = Scene::new(base);
    let recording = scene.record();
    let at = TempDir::new_in(scene.dir()).unwrap();
    let all = steps(&recording, 1, recording.calls().len());
    let (mut looked, mut tried) = (0, 0);
    let step = if takes_all() { 1 } else { START };
    for (what, until, disk) in disks(&recording, &all, &BTreeSet::new(), step) {
        let next_run = looked % NEXT_RUN == 0 || takes_all();
        let judged = scene.judge(until == recording.calls().len(), next_run, &disk, at.path());
        assert_eq!(judged, Ok(()), "{base:?}, with no sync forgotten, {what}");
        (looked, tried) = (looked + 1, tried + usize::from(next_run));
    }
    eprintln!(
        "{base:?}: {} calls, {looked} disks, {tried} of them with the next run",
        recording.calls().len()
    );
    let syncs: Vec<usize> = recording.syncs().filter(|sync| matter(&recording, *sync)).collect();
    assert!(!syncs.is_empty());
    let next = AtomicUsize::new(0);
    let noticed = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let at = TempDir::new_in(scene.dir()).unwrap();
                while let Some(sync) = syncs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let forgetful = recording.without(*sync);
                    let lost: BTreeSet<usize> = recording.synced_by(*sync).collect();
                    let until = lost.iter().map(|call| forgetful.pending_until(*call)).max();
                    let untils = steps(&forgetful, sync + 1, until.unwrap_or(*sync));
                    let wrong = disks(&forgetful, &untils, &lost, 1).find_map(|(what, until, disk)| {
                        let judged = scene.judge(until == forgetful.calls().len(), true, &disk, at.path());
                        judged.err().map(|error| format!("{what}: {error}"))
                    });
                    noticed.lock().unwrap().insert(*sync, wrong);
                }
            });
        }
    });
    let mut unnoticed = Vec::new();
    for (sync, wrong) in noticed.into_inner().unwrap() {
        let what = format!("call {sync}, sync of '{}'", recording.calls()[sync].path.display());
        eprintln!("{what}: {wrong:?}");
        if wrong.is_none() {
            unnoticed.push(what);
        }
    }
    assert!(
        unnoticed.is_empty(),
        "{base:?}: nothing notices that these are forgotten: {unnoticed:#?}"
    );
}

#[test]
fn every_sync_is_needed_where_transactions_are_added() {
    every_sync_is_needed(Base::Pending);
}

#[test]
fn every_sync_is_needed_where_an_index_is_deleted() {
    every_sync_is_needed(Base::IndexDeleted);
}

#[test]
fn every_sync_is_needed_where_a_database_was_taken_over() {
    every_sync_is_needed(Base::Adopted);
}

/// It repeats what the interrupted one had made durable already, but has a marker to remove.
#[test]
fn a_run_behind_an_interrupted_one_survives_and_needs_the_sync_of_a_marker_that_goes() {
    let marker = Path::new(files::marker(DataSource::Graph));
    syncs_are_needed(Base::Interrupted, |recording, sync| {
        let mut calls = recording.synced_by(sync).map(|call| &recording.calls()[call]);
        calls.any(|call| call.path == marker && call.effect == Effect::Remove)
    });
}
