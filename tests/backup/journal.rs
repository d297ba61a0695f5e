//! Every run leaves a line in the journal beside the target, good or bad.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Finished, grown_source::Scene, our_tool, replay::sibling};
use neo4j_backup_core::journal::{Journal, JournalEntry, RunKind};

/// The newest entry, whose exit code is that of the run.
#[track_caller]
fn recorded(target: &Path, run: &Finished) -> JournalEntry {
    let entry = Journal::of(target).unwrap().entries().unwrap().pop().unwrap();
    assert_eq!(Some(i32::from(entry.exit_code)), run.code, "{run:?}");
    assert!(entry.seconds > 0.0 && entry.seconds < 600.0);
    entry
}

#[test]
fn backups_verifications_checks_and_drills_are_recorded() {
    let mut scene = Scene::new();
    let target = scene.work.path().join("b");
    let path = target.to_str().unwrap();

    let full = scene.source.back_up("-full", &target, &["-output=json"]);
    let report: Value = serde_json::from_str(&full.stdout).unwrap();
    let entry = recorded(&target, &full);
    assert_eq!((entry.command, entry.mode.as_deref()), (RunKind::Backup, Some("full")));
    assert_eq!(entry.source, Some(scene.source.uri()));
    assert_eq!(entry.verdict.as_deref(), Some("good"));
    assert_eq!(entry.bytes, report["result"]["bytes"].as_u64());
    assert_eq!(entry.stored_bytes, report["result"]["stored_bytes"].as_u64());
    let manifest: Value = serde_json::from_slice(&fs::read(target.join("neo4j-backup.json")).unwrap()).unwrap();
    assert_eq!(manifest["chain"][0]["run_id"], entry.run_id);

    scene.source.grow();
    let incremental = scene.source.back_up("-incremental", &target, &["-output=json"]);
    let report: Value = serde_json::from_str(&incremental.stdout).unwrap();
    let entry = recorded(&target, &incremental);
    assert_eq!(entry.mode.as_deref(), Some("incremental"));
    assert!(entry.transactions.is_some_and(|count| count > 0));
    assert_eq!(entry.transactions, report["result"]["transactions"].as_u64());
    let last = &entry.last_transactions[0];
    assert_eq!(
        (last.data_source.as_str(), last.id),
        (
            "nioneodb",
            report["result"]["last_transactions"]["nioneodb"].as_i64().unwrap()
        )
    );
    assert!(last.committed.is_some());

    let verified = our_tool(&["verify", path]);
    let entry = recorded(&target, &verified);
    assert_eq!(
        (entry.command, entry.verdict.as_deref()),
        (RunKind::Verify, Some("intact"))
    );
    let checked = our_tool(&["check", path]);
    let entry = recorded(&target, &checked);
    assert_eq!(
        (entry.command, entry.verdict.as_deref()),
        (RunKind::Check, Some("good"))
    );
    let drill = our_tool(&["drill", "-from", path, "-scratch", scene.work.path().to_str().unwrap()]);
    let entry = recorded(&target, &drill);
    assert_eq!(
        (entry.command, entry.verdict.as_deref()),
        (RunKind::Drill, Some("good"))
    );
    assert_eq!(entry.last_transactions.first(), Some(last));
    assert_eq!(Journal::of(&target).unwrap().entries().unwrap().len(), 5);
}

#[test]
fn failures_are_recorded_with_their_kind() {
    let scene = Scene::new();
    let target = scene.work.path().join("b");
    let path = target.to_str().unwrap();
    let failed = our_tool(&["-auto", "-from", "127.0.0.1:1", "-to", path]);
    let entry = recorded(&target, &failed);
    assert_eq!((entry.exit_code, entry.error.as_deref()), (10, Some("unreachable")));
    assert_eq!(entry.mode.as_deref(), Some("auto"));
    assert!(entry.message.unwrap().contains("127.0.0.1:1"));

    assert!(scene.source.back_up("-full", &target, &[]).success());
    let exists = scene.source.back_up("-full", &target, &[]);
    let entry = recorded(&target, &exists);
    assert_eq!(entry.error.as_deref(), Some("not-ours"));

    fs::write(target.join("neostore.nodestore.db"), "").unwrap();
    let damaged = our_tool(&["verify", path]);
    let entry = recorded(&target, &damaged);
    assert_eq!((entry.exit_code, entry.verdict.as_deref()), (20, Some("damaged")));
    let drill = our_tool(&["drill", "-from", path, "-scratch", scene.work.path().to_str().unwrap()]);
    let entry = recorded(&target, &drill);
    assert_eq!(
        (entry.command, entry.error.as_deref()),
        (RunKind::Drill, Some("damaged"))
    );
}

#[test]
fn a_directory_that_is_no_backup_gets_no_journal() {
    let scene = Scene::new();
    let database = scene.work.path().join("database");
    assert!(
        our_tool(&[
            "restore",
            "-from",
            scene.backup.to_str().unwrap(),
            "-to",
            database.to_str().unwrap()
        ])
        .success()
    );
    fs::remove_file(database.join("neo4j-backup.json")).ok();
    let checked = our_tool(&["check", database.to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!sibling(&database, ".journal").exists());
}

#[test]
fn a_backup_with_a_foreign_file_for_a_journal_is_as_good_as_without() {
    let scene = Scene::new();
    let target = scene.work.path().join("b");
    let journal = sibling(&target, ".journal");
    fs::write(&journal, "dear diary").unwrap();
    let full = scene.source.back_up("-full", &target, &[]);
    assert!(full.success(), "{full:?}");
    assert!(full.stderr.contains("this run was not recorded"), "{full:?}");
    assert_eq!(fs::read(&journal).unwrap(), b"dear diary");
    // readers say nothing of it
    let verified = our_tool(&["verify", target.to_str().unwrap()]);
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(0), ""));
}
