//! Where a repository is, and what opens it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind};

/// Longest password file that is read.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Prefixes of locations that are not directories, as restic spells them.
const REMOTE: [&str; 9] = [
    "s3:", "rest:", "rclone:", "sftp:", "b2:", "gs:", "azure:", "swift:", "opendal:",
];

/// A directory with a repository, or one that is to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(PathBuf);

impl Location {
    /// Reads a location as restic spells it: a path, or `local:` and a path.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Configuration`] if it is not a directory.
    pub fn parse(text: &str) -> Result<Location, Error> {
        if let Some(scheme) = REMOTE.iter().find(|scheme| text.starts_with(**scheme)) {
            let text = format!("{text}: repositories of the kind {scheme} are not supported");
            return Err(Error::new(ErrorKind::Configuration, text)
                .with_hint("name a directory, which can be copied elsewhere with restic copy or rclone"));
        }
        let path = text.strip_prefix("local:").unwrap_or(text);
        if path.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "the name of the repository is empty"));
        }
        let path = std::path::absolute(path).map_err(|error| Error::new(ErrorKind::Configuration, error))?;
        Ok(Location(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// The password of a repository; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// This one.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Usage`] if it is empty.
    pub fn new(text: impl Into<String>) -> Result<Password, Error> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "the password of the repository is empty"));
        }
        Ok(Password(text))
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Configuration`] if the file cannot be read; as [`Password::new`].
    pub fn read(path: &Path) -> Result<Password, Error> {
        let unreadable = |error: &dyn fmt::Display| {
            Error::new(ErrorKind::Configuration, format!("{}: {error}", path.display()))
                .with_hint("name a file with the password of the repository")
        };
        let length = fs::metadata(path).map_err(|error| unreadable(&error))?.len();
        if length > MAX_PASSWORD {
            return Err(unreadable(&"too large for a password"));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        Password::new(text.lines().next().unwrap_or_default())
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_location_and_an_object_store_is_not() {
        assert_eq!(Location::parse("/mnt/repo").unwrap(), Location("/mnt/repo".into()));
        assert_eq!(
            Location::parse("local:/mnt/repo").unwrap(),
            Location("/mnt/repo".into())
        );
        assert!(Location::parse("repo").unwrap().path().is_absolute());
        let refused = Location::parse("s3:https://host/bucket").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        assert_eq!(Location::parse("").unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file_and_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "secret word\nmore\n").unwrap();
        let password = Password::read(&path).unwrap();
        assert_eq!(password.text(), "secret word");
        assert!(!format!("{password:?}").contains("secret"));
        fs::write(&path, "\n").unwrap();
        assert_eq!(Password::read(&path).unwrap_err().kind(), ErrorKind::Usage);
        fs::remove_file(&path).unwrap();
        assert_eq!(Password::read(&path).unwrap_err().kind(), ErrorKind::Configuration);
    }
}
