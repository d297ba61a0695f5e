//! The final list of files with their digests: those that are known already, where nothing changed since, and new ones
//! elsewhere.

use neo4j_format::width::to_usize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
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
use neo4j_format::{DiskError, store::StoreFile};

/// Units whose digests wait in memory to be written in their order: 1 GiB of files, 256 KiB of digests.
const WINDOW: u64 = 2048;

/// Digests that were taken before.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// Their files, in the order of the digests.
    pub(crate) files: &'a [FileEntry],
    /// Where the digests are.
    pub(crate) sums: &'a Path,
}

impl<'a> Known<'a> {
    /// The digests that the manifest of a backup counts on; `None` where the checksum file is not the one it means.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(crate) fn of(manifest: &'a Manifest, sums: &'a Path) -> Result<Option<Known<'a>>, DiskError> {
        let found = match SumsReader::open(sums).and_then(SumsReader::finish) {
            Ok(checksum) => Some(checksum),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => None,
                _ => return Err(DiskError::new(sums, error)),
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
    dir: &Path,
    known: Option<&Known<'_>>,
    touched: &BTreeMap<StoreFile, DirtyChunks>,
    manifest: &mut Manifest,
    cancel: &Cancel,
) -> Result<(), Error> {
    let (new_path, path) = (dir.join(NEW_SUMS), dir.join(SUMS));
    remove(&new_path)?;
    let mut new = SumsWriter::create(&new_path).map_err(DiskError::at(&new_path))?;
    let mut files = Vec::new();
    if let Some(known) = known {
        let mut old = SumsReader::open(known.sums).map_err(DiskError::at(known.sums))?;
        for entry in known.files {
            cancel.check()?;
            carry_over(dir, entry, touched, &mut old, &mut new, &mut files)?;
        }
    }
    let mut fresh = Vec::new();
    let carried: BTreeSet<String> = files.iter().map(|file: &FileEntry| file.path.clone()).collect();
    for found in files::list(dir)? {
        if let Some(length) = found.length
            && Role::of(&found.path) == Role::Content
            && !carried.contains(&found.path)
        {
            let path = found.path;
            fresh.push(FileEntry { path, length });
        }
    }
    digest_all(dir, &fresh, &mut new, cancel)?;
    files.extend(fresh);
    manifest.files = files;
    manifest.sums_checksum = Some(new.finish().map_err(DiskError::at(&new_path))?);
    Ok(fs::rename(&new_path, &path).map_err(DiskError::at(&path))?)
}

fn carry_over(
    dir: &Path,
    entry: &FileEntry,
    touched: &BTreeMap<StoreFile, DirtyChunks>,
    old: &mut SumsReader,
    new: &mut SumsWriter,
    files: &mut Vec<FileEntry>,
) -> Result<(), DiskError> {
    let place = dir.join(&entry.path);
    let (before, file) = (sums::chunks(entry.length), File::open(&place));
    let file = match file {
        Ok(file) => file,
        // an index that a transaction deleted, or a log that was archived under another name
        Err(e) if e.kind() == io::ErrorKind::NotFound => return old.skip(before).map_err(DiskError::at(&place)),
        Err(e) => return Err(DiskError::new(&place, e)),
    };
    let length = file.metadata().map_err(DiskError::at(&place))?.len();
    let store = StoreFile::from_name(&entry.path);
    let kept_whole = files::is_written_once(&entry.path);
    for chunk in 0..sums::chunks(length).max(before) {
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
fn digest_all(dir: &Path, files: &[FileEntry], new: &mut SumsWriter, cancel: &Cancel) -> Result<(), Error> {
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
                    .map_or(dir.to_owned(), |file| dir.join(&file.path))
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
                new.push(digest).map_err(DiskError::at(&dir.join(NEW_SUMS)))?;
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
