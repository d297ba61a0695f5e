//! `DIR.lock`: keeps two runs off one target, and tells the next run about one that did not end well.
//!
//! The file is locked during a run and unlinked at its end. If it exists and is not locked, it names a run that did not
//! end. If the backup in place is that run's, or the one that its note calls unreported, its success was never reported
//! (`docs/decisions/0005-unreported-backups-may-be-replaced.md`).

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{owners::may_be_ours, staging::TargetError};
use crate::{Error, file_system};
use neo4j_format::{
    DirHandle, DiskError,
    directory::{EntryStatus, NotUsable},
};

/// A lock file that this process holds.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
    parent: DirHandle,
    name: OsString,
    /// What a run that did not end left in it.
    stale: Option<LockNote>,
    /// The run that holds it, once that is noted.
    run_id: Option<String>,
}

/// Bytes of a note at most.
const NOTE_MAX: u64 = 4096;

/// What every note begins with.
const NOTE_START: &str = r#"{"pid":"#;

/// What a run writes into its lock file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LockNote {
    pid: u32,
    host: String,
    started: u64,
    run_id: String,
    /// The run whose backup was in place, or waiting to be, before its success was reported.
    #[serde(default)]
    unreported: Option<String>,
}

impl LockNote {
    /// The run that wrote it.
    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Whether the success of run `run_id` was never reported, if the run that wrote the note did not end.
    pub(crate) fn leaves_unreported(&self, run_id: &str) -> bool {
        self.run_id == run_id || self.unreported.as_deref() == Some(run_id)
    }
}

impl RunLock {
    /// Locks the file `name` of `parent`.
    ///
    /// # Errors
    /// [`TargetError::Locked`]; disk errors.
    pub(crate) fn take(parent: &DirHandle, name: &OsStr) -> Result<RunLock, Error> {
        let path = parent.join(name);
        loop {
            let mut file = match open_or_create(parent, name) {
                Ok(file) => file,
                Err(error) if NotUsable::of(&error) == Some(NotUsable::NotAFile) => return Err(not_a_file(path)),
                Err(error) => return Err(not_created(parent, name, error)),
            };
            let text = require_ours(&mut file, parent, name)?;
            let locked = file.try_lock();
            // an unreadable note only costs the message its detail
            let note = serde_json::from_str::<LockNote>(&text).ok();
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(note.as_ref());
                    return Err(TargetError::Locked { path, holder }.into());
                }
                Err(TryLockError::Error(e)) => return Err(not_locked(path, e)),
            }
            // the run that held it may have unlinked it between our open and our lock
            let ours = EntryStatus::of(&file).map_err(DiskError::at(&path))?;
            if parent
                .status_of(name)
                .is_ok_and(|named| named.identity() == ours.identity())
            {
                let stale = note;
                return Ok(RunLock {
                    file,
                    parent: parent.clone(),
                    name: name.to_owned(),
                    stale,
                    run_id: None,
                });
            }
        }
    }

    /// The run that holds the file `name` of `parent`, as far as it has said who it is; creates nothing.
    ///
    /// # Errors
    /// Disk errors.
    pub(crate) fn holder(parent: &DirHandle, name: &OsStr) -> Result<Option<String>, Error> {
        let path = parent.join(name);
        let mut file = match parent.open_file(name) {
            Ok(file) => file,
            // no run, or one of a user who does not let us look
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => return Ok(None),
            Err(error) if NotUsable::of(&error) == Some(NotUsable::NotAFile) => return Ok(None),
            Err(error) => return Err(DiskError::new(path, error).into()),
        };
        let text = read(&mut file, &path)?;
        if !may_be_note(&text) {
            return Ok(None);
        }
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(holder(serde_json::from_str(&text).ok().as_ref()))),
            // no run can have a lock there
            Err(TryLockError::Error(e)) if file_system::cannot_lock(&e) => Ok(None),
            Err(TryLockError::Error(e)) => Err(DiskError::new(path, e).into()),
        }
    }

    /// The note of a run that did not end, if the file `name` of `parent` has one; creates nothing and keeps no lock.
    ///
    /// # Errors
    /// As [`RunLock::take`].
    pub(crate) fn observe(parent: &DirHandle, name: &OsStr) -> Result<Option<LockNote>, Error> {
        let path = parent.join(name);
        let mut file = match parent.open_file(name) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let created = parent.may_create();
                return created.map(|()| None).map_err(|error| not_created(parent, name, error));
            }
            Err(error) if NotUsable::of(&error) == Some(NotUsable::NotAFile) => return Err(not_a_file(path)),
            Err(error) => return Err(DiskError::new(path, error).into()),
        };
        let text = require_ours(&mut file, parent, name)?;
        let note = serde_json::from_str(&text).ok();
        match file.try_lock_shared() {
            Ok(()) => Ok(note),
            Err(TryLockError::WouldBlock) => {
                let holder = holder(note.as_ref());
                Err(TargetError::Locked { path, holder }.into())
            }
            Err(TryLockError::Error(e)) => Err(not_locked(path, e)),
        }
    }

    /// Whether a run that did not end left it.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.is_some()
    }

    /// The run that did not end.
    pub(crate) fn stale_run(&self) -> Option<&str> {
        self.stale.as_ref().map(|note| note.run_id.as_str())
    }

    /// Whether this is the run that holds the lock, or the one that did not end well.
    pub(crate) fn is_of(&self, run_id: &str) -> bool {
        let stale = self.stale.as_ref().map(|note| &note.run_id);
        self.run_id.as_ref().into_iter().chain(stale).any(|own| own == run_id)
    }

    /// Whether the success of run `run_id` was never reported.
    pub(crate) fn leaves_unreported(&self, run_id: &str) -> bool {
        self.stale.as_ref().is_some_and(|note| note.leaves_unreported(run_id))
    }

    /// Notes who holds it, and which backup is unreported.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn note(&mut self, run_id: &str, unreported: Option<String>, now: u64) -> Result<(), DiskError> {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let note = LockNote {
            pid: std::process::id(),
            host: host.trim().to_owned(),
            started: now,
            run_id: run_id.to_owned(),
            unreported,
        };
        let text = serde_json::to_vec(&note).expect("a note has text and numbers only");
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            lock.write_all(&text)
        };
        write(&mut self.file).map_err(DiskError::at(self.parent.join(&self.name)))?;
        self.run_id = Some(run_id.to_owned());
        Ok(())
    }

    /// Ends the run with nothing left to tell.
    pub(crate) fn remove(self) {
        let _ = self.parent.remove_file(&self.name);
    }
}

/// Opens the file, which is left as it is, or creates it.
///
/// # Errors
/// Those of the file system.
pub(crate) fn open_or_create(parent: &DirHandle, name: &OsStr) -> io::Result<File> {
    loop {
        match parent.open_to_change(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        match parent.create_new(name) {
            // another run was faster
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return created,
        }
    }
}

/// Why the lock file cannot be opened: where it does not exist, it cannot be created in its directory.
fn not_created(parent: &DirHandle, name: &OsStr, source: io::Error) -> Error {
    let denied = matches!(
        source.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    );
    let is_absent = || parent.status_of(name).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    if denied && is_absent() {
        let path = parent.path().to_owned();
        return TargetError::ParentNotWritable { path, source }.into();
    }
    DiskError::new(parent.join(name), source).into()
}

fn not_a_file(path: PathBuf) -> Error {
    let why = "is not a regular file";
    TargetError::ForeignLock { path, why }.into()
}

fn not_locked(path: PathBuf, source: io::Error) -> Error {
    if file_system::cannot_lock(&source) {
        return TargetError::NoLocks { path, source }.into();
    }
    DiskError::new(path, source).into()
}

/// The text of a lock file; refuses a file that no run of this tool can have made or left.
fn require_ours(file: &mut File, parent: &DirHandle, name: &OsStr) -> Result<String, Error> {
    let path = &parent.join(name);
    let foreign = |why| {
        Error::from(TargetError::ForeignLock {
            path: path.clone(),
            why,
        })
    };
    let found = EntryStatus::of(&*file).map_err(DiskError::at(path))?;
    if found.links() > 1 {
        return Err(foreign("has another name as well"));
    }
    if !may_be_ours(found.owner(), parent)? {
        return Err(foreign("belongs to another user"));
    }
    let text = read(file, path)?;
    if !may_be_note(&text) {
        return Err(foreign("was not written by this tool"));
    }
    Ok(text)
}

/// The beginning of a file, as long as a note can be.
fn read(file: &mut File, path: &Path) -> Result<String, DiskError> {
    let mut text = Vec::new();
    let read = file.take(NOTE_MAX).read_to_end(&mut text);
    read.map_err(DiskError::at(path))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether this is a note, or the part of one that a killed run wrote.
fn may_be_note(text: &str) -> bool {
    serde_json::from_str::<LockNote>(text).is_ok() || text.starts_with(NOTE_START) || NOTE_START.starts_with(text)
}

fn holder(note: Option<&LockNote>) -> String {
    match note {
        Some(note) => format!("pid {} on {}", note.pid, note.host),
        None => "just starting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_outlives_the_run_that_did_not_remove_it() {
        let dir = tempfile::tempdir().unwrap();
        let parent = DirHandle::open(dir.path()).unwrap();
        let path = OsStr::new("b.lock");
        let mut first = RunLock::take(&parent, path).unwrap();
        assert!(!first.is_stale() && !first.leaves_unreported("a"));
        first.note("a", None, 1).unwrap();
        assert!(RunLock::take(&parent, path).unwrap_err().to_string().contains("pid "));
        assert!(RunLock::holder(&parent, path).unwrap().unwrap().contains("pid "));
        drop(first);
        let mut second = RunLock::take(&parent, path).unwrap();
        assert!(second.leaves_unreported("a"));
        second.note("b", Some("a".to_owned()), 2).unwrap();
        drop(second);
        let third = RunLock::take(&parent, path).unwrap();
        assert!(third.leaves_unreported("a") && third.leaves_unreported("b") && !third.leaves_unreported("c"));
        third.remove();
        assert!(!parent.has(path));
        assert_eq!(RunLock::holder(&parent, path).unwrap(), None);
        assert!(!parent.has(path));
    }

    #[test]
    fn a_file_that_no_run_made_is_refused_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let parent = DirHandle::open(dir.path()).unwrap();
        let path = dir.path().join("Cargo.lock");
        let refused = |name: &str| RunLock::take(&parent, OsStr::new(name)).unwrap_err();
        fs::write(&path, "# This file is generated").unwrap();
        assert_eq!(refused("Cargo.lock").kind(), crate::ErrorKind::Configuration);
        assert_eq!(fs::read_to_string(&path).unwrap(), "# This file is generated");
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        assert_eq!(RunLock::holder(&parent, OsStr::new("Cargo.lock")).unwrap(), None);
        drop(held);

        fs::write(&path, "").unwrap();
        fs::hard_link(&path, dir.path().join("other")).unwrap();
        assert_eq!(refused("Cargo.lock").kind(), crate::ErrorKind::Configuration);

        let pipe = dir.path().join("pipe.lock");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        assert_eq!(refused("pipe.lock").kind(), crate::ErrorKind::Configuration);
        assert_eq!(RunLock::holder(&parent, OsStr::new("pipe.lock")).unwrap(), None);

        fs::write(dir.path().join("torn.lock"), r#"{"pid":12,"ho"#).unwrap();
        RunLock::take(&parent, OsStr::new("torn.lock")).unwrap();
    }
}
