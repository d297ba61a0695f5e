//! Property records: 41 bytes with up to four blocks, legacy 25 bytes with one property
//! (`docs/formats/store-format.md` §5.6, §5.7).

use super::Pointer;

/// A current property record that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property {
    /// Previous record of the chain.
    pub previous: Pointer,
    /// Next record of the chain.
    pub next: Pointer,
    /// The longs of all blocks back to back; those from `used` on are not written.
    pub payload: [u64; 4],
    /// How many longs of `payload` belong to blocks, 1 – 4.
    pub used: u8,
}

/// A legacy property record that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegacyProperty {
    /// Type of the value, 1 – 11.
    pub type_code: u16,
    /// Id of the property key.
    pub key: u32,
    /// The value, or the first block of the string or array.
    pub value: u64,
    /// Previous property of the chain.
    pub previous: Pointer,
    /// Next property of the chain.
    pub next: Pointer,
}
