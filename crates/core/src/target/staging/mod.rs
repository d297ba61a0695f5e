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
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use self::directories::{
    chown_tree, exchange, identity, is_known_as, is_mount_point, occupant, remove_manifest_last, remove_ours, rename,
    resolve, sibling,
};
use super::{
    durable, free_space,
    lock::RunLock,
    owners::{may_be_ours, refuses_ownership},
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
    DiskError,
    ids::DataSource,
    store::{Header, neo4j_lock::Neo4jLock},
};

pub use directories::Occupant;
pub use error::TargetError;

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
    pub fn lock(dir: &Path, run_id: &str, now: u64) -> Result<Target, Error> {
        let dir = resolve(dir)?;
        let lock = RunLock::take(sibling(&dir, "lock"))?;
        let mut target = Target {
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
            Occupant::Database => Manifest::read(&self.dir)?,
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
        let ready = self.ready();
        let replaced = in_place.as_ref().and_then(|manifest| manifest.replaces.as_deref());
        if replaced.is_some_and(|name| is_known_as(&self.replaced(), name)) {
            remove_manifest_last(&self.replaced())?;
        }
        match self.left_over {
            Leftover::Ready(_) | Leftover::Stranger(_) => Ok(()),
            // one without a manifest is known by this alone
            _ if replaced.is_some() && replaced == identity(&ready).as_deref() => Ok(remove_manifest_last(&ready)?),
            Leftover::None | Leftover::Unreported => remove_ours(&ready),
        }
    }

    /// The target itself, links in its name resolved.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a new backup is received.
    pub fn partial(&self) -> PathBuf {
        sibling(&self.dir, "partial")
    }

    /// Where a complete new backup waits for its place.
    pub fn ready(&self) -> PathBuf {
        sibling(&self.dir, "ready")
    }

    /// Where the old backup waits while the new one takes its name, on file systems that cannot exchange the two.
    fn replaced(&self) -> PathBuf {
        sibling(&self.dir, "replaced")
    }

    /// Gives the old backup its name again where a run ended between two renames.
    fn put_back(&self) -> Result<(), Error> {
        let replaced = self.replaced();
        if self.occupant()? != Occupant::Absent || occupant(&replaced)? != Occupant::Database {
            return Ok(());
        }
        let waiting = Manifest::read(&self.ready()).ok().flatten();
        let Some(waiting) = waiting.filter(|waiting| waiting.state == State::Complete) else {
            return Ok(());
        };
        let is_named = waiting.replaces.is_some_and(|name| is_known_as(&replaced, &name));
        // one that waited for longer may replace a backup that is newer than it knows
        let is_left = || self.lock.is_stale() && waiting.store_id == store_id(&replaced);
        if is_named || is_left() {
            rename(&replaced, &self.dir)?;
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
        let found = verify(&ready, progress, cancel)?;
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
        remove_ours(&ready)?;
        self.sync_parent()?;
        Ok(false)
    }

    /// Whether a backup that cannot be put in place is no reason to do nothing: the one in place is as it was.
    fn keeps_waiting(&self, error: &Error) -> bool {
        let is_lasting = matches!(error.kind(), ErrorKind::Configuration | ErrorKind::PermissionDenied);
        is_lasting && !self.half_published.get() && occupant(&self.dir).is_ok_and(|found| found == Occupant::Database)
    }

    /// What a backup that takes the place of the one that stands there notes in its manifest, so that the replaced one is
    /// known wherever a kill leaves it: the run in its `manifest`, or the directory itself where no run is known.
    pub fn to_replace(&self, manifest: Option<&Manifest>) -> Option<String> {
        let run = manifest.and_then(Manifest::run_id).map(str::to_owned);
        run.or_else(|| identity(&self.dir))
    }

    /// What stands at the target now.
    ///
    /// # Errors
    /// The file system failed.
    pub fn occupant(&self) -> Result<Occupant, Error> {
        Ok(occupant(&self.dir)?)
    }

    /// Makes sure, before anything is received, that a new backup can take the place of the one in place.
    ///
    /// # Errors
    /// [`TargetError::MountPoint`], [`TargetError::CannotRename`], [`TargetError::ForeignSibling`]; disk errors.
    pub fn require_replaceable(&self, progress: &dyn Progress) -> Result<(), Error> {
        self.refuse_mount_point()?;
        let partial = self.partial();
        self.remove_partial()?;
        let result = self.try_exchange(&partial, progress);
        self.discard_partial();
        result
    }

    /// Exchanges two directories in `partial`, and asks whether the target can be renamed at all if that is refused.
    fn try_exchange(&self, partial: &Path, progress: &dyn Progress) -> Result<(), Error> {
        let create = |path: &Path| fs::create_dir(path).map_err(DiskError::at(path));
        let (one, other) = (partial.join("one"), partial.join("other"));
        create(partial)?;
        // with it, a later run knows what is left by a kill as ours
        let manifest = partial.join(MANIFEST);
        fs::write(&manifest, "").map_err(DiskError::at(&manifest))?;
        create(&one)?;
        create(&other)?;
        if is_overlay(self.parent())? {
            // no directory is renamed over one that is not empty; one of a lower layer is not renamed at all
            match fs::rename(&self.dir, partial) {
                Err(source) if source.kind() == io::ErrorKind::CrossesDevices => {
                    let path = self.dir.clone();
                    return Err(TargetError::CannotRename { path, source }.into());
                }
                _ => {}
            }
        }
        if exchange(&one, &other)? {
            return Ok(());
        }
        let path = self.replaced();
        if occupant(&path)? != Occupant::Absent {
            let why = "was not left by an interrupted run";
            return Err(TargetError::ForeignSibling { path, why }.into());
        }
        progress.warning(&format!(
            "{}: its file system cannot exchange two directories: for a moment, the backup will only exist as {} and {}",
            self.dir.display(),
            self.ready().display(),
            self.replaced().display()
        ));
        Ok(())
    }

    /// Refuses a mount point, which cannot get another name.
    ///
    /// # Errors
    /// [`TargetError::MountPoint`]; disk errors.
    pub fn refuse_mount_point(&self) -> Result<(), Error> {
        if is_mount_point(&self.dir)? {
            return Err(TargetError::MountPoint { path: self.dir.clone() }.into());
        }
        Ok(())
    }

    /// Creates an empty `.partial`, its owner and mode those of the parent directory.
    ///
    /// # Errors
    /// [`TargetError::Foreign`]; disk errors.
    pub fn create_partial(&self, progress: &dyn Progress) -> Result<PathBuf, Error> {
        let partial = self.partial();
        self.remove_partial()?;
        fs::create_dir(&partial).map_err(DiskError::at(&partial))?;
        let parent = fs::metadata(self.parent()).map_err(DiskError::at(self.parent()))?;
        let mode = fs::Permissions::from_mode(parent.mode() & 0o777 | 0o700);
        match fs::set_permissions(&partial, mode) {
            Err(error) if refuses_ownership(&error) => {
                progress.warning(&format!("{}: cannot change its mode: {error}", self.dir.display()));
            }
            result => result.map_err(DiskError::at(&partial))?,
        }
        self.sync_parent()?;
        Ok(partial)
    }

    /// Gives everything below `.partial` the owner of the parent directory, where this process may.
    ///
    /// # Errors
    /// Disk errors.
    pub fn adopt_owner(&self, progress: &dyn Progress) -> Result<(), Error> {
        let parent = fs::metadata(self.parent()).map_err(DiskError::at(self.parent()))?;
        let partial = self.partial();
        let own = fs::metadata(&partial).map_err(DiskError::at(&partial))?;
        if rustix::process::geteuid().is_root() && (own.uid(), own.gid()) != (parent.uid(), parent.gid()) {
            let (uid, gid) = (parent.uid(), parent.gid());
            match chown_tree(&partial, uid, gid) {
                Err(error) if refuses_ownership(error.cause()) => progress.warning(&format!(
                    "{}: cannot give it to {uid}:{gid}, the owner of its parent directory: {}",
                    self.dir.display(),
                    error.cause()
                )),
                result => result?,
            }
        }
        Ok(())
    }

    /// Declares `.partial`, all of it durable, to be complete.
    ///
    /// # Errors
    /// Disk errors.
    pub fn make_ready(&self) -> Result<(), Error> {
        let ready = self.ready();
        if let Leftover::Stranger(why) = self.left_over {
            return Err(TargetError::ForeignSibling { path: ready, why }.into());
        }
        remove_ours(&ready)?;
        rename(&self.partial(), &ready)?;
        self.sync_parent()
    }

    /// Puts `.ready` in place, in exchange for what stands there, which is then removed.
    ///
    /// # Errors
    /// [`TargetError`]; disk errors.
    pub fn publish(&self) -> Result<(), Error> {
        let ready = self.ready();
        let old = match self.occupant()? {
            Occupant::Absent => {
                rename(&ready, &self.dir)?;
                None
            }
            Occupant::Empty => {
                fs::rename(&ready, &self.dir).map_err(DiskError::at(&self.dir))?;
                None
            }
            Occupant::Foreign => return Err(TargetError::Foreign { path: self.dir.clone() }.into()),
            Occupant::Database => {
                self.refuse_mount_point()?;
                let _lock = Neo4jLock::take(&self.dir)?;
                if exchange(&ready, &self.dir)? {
                    Some(ready)
                } else {
                    self.replace_in_two_steps()?;
                    Some(self.replaced())
                }
            }
        };
        self.half_published.set(true);
        self.sync_parent()?;
        if let Some(old) = old {
            remove_manifest_last(&old)?;
            self.sync_parent()?;
        }
        self.half_published.set(false);
        Ok(())
    }

    /// Gives the old backup another name, and the new one its. Between the two, [`Target::put_back`] is the way back.
    fn replace_in_two_steps(&self) -> Result<(), Error> {
        let replaced = self.replaced();
        if let Err(error) = rename(&self.dir, &replaced) {
            let (path, source) = (self.dir.clone(), file_system::copy(error.cause()));
            return Err(TargetError::CannotRename { path, source }.into());
        }
        let renamed = self.sync_parent().and_then(|()| Ok(rename(&self.ready(), &self.dir)?));
        if renamed.is_err() {
            rename(&replaced, &self.dir)?;
            self.sync_parent()?;
        }
        renamed
    }

    /// Whether a copy as large as the present one fits beside it.
    ///
    /// # Errors
    /// [`TargetError::NoRoom`]; disk errors.
    pub fn has_room(&self) -> Result<(), Error> {
        let (needed, free) = (free_space::taken(&self.dir)?, free_space::free(self.parent())?);
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
        let ready = self.ready();
        let waiting = match Manifest::read(&ready) {
            // nobody was told of it, and it is of no use
            Err(ManifestError::Damaged { .. }) => None,
            found => found?,
        };
        if let Some(waiting) = waiting {
            let replaced = in_place.and_then(|manifest| manifest.replaces.as_deref());
            let is_replaced = replaced.is_some_and(|replaced| {
                Some(replaced) == waiting.run_id() || Some(replaced) == identity(&ready).as_deref()
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
        let owner = |path: &Path| Ok::<_, DiskError>(fs::symlink_metadata(path).map_err(DiskError::at(path))?.uid());
        let waiting_owner = owner(&self.ready())?;
        let replaces = self.occupant()? == Occupant::Database;
        let same_owner = replaces && waiting_owner == owner(&self.dir)?;
        if !same_owner && !may_be_ours(waiting_owner, self.parent())? {
            return Ok(Some("belongs to another user"));
        }
        if !replaces {
            return Ok(None);
        }
        let header = Header::open(&self.dir)?;
        if waiting.store_id != Some(header.store_id()?.into()) {
            return Ok(Some("is of another database"));
        }
        let last = |manifest: &Manifest| manifest.last_transaction(DataSource::Graph).map(|(last, _)| last);
        let has = in_place.and_then(last).unwrap_or(header.last_transaction()?);
        Ok((last(waiting) < Some(has)).then_some("is older than the one in place"))
    }

    /// Removes a `.partial` that an interrupted run left.
    fn remove_partial(&self) -> Result<(), Error> {
        let partial = self.partial();
        if let Ok(Some(manifest)) = Manifest::read(&partial) {
            let is_left = manifest.run_id().is_some_and(|run| self.lock.is_of(run));
            if manifest.is_complete() && !is_left {
                let why = "is a complete backup";
                return Err(TargetError::ForeignSibling { path: partial, why }.into());
            }
        }
        remove_ours(&partial)
    }

    fn parent(&self) -> &Path {
        self.dir.parent().unwrap_or(Path::new("/"))
    }

    fn sync_parent(&self) -> Result<(), Error> {
        Ok(durable::sync(self.parent())?)
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
    let is_first = matches!(occupant(&dir)?, Occupant::Absent | Occupant::Empty);
    let lock = sibling(&dir, "lock");
    match RunLock::holder(&lock)? {
        Some(holder) if is_first => Err(TargetError::FirstRunning { path: dir, holder }.into()),
        Some(holder) => Err(TargetError::Locked { path: lock, holder }.into()),
        None if is_first => match Manifest::read(&sibling(&dir, "ready")).ok().flatten() {
            Some(waiting) if waiting.is_complete() => Err(TargetError::Waiting { path: dir }.into()),
            _ if is_ours(&sibling(&dir, "partial")) => Err(TargetError::Interrupted { path: dir }.into()),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// Whether a run of this tool began to write this directory.
fn is_ours(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join(MANIFEST)).is_ok_and(|found| found.is_file())
}

/// The database of the store in `dir`, as manifests have it.
fn store_id(dir: &Path) -> Option<StoreIdText> {
    Some(Header::open_read_only(dir).ok()?.store_id().ok()?.into())
}

/// Whether `dir` is on overlayfs.
fn is_overlay(dir: &Path) -> Result<bool, DiskError> {
    const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;
    let found = rustix::fs::statfs(dir).map_err(|e| DiskError::new(dir, e.into()))?;
    Ok(found.f_type == OVERLAYFS)
}
