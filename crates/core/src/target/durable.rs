//! Making files and their names durable. A sync that fails is never tried again: the kernel may have forgotten what it
//! could not write.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::progress::Progress;
use neo4j_format::DiskError;

/// Syncs at once at most. They wait, mostly for the same commit of the file system's journal.
const AT_ONCE: usize = 16;

/// Whether a file system refused to sync a directory in this process.
static NO_DIRECTORY_SYNC: AtomicBool = AtomicBool::new(false);

/// Makes the content of a file, or the names in a directory, durable. Names stay as durable as they are where the file
/// system cannot sync a directory (CIFS), which [`warn_of_missing_syncs`] says.
///
/// # Errors
/// Disk errors.
pub(crate) fn sync(path: &Path) -> Result<(), DiskError> {
    let opened = File::open(path).map_err(DiskError::at(path))?;
    match opened.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput && path.is_dir() => {
            NO_DIRECTORY_SYNC.store(true, Ordering::Relaxed);
            Ok(())
        }
        result => result.map_err(DiskError::at(path)),
    }
}

/// Warns where [`sync`] could not sync a directory; called once per run, at its end.
pub(crate) fn warn_of_missing_syncs(dir: &Path, progress: &dyn Progress) {
    if NO_DIRECTORY_SYNC.load(Ordering::Relaxed) {
        progress.warning(&format!(
            "{}: its file system cannot sync directories: a power failure now can undo the end of this run",
            dir.display()
        ));
    }
}

/// Makes files and directories durable, all at the same time and in no order.
///
/// # Errors
/// Disk errors, one of them.
pub(crate) fn sync_together<P: AsRef<Path> + Sync>(paths: &[P]) -> Result<(), DiskError> {
    let share = |first: usize| {
        let mut share = paths.iter().skip(first).step_by(AT_ONCE);
        move || share.try_for_each(|path| sync(path.as_ref()))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..paths.len().min(AT_ONCE))
            .map(|first| {
                thread::Builder::new()
                    .spawn_scoped(scope, share(first))
                    .map_err(|_| share(first))
            })
            .collect();
        let ended = threads.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // there are no more threads to be had
            Err(mut share) => share(),
        });
        ended.fold(Ok(()), Result::and)
    })
}

/// Gives a synced file another name in the same directory, durably.
///
/// # Errors
/// Disk errors.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(DiskError::at(to))?;
    to.parent().map_or(Ok(()), sync)
}

/// Removes a file that may be gone already.
///
/// # Errors
/// Of the disk.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(DiskError::new(path, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_that_cannot_be_synced_is_told_among_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut paths: Vec<_> = (0..40).map(|n| dir.path().join(n.to_string())).collect();
        for path in &paths {
            fs::write(path, "x").unwrap();
        }
        paths.push(dir.path().to_owned());
        sync_together(&paths).unwrap();
        sync_together::<&Path>(&[]).unwrap();
        fs::remove_file(dir.path().join("17")).unwrap();
        let error = sync_together(&paths).unwrap_err();
        assert!(error.to_string().contains("17: "), "{error}");
    }
}
