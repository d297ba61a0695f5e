//! Relationship records, 33 bytes in both formats (`docs/formats/store-format.md` §5.3).

use super::Pointer;

/// A relationship that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relationship {
    /// Start node; `None` only in damaged stores.
    pub first_node: Pointer,
    /// End node; `None` only in damaged stores.
    pub second_node: Pointer,
    /// Id of its relationship type.
    pub type_id: u16,
    /// Previous relationship in the start node's chain.
    pub first_previous: Pointer,
    /// Next relationship in the start node's chain.
    pub first_next: Pointer,
    /// Previous relationship in the end node's chain.
    pub second_previous: Pointer,
    /// Next relationship in the end node's chain.
    pub second_next: Pointer,
    /// Head of the relationship's property chain.
    pub first_property: Pointer,
}
