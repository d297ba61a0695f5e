use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::{Duration, Instant},
};

use rustix::fs::mkfifoat;

use super::*;

fn sample() -> (tempfile::TempDir, DirHandle) {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(outside.path().join("dir/folder")).unwrap();
    fs::write(outside.path().join("dir/file"), "inside").unwrap();
    fs::write(outside.path().join("dir/folder/file"), "below").unwrap();
    fs::write(outside.path().join("secret"), "outside").unwrap();
    symlink(outside.path().join("secret"), outside.path().join("dir/link")).unwrap();
    symlink(outside.path(), outside.path().join("dir/way-out")).unwrap();
    let handle = DirHandle::open(outside.path().join("dir")).unwrap();
    (outside, handle)
}

#[test]
fn files_below_are_reached_and_nothing_else() {
    let (_outside, dir) = sample();
    assert_eq!(dir.read("file", 100).unwrap(), b"inside");
    assert_eq!(dir.read("folder/file", 100).unwrap(), b"below");
    for name in ["link", "way-out/secret"] {
        let error = dir.open_file(name).unwrap_err();
        assert!(
            NotUsable::of(&error) == Some(NotUsable::Link) || error.kind() == io::ErrorKind::NotADirectory,
            "{name}: {error}"
        );
    }
    for name in ["../secret", "/etc/passwd", "", ".", "folder/../../secret"] {
        let error = dir.open_file(name).unwrap_err();
        assert_eq!(NotUsable::of(&error), Some(NotUsable::Outside), "{name}");
        assert!(!stays_inside(name), "{name}");
    }
    assert!(stays_inside("index/lucene/a"));
    assert!(dir.create_new("way-out/new").is_err() && dir.remove_file("way-out/secret").is_err());
    assert!(dir.rename("file", "way-out/file").is_err() && dir.folder("way-out").is_err());
    assert!(dir.create_folders("way-out/new").is_err());
}

#[test]
fn a_link_names_its_owner_and_where_it_leads() {
    let (outside, dir) = sample();
    let (owner, leads_to) = dir.link("link").unwrap().unwrap();
    assert_eq!(leads_to, outside.path().join("secret"));
    assert_eq!(owner, dir.status().unwrap().owner());
    assert_eq!(dir.link("file").unwrap(), None);
    assert_eq!(dir.link("missing").unwrap(), None);
}

#[test]
fn pipes_devices_and_folders_are_no_files_and_never_waited_for() {
    let (outside, dir) = sample();
    let start = Instant::now();
    mkfifoat(CWD, outside.path().join("dir/pipe"), Mode::RWXU).unwrap();
    for name in ["pipe", "folder"] {
        assert_eq!(
            NotUsable::of(&dir.open_file(name).unwrap_err()),
            Some(NotUsable::NotAFile)
        );
        assert!(dir.open_to_change(name).is_err() && dir.create(name).is_err() && dir.create_new(name).is_err());
    }
    let devices = DirHandle::open("/dev").unwrap();
    assert_eq!(
        NotUsable::of(&devices.open_file("zero").unwrap_err()),
        Some(NotUsable::NotAFile)
    );
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_handle_stays_with_its_directory_when_the_name_is_taken_by_another() {
    let (outside, dir) = sample();
    fs::rename(outside.path().join("dir"), outside.path().join("moved")).unwrap();
    symlink("/", outside.path().join("dir")).unwrap();
    dir.create_new("new").unwrap();
    assert!(outside.path().join("moved/new").exists());
}

#[test]
fn what_is_larger_than_the_limit_is_not_read() {
    let (_outside, dir) = sample();
    assert_eq!(dir.read("file", 6).unwrap(), b"inside");
    assert_eq!(dir.read("file", 5).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn new_files_are_private_or_follow_the_directory() {
    let (outside, dir) = sample();
    let mode = |name: &str| {
        fs::metadata(outside.path().join("dir").join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    dir.create_new("private").unwrap();
    dir.create_folders("a/b").unwrap();
    assert_eq!((mode("private"), mode("a"), mode("a/b")), (0o600, 0o700, 0o700));
    fs::set_permissions(outside.path().join("dir"), fs::Permissions::from_mode(0o2750)).unwrap();
    let like = NewFiles::like(&dir.status().unwrap());
    let dir = dir.with_new_files(like);
    dir.create_new("shared").unwrap();
    dir.create_folder("c").unwrap();
    dir.create("private").unwrap();
    assert_eq!((mode("shared"), mode("c"), mode("private")), (0o640, 0o2750, 0o600));
    assert_eq!(dir.new_files().refused(), None);
}

#[test]
fn a_tree_is_removed_without_following_its_links() {
    let (outside, dir) = sample();
    symlink(outside.path(), outside.path().join("dir/folder/way-out")).unwrap();
    dir.remove_tree("folder").unwrap();
    assert!(!dir.has("folder") && outside.path().join("secret").exists());
    dir.remove_content().unwrap();
    assert!(dir.entries().unwrap().is_empty() && outside.path().join("secret").exists());
}
