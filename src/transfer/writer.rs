//! Writes the files of a store as they arrive: large writes, digests on the way, and dirty pages that never pile up.
//!
//! A second thread syncs every finished window of [`WINDOW`] bytes and every finished file while the next bytes are
//! still arriving, so that little is left to do at the end and the page cache never holds more than a few windows.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
};

use super::{
    DiskError,
    manifest::FileEntry,
    sums::{ChunkHasher, SumsWriter},
};

/// Bytes written to a file between two requests to sync it: enough to keep a disk busy, small beside any page cache.
const WINDOW: u64 = 16 << 20;

/// Sync requests that may wait; the writer then waits, too, which bounds the dirty pages.
const QUEUE: usize = 3;

/// Syncs files in the background; the first failure is final.
#[derive(Debug)]
pub(super) struct Syncer {
    requests: Option<SyncSender<(File, PathBuf)>>,
    thread: Option<JoinHandle<Result<(), DiskError>>>,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start() -> Result<Syncer, DiskError> {
        let (requests, incoming) = mpsc::sync_channel::<(File, PathBuf)>(QUEUE);
        let thread = thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || {
                incoming
                    .into_iter()
                    .try_for_each(|(file, path)| file.sync_data().map_err(|e| DiskError::new(path, e)))
            })
            .map_err(|e| DiskError::new(PathBuf::from("sync thread"), e))?;
        Ok(Syncer {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Asks for `file` to be synced soon.
    ///
    /// # Errors
    /// An earlier sync failed.
    pub(super) fn request(&mut self, file: &File, path: &std::path::Path) -> Result<(), DiskError> {
        let copy = file.try_clone().map_err(|e| DiskError::new(path, e))?;
        match self
            .requests
            .as_ref()
            .map(|requests| requests.send((copy, path.to_owned())))
        {
            Some(Ok(())) => Ok(()),
            _ => self.join(),
        }
    }

    /// Waits until everything asked for is durable.
    ///
    /// # Errors
    /// A sync failed.
    pub(super) fn finish(mut self) -> Result<(), DiskError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), DiskError> {
        drop(self.requests.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(DiskError::new(
                "sync thread",
                io::Error::other("the thread ended early"),
            )),
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

/// A file that is being received.
#[derive(Debug)]
pub(super) struct ReceivedFile {
    file: File,
    disk_path: PathBuf,
    path: String,
    length: u64,
    unsynced: u64,
    hasher: ChunkHasher,
}

impl ReceivedFile {
    /// Takes over a new empty file; `path` is its place in the backup, `disk_path` the one for messages.
    pub(super) fn new(file: File, disk_path: PathBuf, path: String) -> ReceivedFile {
        ReceivedFile {
            file,
            disk_path,
            path,
            length: 0,
            unsynced: 0,
            hasher: ChunkHasher::default(),
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk failed, for this or an earlier window.
    pub(super) fn write(&mut self, bytes: &[u8], sums: &mut SumsWriter, syncer: &mut Syncer) -> Result<(), DiskError> {
        self.file
            .write_all(bytes)
            .map_err(|e| DiskError::new(&self.disk_path, e))?;
        self.length += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        self.hasher
            .update(bytes, |digest| sums.push(digest))
            .map_err(|e| DiskError::new("checksums", e))?;
        if self.unsynced >= WINDOW {
            self.unsynced = 0;
            syncer.request(&self.file, &self.disk_path)?;
        }
        Ok(())
    }

    /// Ends the file and asks for it to be synced.
    ///
    /// # Errors
    /// As [`ReceivedFile::write`].
    pub(super) fn finish(mut self, sums: &mut SumsWriter, syncer: &mut Syncer) -> Result<FileEntry, DiskError> {
        if let Some(last) = self.hasher.finish() {
            sums.push(last).map_err(|e| DiskError::new("checksums", e))?;
        }
        syncer.request(&self.file, &self.disk_path)?;
        Ok(FileEntry {
            path: self.path,
            length: self.length,
        })
    }
}
