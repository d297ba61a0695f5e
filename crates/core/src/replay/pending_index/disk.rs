//! File operations of this folder: what is renamed or removed is durable when a function returns.

use std::{fs::File, io, path::Path};

use super::error::PendingIndexError;
use crate::{file_system, target::durable};
use neo4j_format::DirHandle;

type Result<T> = std::result::Result<T, PendingIndexError>;

/// Opens a file for reading, `None` if it is not there.
pub(super) fn open(dir: &DirHandle, path: &Path) -> Result<Option<File>> {
    match dir.open_file(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PendingIndexError::file(path, "open it")(error)),
    }
}

/// Opens a file that exists for reading and writing.
pub(super) fn open_to_change(dir: &DirHandle, path: &Path) -> Result<File> {
    dir.open_to_change(path)
        .map_err(PendingIndexError::file(path, "open it"))
}

/// Creates an empty file; replaces an existing one.
pub(super) fn create(dir: &DirHandle, path: &Path) -> Result<File> {
    remove(dir, path)?;
    dir.create_new(path).map_err(PendingIndexError::file(path, "create it"))
}

/// Content of a file of at most `limit` bytes, `None` if it is not there.
pub(super) fn read(dir: &DirHandle, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    match dir.read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(PendingIndexError::TooLarge {
            path: path.to_owned(),
            size: dir.status_of(path).map_or(u64::MAX, |found| found.length()),
            limit,
        }),
        Err(error) => Err(PendingIndexError::file(path, "read it")(error)),
    }
}

/// Makes a file's content durable.
pub(super) fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(PendingIndexError::file(path, "sync it"))
}

/// Makes overwritten bytes durable.
pub(super) fn sync_data(file: &File, path: &Path) -> Result<()> {
    file.sync_data().map_err(PendingIndexError::file(path, "sync it"))
}

/// Makes the names in the folder of a path durable.
fn sync_folder(dir: &DirHandle, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    durable::sync_entry(dir, dir.relative(folder))
        .map_err(|error| PendingIndexError::file(folder, "sync it")(file_system::copy(error.cause())))
}

/// Renames a synced file within its folder, replacing a file of the new name.
pub(super) fn rename(dir: &DirHandle, from: &Path, to: &Path) -> Result<()> {
    dir.rename(from, to)
        .map_err(PendingIndexError::file(to, "rename to it"))?;
    sync_folder(dir, to)
}

/// Removes a file; a missing one is not an error.
pub(super) fn remove(dir: &DirHandle, path: &Path) -> Result<()> {
    remove_all(dir, [path])
}

/// Removes files of one folder; those that are not there are no error.
pub(super) fn remove_all<P: AsRef<Path>>(dir: &DirHandle, paths: impl IntoIterator<Item = P>) -> Result<()> {
    let mut removed = None;
    for path in paths {
        match dir.remove_file(&path) {
            Ok(()) => removed = Some(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(PendingIndexError::file(path.as_ref(), "remove it")(error)),
        }
    }
    removed.map_or(Ok(()), |path| sync_folder(dir, path.as_ref()))
}

/// Removes a folder and its contents; a missing folder is not an error.
pub(super) fn remove_folder(dir: &DirHandle, path: &Path) -> Result<()> {
    match dir.remove_tree(path) {
        Ok(()) => sync_folder(dir, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PendingIndexError::file(path, "remove it")(error)),
    }
}
