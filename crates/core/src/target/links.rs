//! What lies in a target is judged before anything is written: what is changed in place must lie in the target itself,
//! and each file of the database needs a name that the manifest can list.

use crate::manifest::files::{self, ListedFile, Role};
use crate::{Error, ErrorKind, error::Setting, progress::Progress};
use neo4j_format::{DirHandle, DiskError};

/// Names of others that a message shows.
const SHOWN: usize = 5;

/// Refuses a directory in which a name of the database is anything but a folder or a regular file, or is not text. What
/// others put there gets one warning.
///
/// # Errors
/// Of kind [`ErrorKind::Configuration`], with the first such name; a folder that cannot be read.
pub(crate) fn refuse(dir: &DirHandle, progress: &dyn Progress) -> Result<(), Error> {
    let found = files::list(dir)?;
    for found in &found {
        let path = dir.join(&found.path);
        if found.role == Role::NotText {
            let text = format!("{}: the name is not valid UTF-8", path.display());
            return Err(Error::new(ErrorKind::Configuration, text)
                .with_hint("rename it, or take a full backup into a new directory"));
        }
        if found.length.is_none() && found.role != Role::Foreign {
            let text = format!(
                "{}: is a link or a special file, and what lies elsewhere is never written to",
                path.display()
            );
            return Err(Error::new(ErrorKind::Configuration, text)
                .with_hint("put the file itself there, or take a full backup that replaces this one")
                .see(&[Setting::Overwrite]));
        }
    }
    if let Some(names) = foreign_names(&found) {
        progress.warning(&format!("{}: not part of the backup: {names}", dir.display()));
    }
    Ok(())
}

/// Names in `dir` that a backup does not have, and that would go with it, for messages.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn foreign(dir: &DirHandle) -> Result<Option<String>, DiskError> {
    Ok(foreign_names(&files::list(dir)?))
}

fn foreign_names(found: &[ListedFile]) -> Option<String> {
    let names = found.iter().filter(|found| found.role == Role::Foreign);
    let names: Vec<&str> = names.map(|found| found.path.as_str()).collect();
    match names.len() {
        0 => None,
        count if count > SHOWN => {
            let shown = names.get(..SHOWN).unwrap_or_default().join(", ");
            Some(format!("{shown} and {} more", count - SHOWN))
        }
        _ => Some(names.join(", ")),
    }
}
