//! Relationship types (5 bytes) and property keys (9 bytes) (`docs/formats/store-format.md` §5.4).

use super::Pointer;

/// A relationship type that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationshipType {
    /// First block of its name; `None` is a reserved hole without a name.
    pub name_block: Pointer,
}

/// A property key that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PropertyKey {
    /// Always 0 in practice; kept as found.
    pub property_count: i32,
    /// First block of its name; `None` is a reserved hole without a name.
    pub name_block: Pointer,
}
