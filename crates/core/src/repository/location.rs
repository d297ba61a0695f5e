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

/// Those that a build with the feature `cloud` knows.
#[cfg(not(feature = "cloud"))]
const CLOUD: [&str; 3] = ["s3:", "gs:", "azure:"];

/// Where there is a repository, or one is to be created: a directory, or a folder in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(super) storage: Storage,
}

/// What a repository is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Storage {
    Directory(PathBuf),
    #[cfg(feature = "cloud")]
    Objects(super::objects::ObjectUrl),
}

impl Location {
    /// Reads a location as restic spells it: a path, or `local:` and a path; with the feature `cloud` also
    /// `s3:https://host/bucket/path`, `gs:bucket:/path` and `azure:container:/path`. The credentials of an object store
    /// are values that `variable` has for the names that restic reads from the environment.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Configuration`] if it is of another kind, or of one that this build cannot use.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Location, Error> {
        if let Some(found) = objects(text, &variable) {
            return found;
        }
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
        Ok(Location {
            storage: Storage::Directory(path),
        })
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match &self.storage {
            Storage::Directory(path) => Some(path),
            #[cfg(feature = "cloud")]
            Storage::Objects(_) => None,
        }
    }
}

#[cfg(feature = "cloud")]
fn objects(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<Result<Location, Error>> {
    let found = super::objects::ObjectUrl::parse(text, variable)?;
    Some(match found {
        Ok(url) => Ok(Location {
            storage: Storage::Objects(url),
        }),
        Err(what) => Err(Error::new(ErrorKind::Configuration, format!("{text}: {what}"))),
    })
}

#[cfg(not(feature = "cloud"))]
fn objects(text: &str, _variable: &dyn Fn(&str) -> Option<String>) -> Option<Result<Location, Error>> {
    CLOUD.iter().any(|scheme| text.starts_with(scheme)).then(|| {
        let text = format!("{text}: this program was built without support for object stores");
        Err(Error::new(ErrorKind::Configuration, text)
            .with_hint("install a binary with the feature `cloud`, or name a directory"))
    })
}

/// The directory of a repository, held open. What is created in it follows its owner, group and mode.
///
/// # Errors
/// Those of the file system; above all `NotFound`.
pub(super) fn open_directory(path: &Path) -> io::Result<DirHandle> {
    let dir = DirHandle::open(path)?;
    let like = NewFiles::like(&dir.status()?);
    Ok(dir.with_new_files(like))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.storage {
            Storage::Directory(path) => path.display().fmt(f),
            #[cfg(feature = "cloud")]
            Storage::Objects(url) => url.fmt(f),
        }
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

    fn parsed(text: &str) -> Result<Location, Error> {
        Location::parse(text, |_| None)
    }

    #[test]
    fn a_path_is_a_directory() {
        let directory = |path: &str| Location {
            storage: Storage::Directory(path.into()),
        };
        assert_eq!(parsed("/mnt/repo").unwrap(), directory("/mnt/repo"));
        assert_eq!(parsed("local:/mnt/repo").unwrap(), directory("/mnt/repo"));
        assert!(parsed("repo").unwrap().to_string().starts_with('/'));
        assert_eq!(parsed("").unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(parsed("sftp:host:/repo").unwrap_err().kind(), ErrorKind::Configuration);
    }

    #[test]
    fn object_stores_need_a_build_that_knows_them() {
        for text in [
            "s3:https://host/bucket/path",
            "gs:bucket:/path",
            "azure:container:/path",
        ] {
            match parsed(text) {
                Ok(location) => {
                    assert!(cfg!(feature = "cloud"), "{text}");
                    assert_eq!(location.to_string(), text);
                }
                Err(refused) => {
                    assert!(!cfg!(feature = "cloud"), "{text}: {refused}");
                    assert_eq!(refused.kind(), ErrorKind::Configuration);
                    assert!(
                        refused.to_string().contains("without support for object stores"),
                        "{refused}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_password_is_not_empty_and_is_not_shown() {
        let password = Password::new("secret word").unwrap();
        assert_eq!(password.text(), "secret word");
        assert!(!format!("{password:?}").contains("secret"));
        assert_eq!(Password::new("").unwrap_err().kind(), ErrorKind::Usage);
    }
}
