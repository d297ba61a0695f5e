//! The steps that make a prepared change of the index part visible.

use std::{
    collections::VecDeque,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{disk, error::PendingIndexError};
use neo4j_format::{
    DirHandle,
    ids::{LogVersion, TxId},
    store::{IndexKey, lucene_store},
};

/// A change of the index part that is wholly on disk but not yet visible.
#[derive(Debug)]
pub struct Update {
    pub(super) steps: VecDeque<Step>,
    pub(super) directory: DirHandle,
    pub(super) outcome: Outcome,
}

/// What a directory's index part is after the last step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Last transaction, pending ones included.
    pub last_tx: TxId,
    /// Transactions in the pending log.
    pub transactions: u64,
    /// Bytes of the pending log.
    pub bytes: u64,
    /// Indexes that are deleted here because a transaction deletes them.
    pub deleted: Vec<IndexKey>,
}

/// One visible change, durable when it is done. Paths are relative to the store directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Leftovers, or the marker `C`, go; all in one directory.
    Remove(Vec<PathBuf>),
    /// The log version of `lucene-store.db` goes past archived logs that have it.
    Version(LogVersion),
    /// A new slot, marker or `index.db` takes its place.
    Publish {
        /// Temporary name.
        from: PathBuf,
        /// Real name.
        to: PathBuf,
    },
    /// The directory of a deleted index goes.
    RemoveIndex(PathBuf),
    /// The zero byte before an appended part becomes the START it hides.
    Reveal {
        /// The slot.
        slot: PathBuf,
        /// Where the part begins.
        offset: u64,
    },
    /// The last transaction of `lucene-store.db` becomes that of the log.
    LastTx(TxId),
}

impl Update {
    /// What the directory will be after the last step.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The steps that are left.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter()
    }

    /// Takes the next step; says which, or `None` after the last.
    ///
    /// # Errors
    /// [`PendingIndexError::File`]. The step may have been taken, or not; none of the later ones was.
    pub fn step(&mut self) -> Result<Option<Step>, PendingIndexError> {
        let Some(step) = self.steps.pop_front() else {
            return Ok(None);
        };
        step.take(&self.directory)?;
        Ok(Some(step))
    }

    /// Takes all steps that are left.
    ///
    /// # Errors
    /// As [`Update::step`].
    pub fn commit(mut self) -> Result<Outcome, PendingIndexError> {
        while self.step()?.is_some() {}
        Ok(self.outcome)
    }
}

impl Step {
    fn take(&self, directory: &DirHandle) -> Result<(), PendingIndexError> {
        match self {
            Step::Remove(paths) => disk::remove_all(directory, paths.iter().map(|path| directory.join(path))),
            Step::RemoveIndex(path) => disk::remove_folder(directory, &directory.join(path)),
            Step::Publish { from, to } => disk::rename(directory, &directory.join(from), &directory.join(to)),
            Step::Reveal { slot, offset } => write(directory, slot, &[1], *offset),
            Step::Version(LogVersion(version)) => {
                let path = Path::new(lucene_store::PATH);
                write(directory, path, &version.to_be_bytes(), lucene_store::VERSION_AT)
            }
            Step::LastTx(TxId(last)) => {
                let path = Path::new(lucene_store::PATH);
                write(directory, path, &last.to_be_bytes(), lucene_store::LAST_TX_AT)
            }
        }
    }
}

fn write(directory: &DirHandle, name: &Path, bytes: &[u8], at: u64) -> Result<(), PendingIndexError> {
    let path = &directory.join(name);
    let file = disk::open_to_change(directory, path)?;
    file.write_all_at(bytes, at)
        .map_err(PendingIndexError::file(path, "write to it"))?;
    disk::sync_data(&file, path)
}
