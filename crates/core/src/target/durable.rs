//! Making files and their names durable. A sync that fails is never tried again: the kernel may have forgotten what it
//! could not write.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::progress::Progress;
use neo4j_format::{DirHandle, DiskError, directory::NotUsable};

/// Syncs at once at most. They wait, mostly for the same commit of the file system's journal.
const AT_ONCE: usize = 16;

/// Whether a file system refused to sync a directory in this process.
static NO_DIRECTORY_SYNC: AtomicBool = AtomicBool::new(false);

/// Makes the names in a directory durable.
///
/// # Errors
/// As [`sync_entry`].
pub(crate) fn sync(dir: &DirHandle) -> Result<(), DiskError> {
    sync_entry(dir, Path::new(""))
}

/// Makes the content of a file of `dir`, or the names in a folder, durable; an empty name is the directory itself. Names
/// stay as durable as they are where the file system cannot sync a directory (CIFS), which [`warn_of_missing_syncs`] says.
///
/// # Errors
/// Disk errors.
pub(crate) fn sync_entry(dir: &DirHandle, name: &Path) -> Result<(), DiskError> {
    match dir.sync_entry(name) {
        Err(error)
            if error.kind() == io::ErrorKind::InvalidInput
                && NotUsable::of(&error).is_none()
                && dir
                    .status_of(name)
                    .map_or(name.as_os_str().is_empty(), |found| found.is_folder()) =>
        {
            NO_DIRECTORY_SYNC.store(true, Ordering::Relaxed);
            Ok(())
        }
        result => result.map_err(DiskError::at(dir.join(name))),
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

/// Makes these files and folders of `dir` durable, all at the same time and in no order; its own path is the directory
/// itself.
///
/// # Errors
/// Disk errors, one of them.
pub(crate) fn sync_together<P: AsRef<Path> + Sync>(dir: &DirHandle, paths: &[P]) -> Result<(), DiskError> {
    let share = |first: usize| {
        let mut share = paths.iter().skip(first).step_by(AT_ONCE);
        move || share.try_for_each(|path| sync_entry(dir, dir.relative(path.as_ref())))
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

/// Gives a synced file of `dir` another name, durably.
///
/// # Errors
/// Disk errors.
pub(crate) fn rename(dir: &DirHandle, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), DiskError> {
    let to = to.as_ref();
    dir.rename(from, to).map_err(DiskError::at(dir.join(to)))?;
    let folder = to.parent().unwrap_or(Path::new(""));
    sync_entry(dir, dir.relative(folder))
}

/// Removes a file of `dir` that may be gone already.
///
/// # Errors
/// Of the disk.
pub(crate) fn remove(dir: &DirHandle, name: impl AsRef<Path>) -> Result<(), DiskError> {
    let name = name.as_ref();
    match dir.remove_file(name) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(DiskError::new(dir.join(name), e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_file_that_cannot_be_synced_is_told_among_many() {
        let work = tempfile::tempdir().unwrap();
        let dir = DirHandle::open(work.path()).unwrap();
        let mut paths: Vec<_> = (0..40).map(|n| work.path().join(n.to_string())).collect();
        for path in &paths {
            fs::write(path, "x").unwrap();
        }
        paths.push(work.path().to_owned());
        sync_together(&dir, &paths).unwrap();
        sync_together::<&Path>(&dir, &[]).unwrap();
        fs::remove_file(work.path().join("17")).unwrap();
        let error = sync_together(&dir, &paths).unwrap_err();
        assert!(error.to_string().contains("17: "), "{error}");
    }
}
