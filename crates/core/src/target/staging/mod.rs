//! The target directory and its siblings: lock, staging, atomic publish. Nothing but directory suffixes records a state.
//!
//! | step | on disk | found at the next start → do |
//! |---|---|---|
//! | 1 lock `DIR.lock`, create `DIR.partial` | empty `.partial` | delete it, start again |
//! | 2 receive, replay, seal, fsync all | `.partial` with a manifest | delete it, start again: the source has moved on |
//! | 3 rename `.partial` → `DIR.ready`, fsync parent | complete `.ready` | publish it first ([`Leftover::Ready`]) |
//! | 4 rename or exchange `.ready` → `DIR`, fsync parent | `DIR` new, `.ready` is the replaced backup or gone | remove `.ready` if `DIR`'s manifest says that it replaced it |
//! | 4a without an exchange: rename `DIR` → `.replaced` | no `DIR`, complete `.ready`, `.replaced` is the old backup | rename `.replaced` → `DIR`, then as after 3 |
//! | 4b rename `.ready` → `DIR` | `DIR` new, `.replaced` is the replaced backup | remove `.replaced` if `DIR`'s manifest says that it replaced it |
//! | 5 remove what was replaced, unlink `DIR.lock` | `DIR` new | nothing |
//!
//! A `.ready` that does not match its manifest is removed instead of published. A complete one is published only if it may
//! replace `DIR`: the same database, at least as recent, of the same owner; otherwise it is left alone
//! ([`Leftover::Stranger`]). A `.partial` or `.ready` without our manifest is left alone as well, unless it is empty or `DIR`
//! says that it replaced it, and so is a complete `.partial` of a run that `DIR.lock` does not name.
//!
//! A stale `DIR.lock` names the run that did not end. If `DIR` is that run's backup, its success was never reported, so the
//! next full backup may replace it without `-overwrite`.

mod annotate;
pub(crate) mod directories;
mod error;
mod publish;
mod recovery;
mod site;
mod survey;

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    path::Path,
};

use self::directories::{
    identity, is_known_as, manifest_of, occupant, remove_manifest_last, remove_ours, resolve, sibling,
};
use super::{durable, lock::RunLock, owners::SharedDirectories};
use crate::{
    Error,
    manifest::{MANIFEST, Manifest},
};
use neo4j_format::{DirHandle, DiskError};

pub(crate) use annotate::annotate;
pub use directories::Occupant;
pub use error::TargetError;
pub use recovery::Leftover;
pub use site::{Room, TargetSite};
pub(crate) use survey::Survey;

/// A locked target; the lock ends with it.
#[derive(Debug)]
pub struct Target {
    site: TargetSite,
    lock: RunLock,
    left_over: Leftover,
    /// A backup was put in place, but not all that belongs to it succeeded, so its run will end with an error.
    half_published: Cell<bool>,
}

impl Target {
    /// Judges `dir`, locks it for the run `run_id` and removes leftovers of earlier runs.
    ///
    /// # Errors
    /// [`TargetError`] as kinds 11, 13 and 78; disk errors.
    pub(crate) fn lock(dir: &Path, run_id: &str, now: u64, shared: SharedDirectories) -> Result<Target, Error> {
        let site = TargetSite::find(dir, shared)?;
        let lock = RunLock::take(&site.parent, &site.lock_name())?;
        let mut target = Target {
            site,
            lock,
            left_over: Leftover::None,
            half_published: Cell::new(false),
        };
        match target.begin(run_id, now) {
            Ok(()) => Ok(target),
            Err(error) => {
                // what the next run may learn from it was perhaps not read
                if !target.lock.is_stale() {
                    target.lock.remove();
                }
                Err(error)
            }
        }
    }

    fn begin(&mut self, run_id: &str, now: u64) -> Result<(), Error> {
        self.put_back()?;
        let in_place = match self.site.occupant()? {
            Occupant::Database => Manifest::read(&self.site.open()?)?,
            _ => None,
        };
        self.left_over = self
            .site
            .look(in_place.as_ref(), |run| self.lock.leaves_unreported(run))?;
        let unreported = match &self.left_over {
            Leftover::None | Leftover::Stranger(_) => None,
            Leftover::Ready(waiting) => waiting.run_id(),
            Leftover::Unreported => in_place.as_ref().and_then(Manifest::run_id),
        };
        // the old note names the run that left it
        self.remove_partial()?;
        self.lock.note(run_id, unreported.map(str::to_owned), now)?;
        let ready = self.site.ready_name();
        let replaced = in_place.as_ref().and_then(|manifest| manifest.replaces.as_deref());
        let old = self.site.replaced_name();
        if replaced.is_some_and(|name| is_known_as(&self.site.parent, &old, name)) {
            remove_manifest_last(&self.site.parent, &old)?;
        }
        match self.left_over {
            Leftover::Ready(_) | Leftover::Stranger(_) => Ok(()),
            // one without a manifest is known by this alone
            _ if replaced.is_some() && replaced == identity(&self.site.parent, &ready).as_deref() => {
                Ok(remove_manifest_last(&self.site.parent, &ready)?)
            }
            Leftover::None | Leftover::Unreported => remove_ours(&self.site.parent, &ready),
        }
    }

    /// Where it is.
    pub fn site(&self) -> &TargetSite {
        &self.site
    }

    /// Ends the run and removes the lock file. The file stays if the success of the backup in place was not reported: the
    /// next run has to know.
    pub fn release<T>(self, result: &Result<T, Error>) {
        let told = matches!(self.left_over, Leftover::None | Leftover::Stranger(_));
        let untold = self.half_published.get() || !told;
        if result.is_ok() || !untold {
            self.lock.remove();
        }
    }

    /// Removes a `.partial` that will not be needed; what cannot be removed is left for the next run.
    pub fn discard_partial(&self) {
        let _ = self.remove_partial();
    }

    fn sync_parent(&self) -> Result<(), Error> {
        Ok(durable::sync(&self.site.parent)?)
    }
}

/// Refuses a directory that a run is working on, or in which the first one was interrupted; for readers, who leave
/// nothing behind.
///
/// # Errors
/// [`TargetError::Locked`], [`TargetError::FirstRunning`], [`TargetError::Interrupted`]; disk errors.
pub fn refuse_if_at_work(dir: &Path) -> Result<(), Error> {
    let Ok(dir) = resolve(dir) else {
        return Ok(());
    };
    // one who may not look into the parent directory does not see the lock
    let Ok((parent, name)) = open_parent(&dir) else {
        return Ok(());
    };
    let is_first = matches!(occupant(&parent, &name)?, Occupant::Absent | Occupant::Empty);
    let lock = sibling(&name, "lock");
    match RunLock::holder(&parent, &lock)? {
        Some(holder) if is_first => Err(TargetError::FirstRunning { path: dir, holder }.into()),
        Some(holder) => Err(TargetError::Locked {
            path: parent.join(lock),
            holder,
        }
        .into()),
        None if is_first => match manifest_of(&parent, &sibling(&name, "ready")).ok().flatten() {
            Some(waiting) if waiting.is_complete() => Err(TargetError::Waiting { path: dir }.into()),
            _ if began(&parent, &sibling(&name, "partial")) => Err(TargetError::Interrupted { path: dir }.into()),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// The directory in which `dir` lies, held open, and the name of `dir` in it.
pub(crate) fn open_parent(dir: &Path) -> Result<(DirHandle, OsString), DiskError> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let handle = DirHandle::open(parent).map_err(DiskError::at(parent))?;
    Ok((handle, dir.file_name().map(OsString::from).unwrap_or_default()))
}

/// Whether a run of this tool began to write this directory.
fn began(parent: &DirHandle, name: &OsStr) -> bool {
    parent.has_file(Path::new(name).join(MANIFEST))
}
