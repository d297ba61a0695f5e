//! Blocks of the dynamic stores (`docs/formats/store-format.md` §5.5).
//!
//! ```text
//! current  0 i32 bits 28–31 in use (1), bits 24–27 high bits of next, bits 0–23 length   4 i32 next   8 data
//! legacy   0 u8  bit 0 in use, bits 4–7 high bits of previous   1 i32 previous
//!          5 i32 bits 24–27 high bits of next, bits 0–23 length   9 i32 next   13 data
//! ```
//!
//! Deleting a block clears byte 0. Block 0 holds the block size, header included, in its first four bytes.

use super::{Pointer, TooWide, join, put, split, word};

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

impl DynamicHeader {
    /// Bytes of a current header.
    pub const SIZE: usize = 8;

    /// Bytes of a legacy header.
    pub const LEGACY_SIZE: usize = 13;

    /// The current header's bytes; only the low 24 bits of the length are kept.
    ///
    /// # Errors
    /// A pointer does not fit its field.
    pub fn encode(&self) -> Result<[u8; Self::SIZE], TooWide> {
        let (next, next_high) = split(self.next, 4)?;
        let mut header = [0; Self::SIZE];
        put(&mut header, 0, (1 << 28 | self.packed(next_high)).to_be_bytes());
        put(&mut header, 4, next.to_be_bytes());
        Ok(header)
    }

    /// The legacy header's bytes; only the low 24 bits of the length are kept.
    ///
    /// # Errors
    /// A pointer does not fit its field.
    pub fn encode_legacy(&self) -> Result<[u8; Self::LEGACY_SIZE], TooWide> {
        let (previous, previous_high) = split(self.previous, 4)?;
        let (next, next_high) = split(self.next, 4)?;
        let mut header = [0; Self::LEGACY_SIZE];
        put(&mut header, 0, [1 | previous_high << 4]);
        put(&mut header, 1, previous.to_be_bytes());
        put(&mut header, 5, self.packed(next_high).to_be_bytes());
        put(&mut header, 9, next.to_be_bytes());
        Ok(header)
    }

    /// The current header in these bytes, `None` where the block is not in use.
    pub fn decode(header: &[u8; Self::SIZE]) -> Option<DynamicHeader> {
        (header[0] >> 4 == 1).then(|| DynamicHeader {
            previous: None,
            next: join(word(header, 4), header[0] & 15),
            length: word(header, 0) & 0xFF_FFFF,
        })
    }

    /// The legacy header in these bytes, `None` where the block is not in use.
    pub fn decode_legacy(header: &[u8; Self::LEGACY_SIZE]) -> Option<DynamicHeader> {
        (header[0] & 1 == 1).then(|| DynamicHeader {
            previous: join(word(header, 1), header[0] >> 4),
            next: join(word(header, 9), header[5] & 15),
            length: word(header, 5) & 0xFF_FFFF,
        })
    }

    fn packed(&self, next_high: u8) -> u32 {
        u32::from(next_high) << 24 | self.length & 0xFF_FFFF
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RecordId;

    #[test]
    fn the_documented_headers_come_out_byte_for_byte() {
        let wide = DynamicHeader {
            previous: None,
            next: Some(RecordId(0x7_0000_0004)),
            length: 120,
        };
        assert_eq!(wide.encode().unwrap(), [0x17, 0, 0, 0x78, 0, 0, 0, 4]);
        assert_eq!(DynamicHeader::decode(&wide.encode().unwrap()), Some(wide));
        let name = DynamicHeader {
            previous: None,
            next: None,
            length: 10,
        };
        let bytes = [1, 255, 255, 255, 255, 0, 0, 0, 10, 255, 255, 255, 255];
        assert_eq!(name.encode_legacy().unwrap(), bytes);
        assert_eq!(DynamicHeader::decode_legacy(&bytes), Some(name));
        let linked = DynamicHeader {
            previous: Some(RecordId(0xA_0000_0001)),
            ..wide
        };
        assert_eq!(
            DynamicHeader::decode_legacy(&linked.encode_legacy().unwrap()),
            Some(linked)
        );
    }
}
