//! Directories that are judged, renamed and removed as wholes.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags, statx};

use super::TargetError;
use crate::{Error, manifest::MANIFEST};
use neo4j_format::{DirHandle, DiskError, directory::EntryKind};

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
pub(super) fn resolve(dir: &Path) -> Result<PathBuf, Error> {
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

/// What stands at `name` in `parent`.
pub(super) fn occupant(parent: &DirHandle, name: &OsStr) -> Result<Occupant, DiskError> {
    let dir = match parent.folder(name) {
        Ok(dir) => dir,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Absent),
        Err(e) => return Err(DiskError::new(parent.join(name), e)),
    };
    if dir.has_file("neostore") {
        Ok(Occupant::Database)
    } else if dir.entries().map_err(DiskError::at(dir.path()))?.is_empty() {
        Ok(Occupant::Empty)
    } else {
        Ok(Occupant::Foreign)
    }
}

/// Removes a directory that only this tool can have made: an empty one, or one with a manifest, which may be cut short
/// where a run ended while it wrote it.
pub(super) fn remove_ours(parent: &DirHandle, name: &OsStr) -> Result<(), Error> {
    let path = parent.join(name);
    match parent.status_of(name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DiskError::new(path, e).into()),
        Ok(found) if !found.is_folder() => return Err(TargetError::Foreign { path }.into()),
        Ok(_) => {}
    }
    let dir = parent.folder(name).map_err(DiskError::at(&path))?;
    if occupant(parent, name)? != Occupant::Empty && !dir.has_file(MANIFEST) {
        return Err(TargetError::Foreign { path }.into());
    }
    Ok(remove_manifest_last(parent, name)?)
}

/// Removes a directory so that what is left of it by a kill is still known as ours.
pub(super) fn remove_manifest_last(parent: &DirHandle, name: &OsStr) -> Result<(), DiskError> {
    let remove = || {
        let dir = parent.folder(name)?;
        for entry in dir.entries()? {
            match entry.status.kind() {
                EntryKind::Folder => dir.remove_tree(&entry.name)?,
                _ if entry.name == MANIFEST => {}
                EntryKind::File | EntryKind::Other => dir.remove_file(&entry.name)?,
            }
        }
        dir.remove_content()?;
        parent.remove_folder(name)
    };
    remove().map_err(DiskError::at(parent.join(name)))
}

/// Renames where the file system knows the flags, and as plainly as it can elsewhere.
pub(super) fn rename(parent: &DirHandle, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<(), DiskError> {
    match parent.rename_with(from, to, flags) {
        // without the flag a rename still refuses to replace a directory that has something in it
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            parent.rename(from, to).map_err(DiskError::at(parent.join(to)))
        }
        result => result.map_err(|e| DiskError::new(parent.join(to), e.into())),
    }
}

/// What a directory is known by through renames; `None` where there is none.
pub(super) fn identity(parent: &DirHandle, name: &OsStr) -> Option<String> {
    let found = parent.status_of(name).ok().filter(|found| found.is_folder())?;
    let (device, inode) = found.identity();
    Some(format!("directory {device}:{inode}"))
}

/// A name with a suffix.
pub(super) fn sibling(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(".");
    name.push(suffix);
    name
}
