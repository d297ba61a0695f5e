//! The final list of files with their digests: those that are known already, where nothing changed since, and new ones
//! elsewhere.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    DiskError,
    apply::Touched,
    manifest::{FileEntry, Manifest, SUMS},
    sums::{self, CHUNK, SumsReader, SumsWriter},
};
use crate::store::StoreFile;

/// Digests that were taken before.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// Their files, in the order of the digests.
    pub(super) files: &'a [FileEntry],
    /// Where the digests are.
    pub(super) sums: &'a Path,
}

/// Name of the new checksums until they are complete.
const NEW_SUMS: &str = "neo4j-backup.sums.new";

/// Files that Neo4j keeps for itself and that say nothing about the backup.
fn is_foreign(path: &str) -> bool {
    path.starts_with("neo4j-backup") || path.starts_with("messages.log") || matches!(path, "lock" | "store_lock")
}

/// Lists every file of the directory in the manifest and writes its checksum file; nothing else is changed.
///
/// # Errors
/// Of the disk.
pub(super) fn write(
    dir: &Path,
    known: Option<&Known<'_>>,
    touched: &BTreeMap<StoreFile, Touched>,
    manifest: &mut Manifest,
) -> Result<(), DiskError> {
    let (new_path, path) = (dir.join(NEW_SUMS), dir.join(SUMS));
    match fs::remove_file(&new_path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(DiskError::new(&new_path, e)),
        _ => {}
    }
    let mut new = SumsWriter::create(&new_path).map_err(DiskError::at(&new_path))?;
    let mut files = Vec::new();
    if let Some(known) = known {
        let mut old = SumsReader::open(known.sums).map_err(DiskError::at(known.sums))?;
        for entry in known.files {
            carry_over(dir, entry, touched, &mut old, &mut new, &mut files)?;
        }
    }
    let mut paths = Vec::new();
    walk(dir, "", &mut paths)?;
    paths.retain(|path| !is_foreign(path) && !files.iter().any(|file: &FileEntry| file.path == *path));
    paths.sort();
    for path in paths {
        let place = dir.join(&path);
        let file = File::open(&place).map_err(DiskError::at(&place))?;
        let length = file.metadata().map_err(DiskError::at(&place))?.len();
        for chunk in 0..sums::chunks(length) {
            digest(&file, chunk, length)
                .and_then(|digest| new.push(digest))
                .map_err(DiskError::at(&place))?;
        }
        files.push(FileEntry { path, length });
    }
    manifest.files = files;
    manifest.sums_checksum = Some(new.finish().map_err(DiskError::at(&new_path))?);
    fs::rename(&new_path, &path).map_err(DiskError::at(&path))
}

fn carry_over(
    dir: &Path,
    entry: &FileEntry,
    touched: &BTreeMap<StoreFile, Touched>,
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
    let kept_whole = entry.path.starts_with("index/lucene/") || entry.path.contains(".log.v");
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

fn digest(file: &File, chunk: u64, length: u64) -> io::Result<sums::Digest> {
    let bytes = (length - chunk * CHUNK).min(CHUNK);
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or_default()];
    file.read_exact_at(&mut buffer, chunk * CHUNK)?;
    Ok(sums::digest(&buffer))
}

fn walk(dir: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<(), DiskError> {
    for entry in fs::read_dir(dir).map_err(DiskError::at(dir))? {
        let entry = entry.map_err(DiskError::at(dir))?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(DiskError::at(entry.path()))?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), paths)?;
        } else if kind.is_file() {
            paths.push(path);
        }
    }
    Ok(())
}
