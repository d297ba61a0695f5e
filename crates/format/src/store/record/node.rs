//! Node records, 9 bytes in both formats (`docs/formats/store-format.md` §5.2).
//!
//! ```text
//! 0  u8   bit 0 in use, bits 1–3 high bits of the first relationship, bits 4–7 of the first property
//! 1  i32  first relationship, low part
//! 5  i32  first property, low part
//! ```
//!
//! Deleting clears byte 0.

use super::{Pointer, TooWide, join, put, split, word};

/// A node that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Head of the node's relationship chain, 35 bits.
    pub first_relationship: Pointer,
    /// Head of the node's property chain, 36 bits.
    pub first_property: Pointer,
}

impl Node {
    /// Bytes of a record.
    pub const SIZE: usize = 9;

    /// The record's bytes.
    ///
    /// # Errors
    /// A pointer does not fit its field.
    pub fn encode(&self) -> Result<[u8; Self::SIZE], TooWide> {
        let (relationship, relationship_high) = split(self.first_relationship, 3)?;
        let (property, property_high) = split(self.first_property, 4)?;
        let mut record = [0; Self::SIZE];
        put(&mut record, 0, [1 | relationship_high << 1 | property_high << 4]);
        put(&mut record, 1, relationship.to_be_bytes());
        put(&mut record, 5, property.to_be_bytes());
        Ok(record)
    }

    /// The node in these bytes, `None` where the record is not in use.
    #[expect(
        clippy::inline_always,
        reason = "passes over whole stores keep the fields in registers"
    )]
    #[inline(always)]
    pub fn decode(record: &[u8; Self::SIZE]) -> Option<Node> {
        let flags = record[0];
        (flags & 1 == 1).then(|| Node {
            first_relationship: join(word(record, 1), flags >> 1 & 7),
            first_property: join(word(record, 5), flags >> 4),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RecordId;

    #[test]
    fn the_documented_examples_come_out_byte_for_byte() {
        let wide = Node {
            first_relationship: Some(RecordId(0x1_2345_6789)),
            first_property: Some(RecordId(0xF_0000_0001)),
        };
        let bytes = [0xF3, 0x23, 0x45, 0x67, 0x89, 0, 0, 0, 1];
        assert_eq!(wide.encode().unwrap(), bytes);
        assert_eq!(Node::decode(&bytes), Some(wide));
        let fresh = Node {
            first_relationship: None,
            first_property: None,
        };
        assert_eq!(fresh.encode().unwrap(), [1, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(Node::decode(&[0xF2, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
