//! The files of a backup, copied and compared with the manifest in one pass.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Component, Path},
};

use crate::{
    Error, ErrorKind,
    backup_files::BackupFiles,
    cancel::Cancel,
    manifest::{
        FileEntry, MANIFEST, SUMS, files,
        sums::{self, CHUNK, DIGEST, SumsReader, SumsTable},
        units::{self, CHUNK_LEN},
    },
    progress::Progress,
    target::durable,
};
use neo4j_format::DiskError;

/// Copies the files that `wanted` selects into the directory `to`, which has none of them, with the checksums. Nothing is
/// synced.
///
/// # Errors
/// A byte is not what it was; of the disk; cancelled.
pub(super) fn copy(
    backup: &dyn BackupFiles,
    to: &Path,
    wanted: impl Fn(&str) -> bool,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), Error> {
    let sums = to.join(SUMS);
    backup.copy_sums(&sums)?;
    let found = SumsReader::open(&sums).and_then(SumsReader::finish).ok();
    if found.is_none() || found != backup.manifest().sums_checksum {
        return Err(backup.differs(SUMS, "checksum mismatch"));
    }
    let table = SumsTable::open(&sums).map_err(DiskError::at(&sums))?;
    let (mut files, mut first_digests, mut next) = (Vec::new(), Vec::new(), 0);
    for entry in &backup.manifest().files {
        if wanted(&entry.path) {
            judge(backup, entry)?;
            create(&to.join(&entry.path), entry.length)?;
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
        let path = to.join(&entry.path);
        let file = File::options().write(true).open(&path).map_err(DiskError::at(&path))?;
        file.write_all_at(bytes, unit.start).map_err(DiskError::at(&path))?;
        progress.bytes(unit.end - unit.start);
        Ok(())
    })
}

/// Refuses a name that leads elsewhere, and a file that is not as long as it was.
fn judge(backup: &dyn BackupFiles, entry: &FileEntry) -> Result<(), Error> {
    let is_below = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    if entry.path.is_empty() || !is_below(Path::new(&entry.path)) {
        let text = format!("{MANIFEST}: {:?} is not a name of a file in the backup", entry.path);
        return Err(Error::new(ErrorKind::Damaged, text));
    }
    match backup.length(&entry.path)? {
        Some(length) if length == entry.length => Ok(()),
        Some(length) => {
            let what = format!("{length} bytes, expected {}", entry.length);
            Err(backup.differs(&entry.path, &what))
        }
        None => Err(backup.differs(&entry.path, "missing")),
    }
}

fn create(path: &Path, length: u64) -> Result<(), DiskError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(DiskError::at(parent))?;
    }
    let new = File::options().write(true).create_new(true).open(path);
    new.and_then(|file| file.set_len(length)).map_err(DiskError::at(path))
}

/// Makes everything below `dir` durable, the names too.
///
/// # Errors
/// Disk errors.
pub(super) fn sync(dir: &Path) -> Result<(), Error> {
    let mut paths = BTreeSet::from([dir.to_owned()]);
    for found in files::list(dir)? {
        let path = dir.join(found.path);
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != dir);
        paths.extend(folders.map(Path::to_owned));
        paths.insert(path);
    }
    Ok(durable::sync_together(&Vec::from_iter(paths))?)
}
