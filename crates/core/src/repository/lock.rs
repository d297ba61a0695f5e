//! Keeps a prune apart from everything else that uses a repository.
//!
//! `rustic_core` takes no locks. Archiving only adds, so that many may do it at once, but a prune beside it would remove
//! what a new snapshot counts on. Readers and writers share the lock; a prune takes it exclusively. In a directory it is a lock
//! on an open file, so that a run that is killed leaves none; an object store has objects instead.

use std::{
    ffi::OsStr,
    fmt::Display,
    fs::{File, TryLockError},
    os::fd::AsFd as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    engine::Health,
    location::{Location, Storage, open_directory},
};
use crate::{Error, ErrorKind, target::lock::open_or_create};
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
pub(super) enum RepositoryLock {
    Directory {
        _file: File,
    },
    #[cfg(feature = "cloud")]
    Objects {
        _lock: Box<super::objects::lock::ObjectLock>,
    },
}

/// The error of a lock that another run keeps.
pub(super) fn in_use(location: &dyn Display) -> Error {
    let text = format!("{location}: another run is using the repository");
    Error::new(ErrorKind::TargetInUse, text).with_hint("wait for it to end")
}

impl RepositoryLock {
    /// Takes the lock, for which it waits a while.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::TargetInUse`] if another run keeps it; of the disk or the store; cancelled.
    pub(super) fn take(location: &Location, wanted: Use, health: &Health) -> Result<RepositoryLock, Error> {
        match &location.storage {
            Storage::Directory(path) => RepositoryLock::of_directory(location, path, wanted, WAIT, health),
            #[cfg(feature = "cloud")]
            Storage::Objects(url) => {
                use super::objects::{Bucket, lock::ObjectLock};
                let lock = ObjectLock::take(&Bucket::connect(url, health)?, wanted, WAIT)?;
                Ok(RepositoryLock::Objects { _lock: Box::new(lock) })
            }
        }
    }

    fn of_directory(
        location: &Location,
        path: &Path,
        wanted: Use,
        wait: Duration,
        health: &Health,
    ) -> Result<RepositoryLock, Error> {
        let dir = open_directory(path).map_err(DiskError::at(path))?;
        let path = dir.join(LOCK);
        let file = open_or_create(&dir, OsStr::new(LOCK));
        // a repository on a read-only file system can be read without a lock: it cannot be pruned
        let file = match file.or_else(|error| dir.open_file(LOCK).map_err(|_| error)) {
            Ok(file) => file,
            Err(error) if wanted == Use::Shared && error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                let itself = dir.as_fd().try_clone_to_owned();
                File::from(itself.map_err(DiskError::at(dir.path()))?)
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
                Ok(()) => return Ok(RepositoryLock::Directory { _file: file }),
                Err(TryLockError::WouldBlock) if start.elapsed() < wait => {
                    health.check()?;
                    thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(in_use(location)),
                Err(TryLockError::Error(error)) => return Err(DiskError::new(path, error).into()),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cancel::Cancel;

    /// Any number may share a lock that `take` takes, and one that is exclusive has it alone.
    pub(in crate::repository) fn assert_prune_is_alone<L>(take: impl Fn(Use) -> Result<L, Error>) {
        let refused = |wanted| take(wanted).err().map(|error| error.kind());
        let (one, other) = (take(Use::Shared).unwrap(), take(Use::Shared).unwrap());
        assert_eq!(refused(Use::Exclusive), Some(ErrorKind::TargetInUse));
        drop((one, other));
        let prune = take(Use::Exclusive).unwrap();
        assert_eq!(refused(Use::Shared), Some(ErrorKind::TargetInUse));
        assert_eq!(refused(Use::Exclusive), Some(ErrorKind::TargetInUse));
        drop(prune);
        drop(take(Use::Shared).unwrap());
    }

    #[test]
    fn a_prune_is_alone_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::parse(dir.path().to_str().unwrap(), |_| None).unwrap();
        let health = Health::new(&Cancel::default());
        let take = |wanted| RepositoryLock::of_directory(&location, dir.path(), wanted, Duration::ZERO, &health);
        assert_prune_is_alone(take);
    }
}
