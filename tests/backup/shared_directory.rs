//! Root in directories in which others can rename: refused unless it is allowed, and nothing outside the target is touched
//! where somebody swaps names during the run. These tests need root and say so where they cannot run.
//!
//! `SWAPS` is how many runs there are per door: `SWAPS=1000 cargo test --test backup shared_directory::`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "panicking is how tests report")]

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tempfile::TempDir;

use super::target_safety::{Scene, run};
use crate::support::{copy_dir, our_tool, snapshot};
use neo4j_format::store::StoreFormat;

const USER: u32 = 61_001;
const GROUP: u32 = 61_002;

/// Runs per door of a usual run of the tests.
const SWAPS: u32 = 10;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root is refused");
    }
    root
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn root_refuses_a_directory_in_which_others_can_rename() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(StoreFormat::Current);
    let uri = scene.source.uri();
    for (mode, group, refused) in [
        (0o777, 0, true),
        (0o1777, 0, false),
        (0o770, GROUP, true),
        (0o770, 0, false),
        (0o755, GROUP, false),
    ] {
        let work = TempDir::new().unwrap();
        let parent = work.path().join("backups");
        fs::create_dir(&parent).unwrap();
        chown(&parent, None, Some(group)).unwrap();
        set_mode(&parent, mode);
        let target = parent.join("b");
        let done = run("-full", &uri, &target, &[]);
        if refused {
            assert_eq!(done.code, Some(78), "{mode:o}: {done:?}");
            assert!(done.stderr.contains("-allow-shared-directory"), "{done:?}");
            assert_eq!(snapshot(&parent).len(), 0);
            let done = run("-full", &uri, &target, &["-allow-shared-directory"]);
            assert!(done.success(), "{mode:o}: {done:?}");
        } else {
            assert!(done.success(), "{mode:o}: {done:?}");
        }
    }
}

#[test]
fn root_works_for_the_owner_of_a_target_and_for_nobody_elses_parent() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(StoreFormat::Current);
    for (owner_of_parent, owner, code) in [(USER, USER, 0), (0, USER, 0), (USER, GROUP, 78), (USER, 0, 78)] {
        let work = TempDir::new().unwrap();
        let (parent, target) = (work.path().join("p"), work.path().join("p/b"));
        fs::create_dir(&parent).unwrap();
        fs::rename(scene.copy("owned"), &target).unwrap();
        chown(&target, Some(owner), None).unwrap();
        chown(&parent, Some(owner_of_parent), None).unwrap();
        let done = run("-incremental", &scene.source.uri(), &target, &[]);
        assert_eq!(done.code, Some(code), "{owner_of_parent} {owner}: {done:?}");
    }
}

#[test]
fn what_no_option_allows_names_none() {
    if !is_root() {
        return;
    }
    let scene = Scene::new(StoreFormat::Current);
    let work = TempDir::new().unwrap();
    let parent = work.path().join("backups");
    fs::create_dir(&parent).unwrap();
    set_mode(&parent, 0o777);
    let target = parent.join("b");
    copy_dir(&scene.backup, &target);
    let verify = |options: &[&str]| our_tool(&[&["verify", target.to_str().unwrap()], options].concat());
    let verified = verify(&[]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(
        verified.stderr.contains("is not recorded in the backup"),
        "{verified:?}"
    );
    fs::remove_file(target.join("neo4j-backup.json")).unwrap();
    let refused = verify(&["-adopt"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("chmod +t"), "{refused:?}");
    for text in [verified.stderr, refused.stderr] {
        assert!(!text.contains("allow"), "{text}");
    }
}

/// Swaps `name` in `dir` with another user's link to `outside`, again and again, while `work` runs.
fn while_swapped(dir: &Path, name: &str, outside: &Path, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let (path, aside) = (dir.join(name), dir.join(format!("{name}.aside")));
    let link = dir.join(format!("{name}.link"));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                symlink(outside, &link).unwrap();
                lchown(&link, Some(USER), None).unwrap();
                if fs::rename(&path, &aside).is_ok() {
                    let _ = fs::rename(&link, &path);
                    thread::yield_now();
                    let _ = fs::remove_file(&path);
                    let _ = fs::rename(&aside, &path);
                }
                let _ = fs::remove_file(&link);
                thread::yield_now();
            }
        });
        work();
        stop.store(true, Ordering::Relaxed);
    });
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn nothing_outside_is_touched_however_names_are_swapped() {
    if !is_root() {
        return;
    }
    let runs = env::var("SWAPS").map_or(SWAPS, |text| text.parse().unwrap());
    eprintln!("SWAPS={runs}");
    let scene = Scene::new(StoreFormat::Current);
    let uri = scene.source.uri();
    let outside = TempDir::new().unwrap();
    copy_dir(&scene.backup, &outside.path().join("victim"));
    let victim = outside.path().join("victim");
    let before = snapshot(outside.path());
    for number in 0..runs {
        let work = TempDir::new().unwrap();
        for (mode, swapped, options) in [
            ("-full", "b.partial", &[][..]),
            ("-full", "b.ready", &["-overwrite"]),
            ("-full", "b", &["-overwrite"]),
            ("-incremental", "b", &[]),
        ] {
            let target = work.path().join("b");
            let _ = fs::remove_dir_all(&target);
            if !options.is_empty() || mode == "-incremental" {
                copy_dir(&scene.backup, &target);
            }
            let options = [options, &["-verify=false"]].concat();
            while_swapped(work.path(), swapped, &victim, || {
                let done = run(mode, &uri, &target, &options);
                assert!(done.code.is_some_and(|code| code != 101), "{done:?}");
            });
            assert_eq!(
                snapshot(outside.path()),
                before,
                "run {number} of {mode}, {swapped} swapped"
            );
        }
    }
}
