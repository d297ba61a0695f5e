//! Keeps a prune apart from everything else that uses a repository.
//!
//! `rustic_core` takes no locks. Archiving only adds, so that many may do it at once, but a prune beside it would remove
//! what a new snapshot counts on. Readers and writers share the lock; a prune takes it exclusively. It is a lock on an open
//! file, so that a run that is killed leaves none.

use std::{
    ffi::OsStr,
    fs::{File, TryLockError},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use super::location::Location;
use crate::{Error, ErrorKind, cancel::Cancel, target::lock::open_or_create};
use neo4j_format::DiskError;

/// Name of the lock file; restic ignores it.
const LOCK: &str = "neo4j-backup.lock";

/// How long a run waits for another.
const WAIT: Duration = Duration::from_mins(1);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Who else may use the repository meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// All but a prune.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct RepositoryLock {
    _file: File,
}

impl RepositoryLock {
    /// Takes the lock, for which it waits a while.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::TargetInUse`] if another run keeps it; of the disk; cancelled.
    pub(super) fn take(location: &Location, wanted: Use, cancel: &Cancel) -> Result<RepositoryLock, Error> {
        RepositoryLock::take_within(location, wanted, WAIT, cancel)
    }

    fn take_within(location: &Location, wanted: Use, wait: Duration, cancel: &Cancel) -> Result<RepositoryLock, Error> {
        let dir = location.open().map_err(DiskError::at(location.path()))?;
        let path = dir.join(LOCK);
        let file = open_or_create(&dir, OsStr::new(LOCK));
        // a repository on a read-only file system can be read, and nobody prunes it
        let file = match file.or_else(|error| dir.open_file(LOCK).map_err(|_| error)) {
            Ok(file) => file,
            Err(error) if wanted == Use::Shared && error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                let itself = dir.as_fd().try_clone_to_owned();
                File::from(itself.map_err(DiskError::at(location.path()))?)
            }
            Err(error) => return Err(DiskError::new(path, error).into()),
        };
        let start = Instant::now();
        loop {
            let locked = match wanted {
                Use::Shared => file.try_lock_shared(),
                Use::Exclusive => file.try_lock(),
            };
            match locked {
                Ok(()) => return Ok(RepositoryLock { _file: file }),
                Err(TryLockError::WouldBlock) if start.elapsed() < wait => {
                    cancel.check()?;
                    thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    let text = format!("{location}: another run is using the repository");
                    return Err(Error::new(ErrorKind::TargetInUse, text).with_hint("wait for it to end"));
                }
                Err(TryLockError::Error(error)) => return Err(DiskError::new(path, error).into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prune_is_alone_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::parse(dir.path().to_str().unwrap()).unwrap();
        let take = |wanted| RepositoryLock::take_within(&location, wanted, Duration::ZERO, &Cancel::default());
        let (one, other) = (take(Use::Shared).unwrap(), take(Use::Shared).unwrap());
        assert_eq!(take(Use::Exclusive).unwrap_err().kind(), ErrorKind::TargetInUse);
        drop((one, other));
        let prune = take(Use::Exclusive).unwrap();
        assert_eq!(take(Use::Shared).unwrap_err().kind(), ErrorKind::TargetInUse);
        assert_eq!(take(Use::Exclusive).unwrap_err().kind(), ErrorKind::TargetInUse);
        drop(prune);
        take(Use::Shared).unwrap();
    }
}
