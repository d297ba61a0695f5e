//! The directory that an export writes: `OUT.partial` while it grows, `OUT` when everything is durable.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use crate::{Error, ErrorKind, target::durable};
use neo4j_format::{DirHandle, DiskError};

/// Files that are open at a time.
const OPEN_MAX: usize = 128;

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportFile {
    /// Its name in the directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The directory under construction; removed unless [`Staging::publish`] is called.
#[derive(Debug)]
pub(super) struct Staging {
    /// The directory that it lies in.
    parent: DirHandle,
    partial: DirHandle,
    partial_name: OsString,
    out: PathBuf,
    files: Vec<ExportFile>,
    open: HashMap<usize, File>,
    is_published: bool,
}

impl Staging {
    /// Creates `OUT.partial`.
    ///
    /// # Errors
    /// It exists, or `out` does; disk errors.
    pub(super) fn create(out: &Path) -> Result<Staging, Error> {
        let name = out.file_name().ok_or_else(|| {
            let text = format!("{}: not the name of a new directory", out.display());
            Error::new(ErrorKind::Configuration, text)
        })?;
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = DirHandle::open(parent).map_err(DiskError::at(parent))?;
        if parent.has(name) {
            return Err(exists(out));
        }
        let mut partial_name = name.to_owned();
        partial_name.push(".partial");
        let path = parent.join(&partial_name);
        let partial = match parent.create_folder(&partial_name) {
            Ok(partial) => partial,
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                let text = format!("{}: exists, from another export", path.display());
                return Err(Error::new(ErrorKind::TargetInUse, text)
                    .with_hint("delete it if no other export is running, or choose another directory"));
            }
            Err(cause) => return Err(DiskError::new(&path, cause).into()),
        };
        Ok(Staging {
            parent,
            partial,
            partial_name,
            out: out.to_owned(),
            files: Vec::new(),
            open: HashMap::new(),
            is_published: false,
        })
    }

    /// Adds a file with this beginning and returns its number.
    pub(super) fn add(&mut self, name: impl Into<String>, beginning: &[u8]) -> Result<usize, Error> {
        let (number, name) = (self.files.len(), name.into());
        let file = self.partial.create_new(&name);
        let file = file.map_err(DiskError::at(self.partial.join(&name)))?;
        self.keep_open(number, file);
        self.files.push(ExportFile { name, bytes: 0 });
        self.append(number, beginning)?;
        Ok(number)
    }

    /// Appends to the file of this number.
    pub(super) fn append(&mut self, number: usize, bytes: &[u8]) -> Result<(), Error> {
        let name = self.files[number].name.clone();
        let path = self.partial.join(&name);
        if !self.open.contains_key(&number) {
            let opened = self.partial.open_to_change(&name).and_then(|mut file| {
                file.seek(SeekFrom::End(0))?;
                Ok(file)
            });
            self.keep_open(number, opened.map_err(DiskError::at(&path))?);
        }
        if let Some(file) = self.open.get_mut(&number) {
            file.write_all(bytes).map_err(DiskError::at(&path))?;
        }
        self.files[number].bytes += bytes.len() as u64;
        Ok(())
    }

    fn keep_open(&mut self, number: usize, file: File) {
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        self.open.insert(number, file);
    }

    /// Makes a script of the file of this number.
    pub(super) fn make_executable(&mut self, number: usize) -> Result<(), Error> {
        let name = &self.files[number].name;
        let make = || {
            let file = self.partial.open_file(name)?;
            let mut permissions = file.metadata()?.permissions();
            // each class that can read the script can execute it
            let mode = permissions.mode();
            permissions.set_mode(mode | (mode & 0o444) >> 2);
            file.set_permissions(permissions)
        };
        Ok(make().map_err(DiskError::at(self.partial.join(name)))?)
    }

    /// Makes everything durable and gives the directory its name.
    ///
    /// # Errors
    /// Something has this name now; disk errors.
    pub(super) fn publish(mut self) -> Result<Vec<ExportFile>, Error> {
        self.open.clear();
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        durable::sync_together(&self.partial, &names)?;
        durable::sync(&self.partial)?;
        let name = self.out.file_name().expect("it was created with a name");
        match self.parent.rename_new(&self.partial_name, name) {
            Ok(()) => {}
            Err(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                return Err(exists(&self.out));
            }
            Err(cause) => return Err(DiskError::new(&self.out, cause).into()),
        }
        self.is_published = true;
        durable::sync(&self.parent)?;
        Ok(std::mem::take(&mut self.files))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_published {
            // the run ends with an error or a verdict of its own
            let _ = self.parent.remove_tree(&self.partial_name);
        }
    }
}

fn exists(out: &Path) -> Error {
    let text = format!("{}: exists; an export never replaces anything", out.display());
    Error::new(ErrorKind::NotOurs, text).with_hint("name a directory that does not exist")
}

/// `bytes` as one member of a gzip file; readers take several in a row for one text.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_appears_whole_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut staging = Staging::create(&out).unwrap();
        for n in 0..2 * OPEN_MAX {
            staging.add(format!("{n}"), b"a").unwrap();
        }
        for n in 0..2 * OPEN_MAX {
            staging.append(n, b"bc").unwrap();
        }
        assert!(!out.exists());
        let second = Staging::create(&out).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::TargetInUse);
        let files = staging.publish().unwrap();
        assert_eq!((files.len(), files[7].bytes), (2 * OPEN_MAX, 3));
        assert_eq!(fs::read(out.join("7")).unwrap(), b"abc");
        assert_eq!(Staging::create(&out).unwrap_err().kind(), ErrorKind::NotOurs);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_export_that_fails_leaves_nothing_and_never_replaces_what_came_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut staging = Staging::create(&out).unwrap();
        staging.add("x", b"").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let staging = Staging::create(&out).unwrap();
        fs::create_dir(&out).unwrap();
        assert_eq!(staging.publish().unwrap_err().kind(), ErrorKind::NotOurs);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            Staging::create(Path::new("/")).unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}
