//! Files with several links. A generation made by `cp -al` shares its files with the backup, so a file that is changed in
//! place gets an inode of its own first.

use std::{io, os::unix::fs::FileExt};

use super::durable::{self, remove};
use crate::{Error, cancel::Cancel};
use neo4j_format::{DirHandle, DiskError};

/// Name of a copy in the target's directory until it takes the shared file's name; the next run removes a leftover.
pub(crate) const OWN_COPY: &str = "neo4j-backup.own-copy";

/// Bytes copied at once.
const BLOCK: usize = 1 << 20;

/// Copies each of these files of `dir` that has more than one link, durably, and gives the copy its name. Files that do
/// not exist are skipped. Returns those that were copied.
///
/// # Errors
/// Disk errors; the run was cancelled. Each file is then still shared, or a whole copy.
pub(crate) fn separate<'a>(
    dir: &DirHandle,
    names: impl IntoIterator<Item = &'a str>,
    cancel: &Cancel,
) -> Result<Vec<&'a str>, Error> {
    let mut separated = Vec::new();
    for name in names {
        let found = match dir.status_of(name) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(DiskError::new(dir.join(name), error).into()),
        };
        if found.is_file() && found.links() > 1 {
            remove(dir, OWN_COPY)?;
            copy(dir, name, cancel)?;
            durable::rename(dir, OWN_COPY, name)?;
            separated.push(name);
        }
    }
    Ok(separated)
}

/// Where the file system can, the copy shares its blocks until they are written.
fn copy(dir: &DirHandle, from: &str, cancel: &Cancel) -> Result<(), Error> {
    let source = dir.open_file(from).map_err(DiskError::at(dir.join(from)))?;
    let failed = || DiskError::at(dir.join(OWN_COPY));
    let copy = dir.create_new(OWN_COPY).map_err(failed())?;
    if rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
        let (mut buffer, mut at) = (vec![0; BLOCK], 0);
        loop {
            cancel.check()?;
            let read = source.read_at(&mut buffer, at).map_err(DiskError::at(dir.join(from)))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            // holes stay holes
            if bytes.iter().any(|byte| *byte != 0) {
                copy.write_all_at(bytes, at).map_err(failed())?;
            }
            at += read as u64;
        }
        copy.set_len(at).map_err(failed())?;
    }
    Ok(copy.sync_all().map_err(failed())?)
}
#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
        path::Path,
    };

    use super::*;
    use neo4j_format::directory::NewFiles;

    #[test]
    fn a_shared_file_is_copied_and_the_other_name_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (shared, other, alone) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::write(&shared, "old").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let handle = DirHandle::open(dir.path()).unwrap();
        let like = NewFiles::like(&handle.status().unwrap());
        let handle = &handle.with_new_files(like);
        let cancel = &Cancel::default();
        fs::hard_link(&shared, &other).unwrap();
        fs::write(&alone, "alone").unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let (before, lone) = (inode(&shared), inode(&alone));
        assert_eq!(separate(handle, ["a", "c", "missing"], cancel).unwrap(), ["a"]);
        assert!(inode(&shared) != before && inode(&other) == before && inode(&alone) == lone);
        assert_eq!(fs::metadata(&shared).unwrap().mode() & 0o777, 0o640);
        fs::write(&shared, "new").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "old");
        assert!(separate(handle, ["a", "c"], cancel).unwrap().is_empty());
        assert!(!dir.path().join(OWN_COPY).exists());
    }
}
