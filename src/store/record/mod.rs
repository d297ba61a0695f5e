//! One record of each kind, bytes ↔ values (`docs/formats/store-format.md` §5). Pure: no file, no clock.

pub mod dynamic;
pub mod name;
pub mod node;
pub mod property;
pub mod relationship;

pub use dynamic::DynamicHeader;
pub use name::{PropertyKey, RelationshipType};
pub use node::Node;
pub use property::{LegacyProperty, Property};
pub use relationship::Relationship;

/// Position of a record in its store file: record *i* lies at *i* × record size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A reference to another record, `None` where the format has −1 (§5.1).
pub type Pointer = Option<RecordId>;
