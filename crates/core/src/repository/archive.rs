//! A backup into the repository: one snapshot of exactly what the manifest lists.
//!
//! `rustic_core` leaves out a file that it cannot read and calls the snapshot complete. So the files are handed to it one
//! by one; whatever goes wrong with one of them stops all writing, and what the snapshot counts is compared with the
//! manifest. Only then does the snapshot get the tags that make it a generation: until then it is [`UNFINISHED`].

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    vec,
};

use jiff::{Timestamp, tz::TimeZone};
use rustic_core::{
    BackupOptions, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult, SnapshotOptions, StringList,
    repofile::{Metadata, Node, NodeType, SnapshotFile},
};

use super::{
    engine::{self, Health, Opened, call},
    generation::Generation,
    location::Location,
};
use crate::{
    Error, ErrorKind,
    manifest::{MANIFEST, Manifest, SUMS},
};
use neo4j_format::{DirHandle, DiskError, directory::NotUsable};

/// Tag of a snapshot that is not known to be complete.
pub(super) const UNFINISHED: &str = "neo4j-backup-unfinished";

/// Folder of a backup in its snapshot.
pub(super) const ROOT: &str = "/neo4j";

/// Archives the backup in `dir` as `generation`; returns it with its id and the bytes that it added.
///
/// # Errors
/// Of the backup's files, of the repository; cancelled. There is no new generation then.
pub(super) fn archive(
    repository: Opened,
    location: &Location,
    dir: &DirHandle,
    manifest: &Manifest,
    generation: Generation,
    health: &Health,
) -> Result<Generation, Error> {
    let source = BackupSource::of(dir, manifest, health)?;
    let (count, bytes) = (source.files.len() as u64, source.bytes());
    let repository = call(health, location, || repository.to_indexed_ids())?;
    let time = Timestamp::from_millisecond(generation.time).unwrap_or_default();
    let options = SnapshotOptions::default()
        .label(generation.store_id.clone())
        .host(generation.source.clone())
        .time(time.to_zoned(TimeZone::UTC))
        .command("neo4j-backup".to_owned());
    let snapshot = call(health, location, || {
        let snapshot = options.add_tags(UNFINISHED)?.to_snapshot()?;
        let options = BackupOptions::default().as_path(PathBuf::from(ROOT)).no_scan(true);
        repository.archive(&options, &source, snapshot, &[dir.path().to_owned()])
    })?;
    let summary = snapshot.summary.clone().unwrap_or_default();
    if (summary.total_files_processed, summary.total_bytes_processed) != (count, bytes) {
        call(health, location, || repository.delete_snapshots(&[snapshot.id]))?;
        let text = format!(
            "{location}: the snapshot has {} files with {} bytes, expected {count} with {bytes}",
            summary.total_files_processed, summary.total_bytes_processed
        );
        return Err(Error::new(ErrorKind::Failed, text).with_hint("archive the backup again"));
    }
    // packs and index before the snapshot that counts on them
    engine::sync(location)?;
    let run = format!("run={}", generation.run_id);
    let id = call(health, location, || {
        let mut tagged = snapshot.clone();
        tagged.tags = StringList::default();
        for tag in generation.tags() {
            tagged.tags.add(tag);
        }
        repository.save_snapshots(vec![tagged])?;
        repository.delete_snapshots(&[snapshot.id])?;
        let found = repository.get_matching_snapshots(|found: &SnapshotFile| found.tags.contains(&run))?;
        Ok(found.first().map(|found| found.id.to_hex().to_string()))
    })?;
    engine::sync(location)?;
    Ok(Generation {
        id: id.unwrap_or_default(),
        bytes,
        added_bytes: summary.data_added_packed,
        ..generation
    })
}

/// The files of a backup, as the engine wants them.
struct BackupSource {
    dir: DirHandle,
    files: Vec<(PathBuf, fs::Metadata)>,
    health: Health,
}

impl BackupSource {
    fn of(dir: &DirHandle, manifest: &Manifest, health: &Health) -> Result<BackupSource, Error> {
        let listed = manifest
            .files
            .iter()
            .map(|file| (file.path.as_str(), Some(file.length)));
        let mut files = Vec::new();
        for (name, length) in listed.chain([(MANIFEST, None), (SUMS, None)]) {
            let path = dir.join(name);
            let differs = || {
                let text = format!("{}: is not what the manifest lists", path.display());
                Error::new(ErrorKind::Damaged, text).with_hint("verify the backup")
            };
            let found = match dir.open_file(name).and_then(|file| file.metadata()) {
                Err(error) if NotUsable::of(&error).is_some() => return Err(differs()),
                found => found.map_err(DiskError::at(&path))?,
            };
            if length.is_some_and(|length| length != found.len()) {
                return Err(differs());
            }
            files.push((path, found));
        }
        // a folder has to be complete before the next one
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(BackupSource {
            dir: dir.clone(),
            files,
            health: health.clone(),
        })
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, found)| found.len()).sum()
    }
}

impl ReadSource for BackupSource {
    type Open = BackupFile;
    type Iter = vec::IntoIter<RusticResult<ReadSourceEntry<BackupFile>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(Some(self.bytes()))
    }

    fn entries(&self) -> Self::Iter {
        let entries = self.files.iter().map(|(path, found)| {
            let node = Node::new_node(path.file_name().unwrap_or_default(), NodeType::File, metadata(found));
            Ok(ReadSourceEntry {
                path: path.clone(),
                node,
                open: Some(BackupFile {
                    dir: self.dir.clone(),
                    path: path.clone(),
                    length: found.len(),
                    health: self.health.clone(),
                }),
            })
        });
        entries.collect::<Vec<_>>().into_iter()
    }
}

/// What the engine tells by whether a file has changed.
fn metadata(found: &fs::Metadata) -> Metadata {
    let time =
        |seconds: i64, nanoseconds: i64| Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or_default()).ok();
    Metadata {
        mode: Some(found.mode() & 0o7777),
        mtime: time(found.mtime(), found.mtime_nsec()),
        atime: time(found.mtime(), found.mtime_nsec()),
        ctime: time(found.ctime(), found.ctime_nsec()),
        uid: Some(found.uid()),
        gid: Some(found.gid()),
        inode: found.ino(),
        device_id: found.dev(),
        size: found.len(),
        links: 1,
        ..Metadata::default()
    }
}

/// A file that is to be opened when it is its turn.
struct BackupFile {
    dir: DirHandle,
    path: PathBuf,
    length: u64,
    health: Health,
}

impl ReadSourceOpen for BackupFile {
    type Reader = BackupReader;

    fn open(self) -> RusticResult<BackupReader> {
        match self.dir.open_file(&self.path) {
            Ok(input) => Ok(BackupReader {
                input,
                left: self.length,
                file: self,
            }),
            Err(error) => {
                let text = format!("{}: {error}", self.path.display());
                self.health.fail(&text);
                Err(RusticError::new(rustic_core::ErrorKind::InputOutput, text))
            }
        }
    }
}

/// Reads a file, and notes what the engine would not tell.
struct BackupReader {
    input: File,
    left: u64,
    file: BackupFile,
}

impl Read for BackupReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.health.check().map_err(io::Error::other)?;
        let read = self.input.read(buffer);
        let what = match &read {
            Ok(0) if self.left > 0 => "shorter than the manifest says".to_owned(),
            Ok(count) => match self.left.checked_sub(*count as u64) {
                Some(left) => {
                    self.left = left;
                    return read;
                }
                None => "longer than the manifest says".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        let text = format!("{}: {what}", self.file.path.display());
        self.file.health.fail(&text);
        Err(io::Error::other(text))
    }
}
