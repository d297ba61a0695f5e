//! A backup in a directory, as something to restore from.

use std::{io, path::Path};

use crate::{
    Error, ErrorKind,
    backup_files::{BackupFiles, Receiver},
    cancel::Cancel,
    error::Setting,
    manifest::{
        FileEntry, Manifest, SUMS, State,
        units::{ChunkRun, Units},
    },
    progress::Progress,
    target::{links, staging::refuse_if_at_work},
    verification::readable,
    verify::traces::{self, Since},
};
use neo4j_format::{DirHandle, DiskError};

/// The directory of a backup that is complete.
#[derive(Debug)]
pub(super) struct Directory {
    dir: DirHandle,
    manifest: Manifest,
}

impl Directory {
    /// The backup in `dir`, on which no run is working.
    ///
    /// # Errors
    /// It has no manifest, is not complete, or holds a link; a run is working on it.
    pub(super) fn open(dir: &Path, progress: &dyn Progress) -> Result<Directory, Error> {
        refuse_if_at_work(dir)?;
        let dir = readable(dir)?;
        let shown = dir.display();
        let Some(manifest) = Manifest::read(&dir)? else {
            let text = format!("{shown}: has no manifest, so its bytes cannot be verified");
            return Err(Error::new(ErrorKind::NotOurs, text)
                .with_hint("name the directory of a backup, or adopt this one first")
                .see(&[Setting::Adopt]));
        };
        match manifest.state {
            State::Complete => {}
            State::Receiving => {
                let text = format!("{shown}: an incomplete full backup; it cannot be used");
                return Err(Error::new(ErrorKind::Damaged, text).with_hint("restore another backup"));
            }
            State::Updating => {
                let text = format!("{shown}: its last update was interrupted");
                return Err(Error::new(ErrorKind::Changed, text)
                    .with_hint("run the incremental backup again, or restore another backup"));
            }
        }
        links::refuse(&dir, progress)?;
        Ok(Directory { dir, manifest })
    }

    fn unreadable(&self, path: &str, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => self.differs(path, "missing"),
            io::ErrorKind::UnexpectedEof => self.differs(path, "too short"),
            _ => DiskError::new(self.dir.join(path), error).into(),
        }
    }
}

impl BackupFiles for Directory {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn length(&self, path: &str) -> Result<Option<u64>, Error> {
        match self.dir.status_of(path) {
            Ok(found) => Ok(found.is_file().then_some(found.length())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unreadable(path, error)),
        }
    }

    fn copy_sums(&self, to: &DirHandle) -> Result<(), Error> {
        let mut sums = self.dir.open_file(SUMS).map_err(|error| self.unreadable(SUMS, error))?;
        let copied = to.create_new(SUMS).and_then(|mut new| io::copy(&mut sums, &mut new));
        let copied = copied.map_err(DiskError::at(to.join(SUMS)))?;
        tracing::debug!("{copied} bytes of checksums");
        Ok(())
    }

    fn read(&self, files: &[FileEntry], cancel: &Cancel, each: &Receiver<'_>) -> Result<(), Error> {
        let runs = files.iter().map(|file| ChunkRun {
            path: &file.path,
            length: file.length,
        });
        let units = Units::new(&self.dir, runs.collect());
        units.read(0..units.count(), cancel, |reader, _, unit| {
            let path = files.get(unit.stretch).map_or("", |file| &file.path);
            let bytes = reader.unit(&unit).map_err(|error| self.unreadable(path, error))?;
            each(unit, bytes)
        })
    }

    /// Something is not what it was, for one of three reasons.
    fn differs(&self, path: &str, what: &str) -> Error {
        let text = format!("{}: {what}", self.dir.join(path).display());
        // a full backup puts another directory in its place
        let now = DirHandle::open(self.dir.path()).map(|now| Manifest::read(&now).ok().flatten());
        if now.ok().flatten().as_ref() != Some(&self.manifest) {
            let text = format!("{}: changed during the restore", self.dir.display());
            return Error::new(ErrorKind::TargetInUse, text)
                .with_hint("restore again when no other run uses the backup");
        }
        if traces::since(&self.dir, Some(&self.manifest)) == Since::Opened {
            return Error::new(ErrorKind::Changed, text)
                .with_hint("Neo4j opened this backup, so its checksums no longer hold: restore another one");
        }
        Error::new(ErrorKind::Damaged, text).with_hint("the backup is damaged: restore another one")
    }
}
