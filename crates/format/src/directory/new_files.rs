//! Owner, group and mode of what is created in a directory.

use std::{
    fmt, io,
    os::fd::AsFd,
    sync::{Arc, OnceLock},
};

use rustix::{
    fs::{Gid, Mode, Uid, fchmod, fchown, fstat},
    io::Errno,
};

use super::EntryStatus;

/// What new files and folders get. By default the owner and group that the system gives them, and 0600 or 0700, narrowed
/// by the umask.
#[derive(Debug, Clone, Default)]
pub struct NewFiles {
    owner: Option<u32>,
    group: Option<u32>,
    /// Of a folder; files get its permissions to read and write.
    mode: Option<u32>,
    refused: Arc<OnceLock<Refused>>,
}

/// An owner, group or mode that this user may not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    what: String,
    cause: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be set: {}", self.what, self.cause)
    }
}

impl NewFiles {
    /// As an existing directory has it.
    pub fn like(directory: &EntryStatus) -> NewFiles {
        NewFiles {
            owner: Some(directory.owner()),
            group: Some(directory.group()),
            mode: Some(directory.mode()),
            refused: Arc::default(),
        }
    }

    /// The same with another owner and group.
    #[must_use]
    pub fn owned_by(self, owner: u32, group: u32) -> NewFiles {
        NewFiles {
            owner: Some(owner),
            group: Some(group),
            ..self
        }
    }

    /// The same with this mode for folders, and what it permits to read and write for files.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> NewFiles {
        NewFiles {
            mode: Some(mode),
            ..self
        }
    }

    /// What this user was not allowed to set, if that happened.
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.get()
    }

    pub(super) fn give_file(&self, file: &impl AsFd) -> io::Result<()> {
        // the owner of a backup can bring it up to date
        self.give(file, self.mode.map(|mode| mode & 0o666 | 0o600))
    }

    pub(super) fn give_folder(&self, folder: &impl AsFd) -> io::Result<()> {
        self.give(folder, self.mode)
    }

    fn give(&self, file: &impl AsFd, mode: Option<u32>) -> io::Result<()> {
        if self.owner.is_none() && self.group.is_none() && mode.is_none() {
            return Ok(());
        }
        let found = fstat(file)?;
        let mut mode = mode;
        if let Some(group) = self.group.filter(|group| *group != found.st_gid) {
            let given = fchown(file, None, Some(Gid::from_raw(group)));
            if !self.note(given, || format!("group {group}"))? {
                // its permissions are not for another group
                mode = mode.map(|mode| mode & !0o2070);
            }
        }
        if let Some(owner) = self.owner.filter(|owner| *owner != found.st_uid) {
            let given = fchown(file, Some(Uid::from_raw(owner)), None);
            self.note(given, || format!("owner {owner}"))?;
        }
        if let Some(mode) = mode {
            // a change of the owner may have taken setgid away
            let given = fchmod(file, Mode::from_raw_mode(mode));
            self.note(given, || format!("mode {mode:04o}"))?;
        }
        Ok(())
    }

    /// Whether it was set. That it may not be costs a warning, not the backup.
    fn note(&self, given: rustix::io::Result<()>, what: impl FnOnce() -> String) -> io::Result<bool> {
        match given {
            Ok(()) => Ok(true),
            Err(
                error @ (Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::ROFS),
            ) => {
                let cause = io::Error::from(error).to_string();
                // the first one is as good as any
                let _ = self.refused.set(Refused { what: what(), cause });
                Ok(false)
            }
            Err(other) => Err(other.into()),
        }
    }
}
