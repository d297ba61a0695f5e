//! Who may read a backup: new ones are private, existing ones keep owner, group and mode, and what is created in them
//! follows. The tests with other users need root and say so where they cannot run.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "panicking is how tests report")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::target_safety::{Scene, verify};
use crate::support::{Finished, our_tool_as};
use neo4j_format::store::StoreFormat;

/// Users and groups that need not exist.
const USER: u32 = 61_001;
const GROUP: u32 = 61_002;

const OPEN_UMASK: u32 = 0;
const USUAL_UMASK: u32 = 0o022;
const STRICT_UMASK: u32 = 0o077;

fn backup(umask: u32, user: Option<u32>, mode: &str, source: &str, target: &Path, options: &[&str]) -> Finished {
    let target = target.to_str().unwrap();
    our_tool_as(
        umask,
        user,
        &[&[mode, "-from", source, "-to", target, "-quiet"], options].concat(),
    )
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Modes, owners and groups that differ from these, of all that lies in `dir`.
fn others(dir: &Path, folder: u32, file: u32, owner: (u32, u32)) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        let status = fs::symlink_metadata(&path).unwrap();
        let expected = if status.is_dir() { folder } else { file };
        if status.mode() & 0o7777 != expected || (status.uid(), status.gid()) != owner {
            let (path, mode, uid, gid) = (path.display(), status.mode() & 0o7777, status.uid(), status.gid());
            found.push(format!("{path}: {mode:04o} {uid}:{gid}"));
        }
        if status.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

fn own_ids() -> (u32, u32) {
    let dir = TempDir::new().unwrap();
    let found = fs::metadata(dir.path()).unwrap();
    (found.uid(), found.gid())
}

/// Whether these tests may act as other users.
fn is_root() -> bool {
    let root = own_ids().0 == 0;
    if !root {
        eprintln!("SKIPPED: only root can act as another user");
    }
    root
}

/// A directory that others may pass through.
fn public_dir(mode: u32) -> (TempDir, PathBuf) {
    let work = TempDir::new().unwrap();
    set_mode(work.path(), 0o755);
    let parent = work.path().join("backups");
    fs::create_dir(&parent).unwrap();
    set_mode(&parent, mode);
    (work, parent)
}

#[test]
fn a_new_backup_is_private_whatever_the_umask_and_the_parent_are() {
    let scene = Scene::new(StoreFormat::Current);
    for (umask, parent_mode) in [(OPEN_UMASK, 0o1777), (USUAL_UMASK, 0o755), (STRICT_UMASK, 0o1777)] {
        let (_work, parent) = public_dir(parent_mode);
        let target = parent.join("b");
        let taken = backup(umask, None, "-full", &scene.source.uri(), &target, &[]);
        assert!(taken.success(), "{taken:?}");
        assert_eq!(others(&target, 0o700, 0o600, own_ids()), [""; 0]);
    }
}

#[test]
fn the_mode_of_a_new_backup_can_be_chosen() {
    let scene = Scene::new(StoreFormat::Current);
    let (_work, parent) = public_dir(0o700);
    let target = parent.join("b");
    let taken = backup(
        STRICT_UMASK,
        None,
        "-full",
        &scene.source.uri(),
        &target,
        &["-mode", "0750"],
    );
    assert!(taken.success(), "{taken:?}");
    assert_eq!(others(&target, 0o750, 0o640, own_ids()), [""; 0]);
}

#[test]
fn a_directory_that_exists_keeps_its_mode_and_new_files_follow_it() {
    let scene = Scene::new(StoreFormat::Current);
    for (chosen, file) in [(0o700, 0o600), (0o750, 0o640), (0o2770, 0o660), (0o755, 0o644)] {
        let (_work, parent) = public_dir(0o755);
        let target = parent.join("b");
        fs::create_dir(&target).unwrap();
        set_mode(&target, chosen);
        let uri = scene.source.uri();
        for (mode, options) in [("-full", &[][..]), ("-full", &["-overwrite"]), ("-incremental", &[])] {
            let taken = backup(OPEN_UMASK, None, mode, &uri, &target, options);
            assert!(taken.success(), "{taken:?}");
            assert_eq!(others(&target, chosen, file, own_ids()), [""; 0], "{mode} {options:?}");
        }
    }
}

#[test]
fn an_incremental_backup_adds_files_of_the_owner_and_mode_of_the_target() {
    let scene = Scene::new(StoreFormat::Current);
    let (_work, parent) = public_dir(0o755);
    let target = parent.join("b");
    fs::rename(scene.copy("old"), &target).unwrap();
    set_mode(&target, 0o750);
    let before: Vec<_> = names(&target);
    let taken = backup(OPEN_UMASK, None, "-incremental", &scene.source.uri(), &target, &[]);
    assert!(taken.success(), "{taken:?}");
    for name in names(&target).into_iter().filter(|name| !before.contains(name)) {
        assert_eq!(mode(&target.join(&name)), 0o640, "{name}");
    }
    assert_eq!(mode(&target.join("neo4j-backup.json")), 0o640);
    assert_eq!(mode(&target), 0o750);
    assert_eq!(verify(&target), Some(0));
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_root_writes_belongs_to_the_owner_of_the_target() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(StoreFormat::Current);
    let (_work, parent) = public_dir(0o1777);
    let (target, uri) = (parent.join("b"), scene.source.uri());
    let full = backup(USUAL_UMASK, Some(USER), "-full", &uri, &target, &[]);
    assert!(full.success(), "{full:?}");
    for (user, mode, options) in [
        (None, "-incremental", &[][..]),
        (None, "-full", &["-overwrite"]),
        (Some(USER), "-incremental", &[]),
    ] {
        let taken = backup(USUAL_UMASK, user, mode, &uri, &target, options);
        assert!(taken.success(), "{taken:?}");
        assert_eq!(others(&target, 0o700, 0o600, (USER, USER)), [""; 0], "{user:?} {mode}");
    }
}

#[test]
fn a_backup_that_root_replaces_keeps_owner_group_and_mode() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(StoreFormat::Current);
    let (_work, parent) = public_dir(0o755);
    let (target, uri) = (parent.join("b"), scene.source.uri());
    assert!(backup(USUAL_UMASK, None, "-full", &uri, &target, &["-mode", "0750"]).success());
    chown(&target, Some(USER), Some(GROUP)).unwrap();
    let taken = backup(OPEN_UMASK, None, "-full", &uri, &target, &["-overwrite"]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(others(&target, 0o750, 0o640, (USER, GROUP)), [""; 0]);
}

#[test]
fn files_in_a_directory_of_a_group_get_that_group() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(StoreFormat::Current);
    let (_work, parent) = public_dir(0o700);
    chown(&parent, None, Some(GROUP)).unwrap();
    set_mode(&parent, 0o2770);
    let target = parent.join("b");
    let uri = scene.source.uri();
    let full = backup(
        USUAL_UMASK,
        None,
        "-full",
        &uri,
        &target,
        &["-mode", "0770", "-allow-shared-directory"],
    );
    assert!(full.success(), "{full:?}");
    assert_eq!(others(&target, 0o2770, 0o660, (0, GROUP)), [""; 0]);
}

#[test]
fn an_owner_that_cannot_be_set_is_a_warning() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(StoreFormat::Current);
    let (_work, parent) = public_dir(0o1777);
    let (target, uri) = (parent.join("b"), scene.source.uri());
    fs::create_dir(&target).unwrap();
    chown(&target, Some(GROUP), Some(GROUP)).unwrap();
    set_mode(&target, 0o2777);
    // the user may write into the directory, but not give files away
    let work = TempDir::new().unwrap();
    set_mode(work.path(), 0o755);
    let taken = backup(USUAL_UMASK, Some(USER), "-full", &uri, &parent.join("c"), &[]);
    assert!(taken.success(), "{taken:?}");
    let old = parent.join("c");
    for name in names(&old) {
        fs::rename(old.join(&name), target.join(&name)).unwrap();
    }
    let taken = backup(USUAL_UMASK, Some(USER), "-incremental", &uri, &target, &[]);
    assert!(taken.success(), "{taken:?}");
    assert!(taken.stderr.contains("cannot be set"), "{taken:?}");
    assert_eq!(verify(&target), Some(0));
}
