//! The files of a full backup, from the response into an empty directory.

use std::{
    fs::{self, File},
    path::Path,
};

use super::{
    DiskError,
    manifest::{FileEntry, SUMS},
    sums::SumsWriter,
    writer::{ReceivedFile, Writer},
};
use crate::{
    Error, ErrorKind,
    client::Incoming,
    ids::StoreId,
    progress::Progress,
    wire::{Event, PeerPath},
};

/// The files of a backup, all of them durable but for their names.
#[derive(Debug)]
pub(super) struct ReceivedFiles {
    /// In the order of their digests.
    pub(super) files: Vec<FileEntry>,
    /// Which database it is.
    pub(super) store_id: StoreId,
    /// Bytes of all files.
    pub(super) bytes: u64,
}

/// Name of the checksums as received, before transactions change the files.
pub(super) const RECEIVED_SUMS: &str = "neo4j-backup.sums.received";

/// Receives all files into `dir`, up to the store id that follows them.
///
/// # Errors
/// Of the response; of the disk.
pub(super) fn files(incoming: &mut Incoming, dir: &Path, progress: &dyn Progress) -> Result<ReceivedFiles, Error> {
    debug_assert!(RECEIVED_SUMS.starts_with(SUMS));
    let sums_path = dir.join(RECEIVED_SUMS);
    let mut sums = SumsWriter::create(&sums_path).map_err(DiskError::at(&sums_path))?;
    let mut writer = Writer::start()?;
    let (mut files, mut bytes, mut open) = (Vec::new(), 0, None::<ReceivedFile>);
    let store_id = loop {
        match (incoming.next()?, &mut open) {
            (Event::File(path), None) => {
                progress.file(path.as_str());
                open = Some(create(dir, &path, &mut writer)?);
            }
            (Event::Data(piece), Some(file)) => {
                file.write(piece, &mut sums, &mut writer)?;
                bytes += piece.len() as u64;
                progress.bytes(piece.len() as u64);
            }
            (Event::FileEnd, Some(_)) => {
                if let Some(file) = open.take() {
                    files.push(file.finish(&mut sums, &mut writer)?);
                }
            }
            (Event::StoreId(id), None) => break id,
            (other, _) => {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    format!("{other:?} inside the list of files"),
                ));
            }
        }
    };
    sums.finish().map_err(DiskError::at(&sums_path))?;
    writer.finish()?;
    Ok(ReceivedFiles { files, store_id, bytes })
}

/// Creates the file and the directories it lies in; `dir` is ours alone, and nothing in it is followed or replaced.
fn create(dir: &Path, path: &PeerPath, writer: &mut Writer) -> Result<ReceivedFile, Error> {
    let place = dir.join(path.as_str());
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(DiskError::at(parent))?;
    }
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(&place)
        .map_err(DiskError::at(&place))?;
    Ok(ReceivedFile::begin(file, place, path.as_str().to_owned(), writer)?)
}
