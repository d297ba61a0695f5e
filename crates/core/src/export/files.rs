//! The directory that an export writes: `OUT.partial` while it grows, `OUT` when everything is durable.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
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
    partial: PathBuf,
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
        if fs::symlink_metadata(out).is_ok() {
            return Err(exists(out));
        }
        let mut partial = name.to_owned();
        partial.push(".partial");
        let partial = out.with_file_name(partial);
        match fs::create_dir(&partial) {
            Ok(()) => {}
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {
                let text = format!("{}: exists, from another export", partial.display());
                return Err(Error::new(ErrorKind::TargetInUse, text)
                    .with_hint("delete it if no other export is running, or choose another directory"));
            }
            Err(cause) => return Err(DiskError::new(&partial, cause).into()),
        }
        Ok(Staging {
            partial,
            out: out.to_owned(),
            files: Vec::new(),
            open: HashMap::new(),
            is_published: false,
        })
    }

    /// Adds a file with this beginning and returns its number.
    pub(super) fn add(&mut self, name: impl Into<String>, beginning: &[u8]) -> Result<usize, Error> {
        let number = self.files.len();
        self.files.push(ExportFile {
            name: name.into(),
            bytes: 0,
        });
        self.append(number, beginning)?;
        Ok(number)
    }

    /// Appends to the file of this number.
    pub(super) fn append(&mut self, number: usize, bytes: &[u8]) -> Result<(), Error> {
        let Some(file) = self.files.get_mut(number) else {
            return Ok(());
        };
        let path = self.partial.join(&file.name);
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&number) {
            self.open.clear();
        }
        let mut written = match self.open.entry(number) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let opened = OpenOptions::new().append(true).create(true).open(&path);
                place.insert(opened.map_err(DiskError::at(&path))?)
            }
        } as &File;
        written.write_all(bytes).map_err(DiskError::at(&path))?;
        file.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes a script of the file of this number.
    pub(super) fn make_executable(&mut self, number: usize) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt as _;
        if let Some(file) = self.files.get(number) {
            let path = self.partial.join(&file.name);
            let mut permissions = fs::metadata(&path).map_err(DiskError::at(&path))?.permissions();
            // whoever may read it may run it
            let mode = permissions.mode();
            permissions.set_mode(mode | (mode & 0o444) >> 2);
            fs::set_permissions(&path, permissions).map_err(DiskError::at(&path))?;
        }
        Ok(())
    }

    /// Makes everything durable and gives the directory its name.
    ///
    /// # Errors
    /// Something has this name now; disk errors.
    pub(super) fn publish(mut self) -> Result<Vec<ExportFile>, Error> {
        self.open.clear();
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        let partial = DirHandle::open(&self.partial).map_err(DiskError::at(&self.partial))?;
        durable::sync_together(&partial, &names)?;
        durable::sync(&partial)?;
        match rustix::fs::renameat_with(CWD, &self.partial, CWD, &self.out, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(exists(&self.out)),
            // file systems without this flag; a directory never replaces one that is not empty
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::rename(&self.partial, &self.out).map_err(DiskError::at(&self.out))?;
            }
            Err(cause) => return Err(DiskError::new(&self.out, cause.into()).into()),
        }
        self.is_published = true;
        let parent = match self.out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        durable::sync(&DirHandle::open(parent).map_err(DiskError::at(parent))?)?;
        Ok(std::mem::take(&mut self.files))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_published {
            // the run ends with an error or a verdict of its own
            let _ = fs::remove_dir_all(&self.partial);
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
    // a vector takes everything
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
