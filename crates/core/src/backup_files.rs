//! The files of a backup, wherever they are.

use crate::{
    Error,
    cancel::Cancel,
    manifest::{FileEntry, Manifest, units::Unit},
};
use neo4j_format::DirHandle;

/// Receives the parts of a file.
pub(crate) type Receiver<'a> = dyn Fn(Unit, &[u8]) -> Result<(), Error> + Sync + 'a;

/// A backup that can be read, as its manifest lists it: a directory, or a snapshot in a repository.
pub(crate) trait BackupFiles: Sync {
    /// What it has to hold.
    fn manifest(&self) -> &Manifest;

    /// The length of a file; `None` if it is missing or not a regular file.
    ///
    /// # Errors
    /// Of the disk.
    fn length(&self, path: &str) -> Result<Option<u64>, Error>;

    /// Copies the file with the checksums to `to`, which has none.
    ///
    /// # Errors
    /// It is missing; of the disk.
    fn copy_sums(&self, to: &DirHandle) -> Result<(), Error>;

    /// Hands all bytes of `files` to `each`, in units of [`Unit`] and on several threads.
    ///
    /// # Errors
    /// Those of `each`; a file cannot be read; cancelled.
    fn read(&self, files: &[FileEntry], cancel: &Cancel, each: &Receiver<'_>) -> Result<(), Error>;

    /// The error that says that a file is not what the manifest lists.
    fn differs(&self, path: &str, what: &str) -> Error;
}
