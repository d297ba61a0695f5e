//! Node records, 9 bytes in both formats (`docs/formats/store-format.md` §5.2).

use super::Pointer;

/// A node that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Head of the node's relationship chain, 35 bits.
    pub first_relationship: Pointer,
    /// Head of the node's property chain, 36 bits.
    pub first_property: Pointer,
}
