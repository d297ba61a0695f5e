//! What a graph transaction does to one record (`docs/formats/transaction-log.md` §9).

use crate::store::{
    StoreFile,
    record::{
        DynamicHeader, LegacyProperty, Node, Pointer, Property, PropertyKey, RecordId, Relationship, RelationshipType,
    },
};

/// A complete after-image of one record; `None` is its deletion. A command that carries dynamic records is handed out
/// as several changes, so that no transaction and no command has to fit in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Node.
    Node(RecordId, Option<Node>),
    /// Relationship.
    Relationship(RecordId, Option<Relationship>),
    /// Relationship type.
    RelationshipType(RecordId, Option<RelationshipType>),
    /// Property key.
    PropertyKey(RecordId, Option<PropertyKey>),
    /// Property of the current format.
    Property(RecordId, Option<Property>),
    /// Property of the legacy format.
    LegacyProperty(RecordId, Option<LegacyProperty>),
    /// Block of one of the four dynamic stores, with its data.
    Dynamic(StoreFile, RecordId, Option<(DynamicHeader, &'a [u8])>),
    /// First property of the graph itself (`neostore` record 5).
    GraphProperty(Pointer),
}
