//! Replays transactions onto the store files: positioned writes of complete after-images, so that repeating them does no
//! harm (`docs/formats/transaction-log.md` §9.5).
//!
//! ```text
//! Change ─▶ placement: file, offset, bytes ─▶ pages of that file in memory ── finish ─▶ file
//!                                         └─▶ touched: what has to be sealed and digested again
//! ```

mod dirty_chunks;
mod error;
mod pages;
mod placement;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, mem};

use super::open_store::OpenStore;
use neo4j_format::{
    DirHandle, DiskError,
    log::Change,
    store::{StoreFile, StoreFormat, record::Pointer},
};
use pages::Pages;

pub use dirty_chunks::DirtyChunks;
pub use error::ApplyError;
pub use placement::Growth;
pub(crate) use placement::Placement;
#[cfg(test)]
pub(crate) use tests::empty_store;

/// A store file to which changes are applied.
#[derive(Debug)]
struct Target {
    store: OpenStore,
    pages: Pages,
    touched: DirtyChunks,
}

impl Target {
    fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let written = self.pages.write(&self.store.file, bytes, offset);
        written.map_err(DiskError::at(&self.store.path))?;
        self.touched.note(offset, bytes.len() as u64);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let flushed = self.pages.flush(&self.store.file);
        flushed.map_err(DiskError::at(&self.store.path))
    }
}

/// What was applied.
#[derive(Debug)]
pub struct Applied {
    /// What was written, per store file.
    pub touched: BTreeMap<StoreFile, DirtyChunks>,
    /// First property of the graph itself, where a transaction set it; it belongs into `neostore`.
    pub graph_property: Option<Pointer>,
}

/// Applies changes to the store files of one directory. What it was not asked to [`finish`](Applier::finish) may be
/// written or not, as if the program had been killed.
#[derive(Debug)]
pub struct Applier {
    placement: Placement,
    stores: BTreeMap<StoreFile, Target>,
    /// First property of the graph itself, as the newest transaction has it.
    graph_property: Option<Pointer>,
    /// The bytes of one change; kept to be used again.
    image: Vec<u8>,
}

impl Applier {
    /// Opens the store files in `dir`, all but `neostore`.
    ///
    /// # Errors
    /// [`ApplyError::Disk`], [`ApplyError::BlockSize`].
    pub fn open(dir: &DirHandle, format: StoreFormat, growth: Growth) -> Result<Applier, ApplyError> {
        let stores = placement::open_all(dir, format)?;
        let placement = Placement::of(&stores, format, growth)?;
        let target = |store| Target {
            store,
            pages: Pages::default(),
            touched: DirtyChunks::default(),
        };
        Ok(Applier {
            placement,
            stores: stores.into_iter().map(|(kind, store)| (kind, target(store))).collect(),
            graph_property: None,
            image: Vec::new(),
        })
    }

    /// Applies one change; what is in the files follows no later than [`Applier::flush`].
    ///
    /// # Errors
    /// [`ApplyError`]: nothing of this change is written, unless the disk failed.
    pub fn apply(&mut self, change: &Change<'_>) -> Result<(), ApplyError> {
        if let Change::GraphProperty(property) = *change {
            self.graph_property = Some(property);
            return Ok(());
        }
        let mut image = mem::take(&mut self.image);
        let result = self.write(change, &mut image);
        self.image = image;
        result
    }

    fn write(&mut self, change: &Change<'_>, image: &mut Vec<u8>) -> Result<(), ApplyError> {
        let place = self.placement.place(change, image)?;
        let Some(target) = self.stores.get_mut(&place.file) else {
            return Err(ApplyError::Format { id: place.id });
        };
        target.write(image, place.offset)?;
        target.touched.high_id = target.touched.high_id.max(place.id.0 + 1);
        Ok(())
    }

    /// Hands everything that was applied to the files; nothing is synced.
    ///
    /// # Errors
    /// The disk failed.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        self.stores.values_mut().try_for_each(Target::flush)
    }

    /// First property of the graph itself, as applied so far.
    pub fn graph_property(&self) -> Option<Pointer> {
        self.graph_property
    }

    /// As [`Applier::flush`]; says what was applied, so that nobody seals or digests what is not in the files yet.
    ///
    /// # Errors
    /// The disk failed.
    pub fn finish(mut self) -> Result<Applied, DiskError> {
        self.flush()?;
        let touched = self.stores.into_iter().map(|(kind, target)| (kind, target.touched));
        Ok(Applied {
            touched: touched.collect(),
            graph_property: self.graph_property,
        })
    }
}
