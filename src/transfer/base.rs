//! Whether all is there that an incremental backup builds on.

use std::{fs, io, path::Path};

use super::{
    DiskError,
    manifest::{Manifest, files},
};
use crate::{Error, ErrorKind, store::StoreFile};

/// Refuses a base that lacks a store file, or one that its manifest lists, if that is still true of it. An archived log
/// that somebody removed costs the history alone.
///
/// # Errors
/// Of kind [`ErrorKind::FullNeeded`], with the first that is missing; of the disk.
pub(super) fn is_whole(dir: &Path, listed: Option<&Manifest>) -> Result<(), Error> {
    let listed = listed.into_iter().flat_map(|manifest| &manifest.files);
    let listed = listed
        .map(|entry| entry.path.as_str())
        .filter(|path| !files::is_archived_log(path));
    for name in StoreFile::ALL.iter().map(|kind| kind.name()).chain(listed) {
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(DiskError::new(path, error).into()),
            _ => {
                let text = format!("{name} is missing in {}", dir.display());
                return Err(Error::new(ErrorKind::FullNeeded, text).with_hint("take a full backup"));
            }
        }
    }
    Ok(())
}
