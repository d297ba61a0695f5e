//! The options that name a jobs file.

use std::{ffi::OsString, path::PathBuf};

use crate::jobs::file::DEFAULT_PATH;

/// Which file.
#[derive(Debug, clap::Args)]
pub(crate) struct JobsFileArgs {
    /// The jobs file [default: /etc/neo4j-backup/jobs.toml]
    ///
    /// Its keys are the options of a backup. Environment variables set no option of a job.
    #[arg(long, value_name = "FILE", hide_env = true, env = "NEO4J_BACKUP_JOBS",
          value_parser = clap::value_parser!(OsString))]
    jobs: Option<OsString>,
}

impl JobsFileArgs {
    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        let named = self.jobs.clone().filter(|name| !name.is_empty());
        named.map_or_else(|| DEFAULT_PATH.into(), PathBuf::from)
    }
}
