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

pub(super) mod directories;
mod error;

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use self::directories::{
    exchange, identity, is_known_as, is_mount_point, manifest_of, occupant, remove_manifest_last, remove_ours, rename,
    resolve, sibling,
};
use super::{
    durable, free_space, links,
    lock::RunLock,
    owners::{SharedDirectories, may_be_ours, refuse_shared},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    file_system,
    manifest::{BackupKind, MANIFEST, Manifest, ManifestError, State, document::StoreIdText},
    progress::Progress,
    verify::{VerifyVerdict, verify},
};
use neo4j_format::{
    DirHandle, DiskError,
    directory::NewFiles,
    ids::DataSource,
    store::{Header, neo4j_lock::Neo4jLock},
};

pub use directories::Occupant;
pub use error::TargetError;

/// Set-group-ID: what is created in a directory gets its group.
const SETGID: u32 = 0o2000;

/// What an earlier run left beside the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing that matters any more.
    None,
    /// A backup that was complete but not yet in place.
    Ready(Box<Manifest>),
    /// The backup in place is one whose run was stopped before it could say so.
    Unreported,
    /// A complete backup has the name under which a run would leave one, but must not replace the one in place.
    Stranger(&'static str),
}

/// A locked target; the lock ends with it.
#[derive(Debug)]
pub struct Target {
    /// The directory that it lies in; target and siblings are reached through this handle alone.
    parent: DirHandle,
    name: OsString,
    dir: PathBuf,
    lock: RunLock,
    left_over: Leftover,
    /// A backup was put in place, but not all that belongs to it succeeded, so its run will end with an error.
    half_published: Cell<bool>,
}

impl Target {
    /// Judges `dir`, locks it for the run `run_id` and clears away what earlier runs left and nobody needs.
    ///
    /// # Errors
    /// [`TargetError`] as kinds 11, 13 and 78; disk errors.
    pub(crate) fn lock(dir: &Path, run_id: &str, now: u64, shared: SharedDirectories) -> Result<Target, Error> {
        let dir = resolve(dir)?;
        let (parent, name) = open_parent(&dir)?;
        let existing = match parent.folder(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(DiskError::at(&dir))?),
        };
        refuse_shared(shared, &parent, existing.as_ref())?;
        let lock = RunLock::take(&parent, &sibling(&name, "lock"))?;
        let mut target = Target {
            parent,
            name,
            dir,
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
        let in_place = match self.occupant()? {
            Occupant::Database => Manifest::read(&self.open()?)?,
            _ => None,
        };
        self.left_over = self.look(in_place.as_ref())?;
        let unreported = match &self.left_over {
            Leftover::None | Leftover::Stranger(_) => None,
            Leftover::Ready(waiting) => waiting.run_id(),
            Leftover::Unreported => in_place.as_ref().and_then(Manifest::run_id),
        };
        // the old note names the run that left it
        self.remove_partial()?;
        self.lock.note(run_id, unreported.map(str::to_owned), now)?;
        let ready = self.ready_name();
        let replaced = in_place.as_ref().and_then(|manifest| manifest.replaces.as_deref());
        let old = self.replaced_name();
        if replaced.is_some_and(|name| is_known_as(&self.parent, &old, name)) {
            remove_manifest_last(&self.parent, &old)?;
        }
        match self.left_over {
            Leftover::Ready(_) | Leftover::Stranger(_) => Ok(()),
            // one without a manifest is known by this alone
            _ if replaced.is_some() && replaced == identity(&self.parent, &ready).as_deref() => {
                Ok(remove_manifest_last(&self.parent, &ready)?)
            }
            Leftover::None | Leftover::Unreported => remove_ours(&self.parent, &ready),
        }
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

    /// Where a new backup is received.
    fn partial_name(&self) -> OsString {
        sibling(&self.name, "partial")
    }

    /// Where a complete new backup waits for its place.
    fn ready_name(&self) -> OsString {
        sibling(&self.name, "ready")
    }

    /// The same for messages.
    pub fn ready(&self) -> PathBuf {
        self.parent.join(self.ready_name())
    }

    /// Where the old backup waits while the new one takes its name, on file systems that cannot exchange the two.
    fn replaced_name(&self) -> OsString {
        sibling(&self.name, "replaced")
    }

    /// Gives the old backup its name again where a run ended between two renames.
    fn put_back(&self) -> Result<(), Error> {
        let (parent, replaced) = (&self.parent, self.replaced_name());
        if self.occupant()? != Occupant::Absent || occupant(parent, &replaced)? != Occupant::Database {
            return Ok(());
        }
        let waiting = manifest_of(parent, &self.ready_name()).ok().flatten();
        let Some(waiting) = waiting.filter(|waiting| waiting.state == State::Complete) else {
            return Ok(());
        };
        let is_named = waiting
            .replaces
            .is_some_and(|name| is_known_as(parent, &replaced, &name));
        // one that waited for longer may replace a backup that is newer than it knows
        let is_left = || {
            let old = parent.folder(&replaced).ok();
            self.lock.is_stale() && waiting.store_id == old.as_ref().and_then(store_id)
        };
        if is_named || is_left() {
            rename(parent, &replaced, &self.name)?;
            self.sync_parent()?;
        }
        Ok(())
    }

    /// What was found beside the target when it was locked.
    pub fn left_over(&self) -> &Leftover {
        &self.left_over
    }

    /// Puts a backup that waits for its place there, if it is as it was when it was complete, and removes it otherwise.
    /// Whether one was put in place.
    ///
    /// # Errors
    /// As [`Target::publish`]; the run was cancelled.
    pub fn recover_interrupted_run(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<bool, Error> {
        let ready = self.ready();
        match &self.left_over {
            Leftover::None | Leftover::Unreported => return Ok(false),
            Leftover::Stranger(why) => {
                let ready = ready.display();
                progress.warning(&format!("{ready}: a complete backup, which {why}; it is left alone"));
                return Ok(false);
            }
            Leftover::Ready(_) => {}
        }
        let waiting = self.parent.folder(&ready).map_err(DiskError::at(&ready))?;
        let found = verify(&waiting, progress, cancel)?;
        if found.verdict == VerifyVerdict::Intact {
            return match self.publish() {
                Ok(()) => {
                    progress.warning("a complete backup of an interrupted run was waiting and was put in place first");
                    Ok(true)
                }
                Err(error) if self.keeps_waiting(&error) => {
                    progress.warning(&format!(
                        "{}: a complete backup of an interrupted run is waiting and cannot be put in place: {error}",
                        ready.display()
                    ));
                    Ok(false)
                }
                Err(error) => Err(error),
            };
        }
        let first = found.findings.first().map_or("", |finding| &finding.path);
        progress.warning(&format!(
            "a backup of an interrupted run was waiting, but {} of its files are not as they were written ({first}); it is removed",
            found.findings.len()
        ));
        remove_ours(&self.parent, &self.ready_name())?;
        self.sync_parent()?;
        Ok(false)
    }

    /// Whether a backup that cannot be put in place is no reason to do nothing: the one in place is as it was.
    fn keeps_waiting(&self, error: &Error) -> bool {
        let is_lasting = matches!(error.kind(), ErrorKind::Configuration | ErrorKind::PermissionDenied);
        is_lasting && !self.half_published.get() && self.occupant().is_ok_and(|found| found == Occupant::Database)
    }

    /// What a backup that takes the place of the one that stands there notes in its manifest, so that the replaced one is
    /// known wherever a kill leaves it: the run in its `manifest`, or the directory itself where no run is known.
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

    /// Makes sure, before anything is received, that a new backup can take the place of the one in place.
    ///
    /// # Errors
    /// [`TargetError::MountPoint`], [`TargetError::CannotRename`], [`TargetError::ForeignSibling`]; disk errors.
    pub fn require_replaceable(&self, progress: &dyn Progress) -> Result<(), Error> {
        self.refuse_mount_point()?;
        self.remove_partial()?;
        let result = self.try_exchange(progress);
        self.discard_partial();
        result
    }

    /// Exchanges two directories in `.partial`, and asks whether the target can be renamed at all if that is refused.
    fn try_exchange(&self, progress: &dyn Progress) -> Result<(), Error> {
        let name = self.partial_name();
        let partial = self.parent.create_folder(&name);
        let partial = partial.map_err(DiskError::at(self.parent.join(&name)))?;
        // with it, a later run knows what is left by a kill as ours
        partial
            .create_new(MANIFEST)
            .map_err(DiskError::at(partial.join(MANIFEST)))?;
        let (one, other) = (OsStr::new("one"), OsStr::new("other"));
        for name in [one, other] {
            partial.create_folder(name).map_err(DiskError::at(partial.join(name)))?;
        }
        if is_overlay(&self.parent)? {
            // no directory is renamed over one that is not empty; one of a lower layer is not renamed at all
            match self.parent.rename(&self.name, &name) {
                Err(source) if source.kind() == io::ErrorKind::CrossesDevices => {
                    let path = self.dir.clone();
                    return Err(TargetError::CannotRename { path, source }.into());
                }
                _ => {}
            }
        }
        if exchange(&partial, one, other)? {
            return Ok(());
        }
        let replaced = self.replaced_name();
        let path = self.parent.join(&replaced);
        if occupant(&self.parent, &replaced)? != Occupant::Absent {
            let why = "was not left by an interrupted run";
            return Err(TargetError::ForeignSibling { path, why }.into());
        }
        progress.warning(&format!(
            "{}: its file system cannot exchange two directories: for a moment, the backup will only exist as {} and {}",
            self.dir.display(),
            self.ready().display(),
            path.display()
        ));
        Ok(())
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

    /// Creates an empty `.partial`, for this user alone until [`Target::make_ready`]. What is created in it gets the
    /// owner, group and mode of the target, or of a new directory with this `mode`.
    ///
    /// # Errors
    /// [`TargetError::Foreign`]; disk errors.
    pub fn create_partial(&self, mode: Option<u32>) -> Result<DirHandle, Error> {
        self.remove_partial()?;
        let new_files = self.new_files(mode)?;
        let name = self.partial_name();
        let partial = self
            .parent
            .create_folder(&name)
            .map_err(DiskError::at(self.parent.join(&name)))?;
        self.sync_parent()?;
        Ok(partial.with_new_files(new_files))
    }

    /// What a full backup gives to the files it creates.
    fn new_files(&self, mode: Option<u32>) -> Result<NewFiles, Error> {
        if let Ok(existing) = self.parent.status_of(&self.name) {
            return Ok(NewFiles::like(&existing));
        }
        let parent = self.parent.status().map_err(DiskError::at(self.parent.path()))?;
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
        let ready = self.ready_name();
        if let Leftover::Stranger(why) = self.left_over {
            return Err(TargetError::ForeignSibling {
                path: self.ready(),
                why,
            }
            .into());
        }
        remove_ours(&self.parent, &ready)?;
        partial
            .give(partial.new_files())
            .map_err(DiskError::at(partial.path()))?;
        rename(&self.parent, &self.partial_name(), &ready)?;
        let named = self.parent.status_of(&ready).map_err(DiskError::at(self.ready()))?;
        let own = partial.status().map_err(DiskError::at(partial.path()))?;
        if named.identity() != own.identity() {
            let why = "was replaced by another process during this run";
            return Err(TargetError::ForeignSibling {
                path: self.ready(),
                why,
            }
            .into());
        }
        self.sync_parent()
    }

    /// Puts `.ready` in place, in exchange for what stands there, which is then removed.
    ///
    /// # Errors
    /// [`TargetError`]; disk errors.
    pub fn publish(&self) -> Result<(), Error> {
        let (parent, ready) = (&self.parent, self.ready_name());
        let old = match self.occupant()? {
            Occupant::Absent => {
                rename(parent, &ready, &self.name)?;
                None
            }
            Occupant::Empty => {
                parent.rename(&ready, &self.name).map_err(DiskError::at(&self.dir))?;
                None
            }
            Occupant::Foreign => return Err(TargetError::Foreign { path: self.dir.clone() }.into()),
            Occupant::Database => {
                self.refuse_mount_point()?;
                let _lock = Neo4jLock::take(&self.open()?)?;
                if exchange(parent, &ready, &self.name)? {
                    Some(ready)
                } else {
                    self.replace_in_two_steps()?;
                    Some(self.replaced_name())
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
        let (parent, replaced) = (&self.parent, self.replaced_name());
        if let Err(error) = rename(parent, &self.name, &replaced) {
            let (path, source) = (self.dir.clone(), file_system::copy(error.cause()));
            return Err(TargetError::CannotRename { path, source }.into());
        }
        let renamed = self
            .sync_parent()
            .and_then(|()| Ok(rename(parent, &self.ready_name(), &self.name)?));
        if renamed.is_err() {
            rename(parent, &replaced, &self.name)?;
            self.sync_parent()?;
        }
        renamed
    }

    /// Whether a copy as large as the present one fits beside it.
    ///
    /// # Errors
    /// [`TargetError::NoRoom`]; disk errors.
    pub fn has_room(&self) -> Result<(), Error> {
        let (needed, free) = (free_space::taken(&self.open()?)?, free_space::free(&self.parent)?);
        let path = self.dir.clone();
        if needed > free {
            return Err(TargetError::NoRoom { path, needed, free }.into());
        }
        Ok(())
    }

    /// Ends the run: the lock file goes away, unless the next run has to learn from it that nobody was told of the
    /// backup in place.
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

    /// What earlier runs left that matters, judged by what stands at the target.
    fn look(&self, in_place: Option<&Manifest>) -> Result<Leftover, Error> {
        let ready = self.ready_name();
        let waiting = match manifest_of(&self.parent, &ready) {
            // nobody was told of it, and it is of no use
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
            Some(run) if run.mode == BackupKind::Full && self.lock.leaves_unreported(&run.run_id) => {
                Leftover::Unreported
            }
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

    /// Removes a `.partial` that an interrupted run left.
    fn remove_partial(&self) -> Result<(), Error> {
        let partial = self.partial_name();
        if let Ok(Some(manifest)) = manifest_of(&self.parent, &partial) {
            let is_left = manifest.run_id().is_some_and(|run| self.lock.is_of(run));
            if manifest.is_complete() && !is_left {
                let why = "is a complete backup";
                let path = self.parent.join(partial);
                return Err(TargetError::ForeignSibling { path, why }.into());
            }
        }
        remove_ours(&self.parent, &partial)
    }

    fn sync_parent(&self) -> Result<(), Error> {
        Ok(durable::sync(&self.parent)?)
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
            _ if is_ours(&parent, &sibling(&name, "partial")) => Err(TargetError::Interrupted { path: dir }.into()),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// The directory in which `dir` lies, held open, and the name of `dir` in it.
pub(in crate::target) fn open_parent(dir: &Path) -> Result<(DirHandle, OsString), DiskError> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let handle = DirHandle::open(parent).map_err(DiskError::at(parent))?;
    Ok((handle, dir.file_name().map(OsString::from).unwrap_or_default()))
}

/// Whether a run of this tool began to write this directory.
fn is_ours(parent: &DirHandle, name: &OsStr) -> bool {
    parent.has_file(Path::new(name).join(MANIFEST))
}

/// The database of the store in `dir`, as manifests have it.
fn store_id(dir: &DirHandle) -> Option<StoreIdText> {
    Some(Header::open_read_only(dir).ok()?.store_id().ok()?.into())
}

/// Whether `dir` is on overlayfs.
fn is_overlay(dir: &DirHandle) -> Result<bool, DiskError> {
    const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;
    let found = rustix::fs::fstatfs(dir).map_err(|e| DiskError::new(dir.path(), e.into()))?;
    Ok(found.f_type == OVERLAYFS)
}
