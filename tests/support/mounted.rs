//! Small file systems, to be full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::skip;

/// A small file system in memory, gone with the test.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// `None`, said loudly, where this process may not mount; a failure under `CI=true`.
    pub fn at(dir: &Path, options: &str) -> Option<Mounted> {
        fs::create_dir_all(dir).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir)
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Mounted(dir.to_owned()));
        }
        skip("the right to mount (root)");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
