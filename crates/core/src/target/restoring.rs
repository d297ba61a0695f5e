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
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    durable, free_space,
    lock::RunLock,
    staging::{
        Occupant, TargetError,
        directories::{chown_tree, exchange, is_mount_point, occupant, rename, resolve, sibling},
    },
};
use crate::{Error, ErrorKind, error::Setting};
use neo4j_format::{
    DiskError,
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
    pub(crate) fn judge(dir: &Path, existing: Existing, needed: u64) -> Result<(), Error> {
        let dir = resolve(dir)?;
        let path = sibling(&dir, "lock");
        if let Some(holder) = RunLock::holder(&path)? {
            return Err(TargetError::Locked { path, holder }.into());
        }
        if let Some(holder) = neo4j_lock::holder(&dir) {
            let path = dir.join("neostore");
            return Err(LockError::Held { path, holder }.into());
        }
        if judge(&dir, existing)? == Occupant::Database {
            refuse_if_open(&dir)?;
        }
        has_room(&dir, needed)
    }

    /// Locks `dir` against other runs and against Neo4j, and finishes or removes what an interrupted restore left.
    ///
    /// # Errors
    /// [`TargetError`] as kinds 11, 13 and 78; 18 if the file system lacks `needed` bytes; disk errors.
    pub(crate) fn lock(
        dir: &Path,
        existing: Existing,
        needed: u64,
        run_id: &str,
        now: u64,
    ) -> Result<RestoreTarget, Error> {
        let dir = resolve(dir)?;
        let mut lock = RunLock::take(sibling(&dir, "lock"))?;
        let stale = lock.stale_run().map(str::to_owned);
        let begun = (|| {
            finish_interrupted(&dir, now)?;
            let occupant = judge(&dir, existing)?;
            let neo4j = match occupant {
                Occupant::Database => {
                    let lock = Neo4jLock::take(&dir)?;
                    refuse_if_open(&dir)?;
                    Some(lock)
                }
                _ => None,
            };
            has_room(&dir, needed)?;
            lock.note(run_id, stale, now)?;
            Ok(neo4j)
        })();
        match begun {
            Ok(neo4j) => Ok(RestoreTarget {
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

    /// Creates the directory to restore into; its mode and owner are those of the database that it replaces, or of the
    /// parent directory.
    ///
    /// # Errors
    /// Disk errors; of kind [`ErrorKind::Configuration`] if this process may not give files to `owner`.
    pub(crate) fn create_staging(&self, owner: Option<Ids>) -> Result<PathBuf, Error> {
        let staging = self.staging();
        fs::create_dir(&staging).map_err(DiskError::at(&staging))?;
        let marker = staging.join(MARKER);
        File::create(&marker).map_err(DiskError::at(&marker))?;
        let model = self.model()?;
        let mode = fs::Permissions::from_mode(model.mode() & 0o777 | 0o700);
        fs::set_permissions(&staging, mode).map_err(DiskError::at(&staging))?;
        if let Some(ids) = owner {
            lchown(&staging, ids.user, ids.group).map_err(|error| {
                let text = format!("{}: cannot change its owner: {error}", staging.display());
                Error::new(ErrorKind::Configuration, text).with_hint("run the restore as root, or leave the owner out")
            })?;
        }
        durable::sync(self.parent())?;
        Ok(staging)
    }

    /// Gives the restored files to `owner`, or to the owner of what they replace if this process is root.
    ///
    /// # Errors
    /// Disk errors.
    pub(crate) fn give_away(&self, owner: Option<Ids>) -> Result<(), Error> {
        let staging = self.staging();
        let (uid, gid) = match owner {
            Some(ids) => {
                let now = fs::metadata(&staging).map_err(DiskError::at(&staging))?;
                (ids.user.unwrap_or(now.uid()), ids.group.unwrap_or(now.gid()))
            }
            None if rustix::process::geteuid().is_root() => {
                let model = self.model()?;
                (model.uid(), model.gid())
            }
            None => return Ok(()),
        };
        Ok(chown_tree(&staging, uid, gid)?)
    }

    /// Puts the restored database, all of it durable, in place; returns where the one that was there is now.
    ///
    /// # Errors
    /// [`TargetError::NoExchange`]; disk errors.
    pub(crate) fn publish(&self, now: u64) -> Result<Option<PathBuf>, Error> {
        let staging = self.staging();
        match occupant(&self.dir)? {
            Occupant::Absent => rename(&staging, &self.dir)?,
            Occupant::Empty => fs::rename(&staging, &self.dir).map_err(DiskError::at(&self.dir))?,
            Occupant::Foreign => return Err(TargetError::Foreign { path: self.dir.clone() }.into()),
            Occupant::Database if exchange(&staging, &self.dir)? => {}
            Occupant::Database => {
                let text = format!(
                    "{}: its file system cannot exchange two directories atomically",
                    self.dir.display()
                );
                return Err(Error::new(ErrorKind::Configuration, text)
                    .with_hint("move the existing database away, then restore without replacing"));
            }
        }
        durable::sync(self.parent())?;
        finish_interrupted(&self.dir, now)
    }

    /// Removes the restored files; what cannot be removed is left to the next restore.
    pub(crate) fn discard_staging(&self) {
        let _ = remove_staging(&self.staging());
    }

    /// Ends the run. A failed one leaves the note that an interrupted backup left.
    pub(crate) fn release<T>(self, result: &Result<T, Error>) {
        if result.is_ok() || !self.lock.is_stale() {
            self.lock.remove();
        }
    }

    fn staging(&self) -> PathBuf {
        sibling(&self.dir, "restoring")
    }

    fn parent(&self) -> &Path {
        self.dir.parent().unwrap_or(Path::new("/"))
    }

    /// Whose mode and owner the restored directory gets.
    fn model(&self) -> Result<fs::Metadata, DiskError> {
        let model = if occupant(&self.dir)? == Occupant::Absent {
            self.parent()
        } else {
            &self.dir
        };
        fs::metadata(model).map_err(DiskError::at(model))
    }
}

fn judge(dir: &Path, existing: Existing) -> Result<Occupant, Error> {
    if is_mount_point(dir)? {
        return Err(TargetError::MountPoint { path: dir.to_owned() }.into());
    }
    let found = occupant(dir)?;
    match (found, existing) {
        (Occupant::Database, Existing::Refused) => {
            let text = format!("{} already contains a database", dir.display());
            Err(Error::new(ErrorKind::NotOurs, text)
                .with_hint("name another directory, or replace it; it is then kept under another name")
                .see(&[Setting::Replace]))
        }
        (Occupant::Foreign, _) => Err(TargetError::Foreign { path: dir.to_owned() }.into()),
        _ => Ok(found),
    }
}

/// Refuses a database whose `neostore` another process has open. A server of 1.3 loses its only lock when it serves a
/// backup: the lock is on `neostore`, and closing any descriptor of a file drops a POSIX lock on it.
fn refuse_if_open(dir: &Path) -> Result<(), Error> {
    let path = dir.join("neostore");
    let Ok(store) = fs::metadata(&path) else {
        return Ok(());
    };
    let is_store = |found: &fs::Metadata| (found.dev(), found.ino()) == (store.dev(), store.ino());
    // a process of another user cannot be looked into, and may end meanwhile
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let mut files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if pid != std::process::id() && files.any(|file| fs::metadata(file.path()).is_ok_and(|found| is_store(&found)))
        {
            let text = format!("{}: open in process {pid}", path.display());
            return Err(Error::new(ErrorKind::TargetInUse, text).with_hint("shut Neo4j down and run again"));
        }
    }
    Ok(())
}

fn has_room(dir: &Path, needed: u64) -> Result<(), Error> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
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
fn finish_interrupted(dir: &Path, now: u64) -> Result<Option<PathBuf>, Error> {
    let staging = sibling(dir, "restoring");
    let has_marker = |dir: &Path| fs::symlink_metadata(dir.join(MARKER)).is_ok();
    let mut before = None;
    if fs::symlink_metadata(&staging).is_ok() {
        match occupant(&staging)? {
            _ if has_marker(&staging) => remove_staging(&staging)?,
            Occupant::Absent | Occupant::Empty => remove_staging(&staging)?,
            Occupant::Database if has_marker(dir) => before = Some(keep(dir, &staging, now)?),
            Occupant::Database | Occupant::Foreign => return Err(TargetError::Foreign { path: staging }.into()),
        }
    }
    if has_marker(dir) {
        durable::remove(&dir.join(MARKER))?;
        durable::sync(dir)?;
    }
    Ok(before)
}

/// Renames the replaced database to a name that is free.
fn keep(dir: &Path, replaced: &Path, now: u64) -> Result<PathBuf, Error> {
    let time = timestamp(now);
    let mut number = 1;
    let free = loop {
        let suffix = match number {
            1 => format!("before-{time}"),
            _ => format!("before-{time}-{number}"),
        };
        let path = sibling(dir, &suffix);
        if fs::symlink_metadata(&path).is_err() {
            break path;
        }
        number += 1;
    };
    rename(replaced, &free)?;
    durable::sync(dir.parent().unwrap_or(Path::new("/")))?;
    Ok(free)
}

/// Removes a directory so that what is left of it by a kill still has the marker.
fn remove_staging(staging: &Path) -> Result<(), DiskError> {
    let entries = match fs::read_dir(staging) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DiskError::new(staging, e)),
    };
    for entry in entries {
        let entry = entry.map_err(DiskError::at(staging))?;
        if entry.file_name() != MARKER {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.map_err(DiskError::at(entry.path()))?;
        }
    }
    fs::remove_dir_all(staging).map_err(DiskError::at(staging))
}

/// `20121010T082000Z` of milliseconds since 1970.
fn timestamp(now: u64) -> String {
    let time = i64::try_from(now)
        .ok()
        .and_then(|now| Timestamp::from_millisecond(now).ok());
    time.unwrap_or(Timestamp::MAX).strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
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
        RestoreTarget::lock(dir, existing, 0, "run", NOW)
    }

    #[test]
    fn the_replaced_database_is_kept_and_nothing_else_is_left() {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("graph.db");
        database(&dir, "old");
        assert_eq!(lock(&dir, Existing::Refused).unwrap_err().kind(), ErrorKind::NotOurs);
        let target = lock(&dir, Existing::Kept).unwrap();
        database(&target.create_staging(None).unwrap(), "new");
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
                assert!(exchange(&staging, &dir).unwrap());
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
        let _open = Neo4jLock::take(&dir).unwrap();
        for refused in [
            lock(&dir, Existing::Kept).unwrap_err(),
            RestoreTarget::judge(&dir, Existing::Kept, 0).unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::TargetInUse);
        }
    }
}
