//! Whether a backup still is what its manifest says, looked at before any of it is changed.
//!
//! A new digest vouches for the bytes it is computed from, right or wrong. So what an update is going to change, or to digest again, is
//! compared with its recorded digest first: damage is found while the run can still refuse, and is never certified.

use std::{collections::BTreeMap, io, path::PathBuf};

use super::{
    FileEntry,
    checksums::{Known, digest},
    files,
    sums::{self, CHUNK, Digest, SumsReader},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    replay::{apply::DirtyChunks, seal},
};
use neo4j_format::{
    DirHandle, DiskError,
    store::{StoreFile, StoreFormat},
};

/// A file that is not what its recorded digests say.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("{}: checksum mismatch at {start}..{end}", path.display())]
    Chunk { path: PathBuf, start: u64, end: u64 },
    #[error("{}: {found} bytes long, {expected} when it was recorded", path.display())]
    Length { path: PathBuf, found: u64, expected: u64 },
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Error {
        Error::new(ErrorKind::FullNeeded, damage).with_hint("the backup is damaged: take a full backup")
    }
}

/// What is known of an update before it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Changes<'a> {
    /// The chunks of the store files that it will write.
    Chunks(&'a BTreeMap<StoreFile, DirtyChunks>),
    /// Nothing: any store file may change.
    Unknown,
}

/// Compares what an update of `dir` is going to change with the recorded digests. Files that are neither store files nor
/// written once are compared as a whole.
///
/// # Errors
/// Of kind [`ErrorKind::FullNeeded`], with the file and the bytes; of the disk; the run was cancelled.
pub(crate) fn require_undamaged(
    dir: &DirHandle,
    format: StoreFormat,
    known: &Known<'_>,
    changes: Changes<'_>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let in_sums = || DiskError::at(dir.join(known.sums));
    let mut digests = SumsReader::open(dir, known.sums).map_err(in_sums())?;
    for entry in known.files {
        cancel.check()?;
        let chunks = sums::chunks(entry.length);
        let Some(compared) = Compared::of(dir, format, entry, changes)? else {
            digests.skip(chunks).map_err(in_sums())?;
            continue;
        };
        let path = dir.join(&entry.path);
        let file = match dir.open_file(&path) {
            Ok(file) => file,
            // a base that lacks a file it needs was refused before
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                digests.skip(chunks).map_err(in_sums())?;
                continue;
            }
            Err(error) => return Err(DiskError::new(path, error).into()),
        };
        let length = file.metadata().map_err(DiskError::at(&path))?.len();
        if length != entry.length {
            let (found, expected) = (length, entry.length);
            return Err(Damage::Length { path, found, expected }.into());
        }
        for chunk in 0..chunks {
            cancel.check()?;
            let recorded: Digest = digests.next_digest().map_err(in_sums())?;
            if compared.has(chunk) && digest(&file, chunk, length).map_err(DiskError::at(&path))? != recorded {
                let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(length));
                return Err(Damage::Chunk { path, start, end }.into());
            }
        }
    }
    Ok(())
}

/// Which chunks of a file are compared.
enum Compared<'a> {
    /// None, but its length.
    Length,
    /// All.
    All,
    /// Those that will be written, and those from the end of the records in use on: sealing cuts the file there and writes
    /// a new end.
    Written { dirty: &'a DirtyChunks, end: u64 },
}

impl<'a> Compared<'a> {
    /// `None` for a file that is not of the store.
    fn of(
        dir: &DirHandle,
        format: StoreFormat,
        entry: &FileEntry,
        changes: Changes<'a>,
    ) -> Result<Option<Compared<'a>>, Error> {
        Ok(match (StoreFile::from_name(&entry.path), changes) {
            (Some(StoreFile::Neostore), _) | (Some(_), Changes::Unknown) => Some(Compared::All),
            (Some(kind), Changes::Chunks(dirty)) => match dirty.get(&kind) {
                Some(dirty) => Some(Compared::Written {
                    dirty,
                    end: seal::end_of_records(dir, kind, format)? / CHUNK,
                }),
                None if seal::is_clean(dir, kind, format)? => Some(Compared::Length),
                // it is going to be sealed
                None => Some(Compared::All),
            },
            (None, _) if files::is_written_once(&entry.path) => Some(Compared::Length),
            (None, _) => files::is_of_a_store(&entry.path).then_some(Compared::All),
        })
    }

    fn has(&self, chunk: u64) -> bool {
        match self {
            Compared::Length => false,
            Compared::All => true,
            Compared::Written { dirty, end } => dirty.has(chunk) || chunk >= *end,
        }
    }
}
