//! Whose files are ours, and whose they become.

use rustix::process::geteuid;

use crate::progress::Progress;
use neo4j_format::{DirHandle, DiskError};

/// Whether a file of the user `uid` in `parent` may be of an earlier run: of root, of this user, or of the owner of
/// `parent`, to whom root gives what it creates there.
///
/// # Errors
/// `parent` cannot be read.
pub(crate) fn may_be_ours(uid: u32, parent: &DirHandle) -> Result<bool, DiskError> {
    let parent = parent.status().map_err(DiskError::at(parent.path()))?;
    Ok([0, geteuid().as_raw(), parent.owner()].contains(&uid))
}

/// Says which owner, group or mode of the new files of `dir` this user was not allowed to set.
pub(crate) fn warn_of_refused(dir: &DirHandle, progress: &dyn Progress) {
    if let Some(refused) = dir.new_files().refused() {
        progress.warning(&format!("{}: {refused}", dir.display()));
    }
}
