//! One store file, opened for replay and sealing.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use super::apply::ApplyError;
use neo4j_format::{
    DirHandle, DiskError,
    store::{StoreFile, StoreFormat},
};

/// A store file that is open for reading and writing.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    kind: StoreFile,
    format: StoreFormat,
}

impl OpenStore {
    /// Opens the file of this kind in `dir`.
    pub(crate) fn open(dir: &DirHandle, kind: StoreFile, format: StoreFormat) -> Result<OpenStore, DiskError> {
        let path = dir.join(kind.name());
        let file = dir.open_to_change(kind.name()).map_err(DiskError::at(&path))?;
        Ok(OpenStore {
            file,
            path,
            kind,
            format,
        })
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> Result<u64, DiskError> {
        let found = self.file.metadata().map_err(DiskError::at(&self.path))?;
        Ok(found.len())
    }

    /// Bytes of a record; of a dynamic store as its first block says.
    ///
    /// # Errors
    /// [`ApplyError::BlockSize`]; disk errors.
    pub(crate) fn record_size(&self) -> Result<u64, ApplyError> {
        if let Some(size) = self.kind.record_size(self.format) {
            return Ok(size);
        }
        let mut bytes = [0; 4];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(DiskError::new(&self.path, e).into()),
            _ => {}
        }
        let size = u32::from_be_bytes(bytes);
        let header = u32::try_from(self.format.dynamic_header()).unwrap_or(u32::MAX);
        if size > header && size <= u32::from(u16::MAX) + header {
            Ok(u64::from(size))
        } else {
            Err(ApplyError::BlockSize {
                path: self.path.clone(),
                size,
            })
        }
    }
}
