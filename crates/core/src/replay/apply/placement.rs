//! Where a change goes in the store files, and which bytes it writes there; nothing is written.

use std::collections::BTreeMap;

use super::ApplyError;
use crate::replay::open_store::OpenStore;
use neo4j_format::{
    DirHandle, DiskError,
    log::Change,
    store::{
        StoreFile, StoreFormat,
        record::{DynamicHeader, Property, RecordId, RelationshipType, TooWide},
    },
};

/// By how much the transactions of one run may make a store file grow. Ids have gaps, of rolled-back transactions and of
/// ranges handed out in HA, and what lies in them costs no space; a damaged id could ask for terabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// 1 GiB, or four times the length of the file where that is more.
    Usual,
    /// That many bytes.
    Bytes(u64),
}

impl Growth {
    /// The last place at which a record of a file of this length may begin.
    pub(super) fn end(self, length: u64) -> u64 {
        let growth = match self {
            Growth::Usual => length.saturating_mul(4).max(1 << 30),
            Growth::Bytes(bytes) => bytes,
        };
        length.saturating_add(growth)
    }
}

/// What has to be known of a store file.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Bytes of a record or block.
    size: u64,
    /// Bytes when the run began.
    length: u64,
}

impl Extent {
    fn of(store: &OpenStore) -> Result<Extent, ApplyError> {
        Ok(Extent {
            size: store.record_size()?,
            length: store.length()?,
        })
    }
}

/// Finds the places of changes.
#[derive(Debug)]
pub(crate) struct Placement {
    format: StoreFormat,
    growth: Growth,
    extents: BTreeMap<StoreFile, Extent>,
}

/// Opens the store files in `dir` that transactions write records to, all but `neostore`.
pub(super) fn open_all(dir: &DirHandle, format: StoreFormat) -> Result<BTreeMap<StoreFile, OpenStore>, DiskError> {
    StoreFile::ALL
        .into_iter()
        .filter(|kind| *kind != StoreFile::Neostore)
        .map(|kind| Ok((kind, OpenStore::open(dir, kind, format)?)))
        .collect()
}

impl Placement {
    /// For the store files in `dir` as they are now.
    ///
    /// # Errors
    /// [`ApplyError::Disk`], [`ApplyError::BlockSize`].
    pub(crate) fn open(dir: &DirHandle, format: StoreFormat, growth: Growth) -> Result<Placement, ApplyError> {
        Placement::of(&open_all(dir, format)?, format, growth)
    }

    /// For these store files as they are now.
    ///
    /// # Errors
    /// [`ApplyError::Disk`], [`ApplyError::BlockSize`].
    pub(super) fn of(
        stores: &BTreeMap<StoreFile, OpenStore>,
        format: StoreFormat,
        growth: Growth,
    ) -> Result<Placement, ApplyError> {
        let extents = stores.iter().map(|(kind, store)| Ok((*kind, Extent::of(store)?)));
        let extents = extents.collect::<Result<_, ApplyError>>()?;
        Ok(Placement {
            format,
            growth,
            extents,
        })
    }

    /// Where a change goes, and in `image` the bytes to write there; nothing is written.
    ///
    /// # Errors
    /// [`ApplyError`]: it can go nowhere.
    pub(crate) fn place(&self, change: &Change<'_>, image: &mut Vec<u8>) -> Result<RecordLocation, ApplyError> {
        let legacy = self.format == StoreFormat::Legacy;
        image.clear();
        let mut within = 0;
        let (file, id) = match *change {
            Change::Node(id, node) => {
                let file = StoreFile::Node;
                put(image, node.map(|node| node.encode()), file, id)?;
                (file, id)
            }
            Change::Relationship(id, relationship) => {
                let file = StoreFile::Relationship;
                put(image, relationship.map(|r| r.encode()), file, id)?;
                (file, id)
            }
            Change::RelationshipType(id, kind) => {
                let file = StoreFile::RelationshipType;
                put(image, kind.map(|kind| kind.encode()), file, id)?;
                if legacy && kind.is_none() {
                    image.resize(RelationshipType::SIZE, 0);
                }
                (file, id)
            }
            Change::PropertyKey(id, key) => {
                let file = StoreFile::PropertyKey;
                put(image, key.map(|key| key.encode()), file, id)?;
                (file, id)
            }
            Change::Property(id, _) if legacy => return Err(ApplyError::Format { id }),
            Change::Property(id, None) => {
                within = Property::PAYLOAD as u64;
                image.resize(8, 0);
                (StoreFile::Property, id)
            }
            Change::Property(id, Some(property)) => {
                let (bytes, written) = property.encode().map_err(wide(StoreFile::Property, id))?;
                image.extend_from_slice(&bytes[..written]);
                (StoreFile::Property, id)
            }
            Change::LegacyProperty(id, _) if !legacy => return Err(ApplyError::Format { id }),
            Change::LegacyProperty(id, property) => {
                let file = StoreFile::Property;
                put(image, property.map(|p| p.encode()), file, id)?;
                (file, id)
            }
            Change::Dynamic(file, id, block) => {
                self.dynamic(file, id, block, image)?;
                (file, id)
            }
            // `neostore` is not a record store
            Change::GraphProperty(first) => {
                return Err(ApplyError::Format {
                    id: first.unwrap_or(RecordId(0)),
                });
            }
        };
        let Some(extent) = self.extents.get(&file) else {
            return Err(ApplyError::Format { id });
        };
        let offset = id.0.saturating_mul(extent.size).saturating_add(within);
        if offset > self.growth.end(extent.length) {
            return Err(ApplyError::TooFar {
                file,
                id,
                offset,
                length: extent.length,
            });
        }
        Ok(RecordLocation { file, id, offset })
    }

    fn dynamic(
        &self,
        file: StoreFile,
        id: RecordId,
        block: Option<(DynamicHeader, &[u8])>,
        image: &mut Vec<u8>,
    ) -> Result<(), ApplyError> {
        let size = self.extents.get(&file).map_or(0, |extent| extent.size);
        let header_size = self.format.dynamic_header();
        let length = block.map_or(0, |(_, data)| data.len());
        if id.0 == 0 || (header_size + length) as u64 > size {
            return Err(ApplyError::Block {
                file,
                id,
                length,
                block: size,
            });
        }
        let Some((header, data)) = block else {
            image.push(0);
            return Ok(());
        };
        match self.format {
            StoreFormat::Legacy => put(image, Some(header.encode_legacy()), file, id)?,
            StoreFormat::Current => put(image, Some(header.encode()), file, id)?,
        }
        image.extend_from_slice(data);
        Ok(())
    }
}

/// Where a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordLocation {
    pub(crate) file: StoreFile,
    pub(crate) id: RecordId,
    pub(crate) offset: u64,
}

/// Appends a record, or the byte that takes one out of use.
fn put<const N: usize>(
    image: &mut Vec<u8>,
    record: Option<Result<[u8; N], TooWide>>,
    file: StoreFile,
    id: RecordId,
) -> Result<(), ApplyError> {
    match record {
        None => image.push(0),
        Some(record) => image.extend_from_slice(&record.map_err(wide(file, id))?),
    }
    Ok(())
}

fn wide(file: StoreFile, id: RecordId) -> impl FnOnce(TooWide) -> ApplyError {
    move |source| ApplyError::TooWide { file, id, source }
}
