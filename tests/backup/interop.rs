//! Backups of real servers: idle and under a random write load, booted by the same release and compared with the source.
//!
//! What a copy taken under load ought to contain is computed by replaying the load, in a fresh database of the same
//! release, up to the transaction whose number the copy holds.
//!
//! `INTEROP_SEED` chooses another load, `INTEROP_TOOL=original` lets the original tool stand in for ours: a control
//! that tells our faults from those of the releases.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{env, path::Path};

use crate::support::{
    Finished, Options, Peer, Release, copy_dir,
    interop::{Stage, Tool, assert_boots_as, assert_original_continued, boot, seed},
};

/// Transactions before the first backup.
const BEFORE: u32 = 250;
/// Transactions on a restored copy.
const AFTER: u32 = 100;
/// Transactions a second during a backup under load.
const RATE: u32 = 300;
/// Servers at most; one in a hundred does not survive that its load deletes an index during a full backup.
const TRIES: u32 = 3;

/// The program whose backups are judged.
fn under_test() -> Tool {
    if env::var("INTEROP_TOOL").as_deref() == Ok("original") {
        Tool::Original
    } else {
        Tool::Ours
    }
}

macro_rules! for_each_release {
    ($($name:ident: $release:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            backups_equal_their_source(Release::$release);
        }
    )*};
}

for_each_release! {
    backups_of_1_3_equal_their_source: V1_3,
    backups_of_1_4_2_equal_their_source: V1_4_2,
    backups_of_1_5_equal_their_source: V1_5,
    backups_of_1_6_1_equal_their_source: V1_6_1,
    backups_of_1_7_2_equal_their_source: V1_7_2,
    backups_of_1_8_equal_their_source: V1_8,
    backups_of_1_9_9_equal_their_source: V1_9_9,
}

fn backups_equal_their_source(release: Release) {
    for _ in 0..TRIES {
        let Some(stage) = Stage::of(release) else {
            return;
        };
        if let Some(source) = source_with_full_backups(&stage) {
            assert_continued(source, &stage);
            return;
        }
        eprintln!(
            "neo4j {}: the server lost hold of an index; another one",
            release.name()
        );
    }
    panic!("neo4j {}: no server kept hold of its indexes", release.name());
}

/// Backs up an idle server, then the same under load; none where it did not survive that.
fn source_with_full_backups(stage: &Stage) -> Option<Peer> {
    let release = stage.release();
    let dir = |name: &str| stage.dir(name);
    let mut source = Peer::start(release, &dir("source"), &Options::source(release));
    source.load(seed(), BEFORE);

    // Idle.
    backup(under_test(), "-full", &source, &dir("idle"));
    assert_boots_as(&source.contents(), release, &dir("idle"), &dir("idle-booted"));

    // Under load.
    source.start_load(seed(), RATE);
    let finished = under_test().take(release, "-full", &source.uri(), &dir("loaded"));
    let survived = source.survived_load();
    if finished.success() {
        assert_was_under_load(&finished);
        assert_boots_to_one_moment(release, &dir("loaded"), &dir("loaded-booted"), &dir("replayed"));
        assert_serves_again(release, &dir("loaded"), stage);
    } else {
        assert!(!survived, "-full of {} under load: {finished:#?}", release.name());
    }
    survived.then_some(source)
}

/// What came since, on top of both backups: a link by the original, or two of ours.
fn assert_continued(mut source: Peer, stage: &Stage) {
    let release = stage.release();
    let dir = |name: &str| stage.dir(name);
    let now = source.contents();
    for base in ["idle", "loaded"] {
        let continued = dir(&format!("{base}-continued-by-original"));
        copy_dir(&dir(base), &continued);
        backup(Tool::Original, "-incremental", &source, &continued);
        assert_original_continued(&now, release, &continued, &continued.with_extension("booted"));
    }
    for base in ["idle", "loaded"] {
        backup(under_test(), "-incremental", &source, &dir(base));
    }
    source.load(seed(), AFTER);
    let now = source.contents();
    for base in ["idle", "loaded"] {
        backup(under_test(), "-incremental", &source, &dir(base));
        assert_boots_as(&now, release, &dir(base), &dir(&format!("{base}-continued-booted")));
    }
}

fn backup(tool: Tool, mode: &str, source: &Peer, to: &Path) -> Finished {
    let finished = tool.take(source.release(), mode, &source.uri(), to);
    assert!(
        finished.success(),
        "{tool:?} {mode} of {}: {finished:#?}",
        source.release().name()
    );
    finished
}

/// A copy that nothing was committed during says nothing about replay. The original reports no transactions.
fn assert_was_under_load(finished: &Finished) {
    if under_test() == Tool::Ours {
        let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        let transactions = report["result"]["transactions"].as_u64();
        assert!(
            transactions > Some(0),
            "no transaction came after the files: {}",
            finished.stdout
        );
    }
}

/// The copy in the place of its source: a server runs on it, takes transactions and is backed up itself.
fn assert_serves_again(release: Release, copy: &Path, stage: &Stage) {
    let (restored, second) = (stage.dir("restored"), stage.dir("second"));
    copy_dir(copy, &restored);
    let mut server = Peer::start(release, &restored, &Options::source(release));
    server.load(seed(), AFTER);
    backup(under_test(), "-full", &server, &second);
    assert_boots_as(&server.contents(), release, &second, &stage.dir("second-booted"));
}

fn assert_boots_to_one_moment(release: Release, copy: &Path, booted: &Path, replayed: &Path) {
    let found = boot(release, copy, booted);
    assert!(
        found.seq >= u64::from(BEFORE) - 10,
        "the copy ends at transaction {}",
        found.seq
    );
    assert!(
        found.index_seq <= found.seq + INDEX_ONLY_RUN,
        "indexes of {}, graph of {}",
        found.index_seq,
        found.seq
    );

    let mut replay = Peer::start(release, replayed, &Options::replay(release));
    let (graph, index) = replay.replay_as(seed(), &found);
    assert_eq!((graph.seq, index.index_seq), (found.seq, found.index_seq));
    let difference = found
        .graph_difference(&graph)
        .or_else(|| found.index_difference(&index));
    if let Some(difference) = difference {
        panic!(
            "neo4j {}, {} at transaction {}:\n{difference}",
            release.name(),
            copy.display(),
            found.seq
        );
    }
}

/// One transaction in ten touches indexes only, so the number of the graph may lie a few behind that of the indexes.
const INDEX_ONLY_RUN: u64 = 6;
