//! Unusual names on real servers: names and values that take several blocks of a dynamic store, which releases before 1.6
//! write in the order of a hash table, and names of indexes that are directories of unusual names.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use crate::support::{Options, Peer, Release, copy_dir, our_tool, require_peers};
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
fn indexes_may_have_control_characters_in_their_names() {
    let release = Release::V1_8;
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
