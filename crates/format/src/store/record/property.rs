//! Property records: 41 bytes with up to four blocks, legacy 25 bytes with one property
//! (`docs/formats/store-format.md` §5.6, §5.7).
//!
//! ```text
//! current  0 u8  bits 4–7 high bits of previous, bits 0–3 of next
//!          1 i32 previous   5 i32 next   9 4 × i64 payload
//! legacy   0 u8  bit 0 in use, bits 4–7 high bits of previous
//!          1 i32 bits 0–15 type, bits 16–19 high bits of next
//!          5 i32 key   9 i64 value   17 i32 previous   21 i32 next
//! ```
//!
//! A current record has no in-use bit: it is in use iff its first long has a type of 1 – 12. Deleting one writes zero to
//! that long; deleting a legacy one clears byte 0.

use super::{Pointer, TooWide, join, long, put, split, word};

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

impl Property {
    /// Bytes of a record.
    pub const SIZE: usize = 41;

    /// Where the payload begins.
    pub const PAYLOAD: usize = 9;

    /// The record's bytes and how many of them are written: behind the blocks follows one zero long, and what lies
    /// behind that keeps its old content.
    ///
    /// # Errors
    /// A pointer does not fit its field.
    pub fn encode(&self) -> Result<([u8; Self::SIZE], usize), TooWide> {
        let (previous, previous_high) = split(self.previous, 4)?;
        let (next, next_high) = split(self.next, 4)?;
        let mut record = [0; Self::SIZE];
        put(&mut record, 0, [previous_high << 4 | next_high]);
        put(&mut record, 1, previous.to_be_bytes());
        put(&mut record, 5, next.to_be_bytes());
        let used = usize::from(self.used).min(self.payload.len());
        for (i, block) in self.payload.iter().take(used).enumerate() {
            put(&mut record, Self::PAYLOAD + 8 * i, block.to_be_bytes());
        }
        Ok((record, (Self::PAYLOAD + 8 * (used + 1)).min(Self::SIZE)))
    }

    /// Whether a record whose payload starts with this long is in use.
    #[inline]
    pub fn in_use(first: u64) -> bool {
        (1..=12).contains(&type_of(first))
    }

    /// The header and payload in these bytes, `None` where the record is not in use. `used` counts the longs of the
    /// blocks up to the first one of no legal type or the end of the record; a last block that claims more longs than
    /// are left is cut.
    #[expect(
        clippy::inline_always,
        reason = "passes over whole stores keep the fields in registers"
    )]
    #[inline(always)]
    pub fn decode(record: &[u8; Self::SIZE]) -> Option<Property> {
        let payload = [9, 17, 25, 33].map(|offset| long(record, offset));
        if !Property::in_use(payload[0]) {
            return None;
        }
        Some(Property {
            previous: join(word(record, 1), record[0] >> 4),
            next: join(word(record, 5), record[0] & 15),
            payload,
            used: used_longs(&payload),
        })
    }
}

/// Type of a block, from its first long.
#[inline]
fn type_of(first: u64) -> u8 {
    let [.., type_byte, _, _, _] = first.to_be_bytes();
    type_byte & 15
}

/// Longs that a block takes, from its first long (§5.6).
#[inline]
pub fn longs_of_block(first: u64) -> u8 {
    let field = |shift: u32, bits: u32| first >> shift & ((1 << bits) - 1);
    let longs = match type_of(first) {
        6 if field(28, 1) == 0 => 2,
        8 => 2,
        11 => {
            let step = match field(28, 5) {
                1 | 2 => 4,
                3..=5 => 5,
                6..=8 => 6,
                9 => 7,
                _ => 8,
            };
            (39 + field(33, 6) * step).div_ceil(64)
        }
        12 => {
            let bits = match field(38, 6) {
                0 => 64,
                bits => bits,
            };
            (44 + field(32, 6) * bits).div_ceil(64)
        }
        _ => 1,
    };
    u8::try_from(longs).expect("fields of six bits give at most 64 longs")
}

#[inline]
fn used_longs(payload: &[u64; 4]) -> u8 {
    let mut used: u8 = 0;
    while let Some(first) = payload.get(usize::from(used)) {
        if !Property::in_use(*first) {
            return used;
        }
        used = used.saturating_add(longs_of_block(*first)).min(4);
    }
    used
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

impl LegacyProperty {
    /// Bytes of a record.
    pub const SIZE: usize = 25;

    /// The record's bytes.
    ///
    /// # Errors
    /// A pointer does not fit its field.
    pub fn encode(&self) -> Result<[u8; Self::SIZE], TooWide> {
        let (previous, previous_high) = split(self.previous, 4)?;
        let (next, next_high) = split(self.next, 4)?;
        let mut record = [0; Self::SIZE];
        put(&mut record, 0, [1 | previous_high << 4]);
        put(
            &mut record,
            1,
            (u32::from(self.type_code) | u32::from(next_high) << 16).to_be_bytes(),
        );
        put(&mut record, 5, self.key.to_be_bytes());
        put(&mut record, 9, self.value.to_be_bytes());
        put(&mut record, 17, previous.to_be_bytes());
        put(&mut record, 21, next.to_be_bytes());
        Ok(record)
    }

    /// The property in these bytes, `None` where the record is not in use.
    #[inline]
    pub fn decode(record: &[u8; Self::SIZE]) -> Option<LegacyProperty> {
        let [_, next_high, type_high, type_low] = word(record, 1).to_be_bytes();
        (record[0] & 1 == 1).then(|| LegacyProperty {
            type_code: u16::from_be_bytes([type_high, type_low]),
            key: word(record, 5),
            value: long(record, 9),
            previous: join(word(record, 17), record[0] >> 4),
            next: join(word(record, 21), next_high & 15),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RecordId;

    #[test]
    fn a_current_record_writes_its_blocks_and_one_zero_long() {
        let property = Property {
            previous: Some(RecordId(0x1_0000_0002)),
            next: None,
            payload: [0xC74D_808A_7B00_0000, 0x12, 7, 7],
            used: 2,
        };
        let (bytes, written) = property.encode().unwrap();
        assert_eq!(written, 33);
        assert_eq!(bytes[..9], [0x10, 0, 0, 0, 2, 255, 255, 255, 255]);
        assert_eq!(long(&bytes, 25), 0);
        let read = Property::decode(&bytes).unwrap();
        assert_eq!((read.used, read.previous, read.next), (2, property.previous, None));
        assert_eq!(Property { used: 4, ..property }.encode().unwrap().1, Property::SIZE);
    }

    #[test]
    fn the_length_of_each_documented_block_is_known() {
        for (first, longs) in [
            (0xFFFF_FFFF_F500_0005, 1),
            (0x0000_00FB_9600_0005, 1),
            (0x0000_0000_0600_0005, 2),
            (0x0000_0000_0800_0006, 2),
            (0x0000_0000_1900_0002, 1),
            (0xC74D_808A_7B00_0000, 2),
            (0x0000_0000_AB00_0000, 1),
            (0x0003_9083_5C00_0003, 1),
        ] {
            assert_eq!(longs_of_block(first), longs, "{first:016x}");
        }
    }

    #[test]
    fn a_legacy_record_comes_out_byte_for_byte() {
        let property = LegacyProperty {
            type_code: 11,
            key: 0,
            value: 0x7C00_0041_6C69_6365,
            previous: None,
            next: Some(RecordId(0x3_0000_0001)),
        };
        let bytes = property.encode().unwrap();
        assert_eq!(bytes[..9], [1, 0, 3, 0, 11, 0, 0, 0, 0]);
        assert_eq!(LegacyProperty::decode(&bytes), Some(property));
    }
}
