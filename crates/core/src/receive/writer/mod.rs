//! Writes the files of a store as they arrive, past the page cache, on a thread of its own.
//!
//! ```text
//! ReceivedFile::write ── filled blocks, at most BLOCKS ──▶ thread: write, at the end of a file fdatasync
//!                     ◀── emptied blocks ─────────────────
//! ```
//!
//! What a file has beyond its first [`open_file::CACHED`] is written with `O_DIRECT`: the bytes go from the block to the disk, and
//! neither fill the page cache nor wait for the kernel to write it back. The beginning goes through the cache, which takes
//! a small file faster than the disk does, and so does what fills no block and everything where the file system knows no
//! direct writes; every `WINDOW` is synced, so that dirty pages never pile up. A direct write is durable only once the
//! file is synced, as any other.

mod block;
mod open_file;

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
};

use self::{block::Block, open_file::OpenFile};
use crate::manifest::{
    FileEntry,
    sums::{ChunkHasher, SumsWriter},
};
use neo4j_format::DiskError;

/// Blocks that there are at most: one being filled, the others waiting for the disk.
const BLOCKS: usize = 4;

/// Requests that may wait beside blocks: beginnings and ends of small files.
const QUEUE: usize = 64;

/// What the thread is to do next.
enum Request {
    Begin(File, PathBuf),
    Write(Block),
    End,
}

/// Writes files one after the other; the first failure is final.
pub(crate) struct Writer {
    requests: Option<SyncSender<Request>>,
    emptied: Receiver<Block>,
    thread: Option<JoinHandle<Result<(), DiskError>>>,
    /// Being filled; none between a full block and the next bytes.
    block: Option<Block>,
    blocks: usize,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start() -> Result<Writer, DiskError> {
        let (requests, incoming) = mpsc::sync_channel(QUEUE);
        let (give_back, emptied) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                let mut open = None;
                for request in incoming {
                    match (request, &mut open) {
                        (Request::Begin(file, path), _) => open = Some(OpenFile::new(file, path)),
                        (Request::Write(mut block), Some(file)) => {
                            file.write(&block)?;
                            block.empty();
                            // the run has ended and no longer needs it
                            let _ = give_back.send(block);
                        }
                        (Request::End, Some(file)) => {
                            file.sync()?;
                            open = None;
                        }
                        (Request::Write(_) | Request::End, None) => {}
                    }
                }
                Ok(())
            })
            .map_err(|e| DiskError::new("writer thread", e))?;
        Ok(Writer {
            requests: Some(requests),
            emptied,
            thread: Some(thread),
            block: None,
            blocks: 0,
        })
    }

    /// Waits until everything is durable.
    ///
    /// # Errors
    /// A write or a sync failed.
    pub(crate) fn finish(mut self) -> Result<(), DiskError> {
        self.join()
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let mut block = match self.block.take() {
                Some(block) => block,
                None => self.next_block()?,
            };
            bytes = block.fill(bytes);
            if block.is_full() {
                self.request(Request::Write(block))?;
            } else {
                self.block = Some(block);
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), DiskError> {
        if let Some(block) = self.block.take() {
            self.request(Request::Write(block))?;
        }
        self.request(Request::End)
    }

    fn next_block(&mut self) -> Result<Block, DiskError> {
        if let Ok(block) = self.emptied.try_recv() {
            return Ok(block);
        }
        if self.blocks < BLOCKS {
            self.blocks += 1;
            return Ok(Block::new());
        }
        match self.emptied.recv() {
            Ok(block) => Ok(block),
            Err(_) => Err(self.failure()),
        }
    }

    fn request(&mut self, request: Request) -> Result<(), DiskError> {
        match self.requests.as_ref().map(|requests| requests.send(request)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Why the thread has ended.
    fn failure(&mut self) -> DiskError {
        match self.join() {
            Err(error) => error,
            Ok(()) => DiskError::new("writer thread", io::Error::other("the thread ended early")),
        }
    }

    fn join(&mut self) -> Result<(), DiskError> {
        drop(self.requests.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(DiskError::new(
                "writer thread",
                io::Error::other("the thread ended early"),
            )),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

/// A file that is being received.
#[derive(Debug)]
pub(crate) struct ReceivedFile {
    path: String,
    length: u64,
    hasher: ChunkHasher,
}

impl ReceivedFile {
    /// Takes over a new empty file; `path` is its place in the backup, `disk_path` the one for messages.
    ///
    /// # Errors
    /// The disk failed for an earlier file.
    pub(crate) fn begin(
        file: File,
        disk_path: PathBuf,
        path: String,
        writer: &mut Writer,
    ) -> Result<ReceivedFile, DiskError> {
        writer.request(Request::Begin(file, disk_path))?;
        Ok(ReceivedFile {
            path,
            length: 0,
            hasher: ChunkHasher::default(),
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk failed, for these or for earlier bytes.
    pub(crate) fn write(&mut self, bytes: &[u8], sums: &mut SumsWriter, writer: &mut Writer) -> Result<(), DiskError> {
        writer.write(bytes)?;
        self.length += bytes.len() as u64;
        self.hasher
            .update(bytes, |digest| sums.push(digest))
            .map_err(|e| DiskError::new("checksums", e))
    }

    /// Ends the file, which is then made durable.
    ///
    /// # Errors
    /// As [`ReceivedFile::write`].
    pub(crate) fn finish(mut self, sums: &mut SumsWriter, writer: &mut Writer) -> Result<FileEntry, DiskError> {
        if let Some(last) = self.hasher.finish() {
            sums.push(last).map_err(|e| DiskError::new("checksums", e))?;
        }
        writer.end()?;
        Ok(FileEntry {
            path: self.path,
            length: self.length,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{
        block::{ALIGNMENT, BLOCK},
        open_file::CACHED,
        *,
    };
    use neo4j_format::DirHandle;

    /// Writes files of these lengths in pieces of an odd size into `dir`.
    fn write(dir: &Path, lengths: &[usize]) -> Result<Vec<FileEntry>, DiskError> {
        let mut sums = SumsWriter::create(&DirHandle::open(dir).unwrap(), "sums").unwrap();
        let mut writer = Writer::start().unwrap();
        let mut entries = Vec::new();
        for length in lengths {
            let path = dir.join(length.to_string());
            let file = File::create(&path).unwrap();
            let mut file = ReceivedFile::begin(file, path, length.to_string(), &mut writer)?;
            for piece in content(*length).chunks(70_001) {
                file.write(piece, &mut sums, &mut writer)?;
            }
            entries.push(file.finish(&mut sums, &mut writer)?);
        }
        writer.finish()?;
        Ok(entries)
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    #[test]
    fn files_of_any_length_are_what_was_received() {
        let lengths = [
            0,
            1,
            ALIGNMENT,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            2 * BLOCK,
            7 * BLOCK + 4095,
            20 * BLOCK + 3,
            usize::try_from(CACHED).unwrap() + BLOCK,
            usize::try_from(CACHED).unwrap() + 5 * BLOCK + 4095,
        ];
        for dir in [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")] {
            let dir = dir.unwrap();
            let entries = write(dir.path(), &lengths).unwrap();
            for (entry, length) in entries.iter().zip(lengths) {
                assert_eq!(entry.length, length as u64);
                assert!(
                    fs::read(dir.path().join(&entry.path)).unwrap() == content(length),
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn a_failure_is_told_with_the_file_and_ends_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut sums = SumsWriter::create(&DirHandle::open(dir.path()).unwrap(), "sums").unwrap();
        let mut writer = Writer::start().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut file = ReceivedFile::begin(full, "/dev/full".into(), "full".to_owned(), &mut writer).unwrap();
        let piece = vec![1; BLOCK];
        let error = (0..100).find_map(|_| file.write(&piece, &mut sums, &mut writer).err());
        assert!(error.unwrap().to_string().starts_with("/dev/full: "));
    }
}
