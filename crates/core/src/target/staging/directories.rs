//! Directories that are judged, renamed and removed as wholes.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, StatxAttributes, StatxFlags, statx},
    process::geteuid,
};

use super::TargetError;
use crate::{
    Error,
    manifest::{MANIFEST, Manifest, ManifestError},
};
use neo4j_format::{
    DirHandle, DiskError,
    directory::{EntryKind, EntryStatus, NotUsable},
};

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

/// The absolute path of a target, links and `..` in it resolved; the target itself need not exist. A link that stands at
/// the target is followed if it is of root or of this user.
pub(crate) fn resolve(dir: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(dir).map_err(DiskError::at(dir))?;
    let canonical = |path: &Path| fs::canonicalize(path).map_err(DiskError::at(path));
    let resolved = match absolute.file_name() {
        Some(name) => {
            let parent = existing_parent(&absolute)?;
            let handle = DirHandle::open(&parent).map_err(DiskError::at(&parent))?;
            match handle.link(name).map_err(DiskError::at(handle.join(name)))? {
                Some((owner, _)) if ![0, geteuid().as_raw()].contains(&owner) => {
                    let what = "is a symbolic link of another user";
                    return Err(TargetError::NotADirectory { path: absolute, what }.into());
                }
                Some((_, leads_to)) => canonical(&parent.join(leads_to))?,
                None => parent.join(name),
            }
        }
        None => canonical(&absolute)?,
    };
    match fs::symlink_metadata(&resolved) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(resolved),
        Err(e) => Err(DiskError::new(&resolved, e).into()),
        Ok(_) if resolved.file_name().is_none() => Err(TargetError::MountPoint { path: resolved }.into()),
        Ok(found) if found.is_dir() => Ok(resolved),
        Ok(_) => Err(TargetError::NotADirectory {
            path: resolved,
            what: "is not a directory",
        }
        .into()),
    }
}

/// The directory in which a target lies.
fn existing_parent(absolute: &Path) -> Result<PathBuf, Error> {
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    match fs::canonicalize(parent) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(TargetError::NoParent {
            path: absolute.to_owned(),
        }
        .into()),
        found => Ok(found.map_err(DiskError::at(parent))?),
    }
}

/// Whether another file system is mounted at `name`.
pub(in crate::target) fn is_mount_point(parent: &DirHandle, name: &OsStr) -> Result<bool, DiskError> {
    match statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        // before Linux 5.8, and in containers that refuse statx: a second mount of the same file system is not seen
        _ => match (parent.status_of(name), parent.status()) {
            (Ok(own), Ok(parent)) => Ok(own.identity().0 != parent.identity().0),
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            (Err(e), _) => Err(DiskError::new(parent.join(name), e)),
            (_, Err(e)) => Err(DiskError::new(parent.path(), e)),
        },
    }
}

/// What stands at `name` in `parent`.
pub(crate) fn occupant(parent: &DirHandle, name: &OsStr) -> Result<Occupant, DiskError> {
    let dir = match parent.folder(name) {
        Ok(dir) => dir,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Absent),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory || NotUsable::of(&e).is_some() => {
            return Ok(Occupant::Foreign);
        }
        Err(e) => return Err(DiskError::new(parent.join(name), e)),
    };
    let has_store = match dir.status_of("neostore") {
        Ok(found) => found.is_file(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(DiskError::new(dir.join("neostore"), e)),
    };
    if has_store {
        Ok(Occupant::Database)
    } else if dir.entries().map_err(DiskError::at(dir.path()))?.is_empty() {
        Ok(Occupant::Empty)
    } else {
        Ok(Occupant::Foreign)
    }
}

/// Whether there is a directory that only this tool can have made: an empty one, or one with a manifest, which may be cut
/// short where a run ended while it wrote it.
///
/// # Errors
/// [`TargetError::Foreign`] for anything else; disk errors.
pub(super) fn is_ours(parent: &DirHandle, name: &OsStr) -> Result<bool, Error> {
    let path = parent.join(name);
    match parent.status_of(name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(DiskError::new(path, e).into()),
        Ok(found) if !found.is_folder() => return Err(TargetError::Foreign { path }.into()),
        Ok(_) => {}
    }
    let dir = parent.folder(name).map_err(DiskError::at(&path))?;
    if occupant(parent, name)? != Occupant::Empty && !dir.has_file(MANIFEST) {
        return Err(TargetError::Foreign { path }.into());
    }
    Ok(true)
}

/// Removes a directory that only this tool can have made, if there is one.
pub(super) fn remove_ours(parent: &DirHandle, name: &OsStr) -> Result<(), Error> {
    if is_ours(parent, name)? {
        remove_manifest_last(parent, name)?;
    }
    Ok(())
}

/// Removes a directory so that what is left of it by a kill is still known as ours.
pub(super) fn remove_manifest_last(parent: &DirHandle, name: &OsStr) -> Result<(), DiskError> {
    remove_with_last(parent, name, MANIFEST)
}

/// Removes a directory, and its file `last` after everything else.
pub(crate) fn remove_with_last(parent: &DirHandle, name: &OsStr, last: &str) -> Result<(), DiskError> {
    let remove = || {
        let dir = parent.folder(name)?;
        for entry in dir.entries()? {
            match entry.status.kind() {
                EntryKind::Folder => dir.remove_tree(&entry.name)?,
                _ if entry.name == last => {}
                EntryKind::File | EntryKind::Other => dir.remove_file(&entry.name)?,
            }
        }
        dir.remove_content()?;
        parent.remove_folder(name)
    };
    remove().map_err(DiskError::at(parent.join(name)))
}

/// Gives a directory a name that nothing has.
pub(in crate::target) fn rename(parent: &DirHandle, from: &OsStr, to: &OsStr) -> Result<(), DiskError> {
    parent.rename_new(from, to).map_err(DiskError::at(parent.join(to)))
}

/// Exchanges two directories in one step; `false` where the system or the file system cannot.
pub(in crate::target) fn exchange(parent: &DirHandle, one: &OsStr, other: &OsStr) -> Result<bool, DiskError> {
    parent.exchange(one, other).map_err(DiskError::at(parent.join(other)))
}

/// The manifest of a directory that may not exist.
pub(super) fn manifest_of(parent: &DirHandle, name: &OsStr) -> Result<Option<Manifest>, ManifestError> {
    match parent.folder(name) {
        Ok(dir) => Manifest::read(&dir),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(ManifestError::Io {
            path: parent.join(name),
            source,
        }),
    }
}

/// Whether a directory is the one that a manifest calls by this name.
pub(super) fn is_known_as(parent: &DirHandle, dir: &OsStr, name: &str) -> bool {
    let manifest = manifest_of(parent, dir).ok().flatten();
    identity(parent, dir).as_deref() == Some(name) || manifest.as_ref().and_then(Manifest::run_id) == Some(name)
}

/// What a directory is known by through renames; `None` where there is none.
pub(super) fn identity(parent: &DirHandle, name: &OsStr) -> Option<String> {
    let found = parent.status_of(name).ok().filter(EntryStatus::is_folder)?;
    let (device, inode) = found.identity();
    Some(format!("directory {device}:{inode}"))
}

/// A name with a suffix.
pub(crate) fn sibling(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(".");
    name.push(suffix);
    name
}
