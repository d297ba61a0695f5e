//! Property values and their bytes in both store formats (`docs/formats/store-format.md` §5.6, §5.7).
//!
//! [`current`] and [`legacy`] turn a value into what stands in a property record and, where it is too long for that,
//! into the data of a dynamic chain; and back. Nothing here knows a record's place.

pub mod current;
pub mod legacy;
mod text;

use std::fmt;

use crate::store::StoreFile;

/// Type of a value that is not text, or of the elements of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `boolean`
    Boolean,
    /// `byte`
    Byte,
    /// `short`
    Short,
    /// `char`, a UTF-16 unit
    Char,
    /// `int`
    Int,
    /// `long`
    Long,
    /// `float`
    Float,
    /// `double`
    Double,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] = [
        Kind::Boolean,
        Kind::Byte,
        Kind::Short,
        Kind::Char,
        Kind::Int,
        Kind::Long,
        Kind::Float,
        Kind::Double,
    ];

    /// Bits that a value can have.
    pub fn width(self) -> u32 {
        match self {
            Kind::Boolean => 1,
            Kind::Byte => 8,
            Kind::Short | Kind::Char => 16,
            Kind::Int | Kind::Float => 32,
            Kind::Long | Kind::Double => 64,
        }
    }

    /// The bits of a value, without those behind its width.
    fn mask(self, bits: u64) -> u64 {
        bits & (u64::MAX >> (64 - self.width()))
    }

    /// The bits of a value with its highest one repeated upward, as a number is when it becomes longer.
    fn sign_extend(self, bits: u64) -> u64 {
        let unused = 64 - self.width();
        match self {
            Kind::Boolean | Kind::Char => bits,
            _ => ((bits << unused).cast_signed() >> unused).cast_unsigned(),
        }
    }
}

/// A property value. Numbers are kept as the bits that Java keeps: two's complement, IEEE 754, UTF-16.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Anything of fixed size; bits above the kind's width are zero.
    Scalar(Kind, u64),
    /// `String`
    Text(String),
    /// Array of such values.
    Array(Kind, Vec<u64>),
    /// `String[]`
    Texts(Vec<String>),
    /// `String` with surrogates that have no partner: UTF-16 that is not valid Unicode. Only the legacy format can hold it.
    Utf16(Vec<u16>),
    /// `String[]` with at least one such element.
    Utf16s(Vec<Vec<u16>>),
}

impl Value {
    /// A value of fixed size; bits above the kind's width are dropped.
    pub fn scalar(kind: Kind, bits: u64) -> Value {
        Value::Scalar(kind, kind.mask(bits))
    }

    /// An array; bits above the kind's width are dropped.
    pub fn array(kind: Kind, elements: impl IntoIterator<Item = u64>) -> Value {
        Value::Array(kind, elements.into_iter().map(|bits| kind.mask(bits)).collect())
    }

    /// An `int`.
    pub fn int(value: i32) -> Value {
        Value::scalar(Kind::Int, i64::from(value).cast_unsigned())
    }

    /// A `long`.
    pub fn long(value: i64) -> Value {
        Value::scalar(Kind::Long, value.cast_unsigned())
    }

    /// A `String`.
    pub fn text(value: impl Into<String>) -> Value {
        Value::Text(value.into())
    }
}

/// What a value becomes in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// All of it stands in the property record.
    Inline(Vec<u64>),
    /// The record refers to a chain of this store with these data.
    Chain(StoreFile, Vec<u8>),
}

/// Why the bytes of a property are no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A type that the format does not have.
    #[error("there is no property type {0}")]
    Type(u8),
    /// A text's or array's own header is wrong or its data are too short.
    #[error("{0} cannot be read")]
    Malformed(What),
}

/// What cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Text inside the record.
    ShortText,
    /// Array inside the record.
    ShortArray,
    /// Data of a text's chain.
    LongText,
    /// Data of an array's chain.
    LongArray,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::ShortText => "a short text",
            What::ShortArray => "a short array",
            What::LongText => "a long text",
            What::LongArray => "a long array",
        })
    }
}

impl From<What> for ValueError {
    fn from(what: What) -> ValueError {
        ValueError::Malformed(what)
    }
}

/// Bytes of a chain, taken from the front.
struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], ValueError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(What::LongArray)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, ValueError> {
        Ok(self.bytes(1)?.first().copied().unwrap_or_default())
    }

    fn count(&mut self) -> Result<usize, ValueError> {
        let bytes = self.bytes(4)?.first_chunk().ok_or(What::LongArray)?;
        usize::try_from(i32::from_be_bytes(*bytes)).map_err(|_| What::LongArray.into())
    }

    /// An array of texts behind its kind: their number, then each with its length.
    fn texts<T>(&mut self, decode: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>, ValueError> {
        let count = self.count()?;
        let mut texts = Vec::new();
        for _ in 0..count {
            let length = self.count()?;
            texts.push(decode(self.bytes(length)?).ok_or(What::LongArray)?);
        }
        Ok(texts)
    }
}

/// The data of an array of texts, which [`Data::texts`] reads; its kind is a format's own, and so is how a text is written.
fn texts_data<T: AsRef<[u8]>>(kind: u8, texts: impl ExactSizeIterator<Item = T>) -> Vec<u8> {
    let mut out = vec![kind];
    put_count(&mut out, texts.len());
    for text in texts {
        put_count(&mut out, text.as_ref().len());
        out.extend_from_slice(text.as_ref());
    }
    out
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind() -> impl Strategy<Value = Kind> {
        proptest::sample::select(Kind::ALL.to_vec())
    }

    fn words() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9 .,+'-]{0,60}",
            "[A-Z _.:/-]{0,50}",
            "[a-z _.:/-]{0,50}",
            "[a-z@.,+_-]{0,50}",
            "[a-z0-9;|*?&%#()$<>=]{0,40}",
            "[A-Za-z0-9_ ]{0,40}",
            "[À-ÿA-Za-z0-9_.-]{0,35}",
            "[ -ÿ]{0,30}",
            "\\PC{0,200}",
        ]
    }

    pub(super) fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            (kind(), any::<u64>(), 0_u32..64).prop_map(|(kind, bits, shift)| Value::scalar(kind, bits >> shift)),
            words().prop_map(Value::Text),
            (kind(), proptest::collection::vec(any::<u64>(), 0..90), 0_u32..64)
                .prop_map(|(kind, bits, shift)| Value::array(kind, bits.into_iter().map(|bits| bits >> shift))),
            proptest::collection::vec(words(), 0..12).prop_map(Value::Texts),
        ]
    }

    proptest! {
        #[test]
        fn every_value_comes_back_from_the_current_format(value in value(), key in 0_u32..1 << 24) {
            prop_assert_eq!(current::decode_encoded(&current::encode(&value, key)), Ok(value));
        }

        #[test]
        fn every_value_comes_back_from_the_legacy_format(value in value()) {
            prop_assert_eq!(legacy::decode_encoded(&legacy::encode(&value)), Ok(value));
        }

        #[test]
        fn arbitrary_bits_never_panic(longs in any::<[u64; 4]>(), kind in any::<u16>(), data in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = current::decode(&longs, &data);
            let _ = legacy::decode(kind, longs[0], &data);
        }
    }
}
