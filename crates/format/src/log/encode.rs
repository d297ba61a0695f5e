//! Graph commands as a server writes them (`docs/formats/transaction-log.md` §9): the counterpart of [`super::command`].

use super::format::LogFormat;
use crate::store::{
    StoreFile,
    record::{DynamicHeader, LegacyProperty, Node, Pointer, PropertyKey, RecordId, Relationship, RelationshipType},
};

/// A command with all its dynamic records; `None` is a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Node.
    Node(RecordId, Option<Node>),
    /// Relationship.
    Relationship(RecordId, Option<Relationship>),
    /// Relationship type, and its name if that is new.
    RelationshipType(RecordId, Option<RelationshipType>, &'a [DynamicRecord<'a>]),
    /// Property key, and its name if that is new.
    PropertyKey(RecordId, Option<PropertyKey>, &'a [DynamicRecord<'a>]),
    /// Property of the current format; without blocks it is deleted.
    Property {
        /// Its id.
        id: RecordId,
        /// Whose it is.
        owner: Owner,
        /// Previous record of the chain.
        previous: Pointer,
        /// Next record of the chain.
        next: Pointer,
        /// Up to four blocks with together up to four longs.
        blocks: &'a [Block<'a>],
        /// Dynamic records that were freed.
        deleted: &'a [DynamicRecord<'a>],
    },
    /// Property of the legacy format.
    LegacyProperty(RecordId, Owner, Option<LegacyProperty>, &'a [DynamicRecord<'a>]),
    /// First property of the graph itself; format 2 only.
    GraphProperty(Pointer),
}

/// A property block of the current format, with the dynamic records written for its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// 1 – 4 longs.
    pub longs: &'a [u64],
    /// The whole chain if the value is new, nothing otherwise.
    pub records: &'a [DynamicRecord<'a>],
}

/// A block of a dynamic store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicRecord<'a> {
    /// The store it belongs to.
    pub store: StoreFile,
    /// Its id, from 1.
    pub id: RecordId,
    /// Header and data, of which the header's length is not looked at.
    pub content: Option<(DynamicHeader, &'a [u8])>,
}

/// To what a property belongs; a hint for caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The graph itself, or not known.
    None,
    /// A node.
    Node(RecordId),
    /// A relationship.
    Relationship(RecordId),
}

impl Command<'_> {
    /// Appends the command to `out`, without the entry's header.
    pub fn encode(&self, format: LogFormat, out: &mut Vec<u8>) {
        match *self {
            Command::Node(id, node) => {
                head(out, 1, id, u8::from(node.is_some()));
                if let Some(node) = node {
                    pointers(out, &[node.first_relationship, node.first_property]);
                }
            }
            Command::Relationship(id, relationship) => {
                head(out, 3, id, u8::from(relationship.is_some()));
                if let Some(r) = relationship {
                    pointers(out, &[r.first_node, r.second_node]);
                    out.extend_from_slice(&i32::from(r.type_id).to_be_bytes());
                    pointers(out, &[r.first_previous, r.first_next, r.second_previous, r.second_next]);
                    pointers(out, &[r.first_property]);
                }
            }
            Command::RelationshipType(id, record, records) => {
                out.push(4);
                put_i32(out, Some(id));
                out.push(record.is_some().into());
                put_i32(out, record.and_then(|record| record.name_block));
                list(out, format, records);
            }
            Command::PropertyKey(id, record, records) => {
                out.push(5);
                put_i32(out, Some(id));
                out.push(record.is_some().into());
                out.extend_from_slice(&record.map_or(0, |record| record.property_count).to_be_bytes());
                put_i32(out, record.and_then(|record| record.name_block));
                list(out, format, records);
            }
            Command::Property {
                id,
                owner,
                previous,
                next,
                blocks,
                deleted,
            } => {
                head(out, 2, id, owner.flags(!blocks.is_empty()));
                pointers(out, &[next, previous, owner.id()]);
                out.push(u8::try_from(blocks.len()).expect("a property record holds at most four blocks"));
                for block in blocks {
                    out.push(
                        u8::try_from(block.longs.len().saturating_mul(8)).expect("a property record has four longs"),
                    );
                    block
                        .longs
                        .iter()
                        .for_each(|long| out.extend_from_slice(&long.to_be_bytes()));
                    list(out, format, block.records);
                }
                list(out, format, deleted);
            }
            Command::LegacyProperty(id, owner, property, records) => {
                head(out, 2, id, owner.flags(property.is_some()));
                pointers(out, &[owner.id()]);
                if let Some(property) = property {
                    out.extend_from_slice(&i32::from(property.type_code).to_be_bytes());
                    out.extend_from_slice(&property.key.to_be_bytes());
                    out.extend_from_slice(&property.value.to_be_bytes());
                    pointers(out, &[property.previous, property.next]);
                }
                list(out, format, records);
            }
            Command::GraphProperty(first) => {
                out.push(6);
                pointers(out, &[first]);
            }
        }
    }
}

impl Owner {
    fn id(self) -> Pointer {
        match self {
            Owner::None => None,
            Owner::Node(id) | Owner::Relationship(id) => Some(id),
        }
    }

    fn flags(self, used: bool) -> u8 {
        let relationship = match self {
            Owner::Relationship(_) => 2,
            Owner::None | Owner::Node(_) => 0,
        };
        relationship | u8::from(used)
    }
}

fn list(out: &mut Vec<u8>, format: LogFormat, records: &[DynamicRecord<'_>]) {
    let count = i32::try_from(records.len()).expect("a command fits into memory");
    out.extend_from_slice(&count.to_be_bytes());
    for record in records {
        let kind: i32 = match (format, record.store) {
            (LogFormat::V1, StoreFile::String) => 2,
            (LogFormat::V1, StoreFile::Array) | (LogFormat::V2, StoreFile::String) => 9,
            (LogFormat::V2, StoreFile::Array) => 10,
            _ => 0,
        };
        pointers(out, &[Some(record.id)]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.push(record.content.is_some().into());
        if let Some((header, data)) = record.content {
            if format == LogFormat::V1 {
                pointers(out, &[header.previous]);
            }
            let length = i32::try_from(data.len()).expect("a block is smaller than its store's block size");
            out.extend_from_slice(&length.to_be_bytes());
            pointers(out, &[header.next]);
            out.extend_from_slice(data);
        }
    }
}

fn head(out: &mut Vec<u8>, kind: u8, id: RecordId, flags: u8) {
    out.push(kind);
    pointers(out, &[Some(id)]);
    out.push(flags);
}

fn pointers(out: &mut Vec<u8>, pointers: &[Pointer]) {
    for pointer in pointers {
        out.extend_from_slice(&pointer.map_or(u64::MAX, |id| id.0).to_be_bytes());
    }
}

/// The low 32 bits of a pointer that has no more.
fn put_i32(out: &mut Vec<u8>, pointer: Pointer) {
    let [_, _, _, _, low @ ..] = pointer.map_or(u64::MAX, |id| id.0).to_be_bytes();
    out.extend_from_slice(&low);
}
