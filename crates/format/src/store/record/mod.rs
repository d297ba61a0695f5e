//! One record of each kind, bytes ↔ values (`docs/formats/store-format.md` §5). Pure: no file, no clock.
//!
//! A pointer is a 32-bit low part in a field of its own and a few high bits packed elsewhere (§5.1).

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

/// Low part that, with no high bits, means "none".
const NONE: u32 = u32::MAX;

/// A pointer that has more bits than its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record id {id} needs more than {bits} bits")]
pub struct TooWide {
    /// The pointer's target.
    pub id: RecordId,
    /// Bits that the field has.
    pub bits: u32,
}

/// A pointer split into its low 32 bits and the `high_bits` above them.
fn split(pointer: Pointer, high_bits: u32) -> Result<(u32, u8), TooWide> {
    let Some(id) = pointer else { return Ok((NONE, 0)) };
    let too_wide = TooWide {
        id,
        bits: 32 + high_bits,
    };
    let high = u8::try_from(id.0 >> 32).map_err(|_| too_wide)?;
    if u32::from(high) >> high_bits != 0 || id.0 == u64::from(NONE) {
        return Err(too_wide);
    }
    let [_, _, _, _, low @ ..] = id.0.to_be_bytes();
    Ok((u32::from_be_bytes(low), high))
}

/// The reverse of [`split`].
#[inline]
fn join(low: u32, high: u8) -> Pointer {
    (low != NONE || high != 0).then(|| RecordId(u64::from(high) << 32 | u64::from(low)))
}

/// Writes `bytes` at `offset` of a record; both are known to the codecs at compile time.
fn put<const N: usize>(record: &mut [u8], offset: usize, bytes: [u8; N]) {
    if let Some(field) = record.get_mut(offset..offset + N) {
        field.copy_from_slice(&bytes);
    }
}

/// The four bytes at `offset` of a record, zero behind its end.
#[inline]
fn word(record: &[u8], offset: usize) -> u32 {
    record
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The eight bytes at `offset` of a record, zero behind its end.
#[inline]
fn long(record: &[u8], offset: usize) -> u64 {
    record
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_of_every_width_come_back() {
        for id in [0, 1, 0xFFFF_FFFE, 0x1_0000_0000, 0x7_FFFF_FFFF] {
            let (low, high) = split(Some(RecordId(id)), 3).unwrap();
            assert_eq!(join(low, high), Some(RecordId(id)));
        }
        assert_eq!(split(None, 3), Ok((NONE, 0)));
        assert_eq!(join(NONE, 0), None);
    }

    #[test]
    fn a_pointer_wider_than_its_field_and_the_id_that_means_none_are_refused() {
        assert!(split(Some(RecordId(0x8_0000_0000)), 3).is_err());
        assert!(split(Some(RecordId(0xFFFF_FFFF)), 3).is_err());
        assert!(split(Some(RecordId(1 << 32)), 0).is_err());
        assert!(split(Some(RecordId(u64::MAX)), 4).is_err());
    }
}
