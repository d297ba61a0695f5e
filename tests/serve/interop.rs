//! `serve` in the place of a real server: the original tools back up from it, and ours, and what they got boots with the
//! contents of the source.
//!
//! A sample runs with all tests, every release with `tests/run full serve`. `INTEROP_SEED` chooses another load.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{fs, path::Path, thread, time::Duration};

use crate::support::{
    Contents, Options, Peer, Release, Serving, copy_dir,
    interop::{Stage, Tool, assert_boots_as, assert_original_continued, boot, seed},
};

/// Transactions before the first backup, and between two.
const LOAD: u32 = 120;
/// Transactions a second during a backup under load.
const RATE: u32 = 300;

macro_rules! for_each_release {
    ($($(#[$attribute:meta])* $closed:ident $cascade:ident: $release:ident),* $(,)?) => {$(
        $(#[$attribute])*
        #[test]
        fn $closed() {
            a_closed_database_is_backed_up(Release::$release);
        }

        $(#[$attribute])*
        #[test]
        fn $cascade() {
            backups_of_backups_equal_their_source(Release::$release);
        }
    )*};
}

for_each_release! {
    #[ignore = "other releases; tests/run full"]
    a_closed_database_of_1_3_is_backed_up backups_of_backups_of_1_3_equal_their_source: V1_3,
    #[ignore = "other releases; tests/run full"]
    a_closed_database_of_1_4_2_is_backed_up backups_of_backups_of_1_4_2_equal_their_source: V1_4_2,
    #[ignore = "other releases; tests/run full"]
    a_closed_database_of_1_5_is_backed_up backups_of_backups_of_1_5_equal_their_source: V1_5,
    #[ignore = "other releases; tests/run full"]
    a_closed_database_of_1_6_1_is_backed_up backups_of_backups_of_1_6_1_equal_their_source: V1_6_1,
    #[ignore = "other releases; tests/run full"]
    a_closed_database_of_1_7_2_is_backed_up backups_of_backups_of_1_7_2_equal_their_source: V1_7_2,
    a_closed_database_of_1_8_is_backed_up backups_of_backups_of_1_8_equal_their_source: V1_8,
    #[ignore = "other releases; tests/run full"]
    a_closed_database_of_1_9_9_is_backed_up backups_of_backups_of_1_9_9_equal_their_source: V1_9_9,
}

#[track_caller]
fn back_up(tool: Tool, release: Release, mode: &str, serving: &Serving, to: &Path) {
    let finished = tool.take(release, mode, &serving.uri(), to);
    assert!(
        finished.success(),
        "{tool:?} {mode} of {}: {finished:#?}\n{}",
        release.name(),
        serving.log()
    );
}

/// A server's directory after it was shut down, served in its place: full, and incremental after it ran once more.
fn a_closed_database_is_backed_up(release: Release) {
    let Some(stage) = Stage::of(release) else {
        return;
    };
    let dir = |name: &str| stage.dir(name);
    let source = dir("source");
    let first = run(release, &source);
    {
        let serving = serve(release, &source);
        for (tool, name) in [(Tool::Original, "original"), (Tool::Ours, "ours")] {
            back_up(tool, release, "-full", &serving, &dir(name));
            assert_boots_as(&first, release, &dir(name), &dir(&format!("{name}-booted")));
        }
    }
    let second = run(release, &source);
    let serving = serve(release, &source);
    for base in ["original", "ours"] {
        for (tool, name) in [(Tool::Original, "by-original"), (Tool::Ours, "by-us")] {
            let copy = dir(&format!("{base}-{name}"));
            copy_dir(&dir(base), &copy);
            back_up(tool, release, "-incremental", &serving, &copy);
            let booted = copy.with_extension("booted");
            match tool {
                Tool::Original => assert_original_continued(&second, release, &copy, &booted),
                Tool::Ours => assert_boots_as(&second, release, &copy, &booted),
            }
        }
    }
}

/// From a server under load to a backup, from that to a second, from that to a third, by both tools; then the same way
/// for what is committed since, while all of them are served.
fn backups_of_backups_equal_their_source(release: Release) {
    let Some(stage) = Stage::of(release) else {
        return;
    };
    let dir = |name: &str| stage.dir(name);
    // an index that is deleted makes the next one in the chain take a full backup
    let mut source = stage.source_that_keeps_its_indexes();
    source.load(seed(), LOAD);
    source.start_load(seed(), RATE);
    let finished = Tool::Ours.take(release, "-full", &source.uri(), &dir("first"));
    source.stop_load();
    assert!(finished.success(), "{finished:#?}");

    let first = serve(release, &dir("first"));
    back_up(Tool::Ours, release, "-full", &first, &dir("second"));
    let second = serve(release, &dir("second"));
    back_up(Tool::Ours, release, "-full", &second, &dir("third"));
    back_up(Tool::Original, release, "-full", &second, &dir("third-original"));
    let expected = boot(release, &dir("first"), &dir("first-booted"));
    for name in ["second", "third", "third-original"] {
        assert_boots_as(&expected, release, &dir(name), &dir(&format!("{name}-booted")));
    }

    source.load(seed(), LOAD);
    let now = source.contents();
    let finished = Tool::Ours.take(release, "-incremental", &source.uri(), &dir("first"));
    assert!(finished.success(), "{finished:#?}");
    back_up(Tool::Ours, release, "-incremental", &first, &dir("second"));
    back_up(Tool::Ours, release, "-incremental", &second, &dir("third"));
    back_up(Tool::Original, release, "-incremental", &second, &dir("third-original"));
    for name in ["first", "second", "third", "third-original"] {
        assert_boots_as(&now, release, &dir(name), &dir(&format!("{name}-continued")));
    }
}

#[test]
fn a_backup_of_1_8_that_is_updated_while_it_is_copied_is_copied_whole() {
    updated_while_copied(Release::V1_8);
}

#[test]
#[ignore = "other releases; tests/run full"]
fn a_backup_of_1_4_2_that_is_updated_while_it_is_copied_is_copied_whole() {
    updated_while_copied(Release::V1_4_2);
}

/// Several incrementals change the store files while they are being sent.
fn updated_while_copied(release: Release) {
    let Some(stage) = Stage::of(release) else {
        return;
    };
    let dir = |name: &str| stage.dir(name);
    let mut source = stage.source_that_keeps_its_indexes();
    // files are read chunk by chunk of 256 KiB: enough for many
    source.command("gen 6000 1000");
    source.load(seed(), LOAD);
    let first = dir("first");
    let finished = Tool::Ours.take(release, "-full", &source.uri(), &first);
    assert!(finished.success(), "{finished:#?}");
    for round in 0..2 {
        // slow enough for the updates below to fall into it
        let bytes = fs::read_dir(&first)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len());
        let rate = format!("{}", bytes.sum::<u64>() / 12);
        let serving = Serving::with(&first, &["-max-rate", &rate, "-release", release.name()]);
        let copy = dir(&format!("copy-{round}"));
        let copying = thread::spawn({
            let (uri, copy) = (serving.uri(), copy.clone());
            move || Tool::Ours.take(release, "-full", &uri, &copy)
        });
        while !copy.with_extension("partial").join("index.db").exists() {
            assert!(!copying.is_finished());
            thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..4 {
            source.load(seed(), 25);
            let finished = Tool::Ours.take(release, "-incremental", &source.uri(), &first);
            assert!(finished.success(), "{finished:#?}");
        }
        assert!(!copying.is_finished(), "the updates came too late");
        let finished = copying.join().unwrap();
        assert!(finished.success(), "{finished:#?}\n{}", serving.log());
        let log = serving.log();
        let line = log.lines().find(|line| line.contains("asked=\"full\"")).unwrap();
        let sent = line
            .split("transactions=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        assert!(sent.unwrap().parse::<u64>().unwrap() > 50, "{log}");
        let booted = copy.with_extension("booted");
        assert_boots_as(&source.contents(), release, &copy, &booted);
    }
}

/// Lets a server run on `dir` for a while, closes it, and returns what it held.
fn run(release: Release, dir: &Path) -> Contents {
    let mut peer = Peer::start(release, dir, &Options::source(release));
    peer.load(seed(), LOAD);
    let contents = peer.contents();
    peer.quit();
    contents
}

fn serve(release: Release, dir: &Path) -> Serving {
    Serving::with(dir, &["-release", release.name()])
}
