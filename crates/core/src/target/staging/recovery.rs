//! What an earlier run left beside the target, and what becomes of it.

use std::ffi::OsStr;

use super::{
    Occupant, Target, TargetError,
    directories::{identity, is_known_as, manifest_of, occupant, remove_ours, rename},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    manifest::{BackupKind, Manifest, ManifestError, State, document::StoreIdText},
    progress::Progress,
    target::{links, owners::may_be_ours},
    verify::{VerifyVerdict, verify},
};
use neo4j_format::{DirHandle, DiskError, ids::DataSource, store::Header};

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

impl Target {
    /// What was found beside the target when it was locked.
    pub fn left_over(&self) -> &Leftover {
        &self.left_over
    }

    /// Gives the old backup its name again where a run ended between two renames.
    pub(super) fn put_back(&self) -> Result<(), Error> {
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

    /// What earlier runs left that matters, judged by what stands at the target.
    pub(super) fn look(&self, in_place: Option<&Manifest>) -> Result<Leftover, Error> {
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

    /// Whether the run can continue although the waiting backup cannot be published: the existing backup is unchanged.
    fn keeps_waiting(&self, error: &Error) -> bool {
        let is_lasting = matches!(error.kind(), ErrorKind::Configuration | ErrorKind::PermissionDenied);
        is_lasting && !self.half_published.get() && self.occupant().is_ok_and(|found| found == Occupant::Database)
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
    pub(super) fn remove_partial(&self) -> Result<(), Error> {
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
}

/// The database of the store in `dir`, as manifests have it.
fn store_id(dir: &DirHandle) -> Option<StoreIdText> {
    Some(Header::open_read_only(dir).ok()?.store_id().ok()?.into())
}
