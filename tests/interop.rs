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

mod support;

use std::{env, fs, path::Path};

use support::{Contents, Finished, Options, Peer, Release, copy_dir, original_tool, our_tool, require_peers};
use tempfile::TempDir;

const DEFAULT_SEED: u64 = 7;
/// Transactions before the first backup.
const BEFORE: u32 = 250;
/// Transactions on a restored copy.
const AFTER: u32 = 100;
/// Transactions a second during a backup under load.
const RATE: u32 = 300;

/// Which program takes a backup.
#[derive(Debug, Clone, Copy)]
enum Tool {
    Ours,
    Original,
}

impl Tool {
    fn under_test() -> Self {
        if env::var("INTEROP_TOOL").as_deref() == Ok("original") {
            Self::Original
        } else {
            Self::Ours
        }
    }
}

/// How it takes it.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Full,
    Incremental,
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

fn seed() -> u64 {
    env::var("INTEROP_SEED").map_or(DEFAULT_SEED, |seed| seed.parse().unwrap())
}

fn backups_equal_their_source(release: Release) {
    if !require_peers(release) {
        return;
    }
    eprintln!("neo4j {}: INTEROP_SEED={}", release.name(), seed());
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    let mut source = Peer::start(release, &dir("source"), &Options::source(release));
    source.load(seed(), BEFORE);

    // Idle.
    backup(Tool::under_test(), Mode::Full, &source, &dir("idle"));
    assert_boots_as(&source.contents(), release, &dir("idle"), &dir("idle-booted"));

    // Under load.
    source.start_load(seed(), RATE);
    let finished = backup(Tool::under_test(), Mode::Full, &source, &dir("loaded"));
    source.stop_load();
    assert_was_under_load(&finished);
    assert_boots_to_one_moment(release, &dir("loaded"), &dir("loaded-booted"), &dir("replayed"));
    assert_serves_again(release, &dir("loaded"), work.path());

    // What came meanwhile, on top.
    let now = source.contents();
    for base in ["idle", "loaded"] {
        let continued = dir(&format!("{base}-continued-by-original"));
        copy_dir(&dir(base), &continued);
        backup(Tool::Original, Mode::Incremental, &source, &continued);
        assert_original_continued(&now, release, &continued, &continued.with_extension("booted"));
    }
    for base in ["idle", "loaded"] {
        backup(Tool::under_test(), Mode::Incremental, &source, &dir(base));
        assert_boots_as(&now, release, &dir(base), &dir(&format!("{base}-continued-booted")));
    }
}

fn backup(tool: Tool, mode: Mode, source: &Peer, to: &Path) -> Finished {
    let mode = match mode {
        Mode::Full => "-full",
        Mode::Incremental => "-incremental",
    };
    let (from, to) = (source.uri(), to.to_str().unwrap());
    let args = [mode, "-from", &from, "-to", to];
    let finished: Finished = match tool {
        Tool::Ours => our_tool(&[&args[..], &["-verify=false", "-output=json"]].concat()),
        Tool::Original => original_tool(source.release(), &args),
    };
    assert!(
        finished.success(),
        "{tool:?} {mode} of {}: {finished:#?}",
        source.release().name()
    );
    finished
}

/// A copy that nothing was committed during says nothing about replay. The original reports no transactions.
fn assert_was_under_load(finished: &Finished) {
    if let Tool::Ours = Tool::under_test() {
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
fn assert_serves_again(release: Release, copy: &Path, work: &Path) {
    let (restored, second) = (work.join("restored"), work.join("second"));
    copy_dir(copy, &restored);
    let mut server = Peer::start(release, &restored, &Options::source(release));
    server.load(seed(), AFTER);
    backup(Tool::under_test(), Mode::Full, &server, &second);
    assert_boots_as(&server.contents(), release, &second, &work.join("second-booted"));
}

/// The original of 1.8 leaves the old entries of an index that was deleted since the last backup in its copy.
fn assert_original_continued(expected: &Contents, release: Release, copy: &Path, booted: &Path) {
    let mut found = boot(release, copy, booted);
    let mut expected = expected.clone();
    if release == Release::V1_8 {
        expected.forget_index("temp");
        found.forget_index("temp");
    }
    assert_same(&expected, &found, release, copy);
}

/// Boots a copy of the copy, since booting changes it.
fn assert_boots_as(expected: &Contents, release: Release, copy: &Path, booted: &Path) {
    assert_same(expected, &boot(release, copy, booted), release, copy);
}

fn assert_same(expected: &Contents, found: &Contents, release: Release, copy: &Path) {
    if let Some(difference) = expected.difference(found) {
        panic!("neo4j {}, {}:\n{difference}", release.name(), copy.display());
    }
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
    let first = found.seq.min(found.index_seq);
    replay.replay(seed(), first);
    let early = replay.contents();
    replay.replay(seed(), found.seq.max(found.index_seq));
    let late = replay.contents();
    let (graph, index) = if found.seq == first {
        (&early, &late)
    } else {
        (&late, &early)
    };
    assert_eq!((graph.seq, index.index_seq), (found.seq, found.index_seq));
    let difference = found.graph_difference(graph).or_else(|| found.index_difference(index));
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

fn boot(release: Release, copy: &Path, booted: &Path) -> Contents {
    copy_dir(copy, booted);
    // The original tool leaves its own log of the copying there.
    let _ = fs::remove_file(booted.join("messages.log"));
    let mut peer = Peer::boot(release, booted);
    let contents = peer.contents();
    peer.quit();
    assert_no_recovery(&booted.join("messages.log"));
    assert_sealed(copy, booted);
    contents
}

/// 1.9.9 rebuilds an unclean store without a word, so the files are looked at too: each ends as the one that Neo4j closed
/// (`docs/formats/store-format.md` §3.1), and no `.id` file says "in use" (§6).
fn assert_sealed(copy: &Path, closed: &Path) {
    const VERSION: usize = " v0.A.0".len();
    let mut stores = 0;
    for entry in fs::read_dir(copy).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("neostore") {
            continue;
        }
        let bytes = fs::read(copy.join(&name)).unwrap();
        if Path::new(&name).extension().is_some_and(|extension| extension == "id") {
            assert_eq!(bytes.first(), Some(&0), "{name} of the copy is in use");
            continue;
        }
        let closed = fs::read(closed.join(&name)).unwrap();
        let end = &closed[closed.len() - VERSION..];
        assert!(
            bytes.ends_with(end),
            "{name} of the copy does not end with {:?}",
            String::from_utf8_lossy(end)
        );
        assert!(
            copy.join(format!("{name}.id")).exists(),
            "{name} of the copy has no .id file"
        );
        stores += 1;
    }
    assert!(stores >= 10, "the copy has {stores} stores");
}

/// A pending Lucene log is replayed by the first start; nothing else may look like a crash.
fn assert_no_recovery(messages: &Path) {
    let text = fs::read_to_string(messages).unwrap();
    for line in text.lines().filter(|line| !line.contains("lucene.log")) {
        let line = line.to_lowercase();
        assert!(!line.contains("non clean shutdown"), "{line}");
        assert!(!line.contains("recovery started"), "{line}");
    }
}
