//! The consistency check on stores of real servers, and against the checker of 1.9.9.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{collections::BTreeSet, env, path::Path};

use crate::catalogue::{CASES, Case, store::Damaged};
use crate::support::{Finished, Options, Peer, Release, checker_1_9_9, copy_dir, our_tool, require_peers};
use serde_json::Value;

use neo4j_backup_core::{
    cancel::Cancel,
    check::{self, CheckOptions, CheckReport, Finding, Rule},
};
use neo4j_format::store::StoreFormat;

fn checked(dir: &Path) -> CheckReport {
    check::check(dir, &CheckOptions::default(), &Cancel::default()).unwrap()
}

/// Rules that stores of this release break without a backup's doing. Now and then 1.5 loses one side of the link between
/// a property record and the new one before it; the checker of 1.9.9 says so of its closed stores as well.
fn broken_by_itself(release: Release) -> &'static [Rule] {
    match release {
        Release::V1_5 => &[Rule::OrphanPropertyChain, Rule::NextDoesNotReferenceBack],
        _ => &[],
    }
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

/// A random load, a clean restart, a crash under load, recovery; then backups of it all. What was found, and where.
fn healthy(release: Release, seed: u64) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
    let options = Options::source(release);
    let mut all = Vec::new();
    let is_known = |finding: &&Finding| broken_by_itself(release).contains(&finding.rule);
    let mut judge = |when: &str, report: &CheckReport| {
        let found = report.findings.iter().filter(|finding| !is_known(finding));
        all.extend(found.map(|found| format!("{release:?}, seed {seed}, {when}: {found}")));
    };
    let mut peer = Peer::start(release, &source, &options);
    peer.load(seed, 60);
    peer.quit();
    judge("closed", &checked(&source));
    let mut peer = Peer::start(release, &source, &options);
    peer.load(seed, 60);
    drop(peer);
    let mut peer = Peer::start(release, &source, &options);
    peer.load(seed, 20);
    let backed_up = |peer: &Peer, words: &[&str], is_whole: bool| {
        let (code, json) = backup(peer, &copy, words);
        let check = &json["result"]["check"];
        assert_eq!(check["whole"], is_whole, "{json}");
        let is_consistent = check["errors"] == 0 && check["ownership"] == 0;
        assert_eq!(code, Some(if is_consistent { 0 } else { 3 }), "{json}");
        assert!(!is_whole || is_consistent == checked(&copy).is_consistent(), "{json}");
    };
    backed_up(&peer, &["-full"], true);
    judge("full", &checked(&copy));
    for verify in ["-verify=true", "-verify=full"] {
        peer.load(seed, 30);
        backed_up(&peer, &["-incremental", verify], verify == "-verify=full");
        judge("incremental", &checked(&copy));
    }
    peer.quit();
    let recovered = checked(&source);
    judge("recovered", &recovered);
    assert_eq!(
        checked(&copy).findings,
        recovered.findings,
        "{release:?}, seed {seed}: the copy is as the source"
    );
    if !all.is_empty() && env::var_os("CHECK_KEEP").is_some() {
        all.push(format!("kept in {}", dir.keep().display()));
    }
    all
}

mod healthy_stores_have_no_findings {
    use std::env;

    use super::{Release, healthy, require_peers};
    use crate::support::asked_of;

    /// `CHECK_SEEDS` seeds from `CHECK_SEED` on: 1 and 1 unless given.
    fn ask(release: Release) {
        let number = |name| env::var(name).map_or(1, |number| number.parse().unwrap());
        let (first, count): (u64, u64) = (number("CHECK_SEED"), number("CHECK_SEEDS"));
        if require_peers(release) {
            let found: Vec<String> = (first..first + count).flat_map(|seed| healthy(release, seed)).collect();
            assert_eq!(found, Vec::<String>::new());
        }
    }

    asked_of! {
        [
            of_1_3 = V1_3,
            of_1_4_2 = V1_4_2,
            of_1_5 = V1_5,
            of_1_6_1 = V1_6_1,
            of_1_7_2 = V1_7_2,
            of_1_8 = V1_8,
            of_1_9_9 = V1_9_9
        ]
        []
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
