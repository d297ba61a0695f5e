//! What an earlier run left beside the target, and what becomes of it.

use super::{
    Occupant, Target,
    directories::{is_known_as, manifest_of, occupant, remove_ours, rename},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    manifest::{Manifest, State, document::StoreIdText},
    progress::Progress,
    verify::{VerifyVerdict, verify},
};
use neo4j_format::{DirHandle, DiskError, store::Header};

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
        let (parent, replaced) = (&self.site.parent, self.site.replaced_name());
        if self.site.occupant()? != Occupant::Absent || occupant(parent, &replaced)? != Occupant::Database {
            return Ok(());
        }
        let waiting = manifest_of(parent, &self.site.ready_name()).ok().flatten();
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
            rename(parent, &replaced, &self.site.name)?;
            self.sync_parent()?;
        }
        Ok(())
    }

    /// Puts a backup that waits for its place there, if it is as it was when it was complete, and removes it otherwise.
    /// Whether one was put in place.
    ///
    /// # Errors
    /// As [`Target::publish`]; the run was cancelled.
    pub fn recover_interrupted_run(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<bool, Error> {
        let ready = self.site.ready();
        match &self.left_over {
            Leftover::None | Leftover::Unreported => return Ok(false),
            Leftover::Stranger(why) => {
                let ready = ready.display();
                progress.warning(&format!("{ready}: a complete backup, which {why}; it is left alone"));
                return Ok(false);
            }
            Leftover::Ready(_) => {}
        }
        let waiting = self.site.parent.folder(&ready).map_err(DiskError::at(&ready))?;
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
        remove_ours(&self.site.parent, &self.site.ready_name())?;
        self.sync_parent()?;
        Ok(false)
    }

    /// Whether the run can continue although the waiting backup cannot be published: the existing backup is unchanged.
    fn keeps_waiting(&self, error: &Error) -> bool {
        let is_lasting = matches!(error.kind(), ErrorKind::Configuration | ErrorKind::PermissionDenied);
        is_lasting && !self.half_published.get() && self.site.occupant().is_ok_and(|found| found == Occupant::Database)
    }

    /// Removes a `.partial` that an interrupted run left.
    pub(super) fn remove_partial(&self) -> Result<(), Error> {
        self.site.refuse_foreign_partial(|run| self.lock.is_of(run))?;
        remove_ours(&self.site.parent, &self.site.partial_name())
    }
}

/// The database of the store in `dir`, as manifests have it.
fn store_id(dir: &DirHandle) -> Option<StoreIdText> {
    Some(Header::open_read_only(dir).ok()?.store_id().ok()?.into())
}
