//! The archived logs of a backup: what other servers, and a later run, go on from, and what proves where it stands.

use std::{
    fs::File,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::durable;
use crate::Error;
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, TxId},
    log::{self, ArchivedLog, Buffer, Fingerprint, Layout, LogError, LogFormat, LogHeader, SlotReader, archived_logs},
};

/// How much of the history is kept; the newest log with transactions always is, since it proves where the backup stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepLogs {
    /// Everything.
    All,
    /// Logs written within this time.
    Time(Duration),
    /// The newest logs up to so many bytes together.
    Bytes(u64),
}

/// Bytes of all archived logs of the graph.
///
/// # Errors
/// Of the disk.
pub(crate) fn bytes(dir: &DirHandle) -> Result<u64, DiskError> {
    Ok(archived_logs(dir, DataSource::Graph)?.iter().map(|log| log.bytes).sum())
}

/// Archived logs of the graph that need not be kept, oldest first.
///
/// # Errors
/// Of the disk.
pub(crate) fn prunable(dir: &DirHandle, keep: KeepLogs, now: SystemTime) -> Result<Vec<PathBuf>, DiskError> {
    let (mut sum, mut removable) = (0, Vec::new());
    let mut proven = false;
    for ArchivedLog { path, bytes, .. } in archived_logs(dir, DataSource::Graph)?.into_iter().rev() {
        sum += bytes;
        let wanted = match keep {
            KeepLogs::All => true,
            KeepLogs::Bytes(limit) => sum <= limit,
            KeepLogs::Time(limit) => {
                let written = dir.status_of(&path).map_err(DiskError::at(&path))?.modified();
                now.duration_since(written).is_ok_and(|age| age <= limit) || written > now
            }
        };
        // what lies behind a removed log is of no use
        if proven && (!wanted || !removable.is_empty()) {
            removable.push(path);
        }
        // Neo4j leaves logs behind that hold nothing but their header
        proven |= bytes > LogHeader::END;
    }
    removable.reverse();
    Ok(removable)
}

/// Removes archived logs, oldest first, so that no gap is left whenever it is interrupted.
///
/// # Errors
/// Of the disk.
pub(crate) fn prune(dir: &DirHandle, logs: &[PathBuf]) -> Result<(), DiskError> {
    for path in logs {
        dir.remove_file(path).map_err(DiskError::at(path))?;
    }
    if logs.is_empty() { Ok(()) } else { durable::sync(dir) }
}

/// Fingerprint of a transaction, if the newest archived log that has any holds it.
///
/// # Errors
/// Of the disk. A log that cannot be read proves nothing.
pub(crate) fn fingerprint(
    dir: &DirHandle,
    format: LogFormat,
    source: DataSource,
    id: TxId,
) -> Result<Option<Fingerprint>, Error> {
    let layout = Layout { format, source };
    for ArchivedLog { path, .. } in archived_logs(dir, source)?.into_iter().rev() {
        let file = dir.open_file(&path).map_err(DiskError::at(&path))?;
        match newest(&file, layout, id) {
            Ok(Newest::NoTransaction) => {}
            Ok(Newest::Found(fingerprint)) => return Ok(Some(fingerprint)),
            Ok(Newest::Others) => return Ok(None),
            Err(error @ LogError::Read { .. }) => return Err(error.in_file(&path).into()),
            Err(error) => {
                tracing::warn!("{error} of {}: it proves nothing", path.display());
                return Ok(None);
            }
        }
    }
    Ok(None)
}

/// What an archived log has.
enum Newest {
    NoTransaction,
    Found(Fingerprint),
    Others,
}

fn newest(file: &File, layout: Layout, id: TxId) -> Result<Newest, LogError> {
    let (mut scan, mut read) = (Buffer::new(), Buffer::new());
    let mut slot = SlotReader::open(file, layout, &mut scan)?;
    let mut newest = Newest::NoTransaction;
    while let Some(committed) = slot.next()? {
        if committed.tx == id {
            let mut found = log::slot::transaction(file, layout, &committed, &mut read);
            return found.fingerprint().map(Newest::Found);
        }
        newest = Newest::Others;
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn pruned(dir: &Path, keep: KeepLogs, now: SystemTime) -> usize {
        let logs = prunable(&DirHandle::open(dir).unwrap(), keep, now).unwrap();
        prune(&DirHandle::open(dir).unwrap(), &logs).unwrap();
        logs.len()
    }

    fn logs(dir: &Path) -> Vec<u64> {
        archived_logs(&DirHandle::open(dir).unwrap(), DataSource::Graph)
            .unwrap()
            .into_iter()
            .rev()
            .map(|log| log.version.0)
            .collect()
    }

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for version in [2, 9, 10, 11] {
            fs::write(dir.path().join(format!("nioneo_logical.log.v{version}")), [0; 100]).unwrap();
        }
        fs::write(dir.path().join("nioneo_logical.log.1"), [0; 100]).unwrap();
        dir
    }

    #[test]
    fn the_newest_logs_up_to_a_size_are_kept_and_the_newest_always() {
        let dir = sample();
        let now = SystemTime::now();
        assert_eq!(bytes(&DirHandle::open(dir.path()).unwrap()).unwrap(), 400);
        assert_eq!(pruned(dir.path(), KeepLogs::All, now), 0);
        assert_eq!(pruned(dir.path(), KeepLogs::Bytes(250), now), 2);
        assert_eq!(logs(dir.path()), [11, 10]);
        assert_eq!(pruned(dir.path(), KeepLogs::Bytes(1), now), 1);
        assert_eq!(logs(dir.path()), [11]);
        assert!(dir.path().join("nioneo_logical.log.1").exists());
    }

    #[test]
    fn logs_without_transactions_do_not_stand_for_the_one_that_proves() {
        let dir = sample();
        fs::write(dir.path().join("nioneo_logical.log.v12"), [0; 16]).unwrap();
        assert_eq!(pruned(dir.path(), KeepLogs::Bytes(1), SystemTime::now()), 3);
        assert_eq!(logs(dir.path()), [12, 11]);
    }

    #[test]
    fn logs_older_than_the_limit_go() {
        let dir = sample();
        let later = SystemTime::now() + Duration::from_secs(1000);
        assert_eq!(pruned(dir.path(), KeepLogs::Time(Duration::from_secs(2000)), later), 0);
        assert_eq!(pruned(dir.path(), KeepLogs::Time(Duration::from_secs(10)), later), 3);
        assert_eq!(logs(dir.path()), [11]);
    }
}
