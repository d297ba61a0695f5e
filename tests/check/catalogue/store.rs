//! Small real stores, and hands to damage their records.

use std::{
    fs,
    path::{Path, PathBuf},
};

use neo4j_format::store::{
    StoreFile, StoreFormat,
    record::{DynamicHeader, LegacyProperty, Node, Pointer, Property, RecordId, Relationship},
};

/// A copy of a store that may be damaged.
pub struct Damaged {
    dir: tempfile::TempDir,
    pub format: StoreFormat,
}

/// Neighbours of a property record of either format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Links {
    pub previous: Pointer,
    pub next: Pointer,
}

pub fn id(id: u64) -> Pointer {
    Some(RecordId(id))
}

impl Damaged {
    /// A copy of one of the stores in `tests/vectors/stores`.
    pub fn vector(format: StoreFormat) -> Damaged {
        let release = match format {
            StoreFormat::Legacy => "1.4.2",
            StoreFormat::Current => "1.8",
        };
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/stores");
        Damaged::copy_of(&vectors.join(release), format)
    }

    /// A copy of any store, without its Lucene indexes.
    pub fn copy_of(from: &Path, format: StoreFormat) -> Damaged {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["", "index"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            for entry in fs::read_dir(from.join(folder)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), dir.path().join(folder).join(entry.file_name())).unwrap();
                }
            }
        }
        Damaged { dir, format }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The whole file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Writes over bytes of a file.
    pub fn poke(&self, name: &str, offset: usize, bytes: &[u8]) {
        let mut all = self.bytes(name);
        all[offset..offset + bytes.len()].copy_from_slice(bytes);
        fs::write(self.path(name), all).unwrap();
    }

    pub fn size(&self, kind: StoreFile) -> usize {
        match kind.record_size(self.format) {
            Some(size) => usize::try_from(size).unwrap(),
            None => u32::from_be_bytes(*self.bytes(kind.name()).first_chunk().unwrap()) as usize,
        }
    }

    /// Bytes of a record.
    pub fn record(&self, kind: StoreFile, id: u64) -> Vec<u8> {
        let (size, at) = (self.size(kind), usize::try_from(id).unwrap());
        self.bytes(kind.name())[at * size..(at + 1) * size].to_vec()
    }

    /// Writes over a record from its byte `within` on.
    pub fn write(&self, kind: StoreFile, id: u64, within: usize, bytes: &[u8]) {
        let at = usize::try_from(id).unwrap() * self.size(kind) + within;
        self.poke(kind.name(), at, bytes);
    }

    /// All records in use of a kind.
    fn all<T>(&self, kind: StoreFile, decode: impl Fn(&[u8]) -> Option<T>) -> Vec<(u64, T)> {
        let bytes = self.bytes(kind.name());
        let records = bytes.len() - kind.trailer(self.format).len();
        let records = bytes[..records].chunks_exact(self.size(kind));
        let skip = usize::from(kind.is_dynamic());
        let found = records.enumerate().skip(skip);
        found
            .filter_map(|(i, record)| Some((i as u64, decode(record)?)))
            .collect()
    }

    pub fn nodes(&self) -> Vec<(u64, Node)> {
        self.all(StoreFile::Node, |record| Node::decode(record.first_chunk()?))
    }

    pub fn node(&self, id: u64) -> Node {
        Node::decode(self.record(StoreFile::Node, id).first_chunk().unwrap()).unwrap()
    }

    pub fn set_node(&self, id: u64, node: Node) {
        self.write(StoreFile::Node, id, 0, &node.encode().unwrap());
    }

    pub fn relationships(&self) -> Vec<(u64, Relationship)> {
        self.all(StoreFile::Relationship, |record| {
            Relationship::decode(record.first_chunk()?)
        })
    }

    pub fn relationship(&self, id: u64) -> Relationship {
        Relationship::decode(self.record(StoreFile::Relationship, id).first_chunk().unwrap()).unwrap()
    }

    pub fn set_relationship(&self, id: u64, relationship: Relationship) {
        self.write(StoreFile::Relationship, id, 0, &relationship.encode().unwrap());
    }

    /// The relationships of a node, from its first to its last.
    pub fn chain(&self, node: u64) -> Vec<u64> {
        let mut at = self.node(node).first_relationship;
        let mut chain = Vec::new();
        while let Some(RecordId(found)) = at {
            chain.push(found);
            at = self.end(found, node).next;
        }
        chain
    }

    /// Neighbours of a relationship at one of its nodes.
    pub fn end(&self, relationship: u64, node: u64) -> Links {
        let found = self.relationship(relationship);
        if found.first_node == id(node) {
            Links {
                previous: found.first_previous,
                next: found.first_next,
            }
        } else {
            Links {
                previous: found.second_previous,
                next: found.second_next,
            }
        }
    }

    /// Changes the neighbours at one node; both pairs of a loop.
    pub fn set_end(&self, relationship: u64, node: u64, links: Links) {
        let mut found = self.relationship(relationship);
        if found.first_node == id(node) {
            (found.first_previous, found.first_next) = (links.previous, links.next);
        }
        if found.second_node == id(node) {
            (found.second_previous, found.second_next) = (links.previous, links.next);
        }
        self.set_relationship(relationship, found);
    }

    pub fn legacy_properties(&self) -> Vec<(u64, LegacyProperty)> {
        self.all(StoreFile::Property, |record| {
            LegacyProperty::decode(record.first_chunk()?)
        })
    }

    pub fn current_properties(&self) -> Vec<(u64, Property)> {
        self.all(StoreFile::Property, |record| Property::decode(record.first_chunk()?))
    }

    /// Property records with their neighbours.
    pub fn properties(&self) -> Vec<(u64, Links)> {
        match self.format {
            StoreFormat::Legacy => {
                let links = |(id, p): (u64, LegacyProperty)| {
                    (
                        id,
                        Links {
                            previous: p.previous,
                            next: p.next,
                        },
                    )
                };
                self.legacy_properties().into_iter().map(links).collect()
            }
            StoreFormat::Current => {
                let links = |(id, p): (u64, Property)| {
                    (
                        id,
                        Links {
                            previous: p.previous,
                            next: p.next,
                        },
                    )
                };
                self.current_properties().into_iter().map(links).collect()
            }
        }
    }

    pub fn links(&self, property: u64) -> Links {
        let all = self.properties();
        all.into_iter().find(|(id, _)| *id == property).unwrap().1
    }

    pub fn set_links(&self, property: u64, links: Links) {
        let bytes = self.record(StoreFile::Property, property);
        match self.format {
            StoreFormat::Legacy => {
                let mut found = LegacyProperty::decode(bytes.first_chunk().unwrap()).unwrap();
                (found.previous, found.next) = (links.previous, links.next);
                self.write(StoreFile::Property, property, 0, &found.encode().unwrap());
            }
            StoreFormat::Current => {
                let mut found = Property::decode(bytes.first_chunk().unwrap()).unwrap();
                (found.previous, found.next) = (links.previous, links.next);
                self.write(StoreFile::Property, property, 0, &found.encode().unwrap().0[..9]);
            }
        }
    }

    /// Marks a property record as not in use.
    pub fn delete_property(&self, property: u64) {
        match self.format {
            StoreFormat::Legacy => self.write(StoreFile::Property, property, 0, &[0]),
            StoreFormat::Current => self.write(StoreFile::Property, property, 9, &[0; 8]),
        }
    }

    /// Property and first block of every string or array that has blocks.
    pub fn long_values(&self, file: StoreFile) -> Vec<(u64, u64)> {
        let is_array = file == StoreFile::Array;
        match self.format {
            StoreFormat::Legacy => {
                let kind = if is_array { 9 } else { 2 };
                let all = self.legacy_properties().into_iter();
                all.filter(|(_, p)| p.type_code == kind)
                    .map(|(id, p)| (id, p.value))
                    .collect()
            }
            StoreFormat::Current => {
                let kind = if is_array { 10 } else { 9 };
                let first = |p: &Property| p.payload[0];
                let all = self.current_properties().into_iter();
                all.filter(|(_, p)| first(p) >> 24 & 15 == kind)
                    .map(|(id, p)| (id, first(&p) >> 28))
                    .collect()
            }
        }
    }

    /// Points the value that [`Damaged::long_values`] found to another block.
    pub fn set_long_value(&self, property: u64, block: u64) {
        let bytes = self.record(StoreFile::Property, property);
        match self.format {
            StoreFormat::Legacy => self.write(StoreFile::Property, property, 9, &block.to_be_bytes()),
            StoreFormat::Current => {
                let first = u64::from_be_bytes(*bytes[9..].first_chunk().unwrap());
                let first = first & ((1 << 28) - 1) | block << 28;
                self.write(StoreFile::Property, property, 9, &first.to_be_bytes());
            }
        }
    }

    pub fn header(&self, file: StoreFile, block: u64) -> DynamicHeader {
        let bytes = self.record(file, block);
        match self.format {
            StoreFormat::Legacy => DynamicHeader::decode_legacy(bytes.first_chunk().unwrap()),
            StoreFormat::Current => DynamicHeader::decode(bytes.first_chunk().unwrap()),
        }
        .unwrap()
    }

    pub fn set_header(&self, file: StoreFile, block: u64, header: DynamicHeader) {
        match self.format {
            StoreFormat::Legacy => self.write(file, block, 0, &header.encode_legacy().unwrap()),
            StoreFormat::Current => self.write(file, block, 0, &header.encode().unwrap()),
        }
    }

    /// Writes over the data of a block.
    pub fn set_data(&self, file: StoreFile, block: u64, at: usize, data: &[u8]) {
        self.write(file, block, self.format.dynamic_header() + at, data);
    }

    /// The blocks of a value.
    pub fn blocks(&self, file: StoreFile, first: u64) -> Vec<u64> {
        let mut blocks = vec![first];
        while let Some(RecordId(next)) = self.header(file, *blocks.last().unwrap()).next {
            blocks.push(next);
        }
        blocks
    }

    /// A value of at least so many blocks: its property and its blocks.
    pub fn long_value(&self, file: StoreFile, blocks: usize) -> (u64, Vec<u64>) {
        let mut all = self.long_values(file).into_iter();
        all.find_map(|(property, first)| {
            let found = self.blocks(file, first);
            (found.len() >= blocks).then_some((property, found))
        })
        .unwrap()
    }

    /// An id of this store whose record is not in use.
    pub fn unused(&self, kind: StoreFile) -> u64 {
        let used: Vec<u64> = match kind {
            StoreFile::Node => self.nodes().into_iter().map(|(id, _)| id).collect(),
            StoreFile::Relationship => self.relationships().into_iter().map(|(id, _)| id).collect(),
            _ => self.properties().into_iter().map(|(id, _)| id).collect(),
        };
        (0..10_000).find(|id| !used.contains(id)).unwrap()
    }
}
