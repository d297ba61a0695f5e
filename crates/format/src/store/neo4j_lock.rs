//! The locks by which Neo4j knows that a database is open, held while an incremental backup changes it.
//!
//! Neo4j locks whole files as POSIX record locks, which belong to a process. An open file description lock conflicts with those just the same, so
//! a running Neo4j is seen and one that starts meanwhile is kept out, but it belongs to the descriptor it was taken
//! through: it stays when another descriptor of the file is closed, which every look at `neostore` does.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

use crate::{DirHandle, DiskError};

/// What the releases lock: 1.3 – 1.9 the store itself, 1.4 – 1.8.1 also `lock`, later ones also `store_lock`.
const LOCKED: [&str; 3] = ["neostore", "lock", "store_lock"];

/// The locks on one database, until this is dropped.
#[derive(Debug)]
pub struct Neo4jLock {
    _held: Vec<File>,
}

/// Why a database cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has the lock.
    #[error("{}: locked by {holder}: the database is open", path.display())]
    Held {
        /// The locked file.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The process of this id: Neo4j.
    Process(libc::pid_t),
    /// An open file, as only this tool locks one.
    OpenFile,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Process(pid) => write!(f, "process {pid}"),
            Holder::OpenFile => f.write_str("another run of this tool"),
        }
    }
}

impl Neo4jLock {
    /// Takes the locks of the database in `dir` without waiting.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(dir: &DirHandle) -> Result<Neo4jLock, LockError> {
        Neo4jLock::of(dir, &LOCKED)
    }

    /// Takes the lock of `neostore` alone, which was replaced while [`Neo4jLock::take`]'s locks are held.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take_store(dir: &DirHandle) -> Result<Neo4jLock, LockError> {
        Neo4jLock::of(dir, &LOCKED[..1])
    }

    fn of(dir: &DirHandle, names: &[&str]) -> Result<Neo4jLock, LockError> {
        let mut held = Vec::new();
        for name in names {
            let path = dir.join(name);
            match dir.open_to_change(name) {
                Ok(file) => {
                    lock(&file, &path)?;
                    held.push(file);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(DiskError::new(path, e).into()),
            }
        }
        Ok(Neo4jLock { _held: held })
    }
}

/// Who has the database in `dir` open now, as far as its lock files can be read. Takes no lock.
pub fn holder(dir: &DirHandle) -> Option<Holder> {
    LOCKED.iter().find_map(|name| {
        let file = dir.open_file(name).ok()?;
        holder_of(&file).ok().flatten()
    })
}

fn lock(file: &File, path: &Path) -> Result<(), LockError> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(LockError::Held {
            path: path.to_owned(),
            // a holder that has released the lock meanwhile is unknown
            holder: holder_of(file).ok().flatten().unwrap_or(Holder::OpenFile),
        }),
        Err(errno) => Err(DiskError::new(path, errno.into()).into()),
    }
}

fn holder_of(file: &File) -> nix::Result<Option<Holder>> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(match found.l_pid {
        _ if libc::c_int::from(found.l_type) == libc::F_UNLCK => None,
        // no process has the lock of an open file
        -1 => Some(Holder::OpenFile),
        pid => Some(Holder::Process(pid)),
    })
}

/// A write lock on all bytes, present and future.
fn whole_file() -> libc::flock {
    let narrow = |constant: libc::c_int| libc::c_short::try_from(constant).expect("lock constants are below 256");
    libc::flock {
        l_type: narrow(libc::F_WRLCK),
        l_whence: narrow(libc::SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_stays_when_another_descriptor_of_the_file_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("neostore"), [1; 9]).unwrap();
        let first = Neo4jLock::take(&DirHandle::open(dir.path()).unwrap()).unwrap();
        drop(File::open(dir.path().join("neostore")).unwrap());
        let second = Neo4jLock::take(&DirHandle::open(dir.path()).unwrap()).unwrap_err();
        assert!(
            matches!(
                second,
                LockError::Held {
                    holder: Holder::OpenFile,
                    ..
                }
            ),
            "{second}"
        );
        assert_eq!(holder(&DirHandle::open(dir.path()).unwrap()), Some(Holder::OpenFile));
        drop(first);
        assert_eq!(holder(&DirHandle::open(dir.path()).unwrap()), None);
        Neo4jLock::take(&DirHandle::open(dir.path()).unwrap()).unwrap();
    }

    #[test]
    fn the_process_that_holds_a_posix_lock_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("neostore"), [1; 9]).unwrap();
        // descriptors of this process: a POSIX lock is seen through another open file description
        let file = File::options()
            .read(true)
            .write(true)
            .open(dir.path().join("neostore"))
            .unwrap();
        fcntl(&file, FcntlArg::F_SETLK(&whole_file())).unwrap();
        let refused = Neo4jLock::take(&DirHandle::open(dir.path()).unwrap()).unwrap_err();
        let LockError::Held { holder: found, .. } = refused else {
            panic!("{refused}")
        };
        let this = Holder::Process(std::process::id().cast_signed());
        assert_eq!(found, this);
    }
}
