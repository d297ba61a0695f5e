//! Reads a part of a file that may be damaged, missing, or not a file at all.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::FileExt,
};

use neo4j_format::{DirHandle, width::to_usize};

/// A regular file, opened, with its length; `None` where there is nothing.
///
/// # Errors
/// The file system's; it is not a regular file.
pub(super) fn open(dir: &DirHandle, name: &str) -> io::Result<Option<(File, Metadata)>> {
    match dir.open_file(name) {
        Ok(file) => {
            let found = file.metadata()?;
            Ok(Some((file, found)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The whole of a file that is not larger than `limit`.
///
/// # Errors
/// As [`open`]; it is larger.
pub(super) fn whole(dir: &DirHandle, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    match dir.read(name, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Up to `count` bytes at the end of a file of `length` bytes.
///
/// # Errors
/// The file system's.
pub(super) fn tail(file: &File, length: u64, count: u64) -> io::Result<Vec<u8>> {
    let count = count.min(length);
    let mut bytes = vec![0; to_usize(count)];
    file.read_exact_at(&mut bytes, length - count)?;
    Ok(bytes)
}
