//! `verify` on directories that somebody changed: byte by byte at random, and by real Neo4j releases.
//!
//! `VERIFY_SEED` chooses other damage and `VERIFY_DAMAGES` how much of it; `tests/run full verify` does 10 000, and all
//! releases.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{fs, path::Path};

use crate::damage::{Damage, Rng};
use crate::support::{Options, Peer, Release, copy_dir, original_tool, our_tool, require_peers};
use serde_json::Value;
use tempfile::TempDir;

use neo4j_backup_core::{
    adopt::adopt,
    cancel::Cancel,
    manifest::{MANIFEST, State, files},
    progress::Quiet,
    verify::{Cause, FileProblem, VerifyOutcome, VerifyVerdict, verify},
};
use neo4j_format::{DirHandle, store::StoreFormat};

fn verified(dir: &Path) -> VerifyOutcome {
    verify(&DirHandle::open(dir).unwrap(), &Quiet, &Cancel::default()).unwrap()
}

/// A database of random bytes with a manifest.
fn backup(format: StoreFormat, rng: &mut Rng) -> TempDir {
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("db");
    crate::damage::database(&database, format, rng);
    adopt(&database, &Quiet, &Cancel::default()).unwrap();
    assert_eq!(verified(&database).verdict, VerifyVerdict::Intact);
    dir
}

#[test]
fn every_damage_to_a_current_store_is_named() {
    every_damage_is_named(StoreFormat::Current);
}

#[test]
fn every_damage_to_a_legacy_store_is_named() {
    every_damage_is_named(StoreFormat::Legacy);
}

fn every_damage_is_named(format: StoreFormat) {
    let (mut rng, count) = crate::damage::chosen();
    let dir = backup(format, &mut rng);
    let dir = dir.path().join("db");
    let files = crate::damage::files_of(&dir);
    for round in 0..count {
        let damage = Damage::random(&mut rng, &files);
        let undo = damage.inflict(&dir);
        let outcome = verify(&DirHandle::open(&dir).unwrap(), &Quiet, &Cancel::default());
        drop(undo);
        match outcome {
            Ok(outcome) => assert_named(&damage, &outcome, round),
            Err(error) => {
                let removed = damage.path() == "neo4j-backup.json" && matches!(damage, Damage::Removal { .. });
                assert!(removed, "round {round}: {damage:?}: {error}");
                assert!(error.to_string().contains("has no manifest"), "{error}");
            }
        }
    }
    assert_eq!(verified(&dir).verdict, VerifyVerdict::Intact);
}

/// A start of Neo4j wrote into `messages.log`, and the update has taken away by what a start is told.
#[test]
fn an_update_that_was_interrupted_behind_a_start_of_neo4j_is_no_damage() {
    for before in [None, Some("made before")] {
        let (mut rng, _) = crate::damage::chosen();
        let folder = TempDir::new().unwrap();
        let dir = folder.path().join("db");
        crate::damage::database(&dir, StoreFormat::Current, &mut rng);
        let messages = dir.join("messages.log");
        let _ = fs::remove_file(&messages);
        if let Some(text) = before {
            fs::write(&messages, text).unwrap();
        }
        let mut manifest = adopt(&dir, &Quiet, &Cancel::default()).unwrap();
        manifest.state = State::Updating;
        manifest.write(&DirHandle::open(&dir).unwrap(), MANIFEST).unwrap();
        let started = [before.unwrap_or_default(), "started"].concat();
        fs::write(&messages, &started).unwrap();
        assert_eq!(verified(&dir).verdict, VerifyVerdict::InterruptedUpdate);
        if before.is_some() {
            fs::write(&messages, started.replace("made", "MADE")).unwrap();
            assert_eq!(verified(&dir).verdict, VerifyVerdict::Damaged);
        }
    }
}

/// The damaged file is named with what is wrong and where, and no other is accused.
fn assert_named(damage: &Damage, outcome: &VerifyOutcome, round: u64) {
    let context = || format!("round {round}: {damage:?}: {outcome:#?}");
    if damage.is_foreign() {
        assert_eq!(outcome.verdict, VerifyVerdict::Intact, "{}", context());
        return;
    }
    assert_eq!(outcome.verdict, VerifyVerdict::Damaged, "{}", context());
    let accused: Vec<_> = outcome
        .findings
        .iter()
        .filter(|finding| finding.cause != Cause::Checksums)
        .collect();
    let [finding] = accused[..] else {
        panic!("{}", context())
    };
    assert_eq!(finding.path, damage.path(), "{}", context());
    let is_ledger = damage.path().starts_with("neo4j-backup.");
    let expected = match damage {
        Damage::Flip { .. } => FileProblem::Damaged,
        Damage::Cut { .. } if damage.path() == "neo4j-backup.json" => FileProblem::Damaged,
        Damage::Cut { .. } => FileProblem::Truncated,
        Damage::Removal { .. } => FileProblem::Missing,
        Damage::Addition { .. } => FileProblem::Extra,
    };
    assert_eq!(finding.problem, expected, "{}", context());
    if let Damage::Flip { at, .. } | Damage::Cut { length: at, .. } = damage
        && !is_ledger
    {
        assert!(
            finding.ranges.iter().any(|range| (range.start..range.end).contains(at)),
            "{}",
            context()
        );
    }
}

macro_rules! for_each_release {
    ($($(#[$attribute:meta])* $name:ident: $release:ident),* $(,)?) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            real_directories_are_judged(Release::$release);
        }
    )*};
}

for_each_release! {
    #[ignore = "other releases; tests/run full"]
    directories_of_1_3_are_judged: V1_3,
    directories_of_1_4_2_are_judged: V1_4_2,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_5_are_judged: V1_5,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_6_1_are_judged: V1_6_1,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_7_2_are_judged: V1_7_2,
    directories_of_1_8_are_judged: V1_8,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_9_9_are_judged: V1_9_9,
}

/// What `verify` says about a directory of its own, as exit code and report.
fn run(args: &[&str]) -> (Option<i32>, Value) {
    let finished = our_tool(&[&["verify"], args, &["-output=json"]].concat());
    let report = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"));
    (finished.code, report)
}

fn assert_verdict(dir: &Path, code: i32, verdict: &str) {
    let (found, report) = run(&[dir.to_str().unwrap()]);
    assert_eq!(
        (found, &report["result"]["verdict"]),
        (Some(code), &Value::from(verdict)),
        "{}: {report:#}",
        dir.display()
    );
}

fn real_directories_are_judged(release: Release) {
    if !require_peers(release) {
        return;
    }
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    let mut source = Peer::start(release, &dir("source"), &Options::source(release));
    source.load(7, 250);
    let copy = |name: &str| {
        copy_dir(&dir("backup"), &dir(name));
        dir(name)
    };
    take(&["-full", "-from", &source.uri(), "-to", dir("backup").to_str().unwrap()]);
    assert_verdict(&dir("backup"), 0, "intact");

    // Neo4j opens it, and nothing is committed.
    let opened = copy("opened");
    Peer::boot(release, &opened).quit();
    assert_verdict(&opened, 21, "changed-by-neo4j");
    assert_damage_shows(&opened);

    // Neo4j has it open, and is killed.
    let killed = copy("killed");
    let running = Peer::boot(release, &killed);
    assert_verdict(&killed, 21, "changed-by-neo4j");
    drop(running);
    assert_verdict(&killed, 21, "changed-by-neo4j");
    assert_damage_shows(&killed);

    // Neo4j has it open and commits.
    let written = copy("written");
    let mut running = Peer::boot(release, &written);
    running.load(8, 100);
    running.quit();
    assert_verdict(&written, 21, "changed-by-neo4j");

    // An incremental backup brings the digests up to date, also after Neo4j opened the directory; the next one keeps
    // those of what it does not touch, so that damage still shows.
    for base in ["backup", "opened"] {
        let update = |source: &Peer| {
            let to = dir(base);
            take(&["-incremental", "-from", &source.uri(), "-to", to.to_str().unwrap()]);
        };
        source.load(7, 50);
        update(&source);
        assert_verdict(&dir(base), 0, "intact");
        let log = oldest_log(&dir(base));
        source.load(7, 50);
        let damage = Damage::Flip {
            path: log,
            at: 3,
            bit: 0,
        };
        let undo = damage.inflict(&dir(base));
        update(&source);
        assert_verdict(&dir(base), 20, "damaged");
        drop(undo);
        assert_verdict(&dir(base), 0, "intact");
    }

    // A backup of the original tool, taken over.
    let original = dir("original");
    let finished = original_tool(
        release,
        &["-full", "-from", &source.uri(), "-to", original.to_str().unwrap()],
    );
    assert!(finished.success(), "{finished:#?}");
    let (code, report) = run(&[original.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{report:#}");
    assert!(
        report["error"]["hint"].as_str().unwrap().contains("-adopt"),
        "{report:#}"
    );
    let (code, report) = run(&[original.to_str().unwrap(), "-adopt"]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_verdict(&original, 0, "intact");
    Peer::boot(release, &original).quit();
    assert_verdict(&original, 21, "changed-by-neo4j");
}

fn oldest_log(dir: &Path) -> String {
    let logs = files::list(&DirHandle::open(dir).unwrap())
        .unwrap()
        .into_iter()
        .map(|found| found.path);
    let logs = logs.filter(|path| path.starts_with("nioneo_logical.log.v"));
    logs.min_by_key(String::len).unwrap()
}

fn take(args: &[&str]) {
    let finished = our_tool(&[args, &["-verify=false"]].concat());
    assert!(finished.success(), "{finished:#?}");
}

/// A flipped byte in a record of a directory that Neo4j opened and did not write to is damage, not one of its changes.
fn assert_damage_shows(dir: &Path) {
    for path in ["neostore", "neostore.nodestore.db", "neostore.propertystore.db"] {
        let damage = Damage::Flip {
            path: path.to_owned(),
            at: 5,
            bit: 3,
        };
        let undo = damage.inflict(dir);
        assert_verdict(dir, 20, "damaged");
        drop(undo);
    }
    assert_verdict(dir, 21, "changed-by-neo4j");
}
