//! File systems for one test: in memory, in a file, through another program.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::skip;

/// A mounted file system, gone with the test.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// `None`, said loudly, where this process may not mount; a failure under `CI=true`.
    pub fn at(dir: &Path, options: &str) -> Option<Mounted> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir);
        Mounted::by(&mut mount, dir, "the right to mount (root)")
    }

    /// What `command` mounts at `dir`, which is created; the same where it fails, which says that this is missing.
    pub fn by(command: &mut Command, dir: &Path, missing: &str) -> Option<Mounted> {
        fs::create_dir_all(dir).unwrap();
        if command.output().is_ok_and(|mount| mount.status.success()) {
            return Some(Mounted(dir.to_owned()));
        }
        skip(missing);
        None
    }

    /// An ext4 of this many bytes, in a file beside `dir`.
    pub fn ext4(dir: &Path, bytes: u64) -> Option<Mounted> {
        let image = dir.with_extension("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-m", "0", "-F"])
            .arg(&image)
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            skip("mkfs.ext4");
            return None;
        }
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(dir);
        let mounted = Mounted::by(&mut mount, dir, "the right to mount loop devices")?;
        let lost = dir.join("lost+found");
        fs::remove_dir(lost).unwrap();
        Some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
