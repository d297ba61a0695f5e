//! The consistency check on stores of real servers, and against the checker of 1.9.9.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

mod catalogue;
mod support;

use std::{collections::BTreeSet, env, path::Path};

use catalogue::{CASES, Case, store::Damaged};
use neo4j_backup::{
    cancel::Cancel,
    check::{self, CheckOptions, Rule},
    store::StoreFormat,
};
use serde_json::Value;
use support::{Finished, Options, Peer, Release, checker_1_9_9, copy_dir, our_tool, require_peers};

/// Findings of the check, as lines.
fn findings(dir: &Path) -> Vec<String> {
    let report = check::check(dir, &CheckOptions::default(), &Cancel::default()).unwrap();
    report.findings.iter().map(ToString::to_string).collect()
}

fn report(finished: &Finished) -> Value {
    serde_json::from_str(finished.stdout.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| Value::from(format!("{finished:?}")))
}

fn backup(peer: &Peer, dir: &Path, words: &[&str]) -> (Option<i32>, Value) {
    let (uri, dir) = (peer.uri(), dir.to_str().unwrap());
    let finished = our_tool(&[words, &["-from", &uri, "-to", dir, "-output=json"]].concat());
    (finished.code, report(&finished))
}

/// A random load, a clean restart, a crash under load, recovery; then backups of it all.
fn healthy(release: Release, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
    let options = Options::source(release);
    let mut peer = Peer::start(release, &source, &options);
    peer.load(seed, 60);
    peer.quit();
    assert_eq!(findings(&source), Vec::<String>::new(), "{release:?}, closed");
    let mut peer = Peer::start(release, &source, &options);
    peer.load(seed, 60);
    drop(peer);
    let mut peer = Peer::start(release, &source, &options);
    peer.load(seed, 20);
    let (code, json) = backup(&peer, &copy, &["-full"]);
    assert_eq!(
        (code, &json["result"]["check"]["errors"]),
        (Some(0), &Value::from(0)),
        "{json}"
    );
    assert_eq!(json["result"]["check"]["whole"], true);
    for verify in ["-verify=true", "-verify=full"] {
        peer.load(seed, 30);
        let (code, json) = backup(&peer, &copy, &["-incremental", verify]);
        assert_eq!(
            (code, &json["result"]["check"]["errors"]),
            (Some(0), &Value::from(0)),
            "{json}"
        );
        assert_eq!(json["result"]["check"]["whole"], verify == "-verify=full");
    }
    assert_eq!(findings(&copy), Vec::<String>::new(), "{release:?}, copy");
    peer.quit();
    assert_eq!(findings(&source), Vec::<String>::new(), "{release:?}, recovered");
}

/// How many seeds for each release; more in a longer run.
fn seeds() -> u64 {
    env::var("CHECK_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(1)
}

#[test]
fn healthy_stores_of_every_release_have_no_findings() {
    for release in Release::ALL {
        if require_peers(release) {
            for seed in 1..=seeds() {
                healthy(release, seed);
            }
        }
    }
}

#[test]
fn an_inconsistent_source_is_reported_and_backed_up() {
    let release = Release::V1_8;
    if !require_peers(release) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
    let options = Options::source(release);
    let damaged = Damaged::vector(StoreFormat::Current);
    let forgotten = CASES.iter().find(|case| case.name == "block_is_forgotten").unwrap();
    let expected = (forgotten.damage)(&damaged).unwrap();
    copy_dir(damaged.dir(), &source);
    let mut peer = Peer::start(release, &source, &options);
    let (code, json) = backup(&peer, &copy, &["-full"]);
    assert_eq!(
        (code, &json["result"]["verdict"]),
        (Some(3), &Value::from("inconsistent"))
    );
    let findings = json["result"]["check"]["findings"].as_array().unwrap();
    let orphan = findings
        .iter()
        .find(|finding| finding["rule"] == "orphanDynamicRecord")
        .unwrap();
    assert_eq!(
        (&orphan["record"], &orphan["origin"]),
        (&Value::from(expected.record), &Value::from("files"))
    );
    assert!(copy.join("neostore").exists(), "an inconsistency deletes no backup");
    peer.load(11, 5);
    let (code, json) = backup(&peer, &copy, &["-incremental", "-verify=full"]);
    assert_eq!(code, Some(3), "{json}");
    let (code, json) = backup(&peer, &copy, &["-incremental", "-verify=false"]);
    assert_eq!((code, &json["result"]["check"]), (Some(0), &Value::Null));
}

/// A record that the checker of 1.9.9 names: what it is, and its id.
fn records(text: &str) -> BTreeSet<(String, u64)> {
    let named = text.split_whitespace().filter_map(|word| word.split_once('['));
    named
        .filter_map(|(kind, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Some((kind.to_owned(), digits.parse().ok()?))
        })
        .collect()
}

/// Whatever the checker of 1.9.9 reports of a record, ours reports something of that record or of the one on the other
/// side of it. A wrong block size it believes, and reports what it takes for records then; ours reports the block size.
#[test]
fn whatever_the_checker_of_1_9_9_reports_is_reported_by_ours() {
    if !require_peers(Release::V1_9_9) {
        return;
    }
    let step = if env::var_os("CHECK_ALL").is_some() { 1 } else { 8 };
    let (mut reported, mut missing) = (0, Vec::new());
    for Case { name, damage } in CASES.iter().step_by(step) {
        let store = Damaged::vector(StoreFormat::Current);
        if damage(&store).is_none() {
            continue;
        }
        let ours = check::check(store.dir(), &CheckOptions::default(), &Cancel::default()).unwrap();
        let has_other_blocks = ours.findings.iter().any(|finding| finding.rule == Rule::BlockSize);
        let ours: BTreeSet<u64> = ours
            .findings
            .iter()
            .flat_map(|finding| [Some(&finding.place), finding.other.as_ref()])
            .flatten()
            .filter_map(|place| place.record)
            .collect();
        let theirs = checker_1_9_9(store.dir());
        for entry in theirs.split("ERROR: ").skip(1) {
            let entry = entry.split("\n\n").next().unwrap_or(entry);
            reported += 1;
            let named = records(entry);
            if !(has_other_blocks || named.is_empty() || named.iter().any(|(_, id)| ours.contains(id))) {
                missing.push(format!("{name}: {entry} is not among the records of ours: {ours:?}"));
            }
        }
    }
    println!("{reported} entries of the checker of 1.9.9");
    assert!(reported > 0);
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
