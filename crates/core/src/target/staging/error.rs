//! What can be wrong with a target.

use std::path::PathBuf;

use crate::{
    Error, ErrorKind,
    error::{ErrorScope, Setting},
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
    /// The file system cannot swap two directories.
    #[error("{}: its file system cannot exchange two directories atomically", path.display())]
    NoExchange {
        /// The target.
        path: PathBuf,
    },
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Error {
        let (kind, hint) = match &error {
            TargetError::Locked { .. } => (ErrorKind::TargetInUse, "wait for it to end".to_owned()),
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
            TargetError::ForeignFiles { .. } => (ErrorKind::Configuration, "move them away".to_owned()),
            TargetError::ForeignLock { .. } | TargetError::ForeignSibling { .. } => (
                ErrorKind::Configuration,
                "move it away, or name another target".to_owned(),
            ),
            TargetError::NoRoom { .. } => (
                ErrorKind::NoSpace,
                "free some space there, or back up to another file system".to_owned(),
            ),
            TargetError::NoExchange { path } => (
                ErrorKind::Configuration,
                format!(
                    "the new backup is complete in {}.ready: move it into place by hand",
                    path.display()
                ),
            ),
        };
        let settings: &[Setting] = match &error {
            TargetError::Exists { .. } => &[Setting::Overwrite, Setting::Incremental],
            _ => &[],
        };
        Error::new(kind, error)
            .with_scope(ErrorScope::Target)
            .with_hint(hint)
            .see(settings)
    }
}
