//! `-dry-run`: the exit code of the backup, and nothing written.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use neo4j_backup_core::manifest::{MANIFEST, Manifest};
use neo4j_format::{DirHandle, ids::DataSource};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    as_user, copy_dir,
    incremental_source::{Source, creates},
    our_tool,
};

/// What a write to a file would change.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    inode: u64,
    mode: u32,
    size: u64,
    changed: (i64, i64),
    content: Vec<u8>,
}

/// Everything below `dir` that a write would change.
fn state(dir: &Path) -> BTreeMap<PathBuf, FileState> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        let status = fs::symlink_metadata(&path).unwrap();
        let content = if status.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        let entry = FileState {
            inode: status.ino(),
            mode: status.mode(),
            size: status.size(),
            changed: (status.ctime(), status.ctime_nsec()),
            content,
        };
        found.insert(path, entry);
    }
    found
}

/// A directory with backups of a source.
struct Scene {
    folder: TempDir,
    source: Source,
}

impl Scene {
    fn new() -> Scene {
        Scene {
            folder: TempDir::new().unwrap(),
            source: Source::recorded(),
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs this backup of the source into `name`; its exit code and document.
    #[track_caller]
    fn run(&self, words: &str, name: &str) -> (i32, Value, String) {
        let (uri, target) = (self.source.uri(), self.dir(name));
        let mut arguments: Vec<&str> = words.split(' ').collect();
        if !words.contains("-from") {
            arguments.extend(["-from", &uri]);
        }
        arguments.extend(["-output", "json", "-to", target.to_str().unwrap()]);
        let done = our_tool(&arguments);
        let document: Result<Value, _> = serde_json::from_str(&done.stdout);
        assert!(document.is_ok(), "{document:?}: {done:?}");
        let document = document.unwrap();
        (done.code.unwrap(), document, done.stderr)
    }

    /// The dry run of a backup writes nothing and has this exit code.
    #[track_caller]
    fn would_end(&self, words: &str, name: &str, code: i32) -> Value {
        let before = state(self.folder.path());
        let (found, document, stderr) = self.run(&format!("{words} -dry-run"), name);
        assert_eq!(found, code, "{words}: {document:#} {stderr}");
        assert_eq!(document["dry_run"], true);
        assert_eq!(document["exit_code"], code);
        assert!(state(self.folder.path()) == before, "{words}: something was written");
        document
    }

    /// Both the dry run of a backup and the backup end with this.
    #[track_caller]
    fn ends(&self, words: &str, name: &str, code: i32) -> Value {
        let document = self.would_end(words, name, code);
        let (found, real, stderr) = self.run(words, name);
        assert_eq!(found, code, "{words}: {real:#} {stderr}");
        assert_eq!(document["error"]["kind"], real["error"]["kind"]);
        document
    }
}

#[test]
fn damage_that_a_verification_found_is_known_to_both() {
    let scene = Scene::new();
    scene.run("-full", "backup");
    let target = scene.dir("backup");
    let store = target.join("neostore.nodestore.db");
    let whole = fs::read(&store).unwrap();
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    fs::write(&store, damaged).unwrap();
    assert_eq!(our_tool(&["verify", target.to_str().unwrap()]).code, Some(20));
    fs::write(&store, whole).unwrap();
    scene.source.commit(&[creates(60)]);
    let document = scene.ends("-incremental", "backup", 14);
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("the last verification"), "{message}");
}

#[test]
fn a_dry_run_of_each_mode_shows_what_the_backup_then_does() {
    let scene = Scene::new();
    let full = scene.ends("-full", "one", 0);
    assert_eq!(full["result"]["mode"], "full");
    assert_eq!(full["result"]["replaces"], false);
    assert_eq!(full["result"]["history"], "not-needed");
    assert!(full["result"]["needed_bytes"].is_null() && full["result"]["free_bytes"].as_u64() > Some(0));
    assert_eq!(scene.ends("-auto", "two", 0)["result"]["mode"], "full");

    scene.source.commit(&[creates(60)]);
    let incremental = scene.ends("-incremental", "one", 0);
    assert_eq!(incremental["result"]["mode"], "incremental");
    assert_eq!(incremental["result"]["history"], "proven");
    assert_eq!(incremental["result"]["last_transactions"]["nioneodb"], 5);
    let again = scene.ends("-auto -require-history", "one", 0);
    assert_eq!(again["result"]["last_transactions"]["nioneodb"], 6);

    let replaced = scene.ends("-full -overwrite", "one", 0);
    assert_eq!(replaced["result"]["replaces"], true);
    assert!(replaced["result"]["needed_bytes"].as_u64() > Some(0));
}

#[test]
fn what_a_backup_is_refused_for_a_dry_run_is_refused_for() {
    let scene = Scene::new();
    scene.ends("-full -from single://127.0.0.1:1", "target", 10);
    scene.ends("-incremental", "target", 14);
    scene.ends("-full", "missing/target", 78);
    fs::create_dir(scene.dir("other")).unwrap();
    fs::write(scene.dir("other/notes"), "mine").unwrap();
    scene.ends("-full", "other", 13);
    scene.ends("-auto -overwrite", "other", 13);

    scene.ends("-full", "target", 0);
    scene.ends("-full", "target", 13);
    fs::write(scene.dir("target/notes"), "mine").unwrap();
    scene.ends("-full -overwrite", "target", 78);
    fs::remove_file(scene.dir("target/notes")).unwrap();

    // a sibling that no run has left
    fs::create_dir(scene.dir("target.ready")).unwrap();
    fs::write(scene.dir("target.ready/notes"), "mine").unwrap();
    scene.ends("-incremental", "target", 13);
    fs::remove_dir_all(scene.dir("target.ready")).unwrap();

    fs::remove_file(scene.dir("target/neostore.nodestore.db")).unwrap();
    scene.ends("-incremental", "target", 14);
}

#[test]
fn a_target_in_use_is_seen_and_stays_locked() {
    let scene = Scene::new();
    let lock = scene.dir("target.lock");
    fs::write(&lock, r#"{"pid":7,"host":"here","started":1,"run_id":"7"}"#).unwrap();
    let held = File::open(&lock).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let refused = scene.ends("-full", "target", 11);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("pid 7 on here"), "{message}");
    drop(held);
    // what is left of a run that was killed is left
    scene.would_end("-full", "target", 0);
}

#[test]
fn another_history_is_refused() {
    let scene = Scene::new();
    scene.source.commit(&[creates(60)]);
    scene.ends("-full", "target", 0);
    // restored from an older state
    scene.source.forget(DataSource::Graph, 1);
    scene.ends("-incremental", "target", 13);
    scene.ends("-auto", "target", 13);
    scene.would_end("-full -overwrite", "target", 13);
    // and gone on from there
    scene.source.commit(&[creates(61)]);
    let branched = scene.ends("-incremental", "target", 13);
    let message = branched["error"]["message"].as_str().unwrap();
    assert!(message.contains("branched history"), "{message}");
}

#[test]
fn logs_that_are_gone_are_noticed_and_the_fallback_is_shown() {
    let scene = Scene::new();
    scene.ends("-full", "target", 0);
    scene.source.commit(&[creates(60)]);
    scene.source.commit(&[creates(61)]);
    // only the last transaction of the backup is gone: nothing proves the history
    scene.source.prune_before(6);
    let unproven = scene.would_end("-incremental", "target", 0);
    assert_eq!(unproven["result"]["history"], "not-proven");
    assert_eq!(unproven["warnings"].as_array().unwrap().len(), 1, "{unproven:#}");
    scene.ends("-incremental -require-history", "target", 13);

    scene.source.prune_before(7);
    scene.ends("-incremental", "target", 14);
    // the recorded server cannot give the rest of a full backup then
    let fallback = scene.would_end("-auto", "target", 0);
    assert_eq!(fallback["result"]["mode"], "full");
    assert_eq!(fallback["result"]["replaces"], true);
    assert!(fallback["result"]["fallback"].is_string(), "{fallback:#}");
}

/// The manifest of a backup says that its full backup received this.
fn received(dir: &Path, bytes: u64) {
    let dir = DirHandle::open(dir).unwrap();
    let mut manifest = Manifest::read(&dir).unwrap().unwrap();
    manifest.chain[0].bytes = bytes;
    fs::remove_file(dir.join(MANIFEST)).unwrap();
    manifest.write(&dir, MANIFEST).unwrap();
}

#[test]
fn a_full_backup_that_cannot_fit_is_refused_before_anything_is_received() {
    let scene = Scene::new();
    scene.ends("-full", "target", 0);
    received(&scene.dir("target"), 1 << 60);
    scene.source.asked();
    let refused = scene.ends("-full -overwrite", "target", 18);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("1152921504606846976 bytes"), "{message}");
    // the transactions that follow a full backup were not asked for
    assert!(scene.source.asked().iter().all(Vec::is_empty));
    // an incremental backup needs less
    scene.ends("-incremental", "target", 0);
    received(&scene.dir("target"), 1 << 20);
    scene.ends("-full -overwrite", "target", 0);
}

#[test]
fn a_repository_that_cannot_be_used_is_known_beforehand() {
    let scene = Scene::new();
    let (repository, password) = (scene.dir("repository"), scene.dir("password"));
    let (repository, password) = (repository.to_str().unwrap(), password.to_str().unwrap());
    fs::write(password, "secret").unwrap();
    let words = format!("-auto -repo {repository} -repo-password-file {password}");
    let missing = scene.ends(&words, "target", 5);
    assert_eq!(missing["result"]["repository"]["result"], "failed");
    let made = our_tool(&["repo", "init", "-repo", repository, "-repo-password-file", password]);
    assert!(made.success(), "{made:?}");
    let usable = scene.ends(&words, "target", 0);
    assert_eq!(usable["result"]["repository"]["result"], "usable");
    fs::write(password, "wrong").unwrap();
    scene.ends(&words, "target", 5);
}

#[test]
fn a_complete_backup_that_waits_for_its_place_counts() {
    let scene = Scene::new();
    scene.ends("-full", "target", 0);
    fs::rename(scene.dir("target"), scene.dir("target.ready")).unwrap();
    let found = scene.ends("-incremental", "target", 0);
    assert_eq!(found["result"]["mode"], "incremental");
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("which a run puts in place first"), "{warnings}");
}

#[test]
fn missing_permissions_are_found() {
    const USER: u32 = 61_001;
    let Some(as_user) = as_user(USER) else { return };
    let scene = Scene::new();
    scene.ends("-full", "target", 0);
    copy_dir(&scene.dir("target"), &scene.dir("readable"));
    for path in state(&scene.dir("readable")).into_keys() {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    fs::set_permissions(scene.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let uri = scene.source.uri();
    for (mode, name) in [("-full", "new"), ("-incremental", "readable")] {
        let target = scene.dir(name);
        let words = [mode, "-from", &uri, "-to", target.to_str().unwrap()];
        let dry = as_user(&[&words[..], &["-dry-run"]].concat());
        let real = as_user(&words);
        assert_eq!(dry.code, real.code, "{mode}: {dry:?} {real:?}");
        assert!([Some(77), Some(78)].contains(&dry.code), "{mode}: {dry:?}");
    }
}
