//! Directories that are judged, renamed and removed as wholes.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags, renameat_with, statx},
    io::Errno,
};

use super::TargetError;
use crate::{
    Error,
    manifest::{MANIFEST, Manifest},
};
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

/// The absolute path of a target, links and `..` in it resolved; the target itself need not exist.
pub(in crate::target) fn resolve(dir: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(dir).map_err(DiskError::at(dir))?;
    let resolved = match fs::canonicalize(&absolute) {
        Ok(resolved) => resolved,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !absolute.is_symlink() => new_name(&absolute)?,
        Err(e) => return Err(DiskError::new(absolute, e).into()),
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

/// A name that does not exist, in a directory that does.
fn new_name(absolute: &Path) -> Result<PathBuf, Error> {
    let no_parent = || TargetError::NoParent {
        path: absolute.to_owned(),
    };
    let name = absolute.file_name().ok_or_else(no_parent)?;
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    match fs::canonicalize(parent) {
        Ok(parent) => Ok(parent.join(name)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(no_parent().into()),
        Err(e) => Err(DiskError::new(parent, e).into()),
    }
}

/// Whether another file system is mounted at `dir`.
pub(in crate::target) fn is_mount_point(dir: &Path) -> Result<bool, DiskError> {
    match statx(CWD, dir, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        // before Linux 5.8, and in containers that refuse statx: a second mount of the same file system is not seen
        _ => {
            let parent = dir.parent().unwrap_or(Path::new("/"));
            let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev());
            match (device(dir), device(parent)) {
                (Ok(own), Ok(parent)) => Ok(own != parent),
                (Err(e), _) if e.kind() == io::ErrorKind::NotFound => Ok(false),
                (Err(e), _) => Err(DiskError::new(dir, e)),
                (_, Err(e)) => Err(DiskError::new(parent, e)),
            }
        }
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

/// Renames a directory to a name that nothing has, without the flag that makes sure of it where the system lacks it.
pub(in crate::target) fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // without the flag a rename still refuses to replace a directory that has something in it
        Err(errno) if lacks_flags(errno) => fs::rename(from, to).map_err(DiskError::at(to)),
        result => result.map_err(|e| DiskError::new(to, e.into())),
    }
}

/// Exchanges two directories in one step; `false` where the system or the file system cannot.
pub(in crate::target) fn exchange(one: &Path, other: &Path) -> Result<bool, DiskError> {
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(errno) if lacks_flags(errno) => Ok(false),
        Err(errno) => Err(DiskError::new(other, errno.into())),
    }
}

/// What kernels, overlayfs, FUSE, NFS and seccomp filters say that do not know a flag of `renameat2`.
fn lacks_flags(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL | Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM
    )
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

/// Whether a directory is the one that a manifest calls by this name ([`super::Target::to_replace`]).
pub(super) fn is_known_as(dir: &Path, name: &str) -> bool {
    let manifest = Manifest::read(dir).ok().flatten();
    identity(dir).as_deref() == Some(name) || manifest.as_ref().and_then(Manifest::run_id) == Some(name)
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
