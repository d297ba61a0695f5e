//! All records of a graph store in memory: what a server holds in its caches.
//!
//! It is read from store files once and then kept up by the same changes that are applied to them. The next free id of
//! each store is known here too; ids that were freed are given out again, as a server does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use neo4j_format::{
    DiskError,
    log::Change,
    store::{
        StoreFile, StoreFormat,
        record::{
            DynamicHeader, LegacyProperty, Node, Pointer, Property, PropertyKey, RecordId, Relationship,
            RelationshipType,
        },
    },
    width::to_usize,
};

/// A block of a dynamic store with its data.
pub(super) type Block = (DynamicHeader, Vec<u8>);

/// The records.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(super) format: StoreFormat,
    pub(crate) nodes: BTreeMap<RecordId, Node>,
    pub(crate) relationships: BTreeMap<RecordId, Relationship>,
    pub(super) types: BTreeMap<RecordId, RelationshipType>,
    pub(super) keys: BTreeMap<RecordId, PropertyKey>,
    pub(super) properties: BTreeMap<RecordId, Property>,
    pub(super) legacy_properties: BTreeMap<RecordId, LegacyProperty>,
    pub(super) blocks: BTreeMap<(StoreFile, RecordId), Block>,
    /// First property of the graph itself.
    pub(super) graph_property: Pointer,
    ids: BTreeMap<StoreFile, Ids>,
}

#[derive(Debug, Clone, Default)]
struct Ids {
    high: u64,
    free: BTreeSet<RecordId>,
}

impl Image {
    /// An empty store, without even the reference node.
    pub(super) fn empty(format: StoreFormat) -> Image {
        Image {
            format,
            nodes: BTreeMap::new(),
            relationships: BTreeMap::new(),
            types: BTreeMap::new(),
            keys: BTreeMap::new(),
            properties: BTreeMap::new(),
            legacy_properties: BTreeMap::new(),
            blocks: BTreeMap::new(),
            graph_property: None,
            ids: BTreeMap::new(),
        }
    }

    /// The records of the store files in `dir`, which are not changed. `graph_property` is not in them.
    pub(super) fn read(dir: &Path, format: StoreFormat, graph_property: Pointer) -> Result<Image, DiskError> {
        let mut image = Image::empty(format);
        image.graph_property = graph_property;
        for file in StoreFile::ALL {
            let path = dir.join(file.name());
            let mut bytes = fs::read(&path).map_err(DiskError::at(&path))?;
            if let Some(records) = bytes.strip_suffix(file.trailer(format).as_bytes()) {
                bytes.truncate(records.len());
            }
            image.read_file(file, &bytes);
        }
        Ok(image)
    }

    fn read_file(&mut self, file: StoreFile, bytes: &[u8]) {
        let size = match file.record_size(self.format) {
            Some(size) => to_usize(size),
            None => bytes
                .first_chunk()
                .map_or(1, |size| to_usize(u64::from(u32::from_be_bytes(*size)))),
        };
        for (id, record) in bytes.chunks_exact(size.max(1)).enumerate() {
            let id = RecordId(id as u64);
            // the first block of a dynamic store holds the block size
            if !(file.is_dynamic() && id.0 == 0) {
                self.read_record(file, id, record);
            }
        }
    }

    fn read_record(&mut self, file: StoreFile, id: RecordId, record: &[u8]) {
        fn put<T, const N: usize>(
            to: &mut BTreeMap<RecordId, T>,
            id: RecordId,
            record: &[u8],
            decode: impl Fn(&[u8; N]) -> Option<T>,
        ) -> bool {
            let found = record.first_chunk().and_then(decode);
            found.map(|found| to.insert(id, found)).is_some()
        }
        let used = match file {
            StoreFile::Neostore => return,
            StoreFile::Node => put(&mut self.nodes, id, record, Node::decode),
            StoreFile::Relationship => put(&mut self.relationships, id, record, Relationship::decode),
            StoreFile::RelationshipType => put(&mut self.types, id, record, RelationshipType::decode),
            StoreFile::PropertyKey => put(&mut self.keys, id, record, PropertyKey::decode),
            StoreFile::Property => match self.format {
                StoreFormat::Legacy => put(&mut self.legacy_properties, id, record, LegacyProperty::decode),
                StoreFormat::Current => put(&mut self.properties, id, record, Property::decode),
            },
            dynamic => {
                let header = match self.format {
                    StoreFormat::Legacy => record.first_chunk().and_then(DynamicHeader::decode_legacy),
                    StoreFormat::Current => record.first_chunk().and_then(DynamicHeader::decode),
                };
                if let Some(header) = header {
                    let from = self.format.dynamic_header();
                    let length = to_usize(u64::from(header.length));
                    let data = record.iter().skip(from).take(length).copied().collect();
                    self.blocks.insert((dynamic, id), (header, data));
                }
                header.is_some()
            }
        };
        if used {
            self.note(file, id, true);
        }
    }

    /// Does to the records what a transaction does to the store files.
    pub(super) fn apply(&mut self, change: &Change<'_>) {
        fn set<T: Copy>(records: &mut BTreeMap<RecordId, T>, id: RecordId, record: Option<T>) -> bool {
            match record {
                Some(record) => records.insert(id, record),
                None => records.remove(&id),
            };
            record.is_some()
        }
        let (file, id, used) = match *change {
            Change::Node(id, node) => (StoreFile::Node, id, set(&mut self.nodes, id, node)),
            Change::Relationship(id, r) => (StoreFile::Relationship, id, set(&mut self.relationships, id, r)),
            Change::RelationshipType(id, kind) => (StoreFile::RelationshipType, id, set(&mut self.types, id, kind)),
            Change::PropertyKey(id, key) => (StoreFile::PropertyKey, id, set(&mut self.keys, id, key)),
            Change::Property(id, p) => (StoreFile::Property, id, set(&mut self.properties, id, p)),
            Change::LegacyProperty(id, p) => (StoreFile::Property, id, set(&mut self.legacy_properties, id, p)),
            Change::Dynamic(file, id, block) => {
                match block {
                    Some((header, data)) => self.blocks.insert((file, id), (header, data.to_vec())),
                    None => self.blocks.remove(&(file, id)),
                };
                (file, id, block.is_some())
            }
            Change::GraphProperty(first) => {
                self.graph_property = first;
                return;
            }
        };
        self.note(file, id, used);
    }

    /// An id that no record has: a freed one, or the lowest never used.
    pub(super) fn take_id(&mut self, file: StoreFile) -> RecordId {
        // the first block of a dynamic store holds the block size
        let lowest = u64::from(file.is_dynamic());
        let ids = self.ids.entry(file).or_default();
        if let Some(id) = ids.free.pop_first() {
            return id;
        }
        let id = ids.high.max(lowest);
        ids.high = id + 1;
        RecordId(id)
    }

    /// One more than the highest id that was ever used.
    pub(super) fn high_id(&self, file: StoreFile) -> u64 {
        self.ids.get(&file).map_or(0, |ids| ids.high)
    }

    fn note(&mut self, file: StoreFile, id: RecordId, used: bool) {
        let ids = self.ids.entry(file).or_default();
        ids.high = ids.high.max(id.0 + 1);
        if used {
            ids.free.remove(&id);
        } else {
            ids.free.insert(id);
        }
    }

    /// The data of a chain; it ends where a block is missing or the chain comes back to itself.
    pub(super) fn chain(&self, file: StoreFile, first: Pointer) -> Vec<u8> {
        let mut data = Vec::new();
        for id in self.chain_ids(file, first) {
            if let Some((_, part)) = self.blocks.get(&(file, id)) {
                data.extend_from_slice(part);
            }
        }
        data
    }

    /// The blocks of a chain in their order.
    pub(super) fn chain_ids(&self, file: StoreFile, first: Pointer) -> Vec<RecordId> {
        let mut ids = Vec::new();
        let mut next = first;
        while let Some(id) = next.filter(|_| ids.len() <= self.blocks.len()) {
            let Some((header, _)) = self.blocks.get(&(file, id)) else {
                break;
            };
            ids.push(id);
            next = header.next;
        }
        ids
    }

    /// The relationships in the chain of a node.
    pub(crate) fn relationships_of(&self, node: RecordId) -> Vec<RecordId> {
        let mut found = Vec::new();
        let mut next = self.nodes.get(&node).and_then(|node| node.first_relationship);
        while let Some(id) = next.filter(|_| found.len() <= self.relationships.len()) {
            let Some(relationship) = self.relationships.get(&id) else {
                break;
            };
            found.push(id);
            next = if relationship.first_node == Some(node) {
                relationship.first_next
            } else {
                relationship.second_next
            };
        }
        found
    }

    /// Names of the relationship types.
    pub(crate) fn type_names(&self) -> Vec<String> {
        let name = |id: &RecordId| self.name(StoreFile::RelationshipType, *id);
        self.types.keys().filter_map(name).collect()
    }

    /// The relationship type or property key of this name.
    pub(super) fn find_name(&self, file: StoreFile, name: &str) -> Option<RecordId> {
        let is_it = |id: &RecordId| self.name(file, *id).as_deref() == Some(name);
        match file {
            StoreFile::RelationshipType => self.types.keys().copied().find(is_it),
            _ => self.keys.keys().copied().find(is_it),
        }
    }

    /// A relationship's type or a property's key as text.
    pub(super) fn name(&self, file: StoreFile, id: RecordId) -> Option<String> {
        let (names, first) = match file {
            StoreFile::RelationshipType => (StoreFile::RelationshipTypeName, self.types.get(&id)?.name_block?),
            _ => (StoreFile::PropertyKeyName, self.keys.get(&id)?.name_block?),
        };
        let bytes = self.chain(names, Some(first));
        match self.format {
            StoreFormat::Current => String::from_utf8(bytes).ok(),
            StoreFormat::Legacy => {
                let units = bytes.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit));
                String::from_utf16(&units.collect::<Vec<u16>>()).ok()
            }
        }
    }
}
