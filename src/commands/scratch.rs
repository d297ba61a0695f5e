//! A directory to play in: a new one that goes away at the end, or one that the user wants to keep.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
};

use neo4j_backup_core::{Error, ErrorKind};

/// The directory. One that is not to be kept is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// Makes the directory `keep`, which must not be there, or one among temporary files.
    pub(crate) fn make(keep: Option<&str>, purpose: &str) -> Result<Scratch, Error> {
        let path = match keep {
            Some(keep) => PathBuf::from(keep),
            None => env::temp_dir().join(format!("neo4j-backup-{purpose}-{}", process::id())),
        };
        let failed = |error: io::Error| Error::new(ErrorKind::Disk, format!("{}: {error}", path.display()));
        fs::create_dir(&path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AlreadyExists => "name a directory that is not there yet",
                _ => "name another directory with -keep",
            };
            failed(error).with_hint(hint)
        })?;
        let path = path.canonicalize().map_err(failed)?;
        Ok(Scratch {
            path,
            is_kept: keep.is_some(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory, unless it is to be kept.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        if self.is_kept {
            return Ok(());
        }
        self.is_kept = true;
        fs::remove_dir_all(&self.path)
            .map_err(|error| Error::new(ErrorKind::Disk, format!("{}: {error}", self.path.display())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // the end of a run that failed: the first error is the one to tell
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
