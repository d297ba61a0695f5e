//! What a full backup does with a target where earlier runs ended badly, or where it will have no room.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use neo4j_format::DirHandle;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::replay::{Answer, FULL, Server, Transactions, judge, left_over, sibling};
use crate::support::{Finished, Mounted, copy_dir, our_tool};
use serde_json::{Value, json};
use tempfile::TempDir;

use neo4j_backup_core::manifest::{BackupKind, MANIFEST, Manifest, Run};

fn back_up(server: &Server, target: &Path, options: &[&str]) -> Finished {
    let mut args = vec!["-full", "-from"];
    let uri = server.uri();
    args.extend([uri.as_str(), "-to", target.to_str().unwrap()]);
    args.extend(options);
    our_tool(&args)
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("backup");
    (folder, target)
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("neo4j-backup.json")).unwrap()).unwrap()
}

/// The lock file of a run that was killed.
fn stale_lock(target: &Path, run_id: &Value) {
    let note = json!({"pid": 1, "host": "elsewhere", "started": 1, "run_id": run_id});
    fs::write(sibling(target, ".lock"), note.to_string()).unwrap();
}

/// A backup whose run was killed before it could say so.
fn unreported(server: &Server, target: &Path) {
    assert_eq!(back_up(server, target, &[]).code, Some(0));
    stale_lock(target, &manifest(target)["chain"][0]["run_id"]);
}

fn cut() -> Answer {
    Answer::Cut(FULL[..20_000].to_vec())
}

#[track_caller]
fn assert_replaced(server: &Server, target: &Path) {
    let before = manifest(target)["chain"][0]["run_id"].clone();
    server.change(Answer::recorded(), Transactions::Recorded);
    let finished = back_up(server, target, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(judge(target), Ok(()));
    assert_ne!(manifest(target)["chain"][0]["run_id"], before);
    assert!(left_over(target).is_empty(), "{:?}", left_over(target));
}

#[test]
fn an_unreported_backup_stays_replaceable_through_runs_that_fail() {
    let (_folder, target) = place();
    let server = Server::recorded();
    unreported(&server, &target);
    server.change(cut(), Transactions::Recorded);
    for _ in 0..2 {
        assert_eq!(back_up(&server, &target, &[]).code, Some(10));
        assert_eq!(judge(&target), Ok(()));
        assert_eq!(left_over(&target), [".lock"], "the partial directory is of no use");
    }
    assert_replaced(&server, &target);
}

#[test]
fn an_unreported_backup_stays_replaceable_through_a_run_that_is_killed() {
    let (_folder, target) = place();
    let server = Server::recorded();
    unreported(&server, &target);
    server.change(Answer::Stalled(FULL[..20_000].to_vec()), Transactions::Recorded);
    let mut killed = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args(["-full", "-from", &server.uri(), "-to"])
        .arg(&target)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    server.wait_until_stalled();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_replaced(&server, &target);
}

#[test]
fn a_backup_that_waited_for_its_place_stays_replaceable_when_the_run_that_put_it_there_fails() {
    let (_folder, target) = place();
    let server = Server::recorded();
    unreported(&server, &target);
    fs::rename(&target, sibling(&target, ".ready")).unwrap();
    server.change(cut(), Transactions::Recorded);
    let finished = back_up(&server, &target, &[]);
    assert_eq!(finished.code, Some(10), "{}", finished.stderr);
    assert_eq!(judge(&target), Ok(()));
    assert_eq!(left_over(&target), [".lock"]);
    assert_replaced(&server, &target);
}

#[test]
fn a_damaged_backup_that_waits_for_its_place_never_gets_it() {
    for path in ["neostore.nodestore.db", "neo4j-backup.json"] {
        let (_folder, target) = place();
        let server = Server::recorded();
        assert_eq!(back_up(&server, &target, &[]).code, Some(0));
        let ready = sibling(&target, ".ready");
        copy_dir(&target, &ready);
        let file = ready.join(path);
        let mut bytes = fs::read(&file).unwrap();
        bytes[20] ^= 1;
        fs::write(&file, bytes).unwrap();
        let before = manifest(&target);
        let finished = back_up(&server, &target, &[]);
        assert_eq!(finished.code, Some(13), "{}", finished.stderr);
        assert_eq!(manifest(&target), before);
        assert!(!ready.exists());
    }
}

#[test]
fn a_replaced_backup_without_manifest_that_a_kill_left_is_removed() {
    let (_folder, target) = place();
    let server = Server::recorded();
    assert_eq!(back_up(&server, &target, &[]).code, Some(0));
    // a backup of another tool
    for name in ["neo4j-backup.json", "neo4j-backup.sums"] {
        fs::remove_file(target.join(name)).unwrap();
    }
    let (old, ready) = (sibling(&target, ".old"), sibling(&target, ".ready"));
    copy_dir(&target, &old);
    assert_eq!(back_up(&server, &target, &["-overwrite"]).code, Some(0));
    let known = manifest(&target)["replaces"].as_str().unwrap().to_owned();
    assert!(known.starts_with("directory "), "{known}");

    // a directory that the new one replaced is known by its manifest; any other one is left alone
    fs::rename(&old, &ready).unwrap();
    assert_eq!(back_up(&server, &target, &["-overwrite"]).code, Some(13));
    let found = fs::metadata(&ready).unwrap();
    let mut changed = Manifest::read(&DirHandle::open(&target).unwrap()).unwrap().unwrap();
    changed.replaces = Some(format!("directory {}:{}", found.dev(), found.ino()));
    changed.write(&DirHandle::open(&target).unwrap(), MANIFEST).unwrap();
    assert_eq!(back_up(&server, &target, &["-overwrite"]).code, Some(0));
    assert!(!ready.exists());
}

#[test]
fn a_backup_that_a_killed_incremental_had_changed_is_not_replaced_unasked() {
    let (_folder, target) = place();
    let server = Server::recorded();
    assert_eq!(back_up(&server, &target, &[]).code, Some(0));
    let mut changed = Manifest::read(&DirHandle::open(&target).unwrap()).unwrap().unwrap();
    let run = Run {
        mode: BackupKind::Incremental,
        run_id: "0123".to_owned(),
        ..changed.chain[0].clone()
    };
    changed.add_run(run);
    changed.write(&DirHandle::open(&target).unwrap(), MANIFEST).unwrap();
    stale_lock(&target, &json!("0123"));
    assert_eq!(back_up(&server, &target, &[]).code, Some(13));
    assert!(left_over(&target).is_empty());
}

#[test]
fn overwriting_needs_room_for_both_and_says_so_before_anything_is_received() {
    let folder = TempDir::new().unwrap();
    let disk = folder.path().join("disk");
    if let Some(_mounted) = Mounted::at(&disk, "size=300k") {
        let target = disk.join("backup");
        let server = Server::recorded();
        let first = back_up(&server, &target, &[]);
        assert_eq!(first.code, Some(0), "{}", first.stderr);
        // the answer would stall: it is not asked for
        server.change(Answer::Stalled(vec![]), Transactions::Recorded);
        let finished = back_up(&server, &target, &["-overwrite"]);
        assert_eq!(finished.code, Some(18), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("room beside the old one"),
            "{}",
            finished.stderr
        );
        assert_eq!(judge(&target), Ok(()));
        assert!(left_over(&target).is_empty(), "{:?}", left_over(&target));
    }
}
