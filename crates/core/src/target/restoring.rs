//! A restored database on its way to its place: built in a sibling, then renamed or exchanged in one step.
//!
//! | step | on disk | the next restore |
//! |---|---|---|
//! | 1 lock `DIR.lock`; create `DIR.restoring` with the file [`MARKER`] in it | `.restoring` with the marker, or empty | deletes it |
//! | 2 fill it, fsync all | the same | deletes it |
//! | 3 rename it to `DIR`, or exchange it with the database there; fsync parent | `DIR` new, with the marker; `.restoring` is the old database, without | 4 |
//! | 4 rename the old database to `DIR.before-<time>`; fsync parent | `DIR` new, with the marker | 5 |
//! | 5 remove the marker, unlink `DIR.lock` | `DIR` new | nothing |
//!
//! So `DIR` is the old or the new database at any time, and a database without the marker is never deleted.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use super::{
    durable, free_space,
    lock::RunLock,
    open_files,
    owners::{SharedDirectories, refuse_shared},
    staging::{
        Occupant, TargetError,
        directories::{exchange, is_mount_point, occupant, remove_with_last, rename, resolve, sibling},
        open_parent,
    },
};
use crate::{Error, ErrorKind, context, error::Setting};
use neo4j_format::{
    DirHandle, DiskError,
    directory::{EntryStatus, NewFiles},
    store::neo4j_lock::{self, LockError, Neo4jLock},
};

/// Says that the directory was made by a restore that is not over.
const MARKER: &str = "neo4j-backup.restoring";

/// What becomes of a database at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The restore is refused.
    Refused,
    /// It is kept under another name.
    Kept,
}

/// A user and a group; what is absent stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// A locked target of a restore; the locks end with it.
#[derive(Debug)]
pub(crate) struct RestoreTarget {
    /// The directory that it lies in; target and siblings are reached through this handle alone.
    parent: DirHandle,
    name: OsString,
    dir: PathBuf,
    lock: RunLock,
    /// Keeps Neo4j out of the database that is replaced.
    _neo4j: Option<Neo4jLock>,
}

impl RestoreTarget {
    /// Judges `dir` as [`RestoreTarget::lock`] does; changes nothing.
    ///
    /// # Errors
    /// As [`RestoreTarget::lock`].
    pub(crate) fn judge(dir: &Path, existing: Existing, shared: SharedDirectories, needed: u64) -> Result<(), Error> {
        let dir = resolve(dir)?;
        let (parent, name) = open_parent(&dir)?;
        refuse_shared(shared, &parent, existing_directory(&parent, &name)?.as_ref())?;
        let lock = sibling(&name, "lock");
        if let Some(holder) = RunLock::holder(&parent, &lock)? {
            let path = parent.join(lock);
            return Err(TargetError::Locked { path, holder }.into());
        }
        if judge(&parent, &name, existing)? == Occupant::Database {
            let found = parent.folder(&name).map_err(DiskError::at(&dir))?;
            if let Some(holder) = neo4j_lock::holder(&found) {
                let path = found.join("neostore");
                return Err(LockError::Held { path, holder }.into());
            }
            refuse_if_open(&found)?;
        }
        has_room(&parent, &dir, needed)
    }

    /// Locks `dir` against other runs and against Neo4j, and finishes or removes what an interrupted restore left.
    ///
    /// # Errors
    /// [`TargetError`] as kinds 11, 13 and 78; 18 if the file system lacks `needed` bytes; disk errors.
    pub(crate) fn lock(
        dir: &Path,
        existing: Existing,
        shared: SharedDirectories,
        needed: u64,
        run_id: &str,
        now: u64,
    ) -> Result<RestoreTarget, Error> {
        let dir = resolve(dir)?;
        let (parent, name) = open_parent(&dir)?;
        refuse_shared(shared, &parent, existing_directory(&parent, &name)?.as_ref())?;
        let mut lock = RunLock::take(&parent, &sibling(&name, "lock"))?;
        let stale = lock.stale_run().map(str::to_owned);
        let begun = (|| {
            finish_interrupted(&parent, &name, now)?;
            let neo4j = match judge(&parent, &name, existing)? {
                Occupant::Database => {
                    let found = parent.folder(&name).map_err(DiskError::at(&dir))?;
                    let lock = Neo4jLock::take(&found)?;
                    refuse_if_open(&found)?;
                    Some(lock)
                }
                _ => None,
            };
            has_room(&parent, &dir, needed)?;
            lock.note(run_id, stale, now)?;
            Ok(neo4j)
        })();
        match begun {
            Ok(neo4j) => Ok(RestoreTarget {
                parent,
                name,
                dir,
                lock,
                _neo4j: neo4j,
            }),
            Err(error) => {
                // it tells the next backup that its predecessor did not end
                if !lock.is_stale() {
                    lock.remove();
                }
                Err(error)
            }
        }
    }

    /// The target itself, links in its name resolved.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates the directory to restore into, for this user alone until it is given away. What is created in it
    /// is given to `owner`; by default root gives it to the owner of what it replaces, or of the parent directory. The mode
    /// is that of what it replaces; a new directory is private.
    ///
    /// # Errors
    /// Disk errors; of kind [`ErrorKind::Configuration`] if this process may not give files to `owner`.
    pub(crate) fn create_staging(&self, owner: Option<Ids>) -> Result<DirHandle, Error> {
        let name = self.staging_name();
        let path = self.parent.join(&name);
        let staging = self.parent.create_folder(&name).map_err(DiskError::at(&path))?;
        let made = staging.status().map_err(DiskError::at(&path))?;
        let staging = staging.with_new_files(self.new_files(owner, &made)?);
        let marker = staging.create_new(MARKER);
        drop(marker.map_err(DiskError::at(staging.join(MARKER)))?);
        if let (Some(_), Some(refused)) = (owner, staging.new_files().refused()) {
            let text = format!("{}: {refused}", path.display());
            return Err(
                Error::new(ErrorKind::Configuration, text).with_hint("run the restore as root, or leave the owner out")
            );
        }
        durable::sync(&self.parent)?;
        Ok(staging)
    }

    /// What restored files get, in a directory that was `made`.
    fn new_files(&self, owner: Option<Ids>, made: &EntryStatus) -> Result<NewFiles, DiskError> {
        let (model, new_files) = match self.parent.status_of(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = self.parent.status().map_err(DiskError::at(self.parent.path()))?;
                (parent, NewFiles::default())
            }
            found => {
                let replaced = found.map_err(DiskError::at(&self.dir))?;
                let like = NewFiles::default().with_mode(replaced.mode() | 0o700);
                (replaced, like)
            }
        };
        Ok(match owner {
            Some(ids) => new_files.owned_by(ids.user.unwrap_or(made.owner()), ids.group.unwrap_or(made.group())),
            None if geteuid().is_root() => new_files.owned_by(model.owner(), model.group()),
            None => new_files,
        })
    }

    /// Puts the restored database, all of it durable, in place; returns where the one that was there is now.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Configuration`] if the file system cannot exchange two directories; disk errors.
    pub(crate) fn publish(&self, now: u64) -> Result<Option<PathBuf>, Error> {
        let (parent, staging) = (&self.parent, self.staging_name());
        match occupant(parent, &self.name)? {
            Occupant::Absent => rename(parent, &staging, &self.name)?,
            Occupant::Empty => parent.rename(&staging, &self.name).map_err(DiskError::at(&self.dir))?,
            Occupant::Foreign => return Err(TargetError::Foreign { path: self.dir.clone() }.into()),
            Occupant::Database if exchange(parent, &staging, &self.name)? => {}
            Occupant::Database => {
                let text = format!(
                    "{}: its file system cannot exchange two directories atomically",
                    self.dir.display()
                );
                return Err(Error::new(ErrorKind::Configuration, text)
                    .with_hint("move the existing database away, then restore without replacing"));
            }
        }
        durable::sync(parent)?;
        finish_interrupted(parent, &self.name, now)
    }

    /// Removes the restored files; what cannot be removed is left to the next restore.
    pub(crate) fn discard_staging(&self) {
        let _ = remove_staging(&self.parent, &self.staging_name());
    }

    /// Ends the run. A failed one leaves the note that an interrupted backup left.
    pub(crate) fn release<T>(self, result: &Result<T, Error>) {
        if result.is_ok() || !self.lock.is_stale() {
            self.lock.remove();
        }
    }

    fn staging_name(&self) -> OsString {
        sibling(&self.name, "restoring")
    }
}

/// The directory at the target, if there is one.
fn existing_directory(parent: &DirHandle, name: &OsStr) -> Result<Option<DirHandle>, DiskError> {
    match parent.folder(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some).map_err(DiskError::at(parent.join(name))),
    }
}

fn judge(parent: &DirHandle, name: &OsStr, existing: Existing) -> Result<Occupant, Error> {
    let path = parent.join(name);
    if is_mount_point(parent, name)? {
        return Err(TargetError::MountPoint { path }.into());
    }
    let found = occupant(parent, name)?;
    match (found, existing) {
        (Occupant::Database, Existing::Refused) => {
            let text = format!("{} already contains a database", path.display());
            Err(Error::new(ErrorKind::NotOurs, text)
                .with_hint("name another directory, or replace it; it is then kept under another name")
                .see(&[Setting::Replace]))
        }
        (Occupant::Foreign, _) => Err(TargetError::Foreign { path }.into()),
        _ => Ok(found),
    }
}

/// Refuses a database whose `neostore` another process has open. A server of 1.3 loses its only lock when it serves a
/// backup: the lock is on `neostore`, and closing any descriptor of a file drops a POSIX lock on it.
fn refuse_if_open(dir: &DirHandle) -> Result<(), Error> {
    let store = "neostore";
    let Ok(found) = dir.status_of(store) else {
        return Ok(());
    };
    match open_files::other_process_with(&found) {
        Some(pid) => {
            let text = format!("{}: open in process {pid}", dir.join(store).display());
            Err(Error::new(ErrorKind::TargetInUse, text).with_hint("shut Neo4j down and run again"))
        }
        None => Ok(()),
    }
}

fn has_room(parent: &DirHandle, dir: &Path, needed: u64) -> Result<(), Error> {
    let free = free_space::free(parent)?;
    if needed <= free {
        return Ok(());
    }
    let text = format!(
        "{}: the restored database needs about {needed} bytes, and its file system has {free}",
        dir.display()
    );
    Err(Error::new(ErrorKind::NoSpace, text).with_hint("free some space there, or restore to another file system"))
}

/// Takes steps 4 and 5, or removes a directory that was not complete; returns the new place of the old database.
fn finish_interrupted(parent: &DirHandle, name: &OsStr, now: u64) -> Result<Option<PathBuf>, Error> {
    let staging = sibling(name, "restoring");
    let mut before = None;
    if parent.has(&staging) {
        match occupant(parent, &staging)? {
            _ if has_marker(parent, &staging) => remove_staging(parent, &staging)?,
            Occupant::Absent | Occupant::Empty => remove_staging(parent, &staging)?,
            Occupant::Database if has_marker(parent, name) => before = Some(keep(parent, name, &staging, now)?),
            Occupant::Database | Occupant::Foreign => {
                let path = parent.join(staging);
                return Err(TargetError::Foreign { path }.into());
            }
        }
    }
    if has_marker(parent, name) {
        let dir = parent.folder(name).map_err(DiskError::at(parent.join(name)))?;
        durable::remove(&dir, MARKER)?;
        durable::sync(&dir)?;
    }
    Ok(before)
}

fn has_marker(parent: &DirHandle, name: &OsStr) -> bool {
    parent.has(Path::new(name).join(MARKER))
}

/// Renames the replaced database to a name that is free.
fn keep(parent: &DirHandle, name: &OsStr, replaced: &OsStr, now: u64) -> Result<PathBuf, Error> {
    let time = timestamp(now);
    let mut number = 1;
    let free = loop {
        let suffix = match number {
            1 => format!("before-{time}"),
            _ => format!("before-{time}-{number}"),
        };
        let free = sibling(name, &suffix);
        if !parent.has(&free) {
            break free;
        }
        number += 1;
    };
    rename(parent, replaced, &free)?;
    durable::sync(parent)?;
    Ok(parent.join(free))
}

/// Removes a directory so that what is left of it by a kill still has the marker.
fn remove_staging(parent: &DirHandle, name: &OsStr) -> Result<(), DiskError> {
    if parent.has(name) {
        remove_with_last(parent, name, MARKER)?;
    }
    Ok(())
}

/// `20121010T082000Z` of milliseconds since 1970.
fn timestamp(now: u64) -> String {
    context::timestamp(now).strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: u64 = 1_349_857_200_123;

    fn database(path: &Path, content: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("neostore"), content).unwrap();
    }

    fn content(path: &Path) -> String {
        fs::read_to_string(path.join("neostore")).unwrap()
    }

    fn lock(dir: &Path, existing: Existing) -> Result<RestoreTarget, Error> {
        RestoreTarget::lock(dir, existing, SharedDirectories::Refused, 0, "run", NOW)
    }

    #[test]
    fn the_replaced_database_is_kept_and_nothing_else_is_left() {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("graph.db");
        database(&dir, "old");
        assert_eq!(lock(&dir, Existing::Refused).unwrap_err().kind(), ErrorKind::NotOurs);
        let target = lock(&dir, Existing::Kept).unwrap();
        database(target.create_staging(None).unwrap().path(), "new");
        let before = target.publish(NOW).unwrap().unwrap();
        target.release(&Ok(()));
        assert_eq!(before, work.path().join("graph.db.before-20121010T082000Z"));
        assert_eq!((content(&dir), content(&before)), ("new".to_owned(), "old".to_owned()));
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_restore_that_was_killed_at_any_step_loses_neither_database() {
        for killed_at in 0..4 {
            let work = tempfile::tempdir().unwrap();
            let (dir, staging) = (work.path().join("graph.db"), work.path().join("graph.db.restoring"));
            let before = work.path().join("graph.db.before-20121010T082000Z");
            database(&dir, "old");
            fs::create_dir(&staging).unwrap();
            if killed_at >= 1 {
                fs::write(staging.join(MARKER), "").unwrap();
                database(&staging, "new");
            }
            if killed_at >= 2 {
                let parent = DirHandle::open(work.path()).unwrap();
                let names = ["graph.db.restoring", "graph.db"].map(OsStr::new);
                assert!(exchange(&parent, names[0], names[1]).unwrap());
            }
            if killed_at >= 3 {
                fs::rename(&staging, &before).unwrap();
            }
            let target = lock(&dir, Existing::Kept).unwrap();
            assert!(!staging.exists(), "{killed_at}");
            assert!(!dir.join(MARKER).exists(), "{killed_at}");
            if killed_at >= 2 {
                assert_eq!((content(&dir), content(&before)), ("new".to_owned(), "old".to_owned()));
            } else {
                assert_eq!(content(&dir), "old");
            }
            target.release(&Ok(()));
        }
    }

    #[test]
    fn a_database_that_no_restore_left_is_not_touched() {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("graph.db");
        database(&work.path().join("graph.db.restoring"), "someone's");
        assert_eq!(lock(&dir, Existing::Kept).unwrap_err().kind(), ErrorKind::NotOurs);
        assert_eq!(content(&work.path().join("graph.db.restoring")), "someone's");
        assert!(!work.path().join("graph.db.lock").exists());
    }

    #[test]
    fn an_open_database_is_refused() {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("graph.db");
        database(&dir, "old");
        let _open = Neo4jLock::take(&DirHandle::open(&dir).unwrap()).unwrap();
        for refused in [
            lock(&dir, Existing::Kept).unwrap_err(),
            RestoreTarget::judge(&dir, Existing::Kept, SharedDirectories::Refused, 0).unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::TargetInUse);
        }
    }
}
