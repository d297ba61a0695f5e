//! The directory that an export writes: `OUT.partial` while it grows, `OUT` when everything is durable.
//!
//! | step | on disk | the next export |
//! |---|---|---|
//! | 1 create `OUT.partial` with the file [`MARKER`] in it, which stays locked | `.partial` with the marker, or empty | removes it |
//! | 2 fill it, fsync all | the same | removes it |
//! | 3 rename it to `OUT`; fsync parent | `OUT` with the marker | removes the marker |
//! | 4 remove the marker | `OUT` | nothing |
//!
//! So a directory without the marker is never deleted, nor one whose marker is locked.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{File, TryLockError},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use crate::{
    Error, ErrorKind,
    progress::Progress,
    target::{durable, staging::directories::remove_with_last},
};
use neo4j_format::{DirHandle, DiskError};

/// Says that the directory was made by an export that is not over.
const MARKER: &str = "neo4j-backup.exporting";

/// A database that was restored to be exported, in the directory under construction.
const DATABASE: &str = "neo4j-backup.restored";

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
    /// Locked as long as this exists.
    _marker: File,
    is_published: bool,
}

impl Staging {
    /// Creates `OUT.partial`, and removes the one of an export that was interrupted.
    ///
    /// # Errors
    /// `out` exists; `OUT.partial` does, and another export is writing it or none has; disk errors.
    pub(super) fn create(out: &Path, progress: &dyn Progress) -> Result<Staging, Error> {
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
            finish_published(&parent, name)?;
            return Err(exists(out));
        }
        let mut partial_name = name.to_owned();
        partial_name.push(".partial");
        let path = parent.join(&partial_name);
        if parent.has(&partial_name) {
            remove_interrupted(&parent, &partial_name)?;
            let text = format!("{}: left by an interrupted export; removed", path.display());
            progress.warning(&text);
        }
        let create = || {
            let partial = parent.create_folder(&partial_name)?;
            let marker = partial.create_new(MARKER)?;
            marker.try_lock()?;
            Ok::<_, io::Error>((partial, marker))
        };
        let (partial, marker) = match create() {
            Ok(made) => made,
            // another export was faster
            Err(cause) if matches!(cause.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::WouldBlock) => {
                return Err(in_use(&path));
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
            _marker: marker,
            is_published: false,
        })
    }

    /// Where a database may be restored to; it is not published.
    pub(super) fn database(&self) -> PathBuf {
        self.partial.join(DATABASE)
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
        if self.partial.has(DATABASE) {
            let database = self.database();
            self.partial.remove_tree(DATABASE).map_err(DiskError::at(database))?;
        }
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
        finish_published(&self.parent, name)?;
        Ok(std::mem::take(&mut self.files))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_published {
            // the run ends with an error or a verdict of its own
            let _ = remove_with_last(&self.parent, &self.partial_name, MARKER);
        }
    }
}

/// Takes step 4 where it was not taken.
fn finish_published(parent: &DirHandle, name: &OsStr) -> Result<(), Error> {
    let marker = Path::new(name).join(MARKER);
    if parent.has(&marker) {
        let path = parent.join(&marker);
        parent.remove_file(&marker).map_err(DiskError::at(path))?;
    }
    Ok(())
}

/// Removes what an interrupted export left.
fn remove_interrupted(parent: &DirHandle, name: &OsStr) -> Result<(), Error> {
    let path = parent.join(name);
    if !parent.status_of(name).map_err(DiskError::at(&path))?.is_folder() {
        return Err(foreign(&path));
    }
    let partial = parent.folder(name).map_err(DiskError::at(&path))?;
    let marker = match partial.open_to_change(MARKER) {
        Ok(marker) => Some(marker),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
        Err(cause) => return Err(DiskError::new(partial.join(MARKER), cause).into()),
    };
    match marker.as_ref().map(File::try_lock) {
        Some(Ok(())) => {}
        Some(Err(TryLockError::WouldBlock)) => return Err(in_use(&path)),
        Some(Err(TryLockError::Error(cause))) => return Err(DiskError::new(path, cause).into()),
        None if partial.entries().map_err(DiskError::at(&path))?.is_empty() => {}
        None => return Err(foreign(&path)),
    }
    Ok(remove_with_last(parent, name, MARKER)?)
}

fn in_use(partial: &Path) -> Error {
    let text = format!("{}: another export is writing it", partial.display());
    Error::new(ErrorKind::TargetInUse, text).with_hint("wait until it ends, or choose another directory")
}

fn foreign(partial: &Path) -> Error {
    let text = format!("{}: exists, and is not from an interrupted export", partial.display());
    Error::new(ErrorKind::NotOurs, text).with_hint("move it away, or choose another directory")
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
    use crate::progress::Quiet;

    fn create(out: &Path) -> Result<Staging, Error> {
        Staging::create(out, &Quiet)
    }

    #[test]
    fn a_directory_appears_whole_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut staging = create(&out).unwrap();
        for n in 0..2 * OPEN_MAX {
            staging.add(format!("{n}"), b"a").unwrap();
        }
        for n in 0..2 * OPEN_MAX {
            staging.append(n, b"bc").unwrap();
        }
        assert!(!out.exists());
        let second = create(&out).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::TargetInUse);
        let files = staging.publish().unwrap();
        assert_eq!((files.len(), files[7].bytes), (2 * OPEN_MAX, 3));
        assert_eq!(fs::read(out.join("7")).unwrap(), b"abc");
        assert_eq!(create(&out).unwrap_err().kind(), ErrorKind::NotOurs);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_export_that_fails_leaves_nothing_and_never_replaces_what_came_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut staging = create(&out).unwrap();
        staging.add("x", b"").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let staging = create(&out).unwrap();
        fs::create_dir(&out).unwrap();
        assert_eq!(staging.publish().unwrap_err().kind(), ErrorKind::NotOurs);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(create(Path::new("/")).unwrap_err().kind(), ErrorKind::Configuration);
    }

    /// What a kill after step 2 leaves.
    fn kill(staging: Staging) {
        let Staging { partial, .. } = &staging;
        let (from, to) = (partial.path().to_owned(), partial.path().with_extension("kept"));
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(&from).unwrap() {
            let name = entry.unwrap().file_name();
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
        drop(staging);
        fs::rename(to, from).unwrap();
    }

    #[test]
    fn an_export_removes_what_an_interrupted_one_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (out, partial) = (dir.path().join("out"), dir.path().join("out.partial"));
        let mut staging = create(&out).unwrap();
        staging.add("x", b"1").unwrap();
        kill(staging);
        assert!(partial.join("x").exists());
        let staging = create(&out).unwrap();
        assert!(!partial.join("x").exists());
        drop(staging);
        fs::create_dir(&partial).unwrap();
        drop(create(&out).unwrap());
        for make in [
            |path: &Path| fs::create_dir(path).and_then(|()| fs::write(path.join("mine"), "")),
            |path: &Path| fs::write(path, ""),
            |path: &Path| std::os::unix::fs::symlink("/", path),
        ] {
            make(&partial).unwrap();
            assert_eq!(create(&out).unwrap_err().kind(), ErrorKind::NotOurs);
            assert!(partial.symlink_metadata().is_ok());
            fs::remove_dir_all(&partial)
                .or_else(|_| fs::remove_file(&partial))
                .unwrap();
        }
    }

    #[test]
    fn the_marker_of_an_export_that_was_killed_when_it_was_published_goes() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        create(&out).unwrap().publish().unwrap();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        fs::write(out.join(MARKER), "").unwrap();
        assert_eq!(create(&out).unwrap_err().kind(), ErrorKind::NotOurs);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    }
}
