//! A note in the manifest of a directory on which no run works.

use std::path::Path;

use super::{
    directories::{resolve, sibling},
    open_parent,
};
use crate::{
    Error, ErrorKind,
    context::now,
    manifest::Manifest,
    run_id::RunId,
    target::{
        lock::RunLock,
        owners::{SharedDirectories, refuse_shared},
    },
};
use neo4j_format::{DiskError, directory::NewFiles};

/// What names end with that belong to the target without it.
const OF_A_TARGET: [&str; 4] = [".partial", ".ready", ".replaced", ".restoring"];

/// Changes the manifest of `dir` and nothing else, durably, while no run works there and if it is still `expected`. What an
/// interrupted run left stays as it is, its lock file included.
///
/// # Errors
/// [`super::TargetError`]; the manifest is another one by now; disk errors.
pub(crate) fn annotate(dir: &Path, expected: &Manifest, change: impl FnOnce(&mut Manifest)) -> Result<(), Error> {
    let dir = resolve(dir)?;
    let (parent, name) = open_parent(&dir)?;
    if OF_A_TARGET.iter().any(|end| name.to_string_lossy().ends_with(end)) {
        let text = format!("{}: has the name of an unfinished backup", dir.display());
        return Err(Error::new(ErrorKind::Configuration, text));
    }
    let target = parent.folder(&name).map_err(DiskError::at(&dir))?;
    refuse_shared(SharedDirectories::NeverAllowed, &parent, Some(&target))?;
    let like = NewFiles::like(&target.status().map_err(DiskError::at(&dir))?);
    let target = target.with_new_files(like);
    let mut lock = RunLock::take(&parent, &sibling(&name, "lock"))?;
    let written = (|| {
        if !lock.is_stale() {
            lock.note(&RunId::random()?.to_string(), None, now())?;
        }
        let mut manifest = Manifest::read(&target)?
            .filter(|found| found == expected)
            .ok_or_else(|| Error::new(ErrorKind::TargetInUse, format!("{}: changed meanwhile", dir.display())))?;
        change(&mut manifest);
        Ok(manifest.publish(&target)?)
    })();
    if !lock.is_stale() {
        lock.remove();
    }
    written
}
