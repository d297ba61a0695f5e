//! Unusual names on real servers: names and values that take several blocks of a dynamic store, which releases before 1.6
//! write in the order of a hash table, and names of indexes that are directories of unusual names.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::support::{Options, Peer, Release, copy_dir, original_tool, our_tool, require_peers};
use tempfile::TempDir;

/// Transactions between two backups. A type of 20 letters has one block, of 31 letters two, of 61 letters three.
const NAMES: u32 = 40;

macro_rules! for_each_release {
    ($($(#[$ignored:meta])? $name:ident: $release:ident),* $(,)?) => {$(
        #[test]
        $(#[$ignored])?
        fn $name() {
            long_names_arrive_in_incremental_backups(Release::$release);
        }
    )*};
}

for_each_release! {
    long_names_of_1_3_arrive: V1_3,
    long_names_of_1_4_2_arrive: V1_4_2,
    long_names_of_1_5_arrive: V1_5,
    #[ignore = "writes blocks in order, as 1.8: tests/run full"]
    long_names_of_1_6_1_arrive: V1_6_1,
    #[ignore = "writes blocks in order, as 1.8: tests/run full"]
    long_names_of_1_7_2_arrive: V1_7_2,
    long_names_of_1_8_arrive: V1_8,
    #[ignore = "writes blocks in order, as 1.8: tests/run full"]
    long_names_of_1_9_9_arrive: V1_9_9,
}

fn long_names_arrive_in_incremental_backups(release: Release) {
    if !require_peers(release) {
        return;
    }
    let work = TempDir::new().unwrap();
    let backup = work.path().join("backup");
    let mut source = Peer::start(release, &work.path().join("source"), &Options::source(release));
    let run = |mode, source: &Peer| {
        let done = our_tool(&[mode, "-from", &source.uri(), "-to", backup.to_str().unwrap()]);
        assert!(done.success(), "neo4j {}: {done:?}", release.name());
    };
    run("-full", &source);
    for (shortest, longest) in [(16, 30), (31, 60)] {
        source.command(&format!("names {NAMES} {shortest} {longest}"));
        run("-incremental", &source);
    }
    let expected = source.contents();
    source.quit();
    let found = Peer::contents_of_copy(release, &backup);
    assert_eq!(expected.difference(&found), None, "neo4j {}", release.name());
}

#[test]
fn indexes_of_1_8_may_have_control_characters_in_their_names() {
    indexes_may_have_control_characters_in_their_names(Release::V1_8);
}

#[test]
#[ignore = "other releases; tests/run full"]
fn indexes_of_the_other_releases_may_have_control_characters_in_their_names() {
    for release in Release::ALL {
        if release != Release::V1_8 {
            indexes_may_have_control_characters_in_their_names(release);
        }
    }
}

fn indexes_may_have_control_characters_in_their_names(release: Release) {
    if !require_peers(release) {
        return;
    }
    let work = TempDir::new().unwrap();
    let backup = work.path().join("backup");
    let mut source = Peer::start(release, &work.path().join("source"), &Options::source(release));
    let run = |arguments: &[&str]| {
        let done = our_tool(&[arguments, &[backup.to_str().unwrap()]].concat());
        assert!(done.success(), "neo4j {}: {done:?}", release.name());
    };
    let uri = source.uri();
    source.command("index tab%09here");
    source.command("index new%0Aline");
    run(&["-full", "-from", &uri, "-to"]);
    source.command("index later%09here");
    run(&["-incremental", "-from", &uri, "-to"]);
    run(&["verify"]);
    source.quit();
    let copy = work.path().join("copy");
    copy_dir(&backup, &copy);
    Peer::boot(release, &copy).quit();
    for name in ["tab\there", "new\nline", "later\there"] {
        let index = copy.join("index/lucene/node").join(name);
        assert!(index.is_dir(), "neo4j {}: {name:?}", release.name());
    }
}

/// Such a deletion removes the directory that holds all indexes; the server does that to itself.
#[test]
#[ignore = "names that nobody has; tests/run full"]
fn the_deletion_of_an_index_whose_name_is_no_directory_is_refused_before_anything_is_written() {
    let release = Release::V1_8;
    if !require_peers(release) {
        return;
    }
    for (typed, name) in [("", ""), (".", "."), ("..", "..")] {
        let work = TempDir::new().unwrap();
        let backup = work.path().join("backup");
        let mut source = Peer::start(release, &work.path().join("source"), &Options::source(release));
        let uri = source.uri();
        let run = |arguments: &[&str]| our_tool(&[arguments, &[backup.to_str().unwrap()]].concat());
        let full = run(&["-full", "-from", &uri, "-to"]);
        assert!(full.success(), "{full:?}");
        let before = files(&backup);
        source.command(&format!("index {typed}"));
        source.command(&format!("delete-index {typed}"));
        let refused = run(&["-incremental", "-from", &uri, "-to"]);
        assert_eq!(refused.code, Some(14), "{name:?}: {refused:?}");
        assert!(
            refused.stderr.contains(&format!("{name:?}")) && refused.stderr.contains("cannot be repeated"),
            "{name:?}: {}",
            refused.stderr
        );
        assert!(files(&backup) == before, "{name:?}");
        let verified = run(&["verify"]);
        assert!(verified.success(), "{name:?}: {verified:?}");
    }
}

/// Every file with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

/// A last transaction that takes a server seconds to send: the proof of history needs it once only.
#[test]
#[ignore = "measures times; tests/run full"]
fn nothing_new_after_a_very_large_transaction_costs_no_more_than_with_the_original() {
    let release = Release::V1_8;
    if !require_peers(release) {
        return;
    }
    let work = TempDir::new().unwrap();
    let options = Options::source(release);
    let mut source = Peer::start(release, &work.path().join("source"), &options);
    source.command("gen 100 10");
    let uri = source.uri();
    let dirs = [work.path().join("ours"), work.path().join("original")];
    let [ours, original] = dirs.each_ref().map(|dir| dir.to_str().unwrap());
    let take = |mode, is_ours: bool| {
        let begin = Instant::now();
        if is_ours {
            let done = our_tool(&[mode, "-from", &uri, "-to", ours]);
            assert!(done.success(), "{done:?}");
        } else {
            // on a busy machine it gives up after 20 s of waiting for the transaction
            original_tool(release, &[mode, "-from", &uri, "-to", original]);
        }
        begin.elapsed()
    };
    take("-full", true);
    source.command("array 1000000");
    take("-incremental", true);
    copy_dir(Path::new(ours), Path::new(original));
    let mut best = [Duration::MAX; 2];
    for _ in 0..5 {
        for (place, is_ours) in [true, false].into_iter().enumerate() {
            best[place] = best[place].min(take("-incremental", is_ours));
        }
    }
    eprintln!(
        "nothing new after an array of a million numbers: {:?} and the original {:?}",
        best[0], best[1]
    );
    assert!(best[0] <= best[1], "{best:?}");
    let expected = source.contents();
    source.quit();
    let found = Peer::contents_of_copy(release, Path::new(ours));
    assert_eq!(expected.difference(&found), None);
}
