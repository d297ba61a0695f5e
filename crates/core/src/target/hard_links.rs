//! Files with several links. A generation made by `cp -al` shares its files with the backup, so a file that is changed in
//! place gets an inode of its own first.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use rustix::fs::OFlags;

use super::{
    durable::{self, remove},
    owners::refuses_ownership,
};
use crate::progress::Progress;
use neo4j_format::DiskError;

/// Name of a copy in the target's directory until it takes the shared file's name; the next run removes a leftover.
pub(crate) const OWN_COPY: &str = "neo4j-backup.own-copy";

/// Copies each of these files of `dir` that has more than one link, durably, and gives the copy its name. Files that do
/// not exist are skipped. Returns those that were copied.
///
/// # Errors
/// Disk errors. Each file is then still shared, or a whole copy.
pub(crate) fn separate<'a>(
    dir: &Path,
    names: impl IntoIterator<Item = &'a str>,
    progress: &dyn Progress,
) -> Result<Vec<&'a str>, DiskError> {
    let mut separated = Vec::new();
    for name in names {
        let path = dir.join(name);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(DiskError::new(path, error)),
        };
        if found.is_file() && found.nlink() > 1 {
            let own = dir.join(OWN_COPY);
            remove(&own)?;
            copy(&path, &own, &found, progress).map_err(DiskError::at(&own))?;
            durable::rename(&own, &path)?;
            separated.push(name);
        }
    }
    Ok(separated)
}

/// Where the file system can, the copy shares its blocks until they are written.
fn copy(from: &Path, to: &Path, found: &fs::Metadata, progress: &dyn Progress) -> io::Result<()> {
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut source = File::options().read(true).custom_flags(nofollow).open(from)?;
    let mut copy = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(to)?;
    if rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
        io::copy(&mut source, &mut copy)?;
    }
    // only root can give a file away; other users keep it
    let _ = fchown(&copy, Some(found.uid()), Some(found.gid()));
    if let Err(error) = copy.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777)) {
        if !refuses_ownership(&error) {
            return Err(error);
        }
        progress.warning(&format!("{}: cannot keep its mode: {error}", from.display()));
    }
    copy.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;

    #[test]
    fn a_shared_file_is_copied_and_the_other_name_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (shared, other, alone) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::write(&shared, "old").unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(&shared, &other).unwrap();
        fs::write(&alone, "alone").unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let (before, lone) = (inode(&shared), inode(&alone));
        assert_eq!(separate(dir.path(), ["a", "c", "missing"], &Quiet).unwrap(), ["a"]);
        assert!(inode(&shared) != before && inode(&other) == before && inode(&alone) == lone);
        assert_eq!(fs::metadata(&shared).unwrap().mode() & 0o777, 0o640);
        fs::write(&shared, "new").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "old");
        assert!(separate(dir.path(), ["a", "c"], &Quiet).unwrap().is_empty());
        assert!(!dir.path().join(OWN_COPY).exists());
    }
}
