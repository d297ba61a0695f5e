//! File operations of this folder: nothing follows a symbolic link at the end of a path, and what is renamed or removed
//! is durable when a function returns.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use super::error::PendingIndexError;
use crate::{file_system, target::durable};

type Result<T> = std::result::Result<T, PendingIndexError>;

fn options() -> OpenOptions {
    let mut options = File::options();
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Opens a file for reading, `None` if it is not there.
pub(super) fn open(path: &Path) -> Result<Option<File>> {
    match options().read(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PendingIndexError::file(path, "open it")(error)),
    }
}

/// Opens a file that exists for reading and writing.
pub(super) fn open_to_change(path: &Path) -> Result<File> {
    options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(PendingIndexError::file(path, "open it"))
}

/// Creates an empty file in place of whatever has this name.
pub(super) fn create(path: &Path) -> Result<File> {
    remove(path)?;
    options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(PendingIndexError::file(path, "create it"))
}

/// Content of a file of at most `limit` bytes, `None` if it is not there.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    let size = read.map_err(PendingIndexError::file(path, "read it"))?;
    match u64::try_from(size) {
        Ok(size) if size <= limit => Ok(Some(bytes)),
        _ => Err(PendingIndexError::TooLarge {
            path: path.to_owned(),
            size: fs::metadata(path).map_or(u64::MAX, |metadata| metadata.len()),
            limit,
        }),
    }
}

/// Makes a file's content durable.
pub(super) fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all().map_err(PendingIndexError::file(path, "sync it"))
}

/// Makes bytes that stand in place of others durable.
pub(super) fn sync_data(file: &File, path: &Path) -> Result<()> {
    file.sync_data().map_err(PendingIndexError::file(path, "sync it"))
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> Result<()> {
    durable::sync(path).map_err(|error| PendingIndexError::file(path, "sync it")(file_system::copy(error.cause())))
}

/// Gives a synced file another name in its directory, in place of what had it.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(PendingIndexError::file(to, "rename to it"))?;
    to.parent().map_or(Ok(()), sync_directory)
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<()> {
    remove_all([path])
}

/// Removes files of one directory; those that are not there are no error.
pub(super) fn remove_all<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<()> {
    let mut directory = None;
    for path in paths {
        let path = path.as_ref();
        match fs::remove_file(path) {
            Ok(()) => directory = path.parent().map(Path::to_owned),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(PendingIndexError::file(path, "remove it")(error)),
        }
    }
    directory.map_or(Ok(()), |directory| sync_directory(&directory))
}

/// Removes a directory with all it holds; one that is not there is no error.
pub(super) fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PendingIndexError::file(path, "remove it")(error)),
    }
}
