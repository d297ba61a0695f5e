//! What `verify` says of a backup whose incremental was killed: never that it is damaged, unless it is. Needs `strace`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{collections::BTreeMap, fs, path::Path};

use crate::disk_trace::{Effect, Fault, record, require_strace, run_with_fault};
use crate::support::incremental_source::Source;
use crate::support::{copy_dir, our_tool};
use serde_json::Value;

use neo4j_format::{
    log::encode::Command,
    store::record::{Node, RecordId},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");
/// Every so many calls that change the disk the run is killed.
const STEP: usize = 4;

/// Exit code and verdict.
fn verified(dir: &Path) -> (Option<i32>, String) {
    let finished = our_tool(&["verify", dir.to_str().unwrap(), "-output=json"]);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    let verdict = report["result"]["verdict"].as_str().unwrap_or_default();
    (finished.code, verdict.to_owned())
}

fn backup(source: &Source, mode: &str, target: &Path) -> Vec<String> {
    let words = [mode, "-from", &source.uri(), "-to", target.to_str().unwrap(), "-quiet"];
    words.map(str::to_owned).to_vec()
}

fn succeeds(words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let finished = our_tool(&words);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn an_update_killed_anywhere_is_told_from_damage() {
    if !require_strace("killed updates") {
        return;
    }
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::recorded());
    let (base, copy) = (folder.path().join("base"), folder.path().join("run/copy"));
    succeeds(&backup(&source, "-full", &base));
    let node = Node {
        first_relationship: None,
        first_property: None,
    };
    source.commit(&[Command::Node(RecordId(70), Some(node))]);
    let afresh = || {
        let _ = fs::remove_dir_all(copy.parent().unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        copy_dir(&base, &copy);
    };
    let incremental = backup(&source, "-incremental", &copy);
    afresh();
    let calls = record(PROGRAM, &incremental, copy.parent().unwrap());
    let changing = calls
        .iter()
        .filter(|call| call.effect != Effect::Nothing && Fault::Killed.can_hit(&call.name));
    let mut verdicts = BTreeMap::new();
    for call in changing.step_by(STEP) {
        afresh();
        run_with_fault(
            PROGRAM,
            &incremental,
            copy.parent().unwrap(),
            call,
            &Fault::Killed.inject(),
        );
        let verdict = verified(&copy);
        let what = format!("{} {} {}", call.name, call.number, call.path.display());
        let expected = match verdict.1.as_str() {
            "interrupted-update" => 21,
            "intact" => 0,
            other => panic!("{other} after {what}"),
        };
        assert_eq!(verdict.0, Some(expected), "{what}");
        *verdicts.entry(verdict.1).or_insert(0) += 1;
        // no update takes a store file away
        let names = copy.join("neostore.relationshiptypestore.db.names");
        let aside = folder.path().join("names");
        fs::rename(&names, &aside).unwrap();
        assert_eq!(verified(&copy), (Some(20), "damaged".to_owned()), "{what}");
        fs::rename(&aside, &names).unwrap();
        // known damage stops updates until a verification finds it gone
        assert_eq!(verified(&copy).0, Some(expected), "{what}");
        succeeds(&incremental);
        assert_eq!(verified(&copy), (Some(0), "intact".to_owned()), "{what}");
    }
    assert!(
        verdicts["interrupted-update"] > 5 && verdicts["intact"] > 2,
        "{verdicts:?}"
    );
}
