//! The files of a snapshot, read in order and without writing any.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use rustic_core::{IndexedFullStatus, LsOptions, Repository, vfs::OpenFile};

use super::{
    archive::ROOT,
    engine::{Health, Opened, call},
    generation::Generation,
    location::Location,
    lock::RepositoryLock,
};
use crate::{
    Error, ErrorKind,
    backup_files::{BackupFiles, Receiver},
    cancel::Cancel,
    manifest::{
        FileEntry, MANIFEST, Manifest, SUMS,
        units::{ChunkRun, UnitTable, in_parallel},
    },
};
use neo4j_format::{DirHandle, DiskError};

/// Units that a thread takes at once: several blobs, so that two threads rarely need the same.
const GROUP: u64 = 16;

/// A snapshot that is open; no prune begins until this is dropped.
pub(crate) struct SnapshotFiles {
    snapshot: Snapshot,
    manifest: Manifest,
}

struct Snapshot {
    repository: Repository<IndexedFullStatus>,
    location: Location,
    id: String,
    files: BTreeMap<String, (OpenFile, u64)>,
    health: Health,
    _lock: RepositoryLock,
}

impl SnapshotFiles {
    pub(super) fn open(
        repository: Opened,
        location: &Location,
        generation: &Generation,
        health: Health,
        lock: RepositoryLock,
    ) -> Result<SnapshotFiles, Error> {
        let id = generation.id.clone();
        let repository = call(&health, location, || repository.to_indexed())?;
        let files = call(&health, location, || {
            let root = repository.node_from_snapshot_path(&format!("{id}:{ROOT}"), |_| true)?;
            let mut files = BTreeMap::new();
            for found in repository.ls(&root, &LsOptions::default())? {
                let (path, node) = found?;
                if node.is_file() {
                    let path = path.to_string_lossy().into_owned();
                    files.insert(path, (repository.open_file(&node)?, node.meta.size));
                }
            }
            Ok(files)
        })?;
        let snapshot = Snapshot {
            repository,
            location: location.clone(),
            id,
            files,
            health,
            _lock: lock,
        };
        let text = snapshot.whole(MANIFEST)?;
        let shown = format!("{location}:{}{ROOT}/{MANIFEST}", snapshot.id);
        let manifest = Manifest::parse(&text, Path::new(&shown))?;
        Ok(SnapshotFiles { snapshot, manifest })
    }
}

impl Snapshot {
    /// A file as a whole; for small ones.
    fn whole(&self, path: &str) -> Result<Vec<u8>, Error> {
        let Some((file, length)) = self.files.get(path) else {
            return Err(self.differs(path, "missing"));
        };
        self.bytes(file, 0, *length)
    }

    fn bytes(&self, file: &OpenFile, at: u64, count: u64) -> Result<Vec<u8>, Error> {
        let (at, count) = (
            usize::try_from(at).unwrap_or(usize::MAX),
            usize::try_from(count).unwrap_or(usize::MAX),
        );
        let bytes = call(&self.health, &self.location, || {
            self.repository.read_file_at(file, at, count)
        })?;
        Ok(bytes.to_vec())
    }

    fn differs(&self, path: &str, what: &str) -> Error {
        let text = format!("{}:{}/{path}: {what}", self.location, self.id);
        Error::new(ErrorKind::Damaged, text).with_hint("restore another generation; restic check finds what is damaged")
    }
}

impl BackupFiles for SnapshotFiles {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn length(&self, path: &str) -> Result<Option<u64>, Error> {
        Ok(self.snapshot.files.get(path).map(|(_, length)| *length))
    }

    fn copy_sums(&self, to: &DirHandle) -> Result<(), Error> {
        let sums = self.snapshot.whole(SUMS)?;
        let written = to.create_new(SUMS).and_then(|mut file| file.write_all(&sums));
        Ok(written.map_err(DiskError::at(to.join(SUMS)))?)
    }

    fn read(&self, files: &[FileEntry], cancel: &Cancel, each: &Receiver<'_>) -> Result<(), Error> {
        let runs = files.iter().map(|file| ChunkRun {
            path: &file.path,
            length: file.length,
        });
        let units = UnitTable::new(runs.collect());
        let groups = units.count().div_ceil(GROUP);
        in_parallel(
            0..groups,
            cancel,
            || (),
            |(), group| {
                for number in group * GROUP..((group + 1) * GROUP).min(units.count()) {
                    let Some(unit) = units.get(number) else {
                        break;
                    };
                    let path = files.get(unit.stretch).map_or("", |file| &file.path);
                    let Some((file, _)) = self.snapshot.files.get(path) else {
                        return Err(self.differs(path, "missing"));
                    };
                    let count = unit.end - unit.start;
                    let bytes = self.snapshot.bytes(file, unit.start, count)?;
                    if bytes.len() as u64 != count {
                        return Err(self.differs(path, "too short"));
                    }
                    each(unit, &bytes)?;
                }
                Ok(())
            },
        )
    }

    fn differs(&self, path: &str, what: &str) -> Error {
        self.snapshot.differs(path, what)
    }
}
