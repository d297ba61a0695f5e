use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
};

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::journal::RunKind;

/// A target that has a backup, and its journal.
struct Scene {
    work: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let work = tempfile::tempdir().unwrap();
        fs::create_dir(work.path().join("b")).unwrap();
        fs::write(work.path().join("b/neo4j-backup.json"), "{}").unwrap();
        Scene { work }
    }

    fn journal(&self) -> Journal {
        Journal::of(self.work.path().join("b")).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.work.path().join("b.journal")
    }

    fn run_ids(&self) -> Vec<String> {
        let entries = self.journal().entries().unwrap();
        entries.into_iter().map(|entry| entry.run_id).collect()
    }

    /// Why nothing is added, and that nothing is.
    fn refused(&self) -> String {
        let before = fs::read(self.path()).ok();
        let error = self.journal().append(&entry(RunKind::Backup, 9, 0)).unwrap_err();
        assert_eq!(fs::read(self.path()).ok(), before);
        error.to_string()
    }
}

fn entry(command: RunKind, id: i64, exit_code: u8) -> JournalEntry {
    JournalEntry {
        run_id: id.to_string(),
        exit_code,
        ..JournalEntry::new(command, Timestamp::from_second(1_700_000_000 + id).unwrap())
    }
}

#[test]
fn lines_are_added_and_read_in_their_order() {
    let scene = Scene::new();
    assert!(scene.journal().entries().unwrap().is_empty());
    let entries = [entry(RunKind::Backup, 1, 0), entry(RunKind::Verify, 2, 20)];
    for entry in &entries {
        scene.journal().append(entry).unwrap();
    }
    assert_eq!(scene.journal().entries().unwrap(), entries);
    let text = fs::read_to_string(scene.path()).unwrap();
    let first = r#"{"journal":1,"command":"backup","run_id":"1","started":"2023-11-14T22:13:21.000Z","seconds":0.0,"exit_code":0}"#;
    assert_eq!(text.lines().next(), Some(first));
}

#[test]
fn a_journal_is_created_beside_backups_and_what_becomes_one_only() {
    let work = tempfile::tempdir().unwrap();
    let (dir, path) = (work.path().join("b"), work.path().join("b.journal"));
    let append = |command| Journal::of(&dir).unwrap().append(&entry(command, 1, 1)).unwrap();
    append(RunKind::Verify);
    assert!(!path.exists());
    append(RunKind::Backup);
    assert!(path.exists());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("photo"), "").unwrap();
    append(RunKind::Backup);
    append(RunKind::Drill);
    assert!(!path.exists());
    fs::write(dir.join("config"), "").unwrap();
    append(RunKind::Drill);
    assert!(path.exists());
    append(RunKind::Check);
    assert_eq!(Journal::of(&dir).unwrap().entries().unwrap().len(), 2);
}

#[test]
fn its_permissions_follow_the_target() {
    let scene = Scene::new();
    for (mode, expected) in [(0o700, 0o600), (0o750, 0o640)] {
        fs::set_permissions(scene.work.path().join("b"), fs::Permissions::from_mode(mode)).unwrap();
        let _ = fs::remove_file(scene.path());
        scene.journal().append(&entry(RunKind::Backup, 1, 0)).unwrap();
        assert_eq!(fs::metadata(scene.path()).unwrap().mode() & 0o777, expected);
    }
}

#[test]
fn a_line_that_was_cut_short_costs_only_itself() {
    let scene = Scene::new();
    let line = entry(RunKind::Backup, 1, 0).to_line();
    for end in 0..line.len() - 1 {
        fs::write(scene.path(), &line[..end]).unwrap();
        assert_eq!(scene.run_ids(), [""; 0], "{end}");
        scene.journal().append(&entry(RunKind::Backup, 2, 0)).unwrap();
        assert_eq!(scene.run_ids(), ["2"], "{end}");
    }
    // zeros, as a power failure may leave them
    let mut bytes = line.clone();
    bytes.extend([0; 100]);
    fs::write(scene.path(), bytes).unwrap();
    scene.journal().append(&entry(RunKind::Backup, 2, 0)).unwrap();
    assert_eq!(scene.run_ids(), ["1", "2"]);
}

#[test]
fn lines_of_somebody_else_are_skipped() {
    let scene = Scene::new();
    let good = String::from_utf8(entry(RunKind::Drill, 1, 0).to_line()).unwrap();
    let text = format!(
        "{}{}{}{}\n{good}",
        good.replace(r#""journal":1"#, r#""journal":2"#),
        good.replace("2023-11-14", "2023-13-14"),
        good.replace(r#""exit_code":0"#, r#""exit_code":1e9"#),
        "[".repeat(100_000),
    );
    fs::write(scene.path(), text).unwrap();
    assert_eq!(scene.run_ids(), ["1"]);
}

#[test]
fn a_file_that_no_run_made_is_refused_and_stays_as_it_is() {
    let scene = Scene::new();
    fs::write(scene.path(), "dear diary").unwrap();
    assert!(scene.refused().contains("not written by this tool"));
    assert!(scene.journal().entries().is_err());

    fs::write(scene.path(), entry(RunKind::Backup, 1, 0).to_line()).unwrap();
    fs::hard_link(scene.path(), scene.work.path().join("other")).unwrap();
    assert!(scene.refused().contains("another name"));

    let victim = scene.work.path().join("victim");
    fs::remove_file(scene.path()).unwrap();
    fs::write(&victim, "").unwrap();
    symlink(&victim, scene.path()).unwrap();
    assert!(scene.refused().contains("symbolic link"));
    assert_eq!(fs::read(&victim).unwrap(), b"");

    fs::remove_file(scene.path()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, scene.path(), rustix::fs::Mode::RWXU).unwrap();
    let error = scene.journal().append(&entry(RunKind::Backup, 9, 0)).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");

    if geteuid().is_root() {
        fs::remove_file(scene.path()).unwrap();
        fs::write(scene.path(), "").unwrap();
        std::os::unix::fs::chown(scene.path(), Some(65_534), None).unwrap();
        assert!(scene.refused().contains("another user"));
        // unless that is the owner of the target
        std::os::unix::fs::chown(scene.work.path().join("b"), Some(65_534), None).unwrap();
        scene.journal().append(&entry(RunKind::Backup, 1, 0)).unwrap();
    }
}

#[test]
fn another_process_that_keeps_it_locked_is_waited_for_but_not_for_ever() {
    let scene = Scene::new();
    scene.journal().append(&entry(RunKind::Backup, 1, 0)).unwrap();
    let held = File::open(scene.path()).unwrap();
    held.lock().unwrap();
    assert!(scene.refused().contains("locked"));
    let waiting = scene.journal();
    let appended = thread::spawn(move || waiting.append(&entry(RunKind::Backup, 2, 0)));
    thread::sleep(PATIENCE / 8);
    drop(held);
    appended.join().unwrap().unwrap();
    assert_eq!(scene.run_ids(), ["1", "2"]);
}

#[test]
fn runs_that_end_at_the_same_time_are_all_recorded() {
    let scene = Scene::new();
    // the newest check stays, so that the file is full again and again, and each run replaces it
    let long = JournalEntry {
        message: Some("x".repeat(1 << 20)),
        ..entry(RunKind::Check, 0, 1)
    };
    scene.journal().append(&long).unwrap();
    thread::scope(|scope| {
        for thread in 0..3 {
            let scene = &scene;
            scope.spawn(move || {
                for id in 1..4 {
                    let entry = entry(RunKind::Backup, thread * 10 + id, 0);
                    scene.journal().append(&entry).unwrap();
                }
            });
        }
    });
    let ids: BTreeSet<String> = scene.run_ids().into_iter().collect();
    assert_eq!(ids.len(), 10, "{ids:?}");
    assert!(!scene.work.path().join("b.journal.new").exists());
}

#[test]
fn old_runs_go_but_the_newest_good_one_of_each_command_stays() {
    let scene = Scene::new();
    let mut lines = entry(RunKind::Drill, 1, 0).to_line();
    lines.extend(entry(RunKind::Verify, 2, 0).to_line());
    lines.extend(entry(RunKind::Verify, 3, 20).to_line());
    lines.extend(entry(RunKind::Drill, 4, 0).to_line());
    lines.extend(entry(RunKind::Backup, 5, 0).to_line());
    let mut id = 100;
    while (lines.len() as u64) < FULL {
        lines.extend(entry(RunKind::Backup, id, 10).to_line());
        id += 1;
    }
    fs::write(scene.path(), lines).unwrap();
    // of a process that was killed
    fs::write(scene.work.path().join("b.journal.new"), "").unwrap();
    scene.journal().append(&entry(RunKind::Backup, id, 10)).unwrap();
    let ids = scene.run_ids();
    assert_eq!(ids[..4], ["2", "3", "4", "5"]);
    assert_eq!(ids.len(), 4 + KEPT);
    let newest = (id + 1 - i64::try_from(KEPT).unwrap())..=id;
    assert!(ids[4..].iter().cloned().eq(newest.map(|id| id.to_string())));
    assert!(!scene.work.path().join("b.journal.new").exists());
}
