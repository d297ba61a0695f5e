//! The values in property records: are they legal, and which of them stand elsewhere
//! (`docs/formats/store-format.md` §5.6, §5.7).

use super::lookup::{Content, PropertyRecord};
use neo4j_format::store::{
    StoreFile,
    record::{LegacyProperty, Property, RecordId, property::longs_of_block},
};

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// No such type.
    Type(u64),
    /// Not to be decoded; which type, and why.
    Value(u64, &'static str),
}

/// One property of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) key: u32,
    pub(super) kind: u64,
    /// All its longs that the record has room for.
    longs: &'a [u64],
    /// It wants more.
    is_cut: bool,
}

/// Bits of a long.
#[inline]
fn bits(long: u64, from: u32, count: u32) -> u64 {
    long >> from & ((1 << count) - 1)
}

/// The blocks of a record of the current format; the second value is what ends them too early.
#[inline]
fn blocks(property: &Property) -> (impl Iterator<Item = Block<'_>>, Option<Wrong>) {
    let used = usize::from(property.used);
    let mut rest = property.payload.get(..used).unwrap_or_default();
    let found = std::iter::from_fn(move || {
        let first = rest.first()?;
        let wanted = usize::from(longs_of_block(*first));
        let (longs, behind) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
        rest = behind;
        Some(Block {
            key: u32::try_from(bits(*first, 0, 24)).unwrap_or_default(),
            kind: bits(*first, 24, 4),
            longs,
            is_cut: wanted > longs.len(),
        })
    });
    let end = property.payload.get(used).filter(|end| **end != 0);
    (found, end.map(|end| Wrong::Type(bits(*end, 24, 4))))
}

/// What one look at a property of a record tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) key: u32,
    pub(super) is_wrong: bool,
    /// Store and first block of a string or array that has blocks of its own.
    pub(super) elsewhere: Option<(StoreFile, RecordId)>,
}

/// Looks once at every property of a record; whether something else than a property ends it.
#[inline]
pub(super) fn look(record: &PropertyRecord, mut each: impl FnMut(Seen)) -> bool {
    match &record.content {
        Content::Blocks(property) => {
            let (blocks, end) = blocks(property);
            for block in blocks {
                each(Seen {
                    key: block.key,
                    is_wrong: current(&block).is_err(),
                    elsewhere: elsewhere(&block),
                });
            }
            end.is_some()
        }
        Content::One(property) => {
            each(Seen {
                key: property.key,
                is_wrong: legacy(property).is_err(),
                elsewhere: legacy_elsewhere(property),
            });
            false
        }
    }
}

/// Hands out key and fault of every property that has one, and of what ends the record.
#[inline]
pub(super) fn judge(record: &PropertyRecord, mut wrong: impl FnMut(Option<u32>, Wrong)) {
    match &record.content {
        Content::Blocks(property) => {
            let (blocks, end) = blocks(property);
            for block in blocks {
                if let Err(found) = current(&block) {
                    wrong(Some(block.key), found);
                }
            }
            if let Some(end) = end {
                wrong(None, end);
            }
        }
        Content::One(property) => {
            if let Err(found) = legacy(property) {
                wrong(Some(property.key), found);
            }
        }
    }
}

/// The keys of a record.
#[inline]
pub(super) fn keys(record: &PropertyRecord, mut key: impl FnMut(u32)) {
    match &record.content {
        Content::Blocks(property) => blocks(property).0.for_each(|block| key(block.key)),
        Content::One(property) => key(property.key),
    }
}

/// Strings and arrays that stand in blocks of their own: store and first block.
#[inline]
pub(super) fn long_values(record: &PropertyRecord, mut found: impl FnMut(StoreFile, RecordId)) {
    match &record.content {
        Content::Blocks(property) => blocks(property)
            .0
            .filter_map(|block| elsewhere(&block))
            .for_each(|(file, first)| found(file, first)),
        Content::One(property) => legacy_elsewhere(property)
            .into_iter()
            .for_each(|(file, first)| found(file, first)),
    }
}

#[inline]
fn elsewhere(block: &Block<'_>) -> Option<(StoreFile, RecordId)> {
    let file = match block.kind {
        9 => StoreFile::String,
        10 => StoreFile::Array,
        _ => return None,
    };
    Some((file, RecordId(block.longs.first()? >> 28)))
}

#[inline]
fn legacy_elsewhere(property: &LegacyProperty) -> Option<(StoreFile, RecordId)> {
    let file = match property.type_code {
        2 => StoreFile::String,
        9 => StoreFile::Array,
        _ => return None,
    };
    Some((file, RecordId(property.value)))
}

#[inline]
fn current(block: &Block<'_>) -> Result<(), Wrong> {
    let first = block.longs.first().copied().unwrap_or_default();
    if block.is_cut {
        return Err(Wrong::Value(block.kind, "it does not fit the record"));
    }
    match block.kind {
        11 => short_string(block, first),
        12 if !(1..=8).contains(&bits(first, 28, 4)) => Err(Wrong::Value(block.kind, "its element type is invalid")),
        _ => Ok(()),
    }
}

fn short_string(block: &Block<'_>, first: u64) -> Result<(), Wrong> {
    let wrong = |why| Err(Wrong::Value(block.kind, why));
    let (encoding, length) = (bits(first, 28, 5), bits(first, 33, 6));
    let characters = |step: u32| {
        (0..length).map(move |i| {
            let at = 39 + u32::try_from(i).unwrap_or_default() * step;
            bits_across(block.longs, at, step)
        })
    };
    match encoding {
        0 => {
            let bytes: Vec<u8> = characters(8).map(|c| u8::try_from(c).unwrap_or_default()).collect();
            match std::str::from_utf8(&bytes) {
                Ok(_) => Ok(()),
                Err(_) => wrong("its bytes are not UTF-8"),
            }
        }
        // the table of URIs has no characters 27 to 31
        6 if characters(6).any(|c| (27..=31).contains(&c)) => wrong("a character is outside its encoding"),
        1..=10 => Ok(()),
        _ => wrong("its encoding is unknown"),
    }
}

/// Bits of a value that goes on in the next long.
fn bits_across(longs: &[u64], at: u32, count: u32) -> u64 {
    let long = |index: u32| {
        usize::try_from(index)
            .ok()
            .and_then(|index| longs.get(index))
            .copied()
            .unwrap_or_default()
    };
    let (index, from) = (at / 64, at % 64);
    let low = long(index) >> from;
    let high = if from == 0 { 0 } else { long(index + 1) << (64 - from) };
    (low | high) & ((1 << count) - 1)
}

fn legacy(property: &LegacyProperty) -> Result<(), Wrong> {
    let kind = u64::from(property.type_code);
    let value = property.value;
    let is_sign_extended = |width: u32| {
        let shift = 64 - width;
        (value << shift).cast_signed() >> shift == value.cast_signed()
    };
    let fits = |fits: bool| {
        if fits {
            Ok(())
        } else {
            Err(Wrong::Value(kind, "it is out of range"))
        }
    };
    match kind {
        1 | 5 => fits(is_sign_extended(32)),
        3 => fits(value <= 1),
        7 => fits(is_sign_extended(8)),
        8 => fits(value <= 0xFFFF),
        10 => fits(is_sign_extended(16)),
        2 | 9 => fits(value < 1 << 36),
        4 | 6 => Ok(()),
        11 => legacy_short_string(value),
        _ => Err(Wrong::Type(kind)),
    }
}

fn legacy_short_string(value: u64) -> Result<(), Wrong> {
    let bytes = value.to_be_bytes();
    // only UTF-8 can be wrong: every code of the other tables is a character
    if let [0, text @ ..] = bytes {
        let start = text.iter().position(|byte| *byte != 0).unwrap_or(text.len());
        if std::str::from_utf8(text.get(start..).expect("a position or the end")).is_err() {
            return Err(Wrong::Value(11, "its bytes are not UTF-8"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: [u64; 4]) -> PropertyRecord {
        let mut bytes = [0; Property::SIZE];
        for (field, long) in bytes[9..].as_chunks_mut::<8>().0.iter_mut().zip(payload) {
            *field = long.to_be_bytes();
        }
        let property = Property::decode(&bytes).unwrap();
        PropertyRecord {
            previous: None,
            next: None,
            content: Content::Blocks(property),
        }
    }

    fn wrong(payload: [u64; 4]) -> Vec<Wrong> {
        let mut found = Vec::new();
        judge(&record(payload), |_, wrong| found.push(wrong));
        found
    }

    #[test]
    fn documented_values_are_legal() {
        for payload in [
            [0xC74D_808A_7B00_0000, 0x12, 0xFFFF_FFFF_F500_0005, 0],
            [0x0000_0000_0800_0006, 0x3FF8_0000_0000_0000, 0x0003_9083_5C00_0003, 0],
            [
                0x0000_0000_AB00_0000,
                0x0000_0000_1B00_0000,
                0x0000_0000_5C00_0000,
                0x03FC_0000_0700_0007,
            ],
        ] {
            assert_eq!(wrong(payload), []);
        }
    }

    #[test]
    fn illegal_values_are_named() {
        assert_eq!(
            wrong([0x0000_0000_BB00_0000, 0, 0, 0]),
            [Wrong::Value(11, "its encoding is unknown")]
        );
        assert_eq!(
            wrong([1 << 24, 1 << 24, 1 << 24, 0x0000_0000_0800_0006]),
            [Wrong::Value(8, "it does not fit the record")]
        );
        assert_eq!(wrong([1 << 24, 0xF00_0001, 0, 0]), [Wrong::Type(15)]);
        let utf8 = 0x0B00_0000 | 1 << 33 | 0xFF << 39;
        assert_eq!(wrong([utf8, 0, 0, 0]), [Wrong::Value(11, "its bytes are not UTF-8")]);
        let uri = 0x0B00_0000 | 6 << 28 | 1 << 33 | 27 << 39;
        assert_eq!(
            wrong([uri, 0, 0, 0]),
            [Wrong::Value(11, "a character is outside its encoding")]
        );
    }

    #[test]
    fn blocks_of_their_own_are_found_beside_others() {
        let mut found = Vec::new();
        let record = record([0x0000_0000_1900_0002, 1 << 24, 0x0000_0000_5A00_0004, 0]);
        long_values(&record, |file, first| found.push((file, first)));
        assert_eq!(
            found,
            [(StoreFile::String, RecordId(1)), (StoreFile::Array, RecordId(5))]
        );
        let mut all = Vec::new();
        keys(&record, |key| all.push(key));
        assert_eq!(all, [2, 0, 4]);
    }

    #[test]
    fn legacy_values_have_the_range_of_their_type() {
        let value = |type_code, value| {
            legacy(&LegacyProperty {
                type_code,
                key: 0,
                value,
                previous: None,
                next: None,
            })
        };
        for (kind, good, bad) in [
            (1, u64::MAX, 1 << 31),
            (3, 1, 2),
            (7, 0xFFFF_FFFF_FFFF_FF80, 0x80),
            (8, 0xFFFF, 1 << 16),
            (10, 0x7FFF, 0x8000),
            (11, 0xC3A9, 0xC3),
        ] {
            assert_eq!(value(kind, good), Ok(()), "{kind}");
            assert!(value(kind, bad).is_err(), "{kind}");
        }
        assert_eq!(value(11, 0x7C00_0041_6C69_6365), Ok(()));
        assert_eq!(value(12, 0), Err(Wrong::Type(12)));
    }
}
