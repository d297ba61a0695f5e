//! Values of the current format: 1 – 4 longs inside a property record (`docs/formats/store-format.md` §5.6).
//!
//! ```text
//! first long: bits 0–23 key, bits 24–27 type, bits 28–63 value or header; bit b of long n is bit 64·n + b
//! ```

use super::{
    Data, Encoded, Kind, Value, ValueError, What,
    text::{TABLES, Table},
    texts_data,
};
use crate::{store::StoreFile, width::to_usize};

const LONG_TEXT: u8 = 9;
const LONG_ARRAY: u8 = 10;
const SHORT_TEXT: u8 = 11;
const SHORT_ARRAY: u8 = 12;

/// Kind of a long array that holds texts.
pub const TEXTS: u8 = 9;

const UTF_8: u8 = 0;
const LATIN_1: u8 = 10;
/// Most bytes of a short text in these two.
const BYTES_MAX: usize = 27;

/// Where a short text's encoding, length and characters begin.
const TEXT_FIELDS: (u32, u32, u32) = (28, 33, 39);
/// Where a short array's kind, length, bits per element and elements begin.
const ARRAY_FIELDS: (u32, u32, u32, u32) = (28, 32, 38, 44);
const ARRAY_LENGTH_MAX: usize = 63;
const ARRAY_BITS_MAX: u32 = 212;

/// Longs below 2³⁵ that are not negative stand in one long.
const SHORT_LONG_BITS: u32 = 35;

fn type_code(kind: Kind) -> u8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Byte => 2,
        Kind::Short => 3,
        Kind::Char => 4,
        Kind::Int => 5,
        Kind::Long => 6,
        Kind::Float => 7,
        Kind::Double => 8,
    }
}

/// The kind of this type code, of a value or of the elements of an array.
pub fn kind_of(code: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| type_code(*kind) == code)
}

/// What the value becomes; the longs carry the key.
pub fn encode(value: &Value, key: u32) -> Encoded {
    match value {
        Value::Scalar(kind, bits) => Encoded::Inline(scalar(key, *kind, *bits)),
        Value::Text(text) => match short_text(key, text) {
            Some(longs) => Encoded::Inline(longs),
            None => Encoded::Chain(StoreFile::String, text.as_bytes().to_vec()),
        },
        Value::Array(kind, elements) => match short_array(key, *kind, elements) {
            Some(longs) => Encoded::Inline(longs),
            None => Encoded::Chain(StoreFile::Array, long_array(*kind, elements)),
        },
        Value::Texts(texts) => Encoded::Chain(StoreFile::Array, texts_data(TEXTS, texts.iter())),
        Value::Utf16(units) => encode(&Value::Text(without_lone_surrogates(units)), key),
        Value::Utf16s(texts) => {
            let texts = texts.iter().map(|units| without_lone_surrogates(units)).collect();
            encode(&Value::Texts(texts), key)
        }
    }
}

/// UTF-8 has no lone surrogates; Java writes question marks for them.
fn without_lone_surrogates(units: &[u16]) -> String {
    let units = char::decode_utf16(units.iter().copied());
    units.map(|unit| unit.unwrap_or('?')).collect()
}

/// The block of a value whose chain begins with block `first`.
pub fn reference(key: u32, store: StoreFile, first: u64) -> u64 {
    let code = if store == StoreFile::String {
        LONG_TEXT
    } else {
        LONG_ARRAY
    };
    head(key, code) | first << 28
}

/// Store and first block of the chain that a block refers to, `None` if all of the value is in the record.
pub fn chain_of(first_long: u64) -> Option<(StoreFile, u64)> {
    match type_of(first_long) {
        LONG_TEXT => Some((StoreFile::String, first_long >> 28)),
        LONG_ARRAY => Some((StoreFile::Array, first_long >> 28)),
        _ => None,
    }
}

/// Whether a block is a text of which nothing stands elsewhere.
pub fn is_short_text(first_long: u64) -> bool {
    type_of(first_long) == SHORT_TEXT
}

/// The type code of the elements, if a block is an array of which nothing stands elsewhere.
pub fn short_array_kind(first_long: u64) -> Option<u8> {
    let kind = first_long >> ARRAY_FIELDS.0 & 15;
    (type_of(first_long) == SHORT_ARRAY)
        .then(|| u8::try_from(kind).ok())
        .flatten()
}

/// The property key of a block.
pub fn key_of(first_long: u64) -> u64 {
    first_long & 0xFF_FFFF
}

/// Reads the block that begins with `longs`; `chain` are the data it refers to, if it does.
///
/// # Errors
/// [`ValueError`].
pub fn decode(longs: &[u64], chain: &[u8]) -> Result<Value, ValueError> {
    let first = longs.first().copied().unwrap_or_default();
    let code = type_of(first);
    match code {
        LONG_TEXT => match std::str::from_utf8(chain) {
            Ok(text) => Ok(Value::text(text)),
            Err(_) => Err(What::LongText.into()),
        },
        LONG_ARRAY => decode_array(chain),
        SHORT_TEXT => decode_text(longs).ok_or(What::ShortText.into()),
        SHORT_ARRAY => decode_short_array(longs).ok_or(What::ShortArray.into()),
        _ => match kind_of(code).ok_or(ValueError::Type(code))? {
            Kind::Long if first >> 28 & 1 == 1 => Ok(Value::scalar(Kind::Long, first >> 29)),
            kind @ (Kind::Long | Kind::Double) => {
                let bits = longs.get(1).ok_or(ValueError::Type(code))?;
                Ok(Value::scalar(kind, *bits))
            }
            kind => Ok(Value::scalar(kind, first >> 28)),
        },
    }
}

#[cfg(test)]
pub(super) fn decode_encoded(encoded: &Encoded) -> Result<Value, ValueError> {
    match encoded {
        Encoded::Inline(longs) => decode(longs, &[]),
        Encoded::Chain(store, data) => decode(&[reference(0, *store, 1)], data),
    }
}

fn head(key: u32, code: u8) -> u64 {
    u64::from(key & 0xFF_FFFF) | u64::from(code) << 24
}

/// The type code of a block, 1 – 12 where it is legal.
pub fn type_of(first_long: u64) -> u8 {
    let [.., code, _, _, _] = first_long.to_be_bytes();
    code & 15
}

fn scalar(key: u32, kind: Kind, bits: u64) -> Vec<u64> {
    let head = head(key, type_code(kind));
    match kind {
        Kind::Long if bits >> SHORT_LONG_BITS == 0 => vec![head | 1 << 28 | bits << 29],
        Kind::Long | Kind::Double => vec![head, bits],
        _ => vec![head | kind.sign_extend(bits) << 28],
    }
}

fn short_text(key: u32, text: &str) -> Option<Vec<u64>> {
    let length = text.chars().count();
    for table in TABLES.into_iter().filter(|table| length <= table.max) {
        if let Some(codes) = table.codes(text) {
            return Some(text_longs(key, table.number, table.bits, &codes));
        }
    }
    if length > BYTES_MAX {
        return None;
    }
    let latin: Option<Vec<u64>> = text.chars().map(|c| u8::try_from(c).ok().map(u64::from)).collect();
    if let Some(codes) = latin {
        return Some(text_longs(key, LATIN_1, 8, &codes));
    }
    let bytes: Vec<u64> = text.bytes().map(u64::from).collect();
    (bytes.len() <= BYTES_MAX).then(|| text_longs(key, UTF_8, 8, &bytes))
}

fn text_longs(key: u32, encoding: u8, bits: u32, codes: &[u64]) -> Vec<u64> {
    let (encoding_at, length_at, text_at) = TEXT_FIELDS;
    let mut longs = Bits::new(text_at, bits, codes.len());
    longs.put(0, head(key, SHORT_TEXT));
    longs.put(encoding_at, encoding.into());
    longs.put(length_at, codes.len() as u64);
    longs.put_all(text_at, bits, codes);
    longs.0
}

fn decode_text(longs: &[u64]) -> Option<Value> {
    let (encoding_at, length_at, text_at) = TEXT_FIELDS;
    let encoding = u8::try_from(get(longs, encoding_at, 5)?).ok()?;
    let length = get(longs, length_at, 6)?;
    let codes = |bits: u32| (0..length).map(move |i| get(longs, place(text_at, bits, i)?, bits));
    match encoding {
        UTF_8 => {
            let bytes: Option<Vec<u8>> = codes(8).map(|code| u8::try_from(code?).ok()).collect();
            String::from_utf8(bytes?).ok().map(Value::Text)
        }
        LATIN_1 => {
            let text: Option<String> = codes(8).map(|code| u8::try_from(code?).ok().map(char::from)).collect();
            text.map(Value::Text)
        }
        other => {
            let table = Table::numbered(other)?;
            let text: Option<String> = codes(table.bits).map(|code| table.character(code?)).collect();
            text.map(Value::Text)
        }
    }
}

/// Bits that the largest element needs.
fn bits_needed(elements: &[u64]) -> u32 {
    let all = elements.iter().fold(0, |all, bits| all | bits);
    (64 - all.leading_zeros()).max(1)
}

fn short_array(key: u32, kind: Kind, elements: &[u64]) -> Option<Vec<u64>> {
    let (kind_at, length_at, bits_at, elements_at) = ARRAY_FIELDS;
    let bits = if elements.is_empty() { 0 } else { bits_needed(elements) };
    let length = u32::try_from(elements.len()).ok()?;
    if elements.len() > ARRAY_LENGTH_MAX || length * bits > ARRAY_BITS_MAX {
        return None;
    }
    let mut longs = Bits::new(elements_at, bits, elements.len());
    longs.put(0, head(key, SHORT_ARRAY));
    longs.put(kind_at, type_code(kind).into());
    longs.put(length_at, length.into());
    longs.put(bits_at, u64::from(bits) & 63);
    longs.put_all(elements_at, bits, elements);
    Some(longs.0)
}

fn decode_short_array(longs: &[u64]) -> Option<Value> {
    let (kind_at, length_at, bits_at, elements_at) = ARRAY_FIELDS;
    let kind = kind_of(u8::try_from(get(longs, kind_at, 4)?).ok()?)?;
    let length = get(longs, length_at, 6)?;
    let bits = match u32::try_from(get(longs, bits_at, 6)?).ok()? {
        0 => 64,
        bits => bits,
    };
    let elements: Option<Vec<u64>> = (0..length)
        .map(|i| get(longs, place(elements_at, bits, i)?, bits))
        .collect();
    Some(Value::array(kind, elements?))
}

fn long_array(kind: Kind, elements: &[u64]) -> Vec<u8> {
    let bits = bits_needed(elements);
    let mut longs = Bits::new(0, bits, elements.len());
    longs.put_all(0, bits, elements);
    let total = u64::from(bits) * elements.len() as u64;
    let last = u8::try_from((total + 7) % 8 + 1).unwrap_or(8);
    let mut out = vec![type_code(kind), last, u8::try_from(bits).unwrap_or(64)];
    out.extend(longs.0.iter().flat_map(|long| long.to_le_bytes()));
    out.truncate(3 + to_usize(total.div_ceil(8)));
    out
}

fn decode_array(chain: &[u8]) -> Result<Value, ValueError> {
    let mut data = Data(chain);
    let code = data.byte()?;
    if code == TEXTS {
        let texts = data.texts(|bytes| std::str::from_utf8(bytes).ok().map(str::to_owned))?;
        return Ok(Value::Texts(texts));
    }
    let kind = kind_of(code).ok_or(What::LongArray)?;
    let (last, bits) = (data.byte()?, data.byte()?);
    if !(1..=8).contains(&last) || bits > 64 {
        return Err(What::LongArray.into());
    }
    let total = (data.0.len() as u64 * 8).saturating_sub(8 - u64::from(last));
    let count = total.checked_div(bits.into()).unwrap_or(0);
    let longs: Vec<u64> = data
        .0
        .chunks(8)
        .map(|chunk| {
            let mut long = [0; 8];
            long.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(long)
        })
        .collect();
    let elements: Option<Vec<u64>> = (0..count)
        .map(|i| get(&longs, place(0, bits.into(), i)?, bits.into()))
        .collect();
    Ok(Value::array(kind, elements.ok_or(What::LongArray)?))
}

/// Where element `i` begins.
fn place(at: u32, bits: u32, i: u64) -> Option<u32> {
    u32::try_from(u64::from(at) + u64::from(bits) * i).ok()
}

/// Longs that are filled bit by bit.
struct Bits(Vec<u64>);

impl Bits {
    /// As many longs as `count` elements of `bits` bits need, the first at bit `at`.
    fn new(at: u32, bits: u32, count: usize) -> Bits {
        let total = at as usize + bits as usize * count;
        Bits(vec![0; total.div_ceil(64)])
    }

    fn put(&mut self, at: u32, value: u64) {
        let (long, shift) = (at as usize / 64, at % 64);
        if let Some(long) = self.0.get_mut(long) {
            *long |= value << shift;
        }
        if let Some(next) = self.0.get_mut(long + 1)
            && shift > 0
        {
            *next |= value >> (64 - shift);
        }
    }

    fn put_all(&mut self, at: u32, bits: u32, values: &[u64]) {
        let mut at = at;
        for value in values {
            self.put(at, *value);
            at += bits;
        }
    }
}

/// The `bits` bits from bit `at` on, `None` behind the last long.
fn get(longs: &[u64], at: u32, bits: u32) -> Option<u64> {
    let (long, shift) = (at as usize / 64, at % 64);
    let mut value = longs.get(long)? >> shift;
    if shift + bits > 64 {
        value |= longs.get(long + 1)? << (64 - shift);
    }
    Some(if bits < 64 { value & ((1 << bits) - 1) } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(value: &Value, key: u32) -> Vec<u64> {
        match encode(value, key) {
            Encoded::Inline(longs) => longs,
            Encoded::Chain(..) => panic!("{value:?} became a chain"),
        }
    }

    #[test]
    fn the_documented_values_come_out_bit_for_bit() {
        for (value, key, longs) in [
            (Value::int(-1), 5, vec![0xFFFF_FFFF_F500_0005]),
            (Value::int(42), 1, vec![0x0000_0002_A500_0001]),
            (Value::scalar(Kind::Boolean, 1), 2, vec![0x0000_0000_1100_0002]),
            (Value::scalar(Kind::Short, u64::MAX - 1), 3, vec![0xFFFF_FFFF_E300_0003]),
            (Value::scalar(Kind::Char, 65), 4, vec![0x0000_0004_1400_0004]),
            (Value::long(2012), 5, vec![0x0000_00FB_9600_0005]),
            (Value::long(-1), 5, vec![0x0000_0000_0600_0005, u64::MAX]),
            (
                Value::scalar(Kind::Float, 1.5_f32.to_bits().into()),
                7,
                vec![0x03FC_0000_0700_0007],
            ),
            (
                Value::scalar(Kind::Double, 1.5_f64.to_bits()),
                6,
                vec![0x0000_0000_0800_0006, 0x3FF8_0000_0000_0000],
            ),
            (Value::text("Alice"), 0, vec![0xC74D_808A_7B00_0000, 0x12]),
            (Value::text("alice"), 0, vec![0x28D2_C08A_4B00_0000]),
            (Value::array(Kind::Int, [1, 2, 3]), 3, vec![0x0003_9083_5C00_0003]),
            (Value::array(Kind::Int, []), 0, vec![0x0000_0000_5C00_0000]),
        ] {
            assert_eq!(inline(&value, key), longs, "{value:?}");
            assert_eq!(decode(&longs, &[]), Ok(value));
            assert_eq!(key_of(longs[0]), u64::from(key));
        }
        assert_eq!(reference(2, StoreFile::String, 1), 0x0000_0000_1900_0002);
    }

    #[test]
    fn a_long_array_has_the_documented_head() {
        let value = Value::array(Kind::Int, 1000..1040);
        let Encoded::Chain(StoreFile::Array, data) = encode(&value, 0) else {
            panic!("not a chain");
        };
        assert_eq!(data[..7], [0x05, 0x08, 0x0B, 0xE8, 0x4B, 0x9F, 0xFA]);
        assert_eq!(data.len(), 0x3A);
    }

    #[test]
    fn texts_that_fit_no_table_become_latin_then_bytes_then_a_chain() {
        assert_eq!(inline(&Value::text("a;B|"), 0)[0] >> 28 & 31, u64::from(LATIN_1));
        assert_eq!(inline(&Value::text("жук"), 0)[0] >> 28 & 31, u64::from(UTF_8));
        assert!(matches!(encode(&Value::text("ж".repeat(14)), 0), Encoded::Chain(..)));
        assert!(matches!(encode(&Value::text("a".repeat(44)), 0), Encoded::Chain(..)));
    }
}
