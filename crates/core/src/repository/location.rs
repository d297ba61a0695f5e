//! Where a repository is, and what opens it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind};
use neo4j_format::{DirHandle, directory::NewFiles};

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

    /// The directory, if it is one of this machine.
    pub fn directory(&self) -> Option<&Path> {
        Some(&self.0)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The directory, held open. What is created in it follows its owner, group and mode.
    ///
    /// # Errors
    /// Those of the file system; above all `NotFound`.
    pub(super) fn open(&self) -> io::Result<DirHandle> {
        let dir = DirHandle::open(&self.0)?;
        let like = NewFiles::like(&dir.status()?);
        Ok(dir.with_new_files(like))
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
    fn a_password_is_not_empty_and_is_not_shown() {
        let password = Password::new("secret word").unwrap();
        assert_eq!(password.text(), "secret word");
        assert!(!format!("{password:?}").contains("secret"));
        assert_eq!(Password::new("").unwrap_err().kind(), ErrorKind::Usage);
    }
}
