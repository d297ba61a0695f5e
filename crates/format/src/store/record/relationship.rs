//! Relationship records, 33 bytes in both formats (`docs/formats/store-format.md` §5.3).
//!
//! ```text
//!  0  u8   bit 0 in use, bits 1–3 high bits of the first node, bits 4–7 of the first property
//!  1  i32  first node        5  i32  second node
//!  9  i32  bits 0–15 type; high bits (3 each): 16 second next, 19 second previous, 22 first next,
//!          25 first previous, 28 second node
//! 13  i32  first previous   17  i32  first next   21  i32  second previous   25  i32  second next
//! 29  i32  first property
//! ```
//!
//! Deleting clears byte 0.

use super::{Pointer, TooWide, join, put, split, word};

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

impl Relationship {
    /// Bytes of a record.
    pub const SIZE: usize = 33;

    /// The record's bytes.
    ///
    /// # Errors
    /// A pointer does not fit its field.
    pub fn encode(&self) -> Result<[u8; Self::SIZE], TooWide> {
        let (first_node, first_node_high) = split(self.first_node, 3)?;
        let (property, property_high) = split(self.first_property, 4)?;
        let mut record = [0; Self::SIZE];
        let mut packed = u32::from(self.type_id);
        let mut pointer = |target, offset, shift| {
            let (low, high) = split(target, 3)?;
            put(&mut record, offset, low.to_be_bytes());
            packed |= u32::from(high) << shift;
            Ok(())
        };
        pointer(self.second_node, 5, 28)?;
        pointer(self.first_previous, 13, 25)?;
        pointer(self.first_next, 17, 22)?;
        pointer(self.second_previous, 21, 19)?;
        pointer(self.second_next, 25, 16)?;
        put(&mut record, 0, [1 | first_node_high << 1 | property_high << 4]);
        put(&mut record, 1, first_node.to_be_bytes());
        put(&mut record, 9, packed.to_be_bytes());
        put(&mut record, 29, property.to_be_bytes());
        Ok(record)
    }

    /// Whether it leads from a node to itself.
    #[inline]
    pub fn is_loop(&self) -> bool {
        self.first_node == self.second_node
    }

    /// The relationship in these bytes, `None` where the record is not in use.
    #[expect(
        clippy::inline_always,
        reason = "passes over whole stores keep the fields in registers"
    )]
    #[inline(always)]
    pub fn decode(record: &[u8; Self::SIZE]) -> Option<Relationship> {
        let (flags, packed) = (record[0], word(record, 9));
        let [_, _, type_high, type_low] = packed.to_be_bytes();
        let pointer = |offset, shift: u32| {
            let [.., high] = (packed >> shift & 7).to_be_bytes();
            join(word(record, offset), high)
        };
        (flags & 1 == 1).then(|| Relationship {
            first_node: join(word(record, 1), flags >> 1 & 7),
            second_node: pointer(5, 28),
            type_id: u16::from_be_bytes([type_high, type_low]),
            first_previous: pointer(13, 25),
            first_next: pointer(17, 22),
            second_previous: pointer(21, 19),
            second_next: pointer(25, 16),
            first_property: join(word(record, 29), flags >> 4),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RecordId;

    #[test]
    fn the_documented_example_comes_out_byte_for_byte() {
        let id = |id| Some(RecordId(id));
        let relationship = Relationship {
            first_node: id(0x3_0000_0005),
            second_node: id(0x5_0000_0006),
            type_id: 0x1234,
            first_previous: id(0x2_0000_0007),
            first_next: id(0x4_0000_0008),
            second_previous: id(0x6_0000_0009),
            second_next: id(0x7_0000_000A),
            first_property: id(0xB_0000_000C),
        };
        let words: [u32; 8] = [5, 6, 0x5537_1234, 7, 8, 9, 0xA, 0xC];
        let mut bytes = vec![0xB7];
        bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        assert_eq!(relationship.encode().unwrap().as_slice(), bytes);
        assert_eq!(Relationship::decode(bytes.first_chunk().unwrap()), Some(relationship));
        assert_eq!(Relationship::decode(&[0; 33]), None);
    }
}
