//! Values of the legacy format: a type and one long in a property record (`docs/formats/store-format.md` §5.7).

use super::{
    Data, Encoded, Kind, Value, ValueError, What, put_count,
    text::{ALPHANUMERIC, EUROPEAN, LOWER, NUMERICAL, Table, UPPER},
    texts_data,
};
use crate::store::StoreFile;

const TEXT: u16 = 2;
const ARRAY: u16 = 9;
const SHORT_TEXT: u16 = 11;

/// Kind of an array that holds texts.
pub const TEXTS: u8 = 2;

/// Most characters of a Latin-1 text, most bytes of a UTF-8 one and most of its characters.
const LATIN_MAX: usize = 7;
const UTF_8_MAX: (usize, usize) = (7, 6);
/// Most characters of any short text.
const SHORT_MAX: usize = 15;

fn type_code(kind: Kind) -> u8 {
    match kind {
        Kind::Int => 1,
        Kind::Boolean => 3,
        Kind::Double => 4,
        Kind::Float => 5,
        Kind::Long => 6,
        Kind::Byte => 7,
        Kind::Char => 8,
        Kind::Short => 10,
    }
}

/// The kind of this type code, of a value or of the elements of an array.
pub fn kind_of(code: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| type_code(*kind) == code)
}

/// The type of the record and what the value becomes; a long inside the record has one element.
pub fn encode(value: &Value) -> (u16, Encoded) {
    match value {
        Value::Scalar(kind, bits) => (type_code(*kind).into(), Encoded::Inline(vec![kind.sign_extend(*bits)])),
        Value::Text(text) => match short_text(text) {
            Some(long) => (SHORT_TEXT, Encoded::Inline(vec![long])),
            None => (TEXT, Encoded::Chain(StoreFile::String, utf16(text))),
        },
        Value::Array(kind, elements) => (ARRAY, Encoded::Chain(StoreFile::Array, array(*kind, elements))),
        Value::Texts(texts) => {
            let data = texts_data(TEXTS, texts.iter().map(|text| utf16(text)));
            (ARRAY, Encoded::Chain(StoreFile::Array, data))
        }
        Value::Utf16(units) => (TEXT, Encoded::Chain(StoreFile::String, bytes_of(units))),
        Value::Utf16s(texts) => {
            let data = texts_data(TEXTS, texts.iter().map(|units| bytes_of(units)));
            (ARRAY, Encoded::Chain(StoreFile::Array, data))
        }
    }
}

/// Store and first block of the chain that a record refers to, `None` if all of the value is in the record.
pub fn chain_of(type_code: u16, value: u64) -> Option<(StoreFile, u64)> {
    match type_code {
        TEXT => Some((StoreFile::String, value)),
        ARRAY => Some((StoreFile::Array, value)),
        _ => None,
    }
}

/// Whether a value of this type is a text of which nothing stands elsewhere.
pub fn is_short_text(type_code: u16) -> bool {
    type_code == SHORT_TEXT
}

/// Reads a value; `chain` are the data it refers to, if it does.
///
/// # Errors
/// [`ValueError`].
pub fn decode(type_code: u16, value: u64, chain: &[u8]) -> Result<Value, ValueError> {
    match type_code {
        TEXT => {
            let units = units_of(chain).ok_or(What::LongText)?;
            Ok(String::from_utf16(&units).map_or(Value::Utf16(units), Value::Text))
        }
        ARRAY => decode_array(chain),
        SHORT_TEXT => decode_short_text(value).map(Value::Text).ok_or(What::ShortText.into()),
        other => {
            let code = u8::try_from(other).unwrap_or(u8::MAX);
            let kind = kind_of(code).ok_or(ValueError::Type(code))?;
            Ok(Value::scalar(kind, value))
        }
    }
}

#[cfg(test)]
pub(super) fn decode_encoded((type_code, encoded): &(u16, Encoded)) -> Result<Value, ValueError> {
    match encoded {
        Encoded::Inline(longs) => decode(*type_code, longs[0], &[]),
        Encoded::Chain(_, data) => decode(*type_code, 1, data),
    }
}

/// Characters stand right-aligned, the first one highest; the bits above them say how they are written.
fn short_text(text: &str) -> Option<u64> {
    let length = text.chars().count();
    let count = length as u64;
    if length <= LATIN_MAX {
        let latin: Option<Vec<u64>> = text.chars().map(|c| u8::try_from(c).ok().map(u64::from)).collect();
        if let Some(codes) = latin {
            let head = if length == 0 { 0 } else { 0x78 | (count - 1) };
            return Some(head << 56 | packed(8, &codes));
        }
        let bytes: Vec<u64> = text.bytes().map(u64::from).collect();
        let fits = bytes.len() <= UTF_8_MAX.0 && length <= UTF_8_MAX.1 && bytes.first() != Some(&0);
        return fits.then(|| packed(8, &bytes));
    }
    if length > SHORT_MAX {
        return None;
    }
    let tables: [(Table, Option<u64>); 5] = [
        (NUMERICAL, if length == 15 { Some(1 << 60) } else { Some(count << 56) }),
        (UPPER, five_bit_head(length, 2)),
        (LOWER, five_bit_head(length, 4)),
        (ALPHANUMERIC, (length == 10).then_some(6 << 60)),
        (
            EUROPEAN,
            match length {
                8 => Some((0x70 | 7) << 56),
                9 => Some(1 << 63),
                _ => None,
            },
        ),
    ];
    tables
        .into_iter()
        .find_map(|(table, head)| Some(head? | packed(table.bits, &table.codes(text)?)))
}

/// The head of a text of up to 12 characters of five bits; `nibble` is that of the shorter form.
fn five_bit_head(length: usize, nibble: u64) -> Option<u64> {
    match length {
        12 => Some((nibble + 1) << 60),
        0..=11 => Some(nibble << 60 | (length as u64) << 56),
        _ => None,
    }
}

fn packed(bits: u32, codes: &[u64]) -> u64 {
    codes.iter().fold(0, |all, code| all << bits | code)
}

fn decode_short_text(long: u64) -> Option<String> {
    if long == 0 {
        return Some(String::new());
    }
    let (nibble, low) = (long >> 60, long >> 56 & 15);
    let unpack = |table: Table, length: u64| -> Option<String> {
        let code = |i: u64| long >> (u64::from(table.bits) * i) & ((1 << table.bits) - 1);
        (0..length).rev().map(|i| table.character(code(i))).collect()
    };
    match nibble {
        0 if low == 0 => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            String::from_utf8(bytes).ok()
        }
        0 => unpack(NUMERICAL, low),
        1 => unpack(NUMERICAL, 15),
        2 => unpack(UPPER, low),
        3 => unpack(UPPER, 12),
        4 => unpack(LOWER, low),
        5 => unpack(LOWER, 12),
        6 => unpack(ALPHANUMERIC, 10),
        7 if low < 8 => unpack(EUROPEAN, low + 1),
        7 => {
            let length = usize::try_from(low - 7).ok()?;
            let bytes = long.to_be_bytes();
            Some(bytes.get(8 - length..)?.iter().map(|byte| char::from(*byte)).collect())
        }
        _ => unpack(EUROPEAN, 9),
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn bytes_of(units: &[u16]) -> Vec<u8> {
    units.iter().copied().flat_map(u16::to_be_bytes).collect()
}

fn units_of(bytes: &[u8]) -> Option<Vec<u16>> {
    let (units, rest) = bytes.as_chunks();
    let units = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
    rest.is_empty().then_some(units)
}

/// Bytes of an element in an array's chain.
fn element_size(kind: Kind) -> usize {
    kind.width().div_ceil(8) as usize
}

fn array(kind: Kind, elements: &[u64]) -> Vec<u8> {
    let mut out = vec![type_code(kind)];
    if kind == Kind::Boolean {
        put_count(&mut out, elements.len());
        for eight in elements.chunks(8) {
            let bits = eight.iter().rev().fold(0, |bits, bit| bits << 1 | bit);
            out.push(u8::try_from(bits).unwrap_or_default());
        }
        return out;
    }
    let size = element_size(kind);
    for element in elements {
        out.extend(element.to_be_bytes().iter().skip(8 - size));
    }
    out
}

fn decode_array(chain: &[u8]) -> Result<Value, ValueError> {
    let mut data = Data(chain);
    let code = data.byte()?;
    if code == TEXTS {
        let all = data.texts(units_of)?;
        let texts: Result<Vec<String>, _> = all.iter().map(|units| String::from_utf16(units)).collect();
        return Ok(texts.map_or(Value::Utf16s(all), Value::Texts));
    }
    let kind = kind_of(code).ok_or(What::LongArray)?;
    if kind == Kind::Boolean {
        let count = data.count()?;
        let bytes = data.bytes(count.div_ceil(8))?;
        let bits = bytes
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| u64::from(byte >> bit & 1)));
        return Ok(Value::array(kind, bits.take(count)));
    }
    let size = element_size(kind);
    let elements = data
        .0
        .chunks(size)
        .map(|bytes| bytes.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)));
    Ok(Value::array(kind, elements))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> u64 {
        match encode(&Value::text(text)) {
            (SHORT_TEXT, Encoded::Inline(longs)) => longs[0],
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_documented_values_come_out_bit_for_bit() {
        assert_eq!(short("Alice"), 0x7C00_0041_6C69_6365);
        assert_eq!(short(""), 0);
        assert_eq!(encode(&Value::int(42)), (1, Encoded::Inline(vec![42])));
        assert_eq!(
            encode(&Value::long(1_234_567_890_123)),
            (6, Encoded::Inline(vec![0x0000_011F_71FB_04CB]))
        );
        let (type_code, encoded) = encode(&Value::array(Kind::Int, [1, 2, 3]));
        let data = vec![1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert_eq!((type_code, encoded), (9, Encoded::Chain(StoreFile::Array, data)));
    }

    #[test]
    fn surrogates_without_partner_come_back() {
        for value in [
            Value::Utf16(vec![0x61, 0xD800]),
            Value::Utf16s(vec![vec![0x62], vec![0xDC00, 0xD800]]),
        ] {
            assert_eq!(decode_encoded(&encode(&value)), Ok(value));
        }
    }

    #[test]
    fn each_form_of_a_short_text_is_used_and_comes_back() {
        for (text, nibble) in [
            ("жук", 0),
            ("12345678", 0),
            ("123456789012345", 1),
            ("ABCDEFGH", 2),
            ("ABCDEFGHIJKL", 3),
            ("abcdefgh", 4),
            ("abcdefghijkl", 5),
            ("abcDEF0129", 6),
            ("äbcDEF01", 7),
            ("Alice", 7),
            ("äbcDEF012", 8),
        ] {
            let long = short(text);
            let high = if long >> 63 == 1 { 8 } else { long >> 60 };
            assert_eq!(high, nibble, "{text}");
            assert_eq!(decode_short_text(long).as_deref(), Some(text));
        }
        for text in ["abcdefghijklm", "abcDEF012", "abcdefg;", "жукжу"] {
            assert_eq!(
                encode(&Value::text(text)).0,
                if text == "abcDEF012" { SHORT_TEXT } else { TEXT },
                "{text}"
            );
        }
    }
}
