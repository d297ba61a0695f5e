//! The options that name a repository and what opens it.

use std::{env, ffi::OsString, path::Path};

use super::definitions::REPOSITORY;
use neo4j_backup_core::{
    Error, ErrorKind,
    repository::{KeepPolicy, Location, Password, Repository},
};

/// Holds the password itself.
pub(crate) const PASSWORD_VARIABLE: &str = "NEO4J_BACKUP_REPO_PASSWORD";

/// As restic knows them; read where ours are absent.
const RESTIC_REPOSITORY: &str = "RESTIC_REPOSITORY";
const RESTIC_PASSWORD_FILE: &str = "RESTIC_PASSWORD_FILE";

/// Which repository.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = REPOSITORY)]
pub(crate) struct RepositoryArgs {
    /// Repository of generations, in the format of restic: a directory
    ///
    /// Created with `repo init`. The password comes from -repo-password-file or from the environment variable
    /// `NEO4J_BACKUP_REPO_PASSWORD`. Commands for repositories also read `RESTIC_REPOSITORY` and `RESTIC_PASSWORD_FILE`.
    #[arg(long, value_name = "REPO", hide_env = true, env = "NEO4J_BACKUP_REPO",
          value_parser = clap::value_parser!(OsString))]
    pub(crate) repo: Option<OsString>,

    /// File with the password of the repository
    #[arg(long, value_name = "FILE", hide_env = true, env = "NEO4J_BACKUP_REPO_PASSWORD_FILE",
          value_parser = clap::value_parser!(OsString))]
    pub(crate) repo_password_file: Option<OsString>,
}

impl RepositoryArgs {
    /// The repository that the options or our variables name.
    ///
    /// # Errors
    /// There is no password, or a value is not understood.
    pub(crate) fn named(&self) -> Result<Option<Repository>, Error> {
        let Some(name) = self.repo.as_ref().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let location = Location::parse(&name.to_string_lossy())?;
        Ok(Some(Repository::new(location, self.password()?)))
    }

    /// The repository that the options or the environment name, restic's variables included.
    ///
    /// # Errors
    /// None is named; as [`RepositoryArgs::named`].
    pub(crate) fn required(&self) -> Result<Repository, Error> {
        if let Some(repository) = self.named()? {
            return Ok(repository);
        }
        match variable(RESTIC_REPOSITORY) {
            Some(name) => {
                let location = Location::parse(&name.to_string_lossy())?;
                Ok(Repository::new(location, self.password()?))
            }
            None => Err(Error::new(ErrorKind::Usage, "-repo is required").with_hint("name the repository with -repo")),
        }
    }

    fn password(&self) -> Result<Password, Error> {
        let file = self.repo_password_file.clone().filter(|name| !name.is_empty());
        if let Some(file) = file {
            return Password::read(Path::new(&file));
        }
        if let Some(password) = variable(PASSWORD_VARIABLE) {
            return Password::new(password.to_string_lossy());
        }
        if let Some(file) = variable(RESTIC_PASSWORD_FILE) {
            return Password::read(Path::new(&file));
        }
        Err(Error::new(ErrorKind::Usage, "no password for the repository")
            .with_hint("give -repo-password-file, or set NEO4J_BACKUP_REPO_PASSWORD"))
    }
}

/// The value of `-keep`.
///
/// # Errors
/// It is not a policy.
pub(crate) fn keep(text: Option<&str>) -> Result<Option<KeepPolicy>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let policy = text.parse();
    policy
        .map(Some)
        .map_err(|error| Error::new(ErrorKind::Usage, format!("invalid value for -keep: {error}")))
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
