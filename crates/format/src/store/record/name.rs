//! Relationship types (5 bytes) and property keys (9 bytes) (`docs/formats/store-format.md` §5.4).
//!
//! ```text
//! type  0 u8 in use   1 i32 first name block
//! key   0 u8 in use   1 i32 property count   5 i32 first name block
//! ```
//!
//! Deleting clears byte 0, of a legacy relationship type all five bytes.

use super::{Pointer, TooWide, join, put, split, word};

/// A relationship type that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationshipType {
    /// First block of its name; `None` is a reserved hole without a name.
    pub name_block: Pointer,
}

impl RelationshipType {
    /// Bytes of a record.
    pub const SIZE: usize = 5;

    /// The record's bytes.
    ///
    /// # Errors
    /// The pointer does not fit its field.
    pub fn encode(&self) -> Result<[u8; Self::SIZE], TooWide> {
        let mut record = [1; Self::SIZE];
        put(&mut record, 1, split(self.name_block, 0)?.0.to_be_bytes());
        Ok(record)
    }

    /// The type in these bytes, `None` where the record is not in use.
    pub fn decode(record: &[u8; Self::SIZE]) -> Option<RelationshipType> {
        (record[0] == 1).then(|| RelationshipType {
            name_block: join(word(record, 1), 0),
        })
    }
}

/// A property key that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PropertyKey {
    /// Always 0 in practice; kept as found.
    pub property_count: i32,
    /// First block of its name; `None` is a reserved hole without a name.
    pub name_block: Pointer,
}

impl PropertyKey {
    /// Bytes of a record.
    pub const SIZE: usize = 9;

    /// The record's bytes.
    ///
    /// # Errors
    /// The pointer does not fit its field.
    pub fn encode(&self) -> Result<[u8; Self::SIZE], TooWide> {
        let mut record = [1; Self::SIZE];
        put(&mut record, 1, self.property_count.to_be_bytes());
        put(&mut record, 5, split(self.name_block, 0)?.0.to_be_bytes());
        Ok(record)
    }

    /// The key in these bytes, `None` where the record is not in use.
    pub fn decode(record: &[u8; Self::SIZE]) -> Option<PropertyKey> {
        (record[0] == 1).then(|| PropertyKey {
            property_count: i32::from_be_bytes(word(record, 1).to_be_bytes()),
            name_block: join(word(record, 5), 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RecordId;

    #[test]
    fn the_documented_records_come_out_byte_for_byte() {
        let name_block = Some(RecordId(1));
        assert_eq!(RelationshipType { name_block }.encode().unwrap(), [1, 0, 0, 0, 1]);
        let key = PropertyKey {
            property_count: 0,
            name_block,
        };
        assert_eq!(key.encode().unwrap(), [1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(PropertyKey::decode(&key.encode().unwrap()), Some(key));
        assert_eq!(
            RelationshipType::decode(&[1, 255, 255, 255, 255]),
            Some(RelationshipType { name_block: None })
        );
        assert_eq!(RelationshipType::decode(&[0; 5]), None);
    }
}
