//! The final list of files with their digests: those that are known already, where nothing changed since, and new ones
//! elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use crate::{
    Error,
    cancel::Cancel,
    manifest::{
        FileEntry, Manifest, SUMS,
        files::{self, NEW_SUMS, Role},
        sums::{self, CHUNK, SumsReader, SumsWriter},
        units::{CHUNK_LEN, ChunkRun, Units},
    },
    replay::apply::DirtyChunks,
    target::durable::remove,
};
use neo4j_format::{DirHandle, DiskError, store::StoreFile, width::to_usize};

/// Units whose digests wait in memory to be written in their order: 1 GiB of files, 256 KiB of digests.
const WINDOW: u64 = 2048;

/// Digests that were taken before.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// Their files, in the order of the digests.
    pub(crate) files: &'a [FileEntry],
    /// Name of the file with the digests.
    pub(crate) sums: &'a str,
}

impl<'a> Known<'a> {
    /// The digests that the manifest of a backup counts on; `None` where the checksum file is not the one it means.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(crate) fn of(dir: &DirHandle, manifest: &'a Manifest, sums: &'a str) -> Result<Option<Known<'a>>, DiskError> {
        let found = match SumsReader::open(dir, sums).and_then(SumsReader::finish) {
            Ok(checksum) => Some(checksum),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => None,
                _ => return Err(DiskError::new(dir.join(sums), error)),
            },
        };
        let files = &manifest.files;
        Ok((found.is_some() && found == manifest.sums_checksum).then_some(Known { files, sums }))
    }
}

/// Lists every file of the directory in the manifest and writes its checksum file; nothing else is changed.
///
/// # Errors
/// Of the disk; the run was cancelled.
pub(crate) fn write(
    dir: &DirHandle,
    known: Option<&Known<'_>>,
    touched: &BTreeMap<StoreFile, DirtyChunks>,
    manifest: &mut Manifest,
    cancel: &Cancel,
) -> Result<(), Error> {
    remove(dir, NEW_SUMS)?;
    let mut new = SumsWriter::create(dir, NEW_SUMS).map_err(DiskError::at(dir.join(NEW_SUMS)))?;
    let mut files = Vec::new();
    if let Some(known) = known {
        let mut old = SumsReader::open(dir, known.sums).map_err(DiskError::at(dir.join(known.sums)))?;
        for entry in known.files {
            cancel.check()?;
            if Role::of(&entry.path) == Role::Content {
                carry_over(dir, entry, touched, &mut old, &mut new, &mut files, cancel)?;
            } else {
                // an earlier version listed what others had put there
                let chunks = sums::chunks(entry.length);
                old.skip(chunks).map_err(DiskError::at(dir.join(known.sums)))?;
            }
        }
    }
    let mut fresh = Vec::new();
    let carried: BTreeSet<String> = files.iter().map(|file: &FileEntry| file.path.clone()).collect();
    for found in files::list(dir)? {
        if let Some(length) = found.length
            && found.role == Role::Content
            && !carried.contains(&found.path)
        {
            let path = found.path;
            fresh.push(FileEntry { path, length });
        }
    }
    digest_all(dir, &fresh, &mut new, cancel)?;
    files.extend(fresh);
    manifest.files = files;
    manifest.sums_checksum = Some(new.finish().map_err(DiskError::at(dir.join(NEW_SUMS)))?);
    Ok(dir.rename(NEW_SUMS, SUMS).map_err(DiskError::at(dir.join(SUMS)))?)
}

fn carry_over(
    dir: &DirHandle,
    entry: &FileEntry,
    touched: &BTreeMap<StoreFile, DirtyChunks>,
    old: &mut SumsReader,
    new: &mut SumsWriter,
    files: &mut Vec<FileEntry>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let place = dir.join(&entry.path);
    let (before, file) = (sums::chunks(entry.length), dir.open_file(&place));
    let file = match file {
        Ok(file) => file,
        // an index that a transaction deleted, or a log that was archived under another name
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(old.skip(before).map_err(DiskError::at(&place))?),
        Err(e) => return Err(DiskError::new(&place, e).into()),
    };
    let length = file.metadata().map_err(DiskError::at(&place))?.len();
    let store = StoreFile::from_name(&entry.path);
    let kept_whole = files::is_written_once(&entry.path);
    for chunk in 0..sums::chunks(length).max(before) {
        cancel.check()?;
        let known = (chunk < before)
            .then(|| old.next_digest())
            .transpose()
            .map_err(DiskError::at(&place))?;
        if chunk >= sums::chunks(length) {
            continue;
        }
        let whole_in_both = length == entry.length || (chunk + 1) * CHUNK <= length.min(entry.length);
        let unchanged = match store {
            Some(kind) => !touched.get(&kind).is_some_and(|touched| touched.has(chunk)),
            None => kept_whole,
        };
        match known {
            Some(digest) if unchanged && whole_in_both => new.push(digest),
            _ => digest(&file, chunk, length).and_then(|digest| new.push(digest)),
        }
        .map_err(DiskError::at(&place))?;
    }
    files.push(FileEntry {
        path: entry.path.clone(),
        length,
    });
    Ok(())
}

/// Appends the digests of whole files, in their order.
fn digest_all(dir: &DirHandle, files: &[FileEntry], new: &mut SumsWriter, cancel: &Cancel) -> Result<(), Error> {
    let stretches = files.iter().map(|file| ChunkRun {
        path: &file.path,
        length: file.length,
    });
    let units = Units::new(dir, stretches.collect());
    let mut start = 0;
    while start < units.count() {
        let range = start..units.count().min(start + WINDOW);
        let slots = (0..WINDOW).map(|_| Mutex::new(Vec::new()));
        let digests: Vec<Mutex<Vec<sums::Digest>>> = slots.collect();
        units.read(range.clone(), cancel, |reader, number, unit| {
            let path = || {
                files
                    .get(unit.stretch)
                    .map_or(dir.path().to_owned(), |file| dir.join(&file.path))
            };
            let bytes = reader.unit(&unit).map_err(|error| DiskError::new(path(), error))?;
            let found = bytes.chunks(CHUNK_LEN).map(sums::digest).collect();
            let slot = usize::try_from(number - start).ok().and_then(|slot| digests.get(slot));
            if let Some(slot) = slot {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = found;
            }
            Ok(())
        })?;
        for slot in digests {
            for digest in slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
                new.push(digest).map_err(DiskError::at(dir.join(NEW_SUMS)))?;
            }
        }
        start = range.end;
    }
    Ok(())
}

/// The digest of one chunk of a file of this length.
pub(crate) fn digest(file: &File, chunk: u64, length: u64) -> io::Result<sums::Digest> {
    let bytes = (length - chunk * CHUNK).min(CHUNK);
    let mut buffer = vec![0; to_usize(bytes)];
    file.read_exact_at(&mut buffer, chunk * CHUNK)?;
    Ok(sums::digest(&buffer))
}
