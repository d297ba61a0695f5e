//! The backup that an incremental run brings up to date: whether it may be, and what it is known to be.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;

use super::IncrementalRun;
use crate::{
    Error, ErrorKind,
    manifest::{
        Manifest, SUMS,
        checksums::Known,
        files,
        precheck::{self, Changes},
    },
    replay::seal,
    target::{base, hard_links},
    verify::traces::{self, Since},
};
use neo4j_format::{
    DirHandle,
    store::{StoreFile, neo4j_lock::Neo4jLock},
};

/// A backup that may be brought up to date.
#[derive(Debug)]
pub(crate) struct Base {
    /// As the last run left it.
    pub(crate) manifest: Option<Manifest>,
    /// What became of the directory since that run.
    pub(crate) since: Since,
}

impl Base {
    /// Looks at a directory with a database; changes nothing.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::FullNeeded`] if damage is known or something is missing; of the disk.
    pub(crate) fn judge(dir: &DirHandle) -> Result<Base, Error> {
        let manifest = Manifest::read(dir)?;
        refuse_known_damage(dir, manifest.as_ref())?;
        let since = traces::since(dir, manifest.as_ref());
        base::is_whole(dir, manifest.as_ref().filter(|_| since == Since::Untouched))?;
        Ok(Base { manifest, since })
    }
}

/// Refuses a backup that a verification found damaged: nothing that this run does would repair it, and some of it could hide
/// the damage.
fn refuse_known_damage(dir: &DirHandle, before: Option<&Manifest>) -> Result<(), Error> {
    let Some(found) = before.and_then(Manifest::known_damage) else {
        return Ok(());
    };
    let when = i64::try_from(found.finished)
        .ok()
        .and_then(|time| Timestamp::from_millisecond(time / 1000 * 1000).ok());
    let when = when.map_or_else(String::new, |when| format!(" at {when}"));
    let text = format!("{}: damaged: the last verification{when} found damage", dir.display());
    Err(Error::new(ErrorKind::FullNeeded, text)
        .with_hint("take a full backup; or, if the damage was repaired, verify the backup again"))
}

impl IncrementalRun<'_> {
    /// Refuses a base in which something that is going to be written or digested again is not what it was.
    pub(super) fn require_undamaged(&self, changes: Changes<'_>) -> Result<(), Error> {
        match self.known_digests()? {
            Some(known) => precheck::require_undamaged(self.dir, self.graph.format, &known, changes, self.cancel),
            None => Ok(()),
        }
    }

    /// Gives every file that is going to be changed in place, and that a generation beside the backup shares, an inode of
    /// its own; these store files are. A new `neostore` has to be locked again.
    pub(super) fn separate_links(&self, stores: &BTreeSet<StoreFile>) -> Result<Option<Neo4jLock>, Error> {
        let mut names = Vec::new();
        for found in files::list(self.dir)? {
            let is_changed = match StoreFile::from_name(&found.path) {
                Some(StoreFile::Neostore) => true,
                Some(kind) => stores.contains(&kind) || !seal::is_clean(self.dir, kind, self.graph.format)?,
                None => !files::is_written_once(&found.path) && files::is_of_a_store(&found.path),
            };
            if is_changed {
                names.push(found.path);
            }
        }
        let separated = hard_links::separate(self.dir, names.iter().map(String::as_str), self.cancel)?;
        let is_new = separated.iter().any(|name| *name == StoreFile::Neostore.name());
        Ok(is_new.then(|| Neo4jLock::take_store(self.dir)).transpose()?)
    }

    /// The digests that the last run recorded; `None` where they say nothing about the directory as it is.
    pub(super) fn known_digests(&self) -> Result<Option<Known<'_>>, Error> {
        let Some(manifest) = self.before.as_ref().filter(|_| self.since == Since::Untouched) else {
            return Ok(None);
        };
        let known = Known::of(self.dir, manifest, SUMS)?.ok_or_else(|| {
            let text = format!(
                "{}: damaged, or does not belong to this manifest",
                self.dir.join(SUMS).display()
            );
            Error::new(ErrorKind::FullNeeded, text).with_hint("the backup is damaged: take a full backup")
        })?;
        Ok(Some(known))
    }
}

/// The error of a target in which nothing can be continued.
pub(crate) fn no_database(dir: &Path) -> Error {
    let text = format!("{} doesn't contain a database", dir.display());
    Error::new(ErrorKind::FullNeeded, text).with_hint("take a full backup first")
}
