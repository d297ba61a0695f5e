//! What a verification found is kept in the backup: an incremental backup neither loses it nor makes a damaged backup look
//! good, and where it cannot be kept the verification is as good.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    as_user, copy_dir,
    grown_source::{GrownSource, Scene, verified},
    has_program, our_tool, snapshot,
};

const USER: u32 = 61_001;

/// A file that incremental backups do not write, and that they therefore do not read either.
const UNTOUCHED: &str = "neostore.relationshiptypestore.db.names";

fn incremental(source: &GrownSource, target: &Path) -> Option<i32> {
    source.back_up("-incremental", target, &["-quiet"]).code
}

fn inspected(target: &Path) -> Value {
    let done = our_tool(&["inspect", target.to_str().unwrap(), "-output=json"]);
    serde_json::from_str::<Value>(&done.stdout).unwrap()["result"].clone()
}

/// The verifications that a backup has a record of: by what, and what each came to.
fn recorded(target: &Path) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = inspected(target)["verifications"].as_array().unwrap().clone();
    found
        .iter()
        .map(|one| (text(&one["by"]), text(&one["result"])))
        .collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(by, result): &(&str, &str)| ((*by).to_owned(), (*result).to_owned());
    expected.iter().map(owned).collect()
}

const FULL: (&str, &str) = ("backup", "consistent");

#[test]
fn incremental_backups_keep_the_record_and_tell_what_came_after_it() {
    let mut scene = Scene::new();
    let target = &scene.backup;
    assert_eq!(recorded(target), pairs(&[FULL]));
    assert_eq!(verified(target), Some(0));
    assert_eq!(recorded(target), pairs(&[FULL, ("verify", "intact")]));
    let before = inspected(target);
    let verification = &before["verifications"][1];
    assert!(verification["bytes"].as_u64().unwrap() > 1000, "{verification}");
    assert_eq!(verification["transactions_after"], Value::Null);

    assert_eq!(incremental(&scene.source, target), Some(0));
    scene.source.grow();
    assert_eq!(incremental(&scene.source, target), Some(0));
    let after = inspected(target);
    let last = |found: &Value| found["last_transactions"][0]["id"].as_i64().unwrap();
    let range = after["verifications"][1]["transactions_after"].clone();
    assert_eq!(range, serde_json::json!([last(&before) + 1, last(&after)]));
    assert_eq!(after["verifications"][1]["finished"], verification["finished"]);
    let text = our_tool(&["inspect", target.to_str().unwrap()]).stdout;
    assert!(text.contains(", by verify: intact; "), "{text}");
    assert!(text.contains(&format!("to {} came after it", last(&after))), "{text}");

    assert_eq!(verified(target), Some(0));
    assert_eq!(inspected(target)["verifications"][1]["transactions_after"], Value::Null);
    let whole = scene.source.back_up("-incremental", target, &["-verify=full"]);
    assert!(whole.success(), "{whole:?}");
    assert_eq!(recorded(target), pairs(&[("verify", "intact"), FULL]));
}

#[test]
fn damage_that_a_verification_found_is_never_followed_by_a_good_incremental() {
    let scene = Scene::new();
    let target = &scene.backup;
    flip(&target.join(UNTOUCHED));
    // what this run does not read cannot stop it
    let unknowing = scene.work.path().join("unknowing");
    scene.copy_to(&unknowing);
    assert_eq!(incremental(&scene.source, &unknowing), Some(0));

    assert_eq!(verified(target), Some(20));
    assert_eq!(recorded(target), pairs(&[FULL, ("verify", "damaged")]));
    let before = snapshot(target);
    let refused = scene.source.back_up("-incremental", target, &[]);
    assert_eq!(refused.code, Some(14), "{refused:?}");
    assert!(refused.stderr.contains("the last verification at 20"), "{refused:?}");
    assert_eq!(snapshot(target), before);

    let repaired = scene.work.path().join("repaired");
    scene.copy_to(&repaired);
    flip(&repaired.join(UNTOUCHED));
    assert_eq!(incremental(&scene.source, &repaired), Some(14));
    assert_eq!(verified(&repaired), Some(0));
    assert_eq!(incremental(&scene.source, &repaired), Some(0));

    let replaced = scene.source.back_up("-incremental", target, &["-fallback-full"]);
    assert!(replaced.success(), "{replaced:?}");
    assert_eq!(recorded(target), pairs(&[FULL]));
    assert_eq!(verified(target), Some(0));
}

#[test]
fn a_drill_is_recorded_too() {
    let scene = Scene::new();
    let target = &scene.backup;
    let scratch = TempDir::new().unwrap();
    let drill = || {
        let (from, scratch) = (target.to_str().unwrap(), scratch.path().to_str().unwrap());
        our_tool(&["drill", "-from", from, "-scratch", scratch, "-output=json"])
    };
    let held = drill();
    assert!(held.success(), "{held:?}");
    assert_eq!(recorded(target), pairs(&[FULL, ("drill", "intact")]));
    let last = inspected(target)["verifications"][1].clone();
    assert!(last["bytes"].as_u64().unwrap() > 1000 && last["records"].as_u64().unwrap() > 10);
    flip(&target.join(UNTOUCHED));
    assert_eq!(drill().code, Some(20));
    assert_eq!(recorded(target), pairs(&[FULL, ("drill", "damaged")]));
    assert_eq!(incremental(&scene.source, target), Some(14));
    // a restored database has no verification of its own
    flip(&target.join(UNTOUCHED));
    let restored = scene.work.path().join("restored");
    let (from, to) = (target.to_str().unwrap(), restored.to_str().unwrap());
    assert!(our_tool(&["restore", "-from", from, "-to", to]).success());
    assert_eq!(recorded(&restored), pairs(&[]));
}

#[test]
fn a_verification_leaves_what_an_interrupted_run_left() {
    let scene = Scene::new();
    let target = &scene.backup;
    let lock = target.with_extension("lock");
    let note = r#"{"pid":1,"host":"h","started":1,"run_id":"a run","unreported":"another"}"#;
    fs::write(&lock, note).unwrap();
    let partial = target.with_extension("partial");
    fs::create_dir(&partial).unwrap();
    assert_eq!(verified(target), Some(0));
    assert_eq!(recorded(target), pairs(&[FULL, ("verify", "intact")]));
    assert_eq!(fs::read_to_string(&lock).unwrap(), note);
    assert!(partial.exists());
    fs::remove_file(&lock).unwrap();
    assert_eq!(verified(target), Some(0));
    assert!(!lock.exists());
}

#[test]
fn what_cannot_be_recorded_is_a_warning() {
    let scene = Scene::new();
    let Some(tool) = as_user(USER) else { return };
    let work = TempDir::new().unwrap();
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let target = work.path().join("b");
    copy_dir(&scene.backup, &target);
    let readable = |path: &Path| {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    readable(&target);
    for path in snapshot(&target).into_keys() {
        let path = target.join(path);
        readable(path.parent().unwrap());
        readable(&path);
    }
    let before = snapshot(work.path());
    for (damaged, code) in [(false, 0), (true, 20)] {
        if damaged {
            flip(&target.join(UNTOUCHED));
        }
        let done = tool(&["verify", target.to_str().unwrap(), "-output=json"]);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.stderr.contains("is not recorded in the backup"), "{done:?}");
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(report["result"]["recorded"], false);
    }
    flip(&target.join(UNTOUCHED));
    assert_eq!(snapshot(work.path()), before);
}

#[test]
fn a_read_only_file_system_can_be_verified() {
    let scene = Scene::new();
    let (Some(target), Some(parent)) = (scene.backup.to_str(), scene.work.path().to_str()) else {
        return;
    };
    if !rustix::process::geteuid().is_root() || !has_program("unshare") {
        crate::support::skip("root and unshare");
        return;
    }
    let script = format!(
        "mount --bind {parent} {parent} && mount -o remount,bind,ro {parent} && exec {} verify {target}",
        env!("CARGO_BIN_EXE_neo4j-backup")
    );
    let done = crate::support::run_limited(std::process::Command::new("unshare").args(["-m", "sh", "-c", &script]));
    if done.code.is_none_or(|code| code != 0) && done.stderr.contains("mount") {
        crate::support::skip("a mount namespace");
        return;
    }
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("is not recorded in the backup"), "{done:?}");
    assert_eq!(recorded(&scene.backup), pairs(&[FULL]));
}
