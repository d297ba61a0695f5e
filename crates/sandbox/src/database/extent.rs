//! Lengths of the store files of a live database: like a server's, they grow by many records at once, so that a file
//! always ends with a whole record, and behind the last used one there are zeros.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, path::Path};

use super::{DatabaseError, image::Image};
use neo4j_format::{
    DiskError,
    store::{StoreFile, StoreFormat},
};

/// Records by which a file grows.
const WINDOW: u64 = 1024;

/// The files that grow.
#[derive(Debug)]
pub(super) struct Extents(BTreeMap<StoreFile, Extent>);

#[derive(Debug)]
struct Extent {
    file: File,
    size: u64,
    length: u64,
}

impl Extents {
    pub(super) fn open(dir: &Path, format: StoreFormat) -> Result<Extents, DatabaseError> {
        let mut extents = BTreeMap::new();
        for kind in StoreFile::ALL.into_iter().filter(|kind| *kind != StoreFile::Neostore) {
            let path = dir.join(kind.name());
            let file = File::options()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(DiskError::at(&path))?;
            let length = file.metadata().map_err(DiskError::at(&path))?.len();
            let size = if let Some(size) = kind.record_size(format) {
                size
            } else {
                let mut size = [0; 4];
                file.read_exact_at(&mut size, 0).map_err(DiskError::at(&path))?;
                u32::from_be_bytes(size).into()
            };
            extents.insert(kind, Extent { file, size, length });
        }
        Ok(Extents(extents))
    }

    /// Lets each file that a record of `image` lies behind the end of grow.
    pub(super) fn cover(&mut self, image: &Image, dir: &Path) -> Result<(), DatabaseError> {
        for (kind, extent) in &mut self.0 {
            if image.high_id(*kind) * extent.size > extent.length {
                extent.length = image.high_id(*kind).next_multiple_of(WINDOW) * extent.size;
                let grown = extent.file.set_len(extent.length);
                grown.map_err(|e| DiskError::new(dir.join(kind.name()), e))?;
            }
        }
        Ok(())
    }
}
