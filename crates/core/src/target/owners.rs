//! Whose files beside the target may be of an earlier run, and who may change owners.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use rustix::{io::Errno, process::geteuid};

use neo4j_format::DiskError;

/// Whether a file of the user `uid` in `parent` may be of an earlier run: of root, of this user, or of the owner of
/// `parent`, to whom root gives what it creates there.
///
/// # Errors
/// `parent` cannot be read.
pub(crate) fn may_be_ours(uid: u32, parent: &Path) -> Result<bool, DiskError> {
    let parent = fs::metadata(parent).map_err(DiskError::at(parent))?;
    Ok([0, geteuid().as_raw(), parent.uid()].contains(&uid))
}

/// Whether the file system, or its server, does not let this process change modes and owners. Nothing is lost by that.
pub(crate) fn refuses_ownership(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
    )
}
