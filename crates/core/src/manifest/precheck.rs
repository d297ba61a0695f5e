//! Whether a backup still is what its manifest says, looked at before any of it is changed.
//!
//! A new digest vouches for whatever bytes it is taken of. So what an update is going to change, or to digest again, is
//! compared with its recorded digest first: damage is found while the run can still refuse, and is never certified.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

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
    DiskError,
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

/// Compares what an update of `dir` is going to change with the digests that are known of it. `dirty` says which chunks
/// of the store files will be written; files that are neither store files nor written once are compared as a whole.
///
/// # Errors
/// Of kind [`ErrorKind::FullNeeded`], with the file and the bytes; of the disk; the run was cancelled.
pub(crate) fn require_undamaged(
    dir: &Path,
    format: StoreFormat,
    known: &Known<'_>,
    dirty: &BTreeMap<StoreFile, DirtyChunks>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let in_sums = || DiskError::at(known.sums);
    let mut digests = SumsReader::open(known.sums).map_err(in_sums())?;
    for entry in known.files {
        cancel.check()?;
        let chunks = sums::chunks(entry.length);
        let Some(wanted) = Wanted::of(dir, format, entry, dirty)? else {
            digests.skip(chunks).map_err(in_sums())?;
            continue;
        };
        let path = dir.join(&entry.path);
        let file = match File::open(&path) {
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
            let recorded: Digest = digests.next_digest().map_err(in_sums())?;
            if wanted.has(chunk) && digest(&file, chunk, length).map_err(DiskError::at(&path))? != recorded {
                let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(length));
                return Err(Damage::Chunk { path, start, end }.into());
            }
        }
    }
    Ok(())
}

/// Which chunks of a file are compared.
enum Wanted<'a> {
    /// None, but its length.
    Length,
    /// All.
    All,
    /// Those that will be written, and those from the last record in use on: a file is cut there and gets a new end.
    Written { dirty: &'a DirtyChunks, end: u64 },
}

impl<'a> Wanted<'a> {
    /// `None` for a file that is not of the store.
    fn of(
        dir: &Path,
        format: StoreFormat,
        entry: &FileEntry,
        dirty: &'a BTreeMap<StoreFile, DirtyChunks>,
    ) -> Result<Option<Wanted<'a>>, Error> {
        Ok(match StoreFile::from_name(&entry.path) {
            Some(StoreFile::Neostore) => Some(Wanted::All),
            Some(kind) => match dirty.get(&kind) {
                Some(dirty) => Some(Wanted::Written {
                    dirty,
                    end: seal::end_of_records(dir, kind, format)? / CHUNK,
                }),
                None if seal::is_clean(dir, kind, format)? => Some(Wanted::Length),
                // it is going to be sealed
                None => Some(Wanted::All),
            },
            None if files::is_written_once(&entry.path) => Some(Wanted::Length),
            None => files::is_of_a_store(&entry.path).then_some(Wanted::All),
        })
    }

    fn has(&self, chunk: u64) -> bool {
        match self {
            Wanted::Length => false,
            Wanted::All => true,
            Wanted::Written { dirty, end } => dirty.has(chunk) || chunk >= *end,
        }
    }
}
