//! The file that is being written, through the page cache and past it.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::block::Block;
use neo4j_format::DiskError;

/// Bytes with which a file begins in the page cache.
pub(super) const CACHED: u64 = 64 << 20;

/// Bytes written through the page cache between two syncs: enough to keep a disk busy, small beside any page cache.
const WINDOW: usize = 16 << 20;

/// The file that the thread is writing.
pub(super) struct OpenFile {
    file: File,
    path: PathBuf,
    direct: Direct,
    /// Bytes of it that were written.
    written: u64,
    /// Bytes through the page cache since the last sync.
    unsynced: usize,
}

/// Whether blocks are written past the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direct {
    NotYet,
    On,
    /// The file system cannot, or the file ends.
    Over,
}

impl OpenFile {
    pub(super) fn new(file: File, path: PathBuf) -> OpenFile {
        OpenFile {
            file,
            path,
            direct: Direct::NotYet,
            written: 0,
            unsynced: 0,
        }
    }

    /// Appends a block; its bytes are durable once the file is synced.
    ///
    /// # Errors
    /// Of the disk.
    pub(super) fn write(&mut self, block: &Block) -> Result<(), DiskError> {
        let mut bytes = block.bytes();
        if self.direct == Direct::NotYet && self.written >= CACHED && block.is_full() {
            let turned_on = self.set_direct(OFlags::DIRECT).is_ok();
            self.direct = if turned_on { Direct::On } else { Direct::Over };
        }
        self.written += bytes.len() as u64;
        if self.direct == Direct::On {
            if block.is_full() {
                bytes = self.write_direct(bytes)?;
                if bytes.is_empty() {
                    return Ok(());
                }
            }
            self.set_direct(OFlags::empty())
                .map_err(|e| DiskError::new(&self.path, e.into()))?;
            self.direct = Direct::Over;
        }
        self.file.write_all(bytes).map_err(|e| DiskError::new(&self.path, e))?;
        self.unsynced += bytes.len();
        if self.unsynced >= WINDOW {
            self.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Writes as much as goes directly; returns what does not, on file systems that take the flag and not the write.
    fn write_direct<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], DiskError> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(DiskError::new(&self.path, io::ErrorKind::WriteZero.into())),
                Ok(written) => bytes = &bytes[written..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => break,
                Err(e) => return Err(DiskError::new(&self.path, e)),
            }
        }
        Ok(bytes)
    }

    /// Turns direct writes on or off.
    fn set_direct(&self, wanted: OFlags) -> rustix::io::Result<()> {
        let flags = fcntl_getfl(&self.file)?;
        fcntl_setfl(&self.file, flags.difference(OFlags::DIRECT).union(wanted))
    }

    pub(super) fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| DiskError::new(&self.path, e))
    }
}
