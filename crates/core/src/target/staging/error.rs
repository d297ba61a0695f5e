//! What can be wrong with a target.

use std::{io, path::PathBuf};

use crate::{
    Error, ErrorKind,
    error::{ErrorScope, Setting},
    file_system,
};

/// What is wrong with a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Another run holds it.
    #[error("{}: another run is working on this target ({holder})", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What that run wrote into it.
        holder: String,
    },
    /// The first backup into it is being taken.
    #[error("{}: a first backup is running ({holder})", path.display())]
    FirstRunning {
        /// The target.
        path: PathBuf,
        /// What that run wrote into its lock file.
        holder: String,
    },
    /// The first backup into it did not end.
    #[error("{}: the first backup was interrupted, and nothing in it can be used", path.display())]
    Interrupted {
        /// The target.
        path: PathBuf,
    },
    /// The first backup into it ended before it got its name.
    #[error("{}: the first backup was interrupted when it was complete in {}.ready", path.display(), path.display())]
    Waiting {
        /// The target.
        path: PathBuf,
    },
    /// A file system would have to be renamed.
    #[error("{}: is a mount point and cannot be replaced atomically", path.display())]
    MountPoint {
        /// The target.
        path: PathBuf,
    },
    /// There is nothing to put it into.
    #[error("{}: its parent directory does not exist", path.display())]
    NoParent {
        /// The target.
        path: PathBuf,
    },
    /// Not a directory, or a name that none can have.
    #[error("{}: {what}", path.display())]
    NotADirectory {
        /// The target.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// There is a database already.
    #[error("{} already contains a database", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// There is something that is not a backup.
    #[error("{}: is neither empty nor a backup of this tool, and is left alone", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Root works in a directory in which somebody else can swap names.
    #[error("{}: {who} can rename files here, so that root could be made to write somewhere else", path.display())]
    Shared {
        /// The directory.
        path: PathBuf,
        /// Who.
        who: String,
        /// Whether a setting allows it.
        can_be_allowed: bool,
    },
    /// It holds files that are not of a backup, and they would go with it.
    #[error("{}: holds files that are not part of the backup and would be removed with it: {names}", path.display())]
    ForeignFiles {
        /// The target.
        path: PathBuf,
        /// Their names, the first ones.
        names: String,
    },
    /// The name that the lock file would have is taken.
    #[error("{}: {why}, and a run needs this name for its lock", path.display())]
    ForeignLock {
        /// The file.
        path: PathBuf,
        /// Why it cannot be a lock of this tool.
        why: &'static str,
    },
    /// A name beside the target is taken by a directory that no interrupted run left.
    #[error("{}: {why}, and a run needs this name", path.display())]
    ForeignSibling {
        /// The directory.
        path: PathBuf,
        /// Why it cannot be the leftover of an interrupted run.
        why: &'static str,
    },
    /// A second copy does not fit beside the one that it would replace.
    #[error(
        "{}: the new backup needs room beside the old one, about {needed} bytes, and its file system has {free}",
        path.display()
    )]
    NoRoom {
        /// The target.
        path: PathBuf,
        /// Bytes that the old one takes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The lock file and a new backup cannot be created beside the target.
    #[error("{}: cannot create files in it ({source}), and a run creates its lock and a new backup beside the target", path.display())]
    ParentNotWritable {
        /// The parent directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The file system has no file locks.
    #[error("{}: the file system has no file locks ({source})", path.display())]
    NoLocks {
        /// The lock file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The file system renames neither the target nor exchanges it with another directory.
    #[error("{}: its file system cannot rename this directory ({source})", path.display())]
    CannotRename {
        /// The target.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Error {
        let (kind, hint) = match &error {
            TargetError::Locked { .. } | TargetError::FirstRunning { .. } => {
                (ErrorKind::TargetInUse, "wait for it to end".to_owned())
            }
            TargetError::Interrupted { .. } => (ErrorKind::FullNeeded, "run the full backup again".to_owned()),
            TargetError::Waiting { .. } => (
                ErrorKind::FullNeeded,
                "run the backup again, which puts it in place".to_owned(),
            ),
            TargetError::MountPoint { path } => (
                ErrorKind::Configuration,
                format!("name a directory inside it, such as {}/backup", path.display()),
            ),
            TargetError::NoParent { .. } => (
                ErrorKind::Configuration,
                "create it, or mount the file system that holds it".to_owned(),
            ),
            TargetError::NotADirectory { .. } => (ErrorKind::Configuration, "name a directory".to_owned()),
            TargetError::Exists { .. } => (
                ErrorKind::NotOurs,
                "allow it to be replaced, or bring it up to date".to_owned(),
            ),
            TargetError::Foreign { .. } => (ErrorKind::NotOurs, "move it away, or name another target".to_owned()),
            TargetError::Shared { can_be_allowed, .. } => {
                let hint = if *can_be_allowed {
                    "run as the user who owns the backup, set the sticky bit (chmod +t), or allow it"
                } else {
                    "run as the user who owns the backup, or set the sticky bit (chmod +t)"
                };
                (ErrorKind::Configuration, hint.to_owned())
            }
            TargetError::ForeignFiles { .. } => (ErrorKind::Configuration, "move them away".to_owned()),
            TargetError::ForeignLock { .. } | TargetError::ForeignSibling { .. } => (
                ErrorKind::Configuration,
                "move it away, or name another target".to_owned(),
            ),
            TargetError::NoRoom { .. } => (
                ErrorKind::NoSpace,
                "free some space there, or back up to another file system".to_owned(),
            ),
            TargetError::ParentNotWritable { path, .. } => (
                ErrorKind::Configuration,
                format!(
                    "let this user create files in {}, or name a directory inside one where it can",
                    path.display()
                ),
            ),
            TargetError::NoLocks { .. } => (ErrorKind::Configuration, file_system::MOUNT_WITH_LOCKS.to_owned()),
            TargetError::CannotRename { .. } => (
                ErrorKind::Configuration,
                "name another target: a directory of a lower layer of overlayfs cannot be replaced".to_owned(),
            ),
        };
        let settings: &[Setting] = match &error {
            TargetError::Exists { .. } => &[Setting::Overwrite, Setting::Incremental],
            TargetError::Shared {
                can_be_allowed: true, ..
            } => &[Setting::AllowShared],
            _ => &[],
        };
        Error::new(kind, error)
            .with_scope(ErrorScope::Target)
            .with_hint(hint)
            .see(settings)
    }
}
