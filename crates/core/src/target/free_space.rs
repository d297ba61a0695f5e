//! Whether a second copy has room beside the one it will replace.

use neo4j_format::{DirHandle, DiskError};

/// Bytes that the file system of `dir` has for this user.
///
/// # Errors
/// Of the file system.
pub(crate) fn free(dir: &DirHandle) -> Result<u64, DiskError> {
    let found = rustix::fs::fstatvfs(dir).map_err(|e| DiskError::new(dir.path(), e.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes on disk of what a full backup brings again: everything but logs that were archived.
///
/// # Errors
/// Of the file system.
pub(crate) fn taken(dir: &DirHandle) -> Result<u64, DiskError> {
    let mut sum = 0;
    for entry in dir.entries().map_err(DiskError::at(dir.path()))? {
        if entry.status.is_folder() {
            let folder = dir.folder(&entry.name).map_err(DiskError::at(dir.join(&entry.name)))?;
            sum += taken(&folder)?;
        } else if !entry.name.to_string_lossy().contains(".log.v") {
            sum += entry.status.allocated();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn archived_logs_and_holes_take_no_room() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("index")).unwrap();
        fs::write(dir.path().join("index/a"), vec![1; 40_000]).unwrap();
        fs::write(dir.path().join("nioneo_logical.log.v1"), vec![1; 400_000]).unwrap();
        fs::File::create(dir.path().join("hole"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        let sum = taken(&DirHandle::open(dir.path()).unwrap()).unwrap();
        assert!((40_000..200_000).contains(&sum), "{sum}");
        assert!(free(&DirHandle::open(dir.path()).unwrap()).unwrap() > 0);
    }
}
