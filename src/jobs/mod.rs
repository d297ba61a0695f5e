//! Jobs: backups that a file describes, run one after the other or side by side.
//!
//! ```text
//! jobs.toml ─▶ file ─▶ keys (the options of the command line) ─▶ Job ─▶ runner ─▶ before, backup, on-success or on-failure
//! ```

pub(crate) mod file;
pub(crate) mod hooks;
mod keys;
mod position;
pub(crate) mod runner;

use neo4j_backup_core::Error;

use self::hooks::Hooks;
use crate::args::{repository::RepositoryArgs, request::BackupRequest};

/// A backup that the file describes.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    /// Without its repository.
    request: BackupRequest,
    repository: RepositoryArgs,
    keep: Option<String>,
    pub(crate) hooks: Hooks,
}

impl Job {
    /// The backup as the file describes it; nothing else was read.
    pub(crate) fn described(&self) -> &BackupRequest {
        &self.request
    }

    /// Where its repository is, as it is written in the file.
    pub(crate) fn repository(&self) -> Option<String> {
        let name = self.repository.repo.as_ref()?;
        Some(name.to_string_lossy().into_owned())
    }

    /// The backup, with the password of its repository.
    ///
    /// # Errors
    /// The password cannot be read.
    pub(crate) fn request(&self) -> Result<BackupRequest, Error> {
        self.request.clone().archived_in(&self.repository, self.keep.as_deref())
    }
}
