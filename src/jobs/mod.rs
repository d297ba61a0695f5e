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

use neo4j_backup_core::{Error, Status};

use self::hooks::Hooks;
use crate::{
    args::{repository::RepositoryArgs, request::BackupRequest},
    output::metrics::MetricsArgs,
};

/// A backup that the file describes.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    /// Without its repository.
    request: BackupRequest,
    repository: RepositoryArgs,
    keep: Option<String>,
    pub(crate) hooks: Hooks,
    metrics: MetricsArgs,
}

impl Job {
    /// The backup as the file describes it; nothing else was read.
    pub(crate) fn described(&self) -> &BackupRequest {
        &self.request
    }

    /// The question for the state of its target.
    pub(crate) fn status(&self) -> Status {
        Status::of_directory(&self.request.target)
    }

    /// Writes its metrics, if that is wanted.
    fn write_metrics(&self) {
        self.metrics.write(&self.name, &self.status());
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
