//! Whose files beside the target may be of an earlier run.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::process::geteuid;

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
