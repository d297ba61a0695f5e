//! The journal of a target: every backup, verification, check and drill of it, good or bad, as one line of JSON.
//!
//! It is the file `DIR.journal` beside the target, which [`crate::Backup`], [`crate::verify()`], [`crate::check()`] and
//! [`crate::drill::Drill`] append to when they end. The manifest says what the backup is; the journal says what was
//! tried. A run that cannot be recorded ends as it would have ended otherwise.
//!
//! Lines are not synced: a power failure may take the last ones. What is not a line of a journal, such as a line that was
//! cut short, is ignored.

mod entry;
mod file;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

pub(crate) use self::entry::Recorder;
pub use self::entry::{JournalEntry, RecordedTransaction, RunKind, Time};
use crate::{
    Error,
    manifest::MANIFEST,
    target::{
        lock::RunLock,
        owners::{SharedDirectories, refuse_shared},
        staging::{
            directories::{Occupant, occupant, resolve, sibling},
            open_parent,
        },
    },
};
use neo4j_format::{
    DirHandle, DiskError,
    directory::{EntryStatus, NewFiles},
};

/// Suffix of the file.
const SUFFIX: &str = "journal";

/// A file that every repository has.
const REPOSITORY: &str = "config";

/// The journal of one target.
#[derive(Debug)]
pub struct Journal {
    /// The directory that the target lies in.
    parent: DirHandle,
    target: OsString,
}

impl Journal {
    /// The journal of the target `dir`, which need not exist.
    ///
    /// # Errors
    /// The directory that `dir` lies in cannot be opened.
    pub fn of(dir: impl AsRef<Path>) -> Result<Journal, Error> {
        let dir = resolve(dir.as_ref())?;
        let (parent, target) = open_parent(&dir)?;
        Ok(Journal { parent, target })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> PathBuf {
        self.parent.join(self.name())
    }

    fn name(&self) -> OsString {
        sibling(&self.target, SUFFIX)
    }

    /// The runs, oldest first; none where there is no journal.
    ///
    /// # Errors
    /// The file was not written by this tool, or belongs to somebody else; of the disk.
    pub fn entries(&self) -> Result<Vec<JournalEntry>, Error> {
        match self.parent.open_file(self.name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(DiskError::new(self.path(), error).into()),
            Ok(mut file) => {
                self.require_ours(&mut file)?;
                Ok(file::entries(&mut file).map_err(DiskError::at(self.path()))?)
            }
        }
    }

    /// Adds a run. A journal is created only beside a backup of this tool, beside what will become one, or beside a
    /// repository.
    ///
    /// # Errors
    /// As [`Journal::entries`]; this is root, and another user can rename files there; another process keeps the file locked.
    pub fn append(&self, entry: &JournalEntry) -> Result<(), Error> {
        let may_create = match entry.command {
            RunKind::Backup => self.is_backup() || self.is_free(),
            RunKind::Drill => self.is_backup() || self.has_file(REPOSITORY),
            RunKind::Verify | RunKind::Check => self.is_backup(),
        };
        if may_create || self.parent.has(self.name()) {
            let target = self.parent.folder(&self.target).ok();
            refuse_shared(SharedDirectories::NeverAllowed, &self.parent, target.as_ref())?;
            self.write(entry)
        } else {
            Ok(())
        }
    }

    /// The run that works on the target now.
    pub(crate) fn running(&self) -> Result<Option<String>, Error> {
        RunLock::holder(&self.parent, &sibling(&self.target, "lock"))
    }

    /// The directory that the target lies in.
    pub(crate) fn parent(&self) -> &DirHandle {
        &self.parent
    }

    /// The target itself, held open.
    pub(crate) fn target(&self) -> io::Result<DirHandle> {
        self.parent.folder(&self.target)
    }

    fn is_backup(&self) -> bool {
        self.has_file(MANIFEST)
    }

    fn has_file(&self, name: &str) -> bool {
        self.parent.has_file(Path::new(&self.target).join(name))
    }

    /// Whether nothing is there that a backup would not replace.
    fn is_free(&self) -> bool {
        matches!(
            occupant(&self.parent, &self.target),
            Ok(Occupant::Absent | Occupant::Empty)
        )
    }

    /// The directory of the target with what new files in it get: they follow the target, or else are private.
    fn folder(&self) -> DirHandle {
        let like = self.parent.status_of(&self.target).ok().filter(EntryStatus::is_folder);
        match like {
            Some(target) => self.parent.clone().with_new_files(NewFiles::like(&target)),
            None => self.parent.clone(),
        }
    }
}
