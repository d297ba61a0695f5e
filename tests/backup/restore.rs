//! Restores by the built program: what is put in place, what is refused, and what a kill leaves.
//!
//! `KILLS` sets how often a restore is killed.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Finished, Options, Peer, Release, copy_dir,
    incremental_source::Source,
    interop::{Stage, Tool, seed},
    our_tool, snapshot,
};

const KILLS: u32 = 12;

/// A backup of the recorded source, and a place to restore it to.
struct Scene {
    folder: TempDir,
    backup: PathBuf,
    data: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let folder = TempDir::new().unwrap();
        let (backup, data) = (folder.path().join("backup"), folder.path().join("data/graph.db"));
        fs::create_dir(folder.path().join("data")).unwrap();
        let uri = Source::recorded().uri();
        let full = our_tool(&["-full", "-from", &uri, "-to", backup.to_str().unwrap()]);
        assert_eq!(full.code, Some(0), "{}", full.stderr);
        Scene { folder, backup, data }
    }

    fn restore(&self, options: &[&str]) -> Finished {
        let (from, to) = (self.backup.to_str().unwrap(), self.data.to_str().unwrap());
        our_tool(&[&["restore", "-from", from, "-to", to, "-output=json"][..], options].concat())
    }

    #[track_caller]
    fn restores(&self, options: &[&str]) -> Value {
        let finished = self.restore(options);
        assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
        serde_json::from_str::<Value>(&finished.stdout).unwrap()["result"].take()
    }

    /// Refused with this code and these words; nothing beside the backup has changed.
    #[track_caller]
    fn is_refused(&self, options: &[&str], code: i32, words: &[&str]) {
        let before = snapshot(&self.folder.path().join("data"));
        let finished = self.restore(options);
        assert_eq!(finished.code, Some(code), "{}{}", finished.stdout, finished.stderr);
        for word in words {
            assert!(finished.stderr.contains(word), "no {word:?} in {}", finished.stderr);
        }
        assert!(snapshot(&self.folder.path().join("data")) == before);
    }

    /// Names in the parent of the target.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data.parent().unwrap()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[track_caller]
/// The same files with the same bytes, except that the manifest of the restored one has no verifications.
fn assert_same_files(backup: &Path, restored: &Path) {
    let files = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let found = snapshot(dir).into_iter();
        found
            .map(|(path, bytes)| (path.strip_prefix(dir).unwrap().to_owned(), bytes))
            .collect()
    };
    let [mut one, mut other] = [files(backup), files(restored)];
    let [mut was, mut is]: [Value; 2] = [&mut one, &mut other].map(|files| {
        let manifest = files.remove(Path::new("neo4j-backup.json")).unwrap();
        serde_json::from_slice(&manifest).unwrap()
    });
    was.as_object_mut().unwrap().remove("verifications").unwrap();
    for manifest in [&mut was, &mut is] {
        manifest.as_object_mut().unwrap().remove("checksum").unwrap();
    }
    assert_eq!(was, is);
    assert!(one == other, "{} and {}", backup.display(), restored.display());
}

#[test]
fn the_restored_database_has_the_bytes_of_the_backup() {
    let scene = Scene::new();
    let result = scene.restores(&[]);
    assert_same_files(&scene.backup, &scene.data);
    assert_eq!(scene.names(), ["graph.db"]);
    assert_eq!(result["verdict"], "good");
    assert_eq!(result["last_transactions"][0]["id"], 5);
    let intact = our_tool(&["verify", scene.data.to_str().unwrap()]);
    assert_eq!(intact.code, Some(0), "{}", intact.stderr);
}

#[test]
fn a_database_is_replaced_only_on_request_and_kept() {
    let scene = Scene::new();
    fs::create_dir(&scene.data).unwrap();
    fs::write(scene.data.join("neostore"), "old").unwrap();
    scene.is_refused(&[], 13, &["already contains a database", "-replace"]);
    let result = scene.restores(&["-replace"]);
    let kept = PathBuf::from(result["previous"].as_str().unwrap());
    assert_eq!(fs::read(kept.join("neostore")).unwrap(), b"old");
    assert_eq!(scene.names(), ["graph.db", kept.file_name().unwrap().to_str().unwrap()]);
    assert_same_files(&scene.backup, &scene.data);
}

#[test]
fn something_that_is_not_a_database_is_never_replaced() {
    let scene = Scene::new();
    fs::create_dir(&scene.data).unwrap();
    fs::write(scene.data.join("letter.txt"), "dear").unwrap();
    scene.is_refused(&["-replace"], 13, &["is neither empty nor"]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let scene = Scene::new();
    let result = scene.restores(&["-dry-run"]);
    assert_eq!(result["dry_run"], true);
    assert!(scene.names().is_empty());
    scene.is_refused(&["-dry-run", "-at-tx", "6"], 22, &["nearest before: transaction 5"]);
}

#[test]
fn damage_is_found_while_copying_and_leaves_the_target_alone() {
    for damaged in ["neostore.nodestore.db", "neo4j-backup.sums", "index.db"] {
        let scene = Scene::new();
        fs::create_dir(&scene.data).unwrap();
        fs::write(scene.data.join("neostore"), "old").unwrap();
        let path = scene.backup.join(damaged);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        scene.is_refused(
            &["-replace"],
            20,
            &[damaged, "checksum mismatch", "restore another one"],
        );
        fs::remove_file(&path).unwrap();
        scene.is_refused(&["-replace"], 20, &[damaged, "missing"]);
        assert_eq!(scene.names(), ["graph.db"]);
    }
}

#[test]
fn a_single_backup_reaches_one_moment() {
    let scene = Scene::new();
    scene.is_refused(
        &["-at-tx", "4"],
        22,
        &["the backup is newer", "nearest after: transaction 5"],
    );
    scene.is_refused(&["-at-tx", "6"], 22, &["the backup is older"]);
    scene.is_refused(&["-at", "1999-01-01T00:00:00Z"], 22, &["nearest before: none"]);
    scene.is_refused(&["-at", "yesterday"], 64, &["-at"]);
    scene.is_refused(&["-at", "2012-01-01 10:00", "-at-tx", "5"], 64, &[]);
    let result = scene.restores(&["-at-tx", "5"]);
    assert_eq!(result["moment"], "transaction 5");
}

#[test]
fn a_backup_that_is_not_whole_is_not_restored() {
    let scene = Scene::new();
    fs::remove_file(scene.backup.join("neo4j-backup.json")).unwrap();
    scene.is_refused(&[], 13, &["has no manifest", "verify -adopt"]);
    assert!(!scene.data.exists());
}

#[test]
fn the_files_go_to_the_owner_that_is_named() {
    let scene = Scene::new();
    scene.is_refused(&["-owner", "no such user"], 64, &["unknown user"]);
    if !rustix::process::geteuid().is_root() {
        scene.is_refused(&["-owner", "12345"], 78, &["owner 12345 cannot be set"]);
        return;
    }
    scene.restores(&["-owner", "12345:12346"]);
    for path in snapshot(&scene.data).keys().chain([&scene.data]) {
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.uid(), found.gid()), (12345, 12346), "{}", path.display());
    }
}

#[test]
fn root_restores_into_a_shared_directory_only_on_request() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scene = Scene::new();
    let parent = scene.data.parent().unwrap();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o777)).unwrap();
    for options in [&[][..], &["-dry-run"]] {
        scene.is_refused(options, 78, &["every user", "-allow-shared-directory"]);
    }
    assert!(scene.names().is_empty());
    scene.restores(&["-allow-shared-directory"]);
}

#[test]
fn a_link_in_the_backup_is_not_followed() {
    let scene = Scene::new();
    let store = scene.backup.join("neostore.nodestore.db");
    let elsewhere = scene.folder.path().join("elsewhere");
    fs::rename(&store, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &store).unwrap();
    scene.is_refused(&[], 78, &["neostore.nodestore.db: is a link"]);
    assert!(scene.names().is_empty());
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_database_or_the_new_one() {
    let scene = Scene::new();
    // enough bytes that a kill finds it in the middle
    fs::write(scene.backup.join("messages.log"), vec![7; 24 << 20]).unwrap();
    fs::remove_file(scene.backup.join("neo4j-backup.json")).unwrap();
    let adopted = our_tool(&["verify", "-adopt", scene.backup.to_str().unwrap()]);
    assert_eq!(adopted.code, Some(0), "{}", adopted.stderr);
    let old = scene.folder.path().join("old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("neostore"), "old").unwrap();
    copy_dir(&old, &scene.data);
    let started = Instant::now();
    scene.restores(&["-replace"]);
    let longest = started.elapsed();
    let kills = env::var("KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..kills {
        for entry in fs::read_dir(scene.data.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            // leftovers of the kill before, except for what the next restore has to deal with
            if path == scene.data || path.to_str().unwrap().contains(".before-") {
                fs::remove_dir_all(path).unwrap();
            }
        }
        let interrupted = scene.data.with_extension("db.restoring");
        if interrupted.join("neostore").exists() && !interrupted.join("neo4j-backup.restoring").exists() {
            fs::remove_dir_all(interrupted).unwrap();
        }
        copy_dir(&old, &scene.data);
        let mut child = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
            .args(["restore", "-replace", "-from"])
            .arg(&scene.backup)
            .arg("-to")
            .arg(&scene.data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pause = random.random_range(0..longest.as_micros().max(1));
        thread::sleep(Duration::from_micros(u64::try_from(pause).unwrap()));
        let _ = child.kill();
        child.wait().unwrap();
        let is_old = fs::read(scene.data.join("neostore")).unwrap() == b"old";
        if !is_old {
            let result = our_tool(&["verify", scene.data.to_str().unwrap()]);
            assert_eq!(
                result.code,
                Some(0),
                "round {round}: {}{}",
                result.stdout,
                result.stderr
            );
        }
        // whatever was left, the next one succeeds and loses no database
        scene.restores(&["-replace"]);
        let kept = scene.names().into_iter().filter(|name| name.contains(".before-"));
        let has_old = kept
            .map(|name| scene.data.with_file_name(name).join("neostore"))
            .any(|path| fs::read(path).unwrap() == b"old");
        assert!(has_old, "round {round}: {:?}", scene.names());
    }
}

mod restored {
    use super::Release;
    use super::a_restored_backup_is_the_database_of_its_server as ask;

    crate::support::asked_of! {
        [of_1_3 = V1_3, of_1_8 = V1_8]
        [of_1_4_2 = V1_4_2, of_1_5 = V1_5, of_1_6_1 = V1_6_1, of_1_7_2 = V1_7_2, of_1_9_9 = V1_9_9]
    }
}

fn a_restored_backup_is_the_database_of_its_server(release: Release) {
    let Some(stage) = Stage::of(release) else {
        return;
    };
    let dir = |name: &str| stage.dir(name);
    let mut source = Peer::start(release, &dir("source"), &Options::source(release));
    source.load(seed(), 100);
    let taken = Tool::Ours.take(release, "-full", &source.uri(), &dir("backup"));
    assert!(taken.success(), "{taken:#?}");
    let expected = source.contents();
    source.load(seed() + 1, 20);
    let (backup, data) = (dir("backup"), dir("source"));
    let args = [
        "restore",
        "-replace",
        "-from",
        backup.to_str().unwrap(),
        "-to",
        data.to_str().unwrap(),
    ];
    let refused = our_tool(&args);
    assert_eq!(refused.code, Some(11), "{refused:#?}");
    source.quit();
    let restored = our_tool(&args);
    assert!(restored.success(), "{restored:#?}");
    assert!(restored.stdout.contains("bin/neo4j start"), "{}", restored.stdout);
    let mut booted = Peer::boot(release, &data);
    let difference = expected.difference(&booted.contents());
    booted.quit();
    assert!(difference.is_none(), "neo4j {}: {difference:?}", release.name());
}
