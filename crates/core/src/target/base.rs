//! Whether all is there that an incremental backup builds on.

use std::io;

use crate::{
    Error, ErrorKind,
    manifest::{
        Manifest,
        files::{self, Role},
    },
    replay::pending_index::read_config,
};
use neo4j_format::{
    DirHandle, DiskError,
    store::{StoreFile, lucene_store},
};

/// Refuses a base that lacks a store file, the state of its indexes, or a file that its manifest lists, if that is still
/// true of it. An archived log that somebody removed costs the history alone.
///
/// # Errors
/// Of kind [`ErrorKind::FullNeeded`], with the first that is missing; of the disk; of an `index.db` that cannot be read.
pub(crate) fn is_whole(dir: &DirHandle, listed: Option<&Manifest>) -> Result<(), Error> {
    // without it nothing would be asked for any index (`crate::receive::missing_indexes`)
    let of_indexes = read_config(dir)?.of_lucene().next().map(|_| lucene_store::PATH);
    let listed = listed.into_iter().flat_map(|manifest| &manifest.files);
    let listed = listed
        .map(|entry| entry.path.as_str())
        .filter(|path| !files::is_archived_log(path) && Role::of(path) == Role::Content);
    let stores = StoreFile::ALL.iter().map(|kind| kind.name());
    for name in stores.chain(listed).chain(of_indexes) {
        let path = dir.join(name);
        match dir.status_of(&path) {
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
