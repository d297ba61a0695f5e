//! File names of a database directory and the role of each (`docs/formats/store-format.md` §2, §3.1).

/// The two store formats (`docs/formats/store-format.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreFormat {
    /// v0.9.9: Neo4j 1.3 and 1.4.
    Legacy,
    /// v0.A.0: Neo4j 1.5 – 1.9.
    Current,
}

/// The ten files of a graph store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreFile {
    /// `neostore`: the header records.
    Neostore,
    /// `neostore.nodestore.db`.
    Node,
    /// `neostore.relationshipstore.db`.
    Relationship,
    /// `neostore.relationshiptypestore.db`.
    RelationshipType,
    /// `neostore.relationshiptypestore.db.names`, dynamic.
    RelationshipTypeName,
    /// `neostore.propertystore.db`.
    Property,
    /// `neostore.propertystore.db.index`: property keys.
    PropertyKey,
    /// `neostore.propertystore.db.index.keys`, dynamic.
    PropertyKeyName,
    /// `neostore.propertystore.db.strings`, dynamic.
    String,
    /// `neostore.propertystore.db.arrays`, dynamic.
    Array,
}
