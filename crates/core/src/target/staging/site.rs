//! Where a target is: what can be known of it and its siblings without a lock.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use super::{
    Leftover, Occupant, TargetError,
    directories::{identity, is_mount_point, manifest_of, occupant, resolve, sibling},
    open_parent,
};
use crate::{
    Error,
    manifest::{BackupKind, Manifest, ManifestError, State},
    target::{
        free_space, links,
        owners::{SharedDirectories, may_be_ours, refuse_shared},
    },
};
use neo4j_format::{DirHandle, DiskError, directory::NewFiles, ids::DataSource, store::Header};

/// The place of a target in its parent directory.
#[derive(Debug)]
pub struct TargetSite {
    /// The directory that it lies in; target and siblings are reached through this handle alone.
    pub(super) parent: DirHandle,
    pub(super) name: OsString,
    pub(super) dir: PathBuf,
}

/// The bytes that a full backup needs, and those that its file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// As many as the last one had.
    pub needed: u64,
    /// For this user.
    pub free: u64,
}

impl TargetSite {
    /// The place that `dir` names, links resolved. Root refuses one in which others can rename, unless that is allowed.
    ///
    /// # Errors
    /// [`TargetError`]; disk errors.
    pub(super) fn find(dir: &Path, shared: SharedDirectories) -> Result<TargetSite, Error> {
        let dir = resolve(dir)?;
        let (parent, name) = open_parent(&dir)?;
        let existing = match parent.folder(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(DiskError::at(&dir))?),
        };
        refuse_shared(shared, &parent, existing.as_ref())?;
        Ok(TargetSite { parent, name, dir })
    }

    /// The target, which must exist, held open. What is created in it follows its owner, group and mode.
    ///
    /// # Errors
    /// Disk errors.
    pub fn open(&self) -> Result<DirHandle, Error> {
        let dir = self.parent.folder(&self.name).map_err(DiskError::at(&self.dir))?;
        let like = NewFiles::like(&dir.status().map_err(DiskError::at(&self.dir))?);
        Ok(dir.with_new_files(like))
    }

    /// The target itself, links in its name resolved.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that a run locks.
    pub(super) fn lock_name(&self) -> OsString {
        sibling(&self.name, "lock")
    }

    /// Where a new backup is received.
    pub(super) fn partial_name(&self) -> OsString {
        sibling(&self.name, "partial")
    }

    /// Where a complete new backup waits for its place.
    pub(super) fn ready_name(&self) -> OsString {
        sibling(&self.name, "ready")
    }

    /// The same for messages.
    pub fn ready(&self) -> PathBuf {
        self.parent.join(self.ready_name())
    }

    /// Where the old backup waits while the new one takes its name, on file systems that cannot exchange the two.
    pub(super) fn replaced_name(&self) -> OsString {
        sibling(&self.name, "replaced")
    }

    /// Identifies the existing backup in the manifest of the one that replaces it, so that the replaced one is
    /// recognized wherever a kill leaves it: by the run in its `manifest`, or by the directory itself if no run is known.
    pub fn to_replace(&self, manifest: Option<&Manifest>) -> Option<String> {
        let run = manifest.and_then(Manifest::run_id).map(str::to_owned);
        run.or_else(|| identity(&self.parent, &self.name))
    }

    /// What stands at the target now.
    ///
    /// # Errors
    /// The file system failed.
    pub fn occupant(&self) -> Result<Occupant, Error> {
        Ok(occupant(&self.parent, &self.name)?)
    }

    /// Refuses a mount point, which cannot get another name.
    ///
    /// # Errors
    /// [`TargetError::MountPoint`]; disk errors.
    pub fn refuse_mount_point(&self) -> Result<(), Error> {
        if is_mount_point(&self.parent, &self.name)? {
            return Err(TargetError::MountPoint { path: self.dir.clone() }.into());
        }
        Ok(())
    }

    /// Whether another full backup fits beside the one in `dir`; its `received` bytes, if they are known, come again.
    ///
    /// # Errors
    /// [`TargetError::NoRoom`]; disk errors.
    pub fn has_room(&self, dir: &DirHandle, received: Option<u64>) -> Result<Room, Error> {
        let needed = free_space::taken(dir)?.max(received.unwrap_or_default());
        let free = free_space::free(&self.parent)?;
        if needed > free {
            let path = self.dir.clone();
            return Err(TargetError::NoRoom { path, needed, free }.into());
        }
        Ok(Room { needed, free })
    }

    /// Bytes that are free for a new backup.
    ///
    /// # Errors
    /// Of the file system.
    pub fn free_space(&self) -> Result<u64, Error> {
        Ok(free_space::free(&self.parent)?)
    }

    /// Refuses a complete `.partial` that was left by none of the runs that `is_left` knows.
    ///
    /// # Errors
    /// [`TargetError::ForeignSibling`].
    pub(super) fn refuse_foreign_partial(&self, is_left: impl Fn(&str) -> bool) -> Result<(), Error> {
        let partial = self.partial_name();
        if let Ok(Some(manifest)) = manifest_of(&self.parent, &partial)
            && manifest.is_complete()
            && !manifest.run_id().is_some_and(is_left)
        {
            let why = "is a complete backup";
            let path = self.parent.join(partial);
            return Err(TargetError::ForeignSibling { path, why }.into());
        }
        Ok(())
    }

    /// What earlier runs left that matters, judged by the existing target; `is_unreported` knows the runs that did
    /// not end.
    pub(super) fn look(
        &self,
        in_place: Option<&Manifest>,
        is_unreported: impl Fn(&str) -> bool,
    ) -> Result<Leftover, Error> {
        let ready = self.ready_name();
        let waiting = match manifest_of(&self.parent, &ready) {
            // it was never reported, and cannot be used
            Err(ManifestError::Damaged { .. }) => None,
            found => found?,
        };
        if let Some(waiting) = waiting {
            let replaced = in_place.and_then(|manifest| manifest.replaces.as_deref());
            let is_replaced = replaced.is_some_and(|replaced| {
                Some(replaced) == waiting.run_id() || Some(replaced) == identity(&self.parent, &ready).as_deref()
            });
            if waiting.state == State::Complete && !is_replaced {
                return Ok(match self.refuses(&waiting, in_place)? {
                    Some(why) => Leftover::Stranger(why),
                    None => Leftover::Ready(Box::new(waiting)),
                });
            }
        }
        let newest = in_place.and_then(|manifest| manifest.chain.last());
        // an incremental that could not say so changed a backup that was known
        Ok(match newest {
            Some(run) if run.mode == BackupKind::Full && is_unreported(&run.run_id) => Leftover::Unreported,
            _ => Leftover::None,
        })
    }

    /// Why a complete backup that waits for its place must not get it: what it would replace is judged as with
    /// `-overwrite`.
    fn refuses(&self, waiting: &Manifest, in_place: Option<&Manifest>) -> Result<Option<&'static str>, Error> {
        let owner = |name: &OsStr| {
            let found = self.parent.status_of(name);
            Ok::<_, DiskError>(found.map_err(DiskError::at(self.parent.join(name)))?.owner())
        };
        let waiting_owner = owner(&self.ready_name())?;
        let replaces = self.occupant()? == Occupant::Database;
        let same_owner = replaces && waiting_owner == owner(&self.name)?;
        if !same_owner && !may_be_ours(waiting_owner, &self.parent)? {
            return Ok(Some("belongs to another user"));
        }
        if !replaces {
            return Ok(None);
        }
        let dir = self.open()?;
        if links::foreign(&dir)?.is_some() {
            return Ok(Some("would remove files that are not part of a backup"));
        }
        let header = Header::open(&dir)?;
        if waiting.store_id != Some(header.store_id()?.into()) {
            return Ok(Some("is of another database"));
        }
        let last = |manifest: &Manifest| manifest.last_transaction(DataSource::Graph).map(|(last, _)| last);
        let has = in_place.and_then(last).unwrap_or(header.last_transaction()?);
        Ok((last(waiting) < Some(has)).then_some("is older than the one in place"))
    }
}
