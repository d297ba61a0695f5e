//! The options that name a repository and what opens it.

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

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

/// Longest password file that is read.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Which repository.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = REPOSITORY)]
pub(crate) struct RepositoryArgs {
    /// Repository of generations, in the format of restic: a directory
    ///
    /// Binaries with the feature `cloud` also take s3:https://HOST/BUCKET/PATH, gs:BUCKET:/PATH and
    /// azure:CONTAINER:/PATH, with the credentials in the variables that restic reads. Created with `repo init`. The
    /// password comes from -repo-password-file or from the environment variable `NEO4J_BACKUP_REPO_PASSWORD`. Commands
    /// for repositories also read `RESTIC_REPOSITORY` and `RESTIC_PASSWORD_FILE`.
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
        let location = Location::parse(&name.to_string_lossy(), text_variable)?;
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
                let location = Location::parse(&name.to_string_lossy(), text_variable)?;
                Ok(Repository::new(location, self.password()?))
            }
            None => Err(Error::new(ErrorKind::Usage, "-repo is required").with_hint("name the repository with -repo")),
        }
    }

    fn password(&self) -> Result<Password, Error> {
        let file = self.repo_password_file.clone().filter(|name| !name.is_empty());
        if let Some(file) = file {
            return read_password(Path::new(&file));
        }
        if let Some(password) = variable(PASSWORD_VARIABLE) {
            return Password::new(password.to_string_lossy());
        }
        if let Some(file) = variable(RESTIC_PASSWORD_FILE) {
            return read_password(Path::new(&file));
        }
        Err(Error::new(ErrorKind::Usage, "no password for the repository")
            .with_hint("give -repo-password-file, or set NEO4J_BACKUP_REPO_PASSWORD"))
    }
}

/// The first line of a file.
///
/// # Errors
/// Of kind [`ErrorKind::Configuration`] if the file cannot be read; as [`Password::new`].
fn read_password(path: &Path) -> Result<Password, Error> {
    let unreadable = |error: &dyn fmt::Display| {
        Error::new(ErrorKind::Configuration, format!("{}: {error}", path.display()))
            .with_hint("name a file with the password of the repository")
    };
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(MAX_PASSWORD + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text: String = read().map_err(|error: io::Error| unreadable(&error))?;
    if text.len() as u64 > MAX_PASSWORD {
        return Err(unreadable(&"too large for a password"));
    }
    Password::new(text.lines().next().unwrap_or_default())
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

pub(crate) fn text_variable(name: &str) -> Option<String> {
    variable(name).map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "secret word\nmore\n").unwrap();
        assert_eq!(read_password(&path).unwrap(), Password::new("secret word").unwrap());
        fs::write(&path, "\n").unwrap();
        assert_eq!(read_password(&path).unwrap_err().kind(), ErrorKind::Usage);
        fs::write(&path, "long".repeat(20_000)).unwrap();
        assert_eq!(read_password(&path).unwrap_err().kind(), ErrorKind::Configuration);
        fs::remove_file(&path).unwrap();
        assert_eq!(read_password(&path).unwrap_err().kind(), ErrorKind::Configuration);
    }
}
