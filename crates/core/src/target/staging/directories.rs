//! Directories that are judged, renamed and removed as wholes.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags, renameat_with, statx};

use super::TargetError;
use crate::{Error, manifest::MANIFEST};
use neo4j_format::DiskError;

/// What stands at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing.
    Absent,
    /// An empty directory.
    Empty,
    /// A directory with a `neostore`.
    Database,
    /// Anything else.
    Foreign,
}

/// Follows a link at the target once and refuses what can never be renamed.
pub(in crate::target) fn resolve(dir: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(dir).map_err(DiskError::at(dir))?;
    let Some(name) = absolute.file_name().map(OsString::from) else {
        return Err(TargetError::MountPoint { path: absolute }.into());
    };
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    let parent = match fs::canonicalize(parent) {
        Ok(parent) => parent,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(TargetError::NoParent { path: absolute }.into()),
        Err(e) => return Err(DiskError::new(parent, e).into()),
    };
    let mut resolved = parent.join(name);
    if resolved.is_symlink() {
        resolved = fs::canonicalize(&resolved).map_err(DiskError::at(&resolved))?;
    }
    match statx(CWD, &resolved, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Err(rustix::io::Errno::NOENT) => Ok(resolved),
        Err(e) => Err(DiskError::new(&resolved, e.into()).into()),
        Ok(found) if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) => {
            Err(TargetError::MountPoint { path: resolved }.into())
        }
        Ok(_) if resolved.is_dir() => Ok(resolved),
        Ok(_) => Err(TargetError::NotADirectory {
            path: resolved,
            what: "is not a directory",
        }
        .into()),
    }
}

/// What stands at `dir`.
pub(in crate::target) fn occupant(dir: &Path) -> Result<Occupant, DiskError> {
    let mut entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Absent),
        Err(e) => return Err(DiskError::new(dir, e)),
    };
    if fs::symlink_metadata(dir.join("neostore")).is_ok_and(|found| found.is_file()) {
        Ok(Occupant::Database)
    } else if entries.next().is_none() {
        Ok(Occupant::Empty)
    } else {
        Ok(Occupant::Foreign)
    }
}

/// Removes a directory that only this tool can have made: an empty one, or one with a manifest, which may be cut short
/// where a run ended while it wrote it.
pub(super) fn remove_ours(dir: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DiskError::new(dir, e).into()),
        Ok(found) if !found.is_dir() => return Err(TargetError::Foreign { path: dir.to_owned() }.into()),
        Ok(_) => {}
    }
    let has_manifest = fs::symlink_metadata(dir.join(MANIFEST)).is_ok_and(|found| found.is_file());
    if occupant(dir)? != Occupant::Empty && !has_manifest {
        return Err(TargetError::Foreign { path: dir.to_owned() }.into());
    }
    Ok(remove_manifest_last(dir)?)
}

/// Removes a directory so that what is left of it by a kill is still known as ours.
pub(in crate::target) fn remove_manifest_last(dir: &Path) -> Result<(), DiskError> {
    for entry in fs::read_dir(dir).map_err(DiskError::at(dir))? {
        let entry = entry.map_err(DiskError::at(dir))?;
        let kind = entry.file_type().map_err(DiskError::at(entry.path()))?;
        if entry.file_name() != MANIFEST {
            let removed = if kind.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.map_err(DiskError::at(entry.path()))?;
        }
    }
    fs::remove_dir_all(dir).map_err(DiskError::at(dir))
}

/// Renames where the file system knows the flags, and as plainly as it can elsewhere.
pub(in crate::target) fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), DiskError> {
    match renameat_with(CWD, from, CWD, to, flags) {
        // without the flag a rename still refuses to replace a directory that has something in it
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(from, to).map_err(DiskError::at(to)),
        result => result.map_err(|e| DiskError::new(to, e.into())),
    }
}

/// Gives a file, or a directory and everything in it, to a user; links are not followed.
pub(in crate::target) fn chown_tree(path: &Path, uid: u32, gid: u32) -> Result<(), DiskError> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(DiskError::at(path))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).map_err(DiskError::at(path))? {
            chown_tree(&entry.map_err(DiskError::at(path))?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// What a directory is known by through renames; `None` where there is none.
pub(super) fn identity(dir: &Path) -> Option<String> {
    let found = fs::symlink_metadata(dir).ok().filter(fs::Metadata::is_dir)?;
    Some(format!("directory {}:{}", found.dev(), found.ino()))
}

/// `DIR` with a suffix.
pub(in crate::target) fn sibling(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().map(OsString::from).unwrap_or_default();
    name.push(".");
    name.push(suffix);
    dir.with_file_name(name)
}
