//! One write transaction: operations on nodes, relationships and properties become changes of records.
//!
//! The operations change the [`Image`] at once and remember which records they touched;
//! [`Records::commands`] then tells the touched ones as they are, as commands of a logical log. Chains are kept as
//! Neo4j keeps them (`docs/formats/store-format.md` §5.3, §14): new relationships and property records at the head, a
//! property in the first record that has room.

mod commands;
pub(super) mod properties;

use std::collections::{BTreeMap, BTreeSet};

use super::image::Image;
use neo4j_format::{
    log::encode::Owner,
    store::{
        StoreFile, StoreFormat,
        record::{DynamicHeader, Node, Pointer, PropertyKey, RecordId, Relationship, RelationshipType},
    },
};

/// Bytes of data in a block of texts and arrays, and of names, as a database has them by default.
const DATA_BLOCK: usize = 120;
const NAME_BLOCK: usize = 30;

/// Why an operation is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPossible {
    /// The node, relationship or name that an operation is about does not exist.
    #[error("{}: record {id} does not exist", file.name())]
    Missing {
        /// Its store.
        file: StoreFile,
        /// Its id.
        id: RecordId,
    },
    /// A node that has relationships cannot be deleted.
    #[error("node {0} still has relationships")]
    HasRelationships(RecordId),
    /// The graph itself has no properties in this format.
    #[error("the legacy format has no graph properties")]
    GraphProperties,
    /// More relationship types than the format can number.
    #[error("there are 65536 relationship types")]
    TooManyTypes,
}

/// The records that a transaction changes. There is no way back: what was changed has to be committed.
#[derive(Debug)]
pub(in crate::database) struct Records<'a> {
    image: &'a mut Image,
    touched: BTreeSet<(StoreFile, RecordId)>,
    graph_property: bool,
    owners: BTreeMap<RecordId, Owner>,
    /// Chains that were written in this transaction, by their first block.
    created: BTreeMap<(StoreFile, RecordId), Vec<RecordId>>,
    /// Blocks that were freed, by the property that had them.
    freed: BTreeMap<RecordId, Vec<(StoreFile, RecordId)>>,
}

impl<'a> Records<'a> {
    pub(in crate::database) fn new(image: &'a mut Image) -> Records<'a> {
        Records {
            image,
            touched: BTreeSet::new(),
            graph_property: false,
            owners: BTreeMap::new(),
            created: BTreeMap::new(),
            freed: BTreeMap::new(),
        }
    }

    pub(in crate::database) fn image(&self) -> &Image {
        self.image
    }

    pub(in crate::database) fn into_image(self) -> &'a mut Image {
        self.image
    }

    /// Whether anything was changed.
    pub(in crate::database) fn is_empty(&self) -> bool {
        self.touched.is_empty() && !self.graph_property
    }

    pub(in crate::database) fn create_node(&mut self) -> RecordId {
        let id = self.take(StoreFile::Node);
        let node = Node {
            first_relationship: None,
            first_property: None,
        };
        self.image.nodes.insert(id, node);
        id
    }

    pub(in crate::database) fn delete_node(&mut self, id: RecordId) -> Result<(), NotPossible> {
        let node = self.node(id)?;
        if node.first_relationship.is_some() {
            return Err(NotPossible::HasRelationships(id));
        }
        self.delete_properties(Owner::Node(id))?;
        self.image.nodes.remove(&id);
        self.touch(StoreFile::Node, id);
        Ok(())
    }

    pub(in crate::database) fn create_relationship(
        &mut self,
        kind: RecordId,
        start: RecordId,
        end: RecordId,
    ) -> Result<RecordId, NotPossible> {
        let type_id = u16::try_from(kind.0).map_err(|_| missing(StoreFile::RelationshipType, kind))?;
        let (from, to) = (self.node(start)?, self.node(end)?);
        let id = self.take(StoreFile::Relationship);
        for (node, head) in [(start, from.first_relationship), (end, to.first_relationship)] {
            if let Some(head) = head {
                self.set_link(head, node, Link::Previous, Some(id))?;
            }
            self.set_first_relationship(node, Some(id))?;
        }
        let relationship = Relationship {
            first_node: Some(start),
            second_node: Some(end),
            type_id,
            first_previous: None,
            first_next: from.first_relationship,
            second_previous: None,
            second_next: to.first_relationship,
            first_property: None,
        };
        self.image.relationships.insert(id, relationship);
        Ok(id)
    }

    pub(in crate::database) fn delete_relationship(&mut self, id: RecordId) -> Result<(), NotPossible> {
        self.delete_properties(Owner::Relationship(id))?;
        let r = self.relationship(id)?;
        let mut sides = vec![(r.first_node, r.first_previous, r.first_next)];
        if r.second_node != r.first_node {
            sides.push((r.second_node, r.second_previous, r.second_next));
        }
        for (node, previous, next) in sides {
            let Some(node) = node else { continue };
            match previous {
                Some(previous) => self.set_link(previous, node, Link::Next, next)?,
                None => self.set_first_relationship(node, next)?,
            }
            if let Some(next) = next {
                self.set_link(next, node, Link::Previous, previous)?;
            }
        }
        self.image.relationships.remove(&id);
        self.touch(StoreFile::Relationship, id);
        Ok(())
    }

    pub(in crate::database) fn create_type(&mut self, name: &str) -> Result<RecordId, NotPossible> {
        let id = self.take(StoreFile::RelationshipType);
        if u16::try_from(id.0).is_err() {
            return Err(NotPossible::TooManyTypes);
        }
        let name_block = self.write_chain(StoreFile::RelationshipTypeName, &self.name_bytes(name));
        self.image.types.insert(id, RelationshipType { name_block });
        Ok(id)
    }

    pub(in crate::database) fn create_key(&mut self, name: &str) -> RecordId {
        let id = self.take(StoreFile::PropertyKey);
        let name_block = self.write_chain(StoreFile::PropertyKeyName, &self.name_bytes(name));
        let key = PropertyKey {
            property_count: 0,
            name_block,
        };
        self.image.keys.insert(id, key);
        id
    }

    /// Writes a chain and gives its first block.
    fn write_chain(&mut self, store: StoreFile, data: &[u8]) -> Pointer {
        let size = match store {
            StoreFile::String | StoreFile::Array => DATA_BLOCK,
            _ => NAME_BLOCK,
        };
        let parts: Vec<&[u8]> = if data.is_empty() {
            vec![data]
        } else {
            data.chunks(size).collect()
        };
        let ids: Vec<RecordId> = parts.iter().map(|_| self.image.take_id(store)).collect();
        let mut previous = None;
        for (i, (part, id)) in parts.iter().zip(&ids).enumerate() {
            let header = DynamicHeader {
                previous: previous.filter(|_| self.image.format == StoreFormat::Legacy),
                next: ids.get(i + 1).copied(),
                length: u32::try_from(part.len()).unwrap_or(u32::MAX),
            };
            self.image.blocks.insert((store, *id), (header, part.to_vec()));
            previous = Some(*id);
        }
        let first = ids.first().copied();
        if let Some(first) = first {
            self.created.insert((store, first), ids);
        }
        first
    }

    fn name_bytes(&self, name: &str) -> Vec<u8> {
        match self.image.format {
            StoreFormat::Current => name.as_bytes().to_vec(),
            StoreFormat::Legacy => name.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    fn set_first_relationship(&mut self, id: RecordId, first: Pointer) -> Result<(), NotPossible> {
        let node = Node {
            first_relationship: first,
            ..self.node(id)?
        };
        self.image.nodes.insert(id, node);
        self.touch(StoreFile::Node, id);
        Ok(())
    }

    /// Changes the links of a relationship in the chain of `node`: both sides of a self relationship.
    fn set_link(&mut self, id: RecordId, node: RecordId, link: Link, target: Pointer) -> Result<(), NotPossible> {
        let mut r = self.relationship(id)?;
        if r.first_node == Some(node) {
            *link.of(&mut r.first_previous, &mut r.first_next) = target;
        }
        if r.second_node == Some(node) {
            *link.of(&mut r.second_previous, &mut r.second_next) = target;
        }
        self.image.relationships.insert(id, r);
        self.touch(StoreFile::Relationship, id);
        Ok(())
    }

    fn node(&self, id: RecordId) -> Result<Node, NotPossible> {
        let node = self.image.nodes.get(&id).copied();
        node.ok_or(missing(StoreFile::Node, id))
    }

    fn relationship(&self, id: RecordId) -> Result<Relationship, NotPossible> {
        let relationship = self.image.relationships.get(&id).copied();
        relationship.ok_or(missing(StoreFile::Relationship, id))
    }

    fn take(&mut self, file: StoreFile) -> RecordId {
        let id = self.image.take_id(file);
        self.touch(file, id);
        id
    }

    fn touch(&mut self, file: StoreFile, id: RecordId) {
        self.touched.insert((file, id));
    }
}

#[derive(Debug, Clone, Copy)]
enum Link {
    Previous,
    Next,
}

impl Link {
    fn of<'a>(self, previous: &'a mut Pointer, next: &'a mut Pointer) -> &'a mut Pointer {
        match self {
            Link::Previous => previous,
            Link::Next => next,
        }
    }
}

pub(in crate::database) fn missing(file: StoreFile, id: RecordId) -> NotPossible {
    NotPossible::Missing { file, id }
}
