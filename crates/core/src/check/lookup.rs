//! Single records by their ids, through a cache of blocks.

use super::{error::CheckError, stores::Stores};
use neo4j_format::{
    store::{
        StoreFile, StoreFormat,
        record::{
            DynamicHeader, LegacyProperty, Node, Pointer, Property, PropertyKey, RecordId, Relationship,
            RelationshipType,
        },
    },
    width::to_usize,
};

/// Bytes of a cached block, about.
const BLOCK: u64 = 16 * 1024;

/// Cached blocks; one of a store has its place by its number.
const SLOTS: usize = 128;

/// Reads records of any store in any order.
pub(crate) struct Lookup<'a> {
    pub(crate) stores: &'a Stores,
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    /// Which block of which store.
    holds: Option<(StoreFile, u64)>,
    bytes: Vec<u8>,
}

/// Neighbours, blocks and the like of a property record of either format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PropertyRecord {
    pub(crate) previous: Pointer,
    pub(crate) next: Pointer,
    pub(crate) content: Content,
}

/// What a property record holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    /// Longs of up to four blocks.
    Blocks(Property),
    /// One property.
    One(LegacyProperty),
}

impl PropertyRecord {
    /// The record in these bytes, `None` where it is not in use.
    #[inline]
    pub(crate) fn decode(format: StoreFormat, bytes: &[u8]) -> Option<PropertyRecord> {
        match format {
            StoreFormat::Legacy => PropertyRecord::legacy(bytes),
            StoreFormat::Current => PropertyRecord::current(bytes),
        }
    }

    /// The same for the old format.
    #[inline]
    pub(crate) fn legacy(bytes: &[u8]) -> Option<PropertyRecord> {
        let one = LegacyProperty::decode(bytes.first_chunk()?)?;
        Some(PropertyRecord {
            previous: one.previous,
            next: one.next,
            content: Content::One(one),
        })
    }

    /// The same for the current format.
    #[inline]
    pub(crate) fn current(bytes: &[u8]) -> Option<PropertyRecord> {
        let property = Property::decode(bytes.first_chunk()?)?;
        Some(PropertyRecord {
            previous: property.previous,
            next: property.next,
            content: Content::Blocks(property),
        })
    }
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(stores: &'a Stores) -> Lookup<'a> {
        let mut slots = Vec::new();
        slots.resize_with(SLOTS, Slot::default);
        Lookup { stores, slots }
    }

    /// The bytes of a record, `None` behind the end of the file.
    pub(crate) fn bytes(&mut self, kind: StoreFile, id: u64) -> Result<Option<&[u8]>, CheckError> {
        let store = self.stores.get(kind);
        if id >= store.records {
            return Ok(None);
        }
        let per_block = (BLOCK / store.size).max(1);
        let block = id / per_block;
        let place = to_usize(block) % self.slots.len();
        let Some(slot) = self.slots.get_mut(place) else {
            return Ok(None);
        };
        let first = block * per_block;
        if slot.holds != Some((kind, block)) {
            slot.holds = None;
            let count = to_usize(per_block.min(store.records - first));
            slot.bytes.resize(count.saturating_mul(store.width()), 0);
            store.read(first, &mut slot.bytes)?;
            slot.holds = Some((kind, block));
        }
        let at = to_usize(id - first).saturating_mul(store.width());
        Ok(slot.bytes.get(at..at.saturating_add(store.width())))
    }

    /// A node, `None` if it is not in use.
    pub(crate) fn node(&mut self, RecordId(id): RecordId) -> Result<Option<Node>, CheckError> {
        let bytes = self.bytes(StoreFile::Node, id)?;
        Ok(bytes.and_then(<[u8]>::first_chunk).and_then(Node::decode))
    }

    /// A relationship, `None` if it is not in use.
    pub(crate) fn relationship(&mut self, RecordId(id): RecordId) -> Result<Option<Relationship>, CheckError> {
        let bytes = self.bytes(StoreFile::Relationship, id)?;
        Ok(bytes.and_then(<[u8]>::first_chunk).and_then(Relationship::decode))
    }

    /// A property record, `None` if it is not in use.
    pub(crate) fn property(&mut self, RecordId(id): RecordId) -> Result<Option<PropertyRecord>, CheckError> {
        let format = self.stores.format;
        let bytes = self.bytes(StoreFile::Property, id)?;
        Ok(bytes.and_then(|bytes| PropertyRecord::decode(format, bytes)))
    }

    /// A relationship type, `None` if it is not in use.
    pub(crate) fn relationship_type(&mut self, id: u64) -> Result<Option<RelationshipType>, CheckError> {
        let bytes = self.bytes(StoreFile::RelationshipType, id)?;
        Ok(bytes.and_then(<[u8]>::first_chunk).and_then(RelationshipType::decode))
    }

    /// A property key, `None` if it is not in use.
    pub(crate) fn property_key(&mut self, id: u64) -> Result<Option<PropertyKey>, CheckError> {
        let bytes = self.bytes(StoreFile::PropertyKey, id)?;
        Ok(bytes.and_then(<[u8]>::first_chunk).and_then(PropertyKey::decode))
    }

    /// A block with its data, `None` if it is not in use; block 0 never is.
    pub(crate) fn block(
        &mut self,
        kind: StoreFile,
        id: RecordId,
    ) -> Result<Option<(DynamicHeader, &[u8])>, CheckError> {
        if id.0 == 0 {
            return Ok(None);
        }
        let format = self.stores.format;
        let bytes = self.bytes(kind, id.0)?;
        Ok(bytes.and_then(|bytes| super::stores::block(format, bytes)))
    }

    /// Why a record is not there.
    pub(crate) fn absent(&self, kind: StoreFile, id: RecordId) -> &'static str {
        if kind.is_dynamic() && id.0 == 0 {
            "is the header block"
        } else if id.0 >= self.stores.get(kind).records {
            "is beyond the end of the file"
        } else {
            "is not in use"
        }
    }
}
