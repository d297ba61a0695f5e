//! The files of a backup, copied and compared with the manifest in one pass.

use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    backup_files::BackupFiles,
    cancel::Cancel,
    manifest::{
        FileEntry, MANIFEST, Manifest, SUMS,
        sums::{self, CHUNK, DIGEST, SumsReader, SumsTable},
        units::{self, CHUNK_LEN},
    },
    progress::Progress,
    target::durable,
};
use neo4j_format::{DirHandle, DiskError};

/// Copies the files that `wanted` selects into the directory `to`, which has none of them, with the checksums. Nothing is
/// synced.
///
/// # Errors
/// A byte is not what it was; of the disk; cancelled.
pub(super) fn copy(
    backup: &dyn BackupFiles,
    to: &DirHandle,
    wanted: impl Fn(&str) -> bool,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), Error> {
    backup.copy_sums(to)?;
    let found = SumsReader::open(to, SUMS).and_then(SumsReader::finish).ok();
    if found.is_none() || found != backup.manifest().sums_checksum {
        return Err(backup.differs(SUMS, "checksum mismatch"));
    }
    let table = SumsTable::open(to, SUMS).map_err(DiskError::at(to.join(SUMS)))?;
    let (mut files, mut first_digests, mut next) = (Vec::new(), Vec::new(), 0);
    for entry in &backup.manifest().files {
        if wanted(&entry.path) {
            judge(backup, entry)?;
            create(to, entry).map_err(DiskError::at(to.join(&entry.path)))?;
            files.push(entry.clone());
            first_digests.push(next);
        }
        next += sums::chunks(entry.length);
    }
    backup.read(&files, cancel, &|unit, bytes| {
        let (Some(entry), Some(first)) = (files.get(unit.stretch), first_digests.get(unit.stretch)) else {
            return Ok(());
        };
        if unit.start == 0 {
            progress.file(&entry.path);
        }
        let mut digests = [[0; DIGEST]; units::UNIT];
        let count = usize::try_from(unit.count).unwrap_or(usize::MAX);
        let digests = digests.get_mut(..count).unwrap_or_default();
        table
            .read(first + unit.first, digests)
            .map_err(|_| backup.differs(SUMS, "too short"))?;
        for ((number, digest), chunk) in (unit.first..).zip(digests.iter()).zip(bytes.chunks(CHUNK_LEN)) {
            if sums::digest(chunk) != *digest {
                let start = number * CHUNK;
                let what = format!("checksum mismatch at {start}..{}", start + chunk.len() as u64);
                return Err(backup.differs(&entry.path, &what));
            }
        }
        let file = to.open_to_change(&entry.path);
        file.and_then(|file| file.write_all_at(bytes, unit.start))
            .map_err(DiskError::at(to.join(&entry.path)))?;
        progress.bytes(unit.end - unit.start);
        Ok(())
    })
}

/// Refuses a file that is not as long as it was.
fn judge(backup: &dyn BackupFiles, entry: &FileEntry) -> Result<(), Error> {
    match backup.length(&entry.path)? {
        Some(length) if length == entry.length => Ok(()),
        Some(length) => {
            let what = format!("{length} bytes, expected {}", entry.length);
            Err(backup.differs(&entry.path, &what))
        }
        None => Err(backup.differs(&entry.path, "missing")),
    }
}

fn create(to: &DirHandle, entry: &FileEntry) -> io::Result<()> {
    if let Some(folder) = Path::new(&entry.path).parent() {
        to.create_folders(folder)?;
    }
    to.create_new(&entry.path)?.set_len(entry.length)
}

/// Makes the files of a restored backup durable, with their names.
///
/// # Errors
/// Disk errors.
pub(super) fn sync(dir: &DirHandle, manifest: &Manifest) -> Result<(), Error> {
    let mut paths = BTreeSet::new();
    let files = manifest.files.iter().map(|file| file.path.as_str());
    for path in files.chain([MANIFEST, SUMS]) {
        // the last one is the directory itself
        paths.extend(Path::new(path).ancestors().map(Path::to_owned));
    }
    Ok(durable::sync_together(dir, &Vec::<PathBuf>::from_iter(paths))?)
}
