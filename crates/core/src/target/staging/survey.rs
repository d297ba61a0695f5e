//! What a run would find at its target, without locking it and without changing anything.

use std::path::Path;

use super::{
    Leftover, Occupant, TargetError, TargetSite,
    directories::{identity, is_ours},
};
use crate::{
    Error,
    manifest::Manifest,
    progress::Progress,
    target::{lock::RunLock, owners::SharedDirectories},
};
use neo4j_format::{DirHandle, DiskError};

/// A target as a run would find it.
#[derive(Debug)]
pub(crate) struct Survey {
    site: TargetSite,
    left_over: Leftover,
}

impl Survey {
    /// Looks at the target `dir` and its siblings as [`super::Target::lock`] does.
    ///
    /// # Errors
    /// As [`super::Target::lock`].
    pub(crate) fn take(dir: &Path, shared: SharedDirectories) -> Result<Survey, Error> {
        let site = TargetSite::find(dir, shared)?;
        let stale = RunLock::observe(&site.parent, &site.lock_name())?;
        let created = site.parent.may_create();
        created.map_err(|source| TargetError::ParentNotWritable {
            path: site.parent.path().to_owned(),
            source,
        })?;
        let in_place = match site.occupant()? {
            Occupant::Database => Manifest::read(&site.open()?)?,
            _ => None,
        };
        let is_unreported = |run: &str| stale.as_ref().is_some_and(|note| note.leaves_unreported(run));
        let left_over = site.look(in_place.as_ref(), is_unreported)?;
        let is_left = |run: &str| stale.as_ref().is_some_and(|note| note.run_id() == run);
        site.refuse_foreign_partial(is_left)?;
        is_ours(&site.parent, &site.partial_name())?;
        let replaced = in_place.and_then(|manifest| manifest.replaces);
        let ready = site.ready_name();
        let is_replaced = replaced.is_some() && replaced == identity(&site.parent, &ready);
        if matches!(left_over, Leftover::None | Leftover::Unreported) && !is_replaced {
            is_ours(&site.parent, &ready)?;
        }
        Ok(Survey { site, left_over })
    }

    /// Where it is.
    pub(crate) fn site(&self) -> &TargetSite {
        &self.site
    }

    /// What earlier runs left that matters.
    pub(crate) fn left_over(&self) -> &Leftover {
        &self.left_over
    }

    /// What stands at the target once a run has dealt with what earlier ones left.
    ///
    /// # Errors
    /// The file system failed.
    pub(crate) fn occupant(&self) -> Result<Occupant, Error> {
        match self.left_over {
            Leftover::Ready(_) => Ok(Occupant::Database),
            _ => self.site.occupant(),
        }
    }

    /// The directory that is there then.
    ///
    /// # Errors
    /// Disk errors.
    pub(crate) fn open(&self) -> Result<DirHandle, Error> {
        match self.left_over {
            Leftover::Ready(_) => {
                let ready = self.site.parent.folder(self.site.ready_name());
                Ok(ready.map_err(DiskError::at(self.site.ready()))?)
            }
            _ => self.site.open(),
        }
    }

    /// Says what a run would do first.
    pub(crate) fn tell(&self, progress: &dyn Progress) {
        let ready = self.site.ready();
        let ready = ready.display();
        match &self.left_over {
            Leftover::None | Leftover::Unreported => {}
            Leftover::Stranger(why) => {
                progress.warning(&format!("{ready}: a complete backup, which {why}; it is left alone"));
            }
            Leftover::Ready(_) => progress.warning(&format!(
                "{ready}: a complete backup of an interrupted run, which a run puts in place first"
            )),
        }
    }
}
