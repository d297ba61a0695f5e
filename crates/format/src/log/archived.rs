//! Which archived logs a store directory holds.

use std::{io, path::PathBuf};

use super::files;
use crate::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion},
};

/// An archived log of a store directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchivedLog {
    /// Its version, which is part of its name.
    pub version: LogVersion,
    /// Its path relative to the store directory.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// The archived logs of a data source in a store directory, oldest first; none if their directory does not exist.
///
/// # Errors
/// Of the disk.
pub fn archived_logs(dir: &DirHandle, source: DataSource) -> Result<Vec<ArchivedLog>, DiskError> {
    let (folder, prefix) = match files::base(source).rsplit_once('/') {
        Some((folder, _)) => (dir.folder(folder), format!("{folder}/")),
        None => (Ok(dir.clone()), String::new()),
    };
    let entries = match folder.and_then(|folder| folder.entries()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DiskError::new(dir.join(prefix), error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        // names of archived logs are ASCII
        let Some(name) = entry.name.to_str().map(|name| format!("{prefix}{name}")) else {
            continue;
        };
        if let Some(version) = files::archived_version(source, &name) {
            found.push(ArchivedLog {
                version,
                path: dir.join(&name),
                name,
                bytes: entry.status.length(),
            });
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

    use super::*;

    #[test]
    fn logs_are_listed_by_version_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            archived_logs(&DirHandle::open(dir.path()).unwrap(), DataSource::Lucene).unwrap(),
            []
        );
        fs::create_dir(dir.path().join("index")).unwrap();
        for name in [
            "index/lucene.log.v10",
            "index/lucene.log.v9",
            "index/lucene.log.1",
            "nioneo_logical.log.v3",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(
            dir.path().join("index").join(OsStr::from_bytes(b"lucene.log.v\xff")),
            "",
        )
        .unwrap();
        let names = |source| {
            let logs = archived_logs(&DirHandle::open(dir.path()).unwrap(), source).unwrap();
            logs.into_iter()
                .map(|log| (log.version.0, log.name))
                .collect::<Vec<_>>()
        };
        let of = |version, name: &str| (version, name.to_owned());
        assert_eq!(
            names(DataSource::Lucene),
            [of(9, "index/lucene.log.v9"), of(10, "index/lucene.log.v10")]
        );
        assert_eq!(names(DataSource::Graph), [of(3, "nioneo_logical.log.v3")]);
    }
}
