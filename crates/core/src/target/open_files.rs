//! Which process has a file open, as far as the kernel shows it.

use std::{fs, os::unix::fs::MetadataExt};

use neo4j_format::directory::EntryStatus;

/// Another process that has this file open. A process of another user cannot be looked into.
pub(super) fn other_process_with(file: &EntryStatus) -> Option<u32> {
    // a process may end meanwhile
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let mut files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
            let is_open = pid != std::process::id()
                && files.any(|open| {
                    let found = fs::metadata(open.path());
                    found.is_ok_and(|found| (found.dev(), found.ino()) == file.identity())
                });
            is_open.then_some(pid)
        })
}
