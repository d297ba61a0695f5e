//! `DIR.lock`: keeps two runs off one target, and tells the next run about one that did not end well.
//!
//! The file is locked while a run is under way and unlinked at its end. One that is found unlocked names the run that did
//! not end; where the backup in place is of that run, or of the one that its note calls unreported, nobody was told that
//! it succeeded (`docs/decisions/0005-unreported-backups-may-be-replaced.md`).

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::staging::TargetError;
use crate::Error;
use neo4j_format::DiskError;

/// A lock file that this process holds.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
    path: PathBuf,
    /// What a run that did not end left in it.
    stale: Option<LockNote>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LockNote {
    pid: u32,
    host: String,
    started: u64,
    run_id: String,
    /// The run whose backup stood in place, or waited for it, when nobody had been told that it succeeded.
    #[serde(default)]
    unreported: Option<String>,
}

impl RunLock {
    /// Locks the file at `path`.
    ///
    /// # Errors
    /// [`TargetError::Locked`]; disk errors.
    pub(crate) fn take(path: PathBuf) -> Result<RunLock, Error> {
        loop {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)
                .map_err(DiskError::at(&path))?;
            let mut text = String::new();
            let locked = file.try_lock();
            // an unreadable note only costs the message its detail
            let _ = Read::by_ref(&mut file).take(4096).read_to_string(&mut text);
            let note = serde_json::from_str::<LockNote>(&text).ok();
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(note.as_ref());
                    return Err(TargetError::Locked { path, holder }.into());
                }
                Err(TryLockError::Error(e)) => return Err(DiskError::new(path, e).into()),
            }
            // the run that held it may have unlinked it between our open and our lock
            let ours = file.metadata().map_err(DiskError::at(&path))?;
            if fs::symlink_metadata(&path).is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                let stale = note;
                return Ok(RunLock { file, path, stale });
            }
        }
    }

    /// Refuses where another run holds the file at `path`; creates nothing.
    ///
    /// # Errors
    /// [`TargetError::Locked`]; disk errors.
    pub(crate) fn refuse_if_held(path: &Path) -> Result<(), Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(DiskError::new(path, e).into()),
        };
        let mut text = String::new();
        let _ = Read::by_ref(&mut &file).take(4096).read_to_string(&mut text);
        match file.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                let holder = holder(serde_json::from_str(&text).ok().as_ref());
                let path = path.to_owned();
                Err(TargetError::Locked { path, holder }.into())
            }
            Err(TryLockError::Error(e)) => Err(DiskError::new(path, e).into()),
        }
    }

    /// Whether a run that did not end left it.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.is_some()
    }

    /// Whether nobody was told of the backup that this run made.
    pub(crate) fn leaves_unreported(&self, run_id: &str) -> bool {
        let runs = self
            .stale
            .iter()
            .flat_map(|note| [Some(&note.run_id), note.unreported.as_ref()]);
        runs.flatten().any(|unreported| unreported == run_id)
    }

    /// Notes who holds it, and which backup is one that nobody was told about.
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
        let text = serde_json::to_vec(&note).unwrap_or_default();
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            lock.write_all(&text)
        };
        write(&mut self.file).map_err(DiskError::at(&self.path))
    }

    /// Ends the run with nothing left to tell.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
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
        let path = dir.path().join("b.lock");
        let mut first = RunLock::take(path.clone()).unwrap();
        assert!(!first.is_stale() && !first.leaves_unreported("a"));
        first.note("a", None, 1).unwrap();
        assert!(RunLock::take(path.clone()).unwrap_err().to_string().contains("pid "));
        assert!(RunLock::refuse_if_held(&path).unwrap_err().to_string().contains("pid "));
        drop(first);
        let mut second = RunLock::take(path.clone()).unwrap();
        assert!(second.leaves_unreported("a"));
        second.note("b", Some("a".to_owned()), 2).unwrap();
        drop(second);
        let third = RunLock::take(path.clone()).unwrap();
        assert!(third.leaves_unreported("a") && third.leaves_unreported("b") && !third.leaves_unreported("c"));
        third.remove();
        assert!(!path.exists());
        RunLock::refuse_if_held(&path).unwrap();
        assert!(!path.exists());
    }
}
