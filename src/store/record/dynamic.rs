//! Blocks of the dynamic stores (`docs/formats/store-format.md` §5.5).

use super::Pointer;

/// Header of a block that is in use; `length` bytes of data follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicHeader {
    /// Previous block of the value; written by the legacy format only.
    pub previous: Pointer,
    /// Next block of the value.
    pub next: Pointer,
    /// Bytes of data in this block, 24 bits.
    pub length: u32,
}
