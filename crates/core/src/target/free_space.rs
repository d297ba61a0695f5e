//! Whether a second copy has room beside the one it will replace.

use std::{fs, io, path::Path};

use neo4j_format::DiskError;

/// Bytes that the file system of `dir` has for this user.
///
/// # Errors
/// Of the file system.
pub(crate) fn free(dir: &Path) -> Result<u64, DiskError> {
    let found = rustix::fs::statvfs(dir).map_err(|e| DiskError::new(dir, e.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes on disk of what a full backup brings again: everything but logs that were archived.
///
/// # Errors
/// Of the file system.
pub(crate) fn taken(dir: &Path) -> Result<u64, DiskError> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in fs::read_dir(dir).map_err(DiskError::at(dir))? {
        let entry = entry.map_err(DiskError::at(dir))?;
        let found = match entry.metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(DiskError::at(entry.path()))?,
        };
        if found.is_dir() {
            sum += taken(&entry.path())?;
        } else if !entry.file_name().to_string_lossy().contains(".log.v") {
            // as stat counts them
            sum += found.blocks() * 512;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
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
        let sum = taken(dir.path()).unwrap();
        assert!((40_000..200_000).contains(&sum), "{sum}");
        assert!(free(dir.path()).unwrap() > 0);
    }
}
