//! Reads a part of a file that may be damaged, missing, or not a file at all.

use neo4j_format::width::to_usize;
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

/// A regular file, opened, with its length; `None` where there is nothing.
///
/// # Errors
/// The file system's; something else than a file stands there.
pub(super) fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if !found.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    Ok(Some((File::open(path)?, found)))
}

/// The whole of a file that is not larger than `limit`.
///
/// # Errors
/// As [`open`]; it is larger.
pub(super) fn whole(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some((file, found)) = open(path)? else {
        return Ok(None);
    };
    if found.len() > limit {
        return Err(io::Error::other(format!(
            "has {} bytes; the limit is {limit}",
            found.len()
        )));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
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
