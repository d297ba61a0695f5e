//! The directory of a demo or sandbox: temporary, or kept for the user.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
};

use neo4j_backup_core::{Error, ErrorKind};
use neo4j_format::DiskError;

/// A directory, removed when this is dropped unless it is kept.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// Creates the directory `keep`, which must not exist, or a temporary one.
    pub(crate) fn make(keep: Option<&str>, purpose: &str) -> Result<Scratch, Error> {
        let path = match keep {
            Some(keep) => PathBuf::from(keep),
            None => env::temp_dir().join(format!("neo4j-backup-{purpose}-{}", process::id())),
        };
        let failed = |error: io::Error| Error::from(DiskError::new(&path, error));
        fs::create_dir(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::new(
                ErrorKind::Configuration,
                format!("{}: the directory exists", path.display()),
            )
            .with_hint("choose a directory that does not exist with -keep"),
            _ => failed(error).with_hint("choose another directory with -keep"),
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

    /// Removes the directory, unless it is kept.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        if self.is_kept {
            return Ok(());
        }
        self.is_kept = true;
        Ok(fs::remove_dir_all(&self.path).map_err(DiskError::at(&self.path))?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // the run has failed already; its first error is reported
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
