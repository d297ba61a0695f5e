//! Small file systems, to be full.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// A small file system in memory, gone with the test.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// `None`, said loudly, where this process may not mount.
    pub fn at(dir: &Path, options: &str) -> Option<Mounted> {
        fs::create_dir_all(dir).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir)
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Mounted(dir.to_owned()));
        }
        let name = thread::current().name().unwrap_or("test").to_owned();
        // past the capture of test output
        let _ = io::Write::write_all(&mut io::stderr(), format!("SKIPPED {name}: may not mount\n").as_bytes());
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
