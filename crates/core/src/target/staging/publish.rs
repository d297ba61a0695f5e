//! A new backup from its empty staging directory to its place at the target.

use std::{ffi::OsStr, io};

use super::{
    Leftover, Occupant, Target, TargetError,
    directories::{exchange, occupant, remove_manifest_last, remove_ours, rename},
};
use crate::{Error, file_system, manifest::MANIFEST, progress::Progress};
use neo4j_format::{DirHandle, DiskError, directory::NewFiles, store::neo4j_lock::Neo4jLock};

/// Set-group-ID: what is created in a directory gets its group.
const SETGID: u32 = 0o2000;

impl Target {
    /// Checks, before anything is received, that the existing backup can be replaced.
    ///
    /// # Errors
    /// [`TargetError::MountPoint`], [`TargetError::CannotRename`], [`TargetError::ForeignSibling`]; disk errors.
    pub fn require_replaceable(&self, progress: &dyn Progress) -> Result<(), Error> {
        self.site.refuse_mount_point()?;
        self.remove_partial()?;
        let result = self.try_exchange(progress);
        self.discard_partial();
        result
    }

    /// Exchanges two directories in `.partial`, and asks whether the target can be renamed at all if that is refused.
    fn try_exchange(&self, progress: &dyn Progress) -> Result<(), Error> {
        let name = self.site.partial_name();
        let partial = self.site.parent.create_folder(&name);
        let partial = partial.map_err(DiskError::at(self.site.parent.join(&name)))?;
        // with it, a later run knows what is left by a kill as ours
        partial
            .create_new(MANIFEST)
            .map_err(DiskError::at(partial.join(MANIFEST)))?;
        let (one, other) = (OsStr::new("one"), OsStr::new("other"));
        for name in [one, other] {
            partial.create_folder(name).map_err(DiskError::at(partial.join(name)))?;
        }
        if is_overlay(&self.site.parent)? {
            // no directory is renamed over one that is not empty; one of a lower layer is not renamed at all
            match self.site.parent.rename(&self.site.name, &name) {
                Err(source) if source.kind() == io::ErrorKind::CrossesDevices => {
                    let path = self.site.dir.clone();
                    return Err(TargetError::CannotRename { path, source }.into());
                }
                _ => {}
            }
        }
        if exchange(&partial, one, other)? {
            return Ok(());
        }
        let replaced = self.site.replaced_name();
        let path = self.site.parent.join(&replaced);
        if occupant(&self.site.parent, &replaced)? != Occupant::Absent {
            let why = "was not left by an interrupted run";
            return Err(TargetError::ForeignSibling { path, why }.into());
        }
        progress.warning(&format!(
            "{}: its file system cannot exchange two directories: for a moment, the backup will only exist as {} and {}",
            self.site.dir.display(),
            self.site.ready().display(),
            path.display()
        ));
        Ok(())
    }

    /// Creates an empty `.partial`, for this user alone until [`Target::make_ready`]. What is created in it gets the
    /// owner, group and mode of the target, or of a new directory with this `mode`.
    ///
    /// # Errors
    /// [`TargetError::Foreign`]; disk errors.
    pub fn create_partial(&self, mode: Option<u32>) -> Result<DirHandle, Error> {
        self.remove_partial()?;
        let new_files = self.new_files(mode)?;
        let name = self.site.partial_name();
        let partial = self
            .site
            .parent
            .create_folder(&name)
            .map_err(DiskError::at(self.site.parent.join(&name)))?;
        self.sync_parent()?;
        Ok(partial.with_new_files(new_files))
    }

    /// What a full backup gives to the files it creates.
    fn new_files(&self, mode: Option<u32>) -> Result<NewFiles, Error> {
        if let Ok(existing) = self.site.parent.status_of(&self.site.name) {
            return Ok(NewFiles::like(&existing));
        }
        let parent = self
            .site
            .parent
            .status()
            .map_err(DiskError::at(self.site.parent.path()))?;
        let mut new_files = NewFiles::default();
        // root works for the owner of the parent directory
        if rustix::process::geteuid().is_root() && parent.owner() != 0 {
            new_files = new_files.owned_by(parent.owner(), parent.group());
        }
        if let Some(mode) = mode {
            new_files = new_files.with_mode(mode | parent.mode() & SETGID);
        }
        Ok(new_files)
    }

    /// Declares `partial`, all of it durable, to be complete.
    ///
    /// # Errors
    /// Disk errors.
    pub fn make_ready(&self, partial: &DirHandle) -> Result<(), Error> {
        let ready = self.site.ready_name();
        if let Leftover::Stranger(why) = self.left_over {
            return Err(TargetError::ForeignSibling {
                path: self.site.ready(),
                why,
            }
            .into());
        }
        remove_ours(&self.site.parent, &ready)?;
        partial
            .give(partial.new_files())
            .map_err(DiskError::at(partial.path()))?;
        rename(&self.site.parent, &self.site.partial_name(), &ready)?;
        let named = self
            .site
            .parent
            .status_of(&ready)
            .map_err(DiskError::at(self.site.ready()))?;
        let own = partial.status().map_err(DiskError::at(partial.path()))?;
        if named.identity() != own.identity() {
            let why = "was replaced by another process during this run";
            return Err(TargetError::ForeignSibling {
                path: self.site.ready(),
                why,
            }
            .into());
        }
        self.sync_parent()
    }

    /// Exchanges `.ready` with the existing target and then removes the old one.
    ///
    /// # Errors
    /// [`TargetError`]; disk errors.
    pub fn publish(&self) -> Result<(), Error> {
        let (parent, ready) = (&self.site.parent, self.site.ready_name());
        let old = match self.site.occupant()? {
            Occupant::Absent => {
                rename(parent, &ready, &self.site.name)?;
                None
            }
            Occupant::Empty => {
                parent
                    .rename(&ready, &self.site.name)
                    .map_err(DiskError::at(&self.site.dir))?;
                None
            }
            Occupant::Foreign => {
                return Err(TargetError::Foreign {
                    path: self.site.dir.clone(),
                }
                .into());
            }
            Occupant::Database => {
                self.site.refuse_mount_point()?;
                let _lock = Neo4jLock::take(&self.site.open()?)?;
                if exchange(parent, &ready, &self.site.name)? {
                    Some(ready)
                } else {
                    self.replace_in_two_steps()?;
                    Some(self.site.replaced_name())
                }
            }
        };
        self.half_published.set(true);
        self.sync_parent()?;
        if let Some(old) = old {
            remove_manifest_last(parent, &old)?;
            self.sync_parent()?;
        }
        self.half_published.set(false);
        Ok(())
    }

    /// Gives the old backup another name, and the new one its. Between the two, [`Target::put_back`] is the way back.
    fn replace_in_two_steps(&self) -> Result<(), Error> {
        let (parent, replaced) = (&self.site.parent, self.site.replaced_name());
        if let Err(error) = rename(parent, &self.site.name, &replaced) {
            let (path, source) = (self.site.dir.clone(), file_system::copy(error.cause()));
            return Err(TargetError::CannotRename { path, source }.into());
        }
        let renamed = self
            .sync_parent()
            .and_then(|()| Ok(rename(parent, &self.site.ready_name(), &self.site.name)?));
        if renamed.is_err() {
            rename(parent, &replaced, &self.site.name)?;
            self.sync_parent()?;
        }
        renamed
    }
}

/// Whether `dir` is on overlayfs.
fn is_overlay(dir: &DirHandle) -> Result<bool, DiskError> {
    const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;
    let found = rustix::fs::fstatfs(dir).map_err(|e| DiskError::new(dir.path(), e.into()))?;
    Ok(found.f_type == OVERLAYFS)
}
