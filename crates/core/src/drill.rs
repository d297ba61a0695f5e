//! A drill: a restore for practice, into a directory that is removed afterwards. It proves that a backup can be restored.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;

use crate::{
    Error, ErrorKind, Restore, RestoreOutcome,
    cancel::Cancel,
    consistency::Checked,
    context::now,
    journal::{Recorder, RunKind},
    manifest::{Manifest, Verification, VerificationResult, VerifiedBy},
    outcome::Verdict,
    progress::Progress,
    repository::{Generation, Repository},
    run_id::RunId,
    verification::record,
};
use neo4j_format::{DirHandle, DiskError};

/// Name of the restored database in the scratch directory.
const DATABASE: &str = "graph.db";

/// A drill to hold.
#[derive(Debug, Clone)]
pub struct Drill {
    from: Origin,
    scratch: PathBuf,
    seed: Option<u64>,
    target: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Origin {
    Directory(PathBuf),
    Repository(Repository),
}

/// A drill that succeeded: the backup was restored, every byte of it verified.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DrillOutcome {
    /// What was restored.
    #[serde(flatten)]
    pub restored: RestoreOutcome,
    /// How long the restore took, with its check, and what followed.
    pub seconds: f64,
    /// Whether the repository, or the manifest of the directory, has a record of it.
    pub recorded: bool,
    /// How good the restored database is.
    #[serde(skip)]
    pub verdict: Verdict,
}

impl Drill {
    /// Restores the backup in the directory `from` below `scratch`.
    pub fn of_directory(from: impl Into<PathBuf>, scratch: impl Into<PathBuf>) -> Drill {
        Drill::of(Origin::Directory(from.into()), scratch.into())
    }

    /// Restores the newest generation below `scratch`, and notes in the repository if it was good.
    pub fn of_repository(repository: Repository, scratch: impl Into<PathBuf>) -> Drill {
        Drill::of(Origin::Repository(repository), scratch.into())
    }

    fn of(from: Origin, scratch: PathBuf) -> Drill {
        Drill {
            from,
            scratch,
            seed: None,
            target: None,
        }
    }

    /// Restores a generation that is drawn with this seed.
    #[must_use]
    pub fn random(self, seed: u64) -> Drill {
        Drill {
            seed: Some(seed),
            ..self
        }
    }

    /// Records the drill in the journal of this target. Default: of the directory that is restored, or of the directory
    /// of the repository.
    #[must_use]
    pub fn recorded_for(self, target: impl Into<PathBuf>) -> Drill {
        Drill {
            target: Some(target.into()),
            ..self
        }
    }

    /// Holds the drill; `ask` is handed the restored database, and may start a server on it. Whatever happens, nothing of
    /// it is left. The drill is recorded in a [`crate::journal`].
    ///
    /// # Errors
    /// As [`Restore::run`]; those of `ask`; of the repository.
    pub fn run(
        &self,
        ask: impl FnOnce(&Path, &Cancel) -> Result<(), Error>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<DrillOutcome, Error> {
        let mut recorder = Recorder::begin_reading(RunKind::Drill);
        let held = self.hold(ask, progress, cancel);
        match &held {
            Ok(outcome) => recorder.drill(outcome),
            Err(error) => recorder.failed(error),
        }
        let from = match &self.from {
            Origin::Directory(dir) => Some(dir.as_path()),
            Origin::Repository(repository) => repository.location().directory(),
        };
        if let Some(target) = self.target.as_deref().or(from) {
            recorder.record(target, progress);
        }
        held
    }

    fn hold(
        &self,
        ask: impl FnOnce(&Path, &Cancel) -> Result<(), Error>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<DrillOutcome, Error> {
        let started = Instant::now();
        let scratch = Scratch::create(&self.scratch)?;
        let data = scratch.dir.join(DATABASE);
        let (restore, generation) = self.restore(&data, cancel)?;
        let source = self.source_manifest();
        let note = |verification| match (&self.from, &source) {
            (Origin::Directory(dir), Some(manifest)) => record(dir, manifest, verification, progress),
            _ => false,
        };
        let restored = restore.run(progress, cancel).inspect_err(|error| {
            if error.kind() == ErrorKind::Damaged {
                note(Verification::now(VerifiedBy::Drill, VerificationResult::Damaged));
            }
        })?;
        ask(&data, cancel)?;
        scratch.remove()?;
        let seconds = started.elapsed().as_secs_f64();
        let mut recorded = note(verification(&restored));
        if let (Origin::Repository(repository), Some(generation), Verdict::Good) =
            (&self.from, &generation, restored.verdict)
        {
            repository.note_verified(generation, now(), cancel)?;
            recorded = true;
        }
        Ok(DrillOutcome {
            verdict: restored.verdict,
            restored,
            seconds,
            recorded,
        })
    }

    /// The manifest of the directory that is restored.
    fn source_manifest(&self) -> Option<Manifest> {
        let Origin::Directory(dir) = &self.from else {
            return None;
        };
        // what is wrong with it the restore says
        Manifest::read(&DirHandle::open(dir).ok()?).ok().flatten()
    }

    fn restore(&self, data: &Path, cancel: &Cancel) -> Result<(Restore, Option<Generation>), Error> {
        match &self.from {
            Origin::Directory(dir) => Ok((Restore::new(dir, data), None)),
            Origin::Repository(repository) => {
                let generations = repository.generations(cancel)?;
                let newest = || generations.iter().max_by_key(|found| found.time);
                let found = match self.seed {
                    Some(_) if generations.is_empty() => None,
                    Some(seed) => generations.get(StdRng::seed_from_u64(seed).random_range(0..generations.len())),
                    None => newest(),
                };
                let Some(found) = found else {
                    let text = format!("{}: has no generation", repository.location());
                    return Err(Error::new(ErrorKind::NotOurs, text).with_hint("back up with this repository first"));
                };
                let restore = Restore::from_repository(repository.clone(), Some(found.id.clone()), data);
                Ok((restore, Some(found.clone())))
            }
        }
    }
}

/// The record of a restore that succeeded.
fn verification(restored: &RestoreOutcome) -> Verification {
    let check = restored.check.as_ref().and_then(Checked::verification);
    let result = match &check {
        Some(check) if check.result == VerificationResult::Inconsistent => VerificationResult::Inconsistent,
        _ => VerificationResult::Intact,
    };
    Verification {
        bytes: Some(restored.bytes),
        records: check.and_then(|check| check.records),
        ..Verification::now(VerifiedBy::Drill, result)
    }
}

/// A directory of this drill alone, which goes with it.
struct Scratch {
    parent: DirHandle,
    dir: PathBuf,
}

impl Scratch {
    fn create(parent: &Path) -> Result<Scratch, Error> {
        let parent = DirHandle::open(parent).map_err(DiskError::at(parent))?;
        let dir = parent.join(format!("neo4j-backup-drill-{}", RunId::random()?));
        parent.create_folder(&dir).map_err(DiskError::at(&dir))?;
        Ok(Scratch { parent, dir })
    }

    fn remove(self) -> Result<(), DiskError> {
        self.parent.remove_tree(&self.dir).map_err(DiskError::at(&self.dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // there is an error to report already, or nothing is left
        let _ = self.parent.remove_tree(&self.dir);
    }
}
