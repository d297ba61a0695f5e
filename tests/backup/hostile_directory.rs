//! Directories in which somebody else planted names: pipes, links, devices, huge files, files of others, names that are
//! not text, and manifests that point elsewhere. Nothing waits, nothing outside is touched, and nobody's files are
//! recorded or removed.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, symlink},
    },
    path::Path,
    process::Command,
    time::Duration,
};

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use super::target_safety::{Scene, run, verify};
use crate::support::{Finished, Serving, our_tool, run_limited, snapshot};
use neo4j_backup_core::{
    DirHandle,
    manifest::{FileEntry, MANIFEST, Manifest},
};
use neo4j_format::store::{IndexConfig, StoreFormat};

/// Longer than anything here takes on a busy machine, and shorter than the limit of the tool's run.
const SOON: Duration = Duration::from_mins(1);

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// Every command that reads or changes a backup.
fn commands(scene: &Scene, dir: &Path) -> Vec<(&'static str, Finished)> {
    let text = dir.to_str().unwrap();
    vec![
        ("inspect", our_tool(&["inspect", text])),
        ("verify", our_tool(&["verify", text, "-quiet"])),
        ("check", our_tool(&["check", text, "-quiet"])),
        ("incremental", run("-incremental", &scene.source.uri(), dir, &[])),
        ("overwrite", run("-full", &scene.source.uri(), dir, &["-overwrite"])),
    ]
}

#[test]
fn a_pipe_in_place_of_a_file_is_never_waited_for() {
    let scene = Scene::new(StoreFormat::Current);
    for name in [
        "neostore",
        "neostore.nodestore.db",
        "neostore.nodestore.db.id",
        "index.db",
        "index/lucene-store.db",
        "nioneo_logical.log.active",
        "messages.log",
        "neo4j-backup.json",
        "neo4j-backup.sums",
    ] {
        let copy = scene.copy(&format!("pipe-{}", name.replace('/', "-")));
        fifo(&copy.join(name));
        for (command, done) in commands(&scene, &copy) {
            assert!(
                done.code.is_some() && done.took < SOON,
                "{name}: {command} waits: {done:?}"
            );
        }
        fs::remove_dir_all(&copy).unwrap();
    }
    let work = TempDir::new().unwrap();
    fifo(&work.path().join("b.lock"));
    let refused = run("-full", &scene.source.uri(), &work.path().join("b"), &[]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
}

#[test]
fn a_link_in_place_of_a_file_is_never_followed() {
    let scene = Scene::new(StoreFormat::Current);
    let outside = TempDir::new().unwrap();
    for name in [
        "neostore.nodestore.db",
        "neostore",
        "neo4j-backup.sums",
        "neostore.nodestore.db.id",
    ] {
        let copy = scene.copy(&format!("link-{name}"));
        let moved = outside.path().join(name);
        fs::rename(copy.join(name), &moved).unwrap();
        symlink(&moved, copy.join(name)).unwrap();
        let before = snapshot(outside.path());
        let refused = run("-incremental", &scene.source.uri(), &copy, &[]);
        assert_ne!(refused.code, Some(0), "{name}: {refused:?}");
        assert_ne!(verify(&copy), Some(0), "{name}");
        assert_eq!(snapshot(outside.path()), before, "{name}");
    }
    // the whole folder of the indexes
    let copy = scene.copy("link-index");
    fs::rename(copy.join("index"), outside.path().join("index")).unwrap();
    symlink(outside.path().join("index"), copy.join("index")).unwrap();
    let before = snapshot(outside.path());
    for (command, done) in commands(&scene, &copy).into_iter().skip(1).take(3) {
        assert_ne!(done.code, Some(0), "{command}: {done:?}");
    }
    assert_eq!(snapshot(outside.path()), before);
}

#[test]
fn a_manifest_that_points_elsewhere_is_refused_by_name() {
    let scene = Scene::new(StoreFormat::Current);
    for name in ["/etc/hostname", "../victim", "index/../../victim", ""] {
        let work = TempDir::new().unwrap();
        fs::write(work.path().join("victim"), "of somebody else").unwrap();
        let copy = work.path().join("b");
        fs::rename(scene.copy("pointing"), &copy).unwrap();
        let handle = DirHandle::open(&copy).unwrap();
        let mut manifest = Manifest::read(&handle).unwrap().unwrap();
        manifest.files.push(FileEntry {
            path: name.to_owned(),
            length: 16,
        });
        manifest.write(&handle, MANIFEST).unwrap();
        for done in [
            our_tool(&["verify", copy.to_str().unwrap(), "-quiet"]),
            run("-incremental", &scene.source.uri(), &copy, &[]),
        ] {
            assert_eq!(done.code, Some(14), "{name}: {done:?}");
            assert!(done.stderr.contains(&format!("{name:?}")), "{done:?}");
        }
        assert_eq!(
            fs::read_to_string(work.path().join("victim")).unwrap(),
            "of somebody else"
        );
    }
}

#[test]
fn files_of_others_are_neither_recorded_nor_missed_nor_removed() {
    let scene = Scene::new(StoreFormat::Current);
    let copy = scene.copy("visited");
    let foreign = [".DS_Store", ".nfs00000001", "index/.fuse_hidden0001", "notes.txt"];
    for name in foreign {
        fs::write(copy.join(name), name).unwrap();
    }
    fs::create_dir(copy.join("lost+found")).unwrap();
    let taken = run("-incremental", &scene.source.uri(), &copy, &[]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(taken.stderr.matches("not part of the backup").count(), 1, "{taken:?}");
    let manifest = Manifest::read(&DirHandle::open(&copy).unwrap()).unwrap().unwrap();
    for name in foreign {
        assert!(manifest.files.iter().all(|file| file.path != name), "{name}");
    }
    assert_eq!(verify(&copy), Some(0));

    let before = snapshot(&copy);
    let refused = run("-full", &scene.source.uri(), &copy, &["-overwrite"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("notes.txt"), "{refused:?}");
    assert_eq!(snapshot(&copy), before);

    for name in foreign {
        fs::remove_file(copy.join(name)).unwrap();
    }
    fs::remove_dir(copy.join("lost+found")).unwrap();
    assert_eq!(verify(&copy), Some(0));
    assert!(run("-incremental", &scene.source.uri(), &copy, &[]).success());
    assert!(run("-full", &scene.source.uri(), &copy, &["-overwrite"]).success());
}

#[test]
fn what_an_earlier_version_recorded_of_others_is_forgotten() {
    let scene = Scene::new(StoreFormat::Current);
    let copy = scene.copy("recorded");
    let handle = DirHandle::open(&copy).unwrap();
    let mut manifest = Manifest::read(&handle).unwrap().unwrap();
    manifest.files.push(FileEntry {
        path: "notes.txt".to_owned(),
        length: 0,
    });
    manifest.write(&handle, MANIFEST).unwrap();
    assert_eq!(verify(&copy), Some(0));
    let taken = run("-incremental", &scene.source.uri(), &copy, &[]);
    assert!(taken.success(), "{taken:?}");
    let manifest = Manifest::read(&handle).unwrap().unwrap();
    assert!(manifest.files.iter().all(|file| file.path != "notes.txt"));
    assert_eq!(verify(&copy), Some(0));
}

#[test]
fn names_that_are_not_text_are_judged_before_anything_is_written() {
    let scene = Scene::new(StoreFormat::Current);
    let name = OsStr::from_bytes(b"caf\xe9");
    let copy = scene.copy("bytes");
    fs::write(copy.join(name), "of somebody else").unwrap();
    let taken = run("-incremental", &scene.source.uri(), &copy, &[]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(fs::read(copy.join(name)).unwrap(), b"of somebody else");
    assert_eq!(verify(&copy), Some(0));

    let copy = scene.copy("bytes-in-an-index");
    fs::create_dir_all(copy.join("index/lucene/node")).unwrap();
    fs::write(copy.join("index/lucene/node").join(name), "").unwrap();
    let before = snapshot(&copy);
    let refused = run("-incremental", &scene.source.uri(), &copy, &[]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert_eq!(snapshot(&copy), before);
}

#[test]
fn time_limits_hold_for_huge_sparse_files() {
    let scene = Scene::new(StoreFormat::Current);
    let copy = scene.copy("huge");
    // a store that goes on for a terabyte, with something at its very end
    let name = "neostore.propertystore.db.strings";
    let store = File::options().write(true).open(copy.join(name)).unwrap();
    store.set_len(1 << 40).unwrap();
    store.write_all_at(&[0], (1 << 40) - 1).unwrap();
    let found = our_tool(&["verify", copy.to_str().unwrap(), "-quiet"]);
    assert!(found.code == Some(20) && found.took < SOON, "{found:?}");
    fs::remove_file(copy.join(MANIFEST)).unwrap();
    let done = run("-incremental", &scene.source.uri(), &copy, &["-timeout", "20"]);
    assert!(matches!(done.code, Some(0 | 17)) && done.took < SOON, "{done:?}");
}

#[test]
fn a_check_of_huge_sparse_files_ends_at_the_time_limit_and_at_a_signal() {
    let scene = Scene::new(StoreFormat::Current);
    let checked = scene.copy("checked");
    // no trailer at the end of the records: all of it is read as records, of which the last one is in use
    let store = File::options()
        .write(true)
        .open(checked.join("neostore.nodestore.db"))
        .unwrap();
    let node = [&[1_u8][..], &[0xff; 8]].concat();
    let records: u64 = 30 << 30;
    store.write_all_at(&node, (records - 1) * node.len() as u64).unwrap();
    fs::remove_file(checked.join(MANIFEST)).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", "3", PROGRAM, "check"]).arg(&checked);
    let stopped = run_limited(command.arg("-quiet"));
    // what `timeout` says of a program that it had to stop
    assert!(stopped.code == Some(124) && stopped.took < SOON, "{stopped:?}");

    let done = run(
        "-incremental",
        &scene.source.uri(),
        &checked,
        &["-verify=full", "-timeout=5"],
    );
    assert!(matches!(done.code, Some(2 | 17)) && done.took < SOON, "{done:?}");
}

#[test]
fn a_server_sends_regular_files_of_the_directory_and_nothing_else() {
    let scene = Scene::new(StoreFormat::Current);
    let served = scene.copy("served");
    let secret = TempDir::new().unwrap();
    fs::write(secret.path().join("key"), "secret").unwrap();
    let config = IndexConfig::decode(&fs::read(served.join("index.db")).unwrap()).unwrap();
    let index = config.of_lucene().next().unwrap();
    let kind = served.join("index/lucene").join(index.kind.directory());
    let folder = kind.join(index.name.to_text().unwrap());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("_0.cfs"), "of the index").unwrap();
    symlink(secret.path().join("key"), folder.join("_1.cfs")).unwrap();
    fifo(&folder.join("_2.cfs"));
    let source = Serving::start(&served);
    let target = scene.work.path().join("from-served");
    let taken = run("-full", &source.uri(), &target, &[]);
    assert!(taken.success(), "{taken:?}");
    let files = snapshot(&target);
    assert!(files.keys().any(|path| path.ends_with("_0.cfs")));
    assert!(!files.values().any(|bytes| bytes == b"secret"));

    // the folder as a whole leads elsewhere
    fs::remove_dir_all(&folder).unwrap();
    symlink(secret.path(), &folder).unwrap();
    let refused = run("-full", &source.uri(), &target, &["-overwrite"]);
    assert!(!refused.success(), "{refused:?}");
    fs::remove_file(&folder).unwrap();

    fs::remove_file(served.join("index.db")).unwrap();
    symlink("/dev/zero", served.join("index.db")).unwrap();
    let refused = run("-full", &source.uri(), &target, &["-overwrite"]);
    assert!(!refused.success() && refused.took < SOON, "{refused:?}");
    assert!(source.resources().0 < 512 << 20);
}
