//! Whose files are ours, whose they become, and who could swap them.

use rustix::process::geteuid;

use super::staging::TargetError;
use crate::{Error, progress::Progress};
use neo4j_format::{DirHandle, DiskError, directory::EntryStatus};

/// Permission bits by which others than the owner can create, rename and remove names in a directory.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// With it, only the owner of a name, of the directory, or root can rename or remove it.
const STICKY: u32 = 0o1000;

/// Whether a file of the user `uid` in `parent` may be of an earlier run: of root, of this user, or of the owner of
/// `parent`, to whom root gives what it creates there.
///
/// # Errors
/// `parent` cannot be read.
pub(crate) fn may_be_ours(uid: u32, parent: &DirHandle) -> Result<bool, DiskError> {
    let parent = parent.status().map_err(DiskError::at(parent.path()))?;
    Ok([0, geteuid().as_raw(), parent.owner()].contains(&uid))
}

/// Whether other users matter who can swap what this process works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SharedDirectories {
    /// Root refuses them: what it writes or reads could be swapped by somebody who may not.
    Refused,
    /// The same, and no setting allows them.
    NeverAllowed,
    /// They were allowed.
    Allowed,
}

impl SharedDirectories {
    /// Refused unless the caller allows them.
    pub(crate) fn if_allowed(allow: bool) -> SharedDirectories {
        if allow {
            SharedDirectories::Allowed
        } else {
            SharedDirectories::Refused
        }
    }
}

/// Refuses, as root, a target in a directory, or with one, in which a user can rename who is neither root nor the owner of
/// the backup.
///
/// # Errors
/// [`TargetError::Shared`]; disk errors.
pub(crate) fn refuse_shared(
    shared: SharedDirectories,
    parent: &DirHandle,
    target: Option<&DirHandle>,
) -> Result<(), Error> {
    if shared == SharedDirectories::Allowed || !geteuid().is_root() {
        return Ok(());
    }
    let status = |dir: &DirHandle| dir.status().map_err(DiskError::at(dir.path()));
    let parent_status = status(parent)?;
    let target_status = target.map(status).transpose()?;
    let owner = target_status.as_ref().unwrap_or(&parent_status).owner();
    let dirs = [(parent, Some(parent_status))].into_iter();
    for (dir, status) in dirs.chain(target.map(|target| (target, target_status))) {
        if let Some(who) = status.and_then(|status| who_can_rename(&status, owner)) {
            let path = dir.path().to_owned();
            let can_be_allowed = shared == SharedDirectories::Refused;
            return Err(TargetError::Shared {
                path,
                who,
                can_be_allowed,
            }
            .into());
        }
    }
    Ok(())
}

/// Who can rename what root and the user `owner` created in a directory.
fn who_can_rename(dir: &EntryStatus, owner: u32) -> Option<String> {
    if dir.owner() != 0 && dir.owner() != owner {
        return Some(format!("its owner, user {}", dir.owner()));
    }
    if dir.mode() & STICKY != 0 {
        return None;
    }
    if dir.mode() & OTHERS_WRITE != 0 {
        return Some("every user".to_owned());
    }
    (dir.mode() & GROUP_WRITES != 0 && dir.group() != 0).then(|| format!("group {}", dir.group()))
}

/// Says which owner, group or mode of the new files of `dir` this user was not allowed to set.
pub(crate) fn warn_of_refused(dir: &DirHandle, progress: &dyn Progress) {
    if let Some(refused) = dir.new_files().refused() {
        progress.warning(&format!("{}: {refused}", dir.display()));
    }
}
