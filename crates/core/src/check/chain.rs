//! Decodes texts and arrays over all their blocks, a block at a time (`docs/formats/store-format.md` §5.5, §5.6.3, §5.7).

use std::borrow::Cow;

use neo4j_format::{
    store::{StoreFile, StoreFormat},
    width::to_usize,
};

/// Why the bytes of a chain are not a value.
pub(super) type Fault = &'static str;

/// A value that arrives in pieces.
#[derive(Debug)]
pub(super) struct Value {
    encoding: Encoding,
    /// Bytes that are only understood with those that follow.
    held: Vec<u8>,
    state: ArrayState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArrayState {
    /// Text, of which so many bytes are left; `None` to the end of the chain. So many more strings of an array follow.
    Text { left: Option<u64>, strings: u64 },
    /// The header of an array, not whole yet.
    Header,
    /// Elements of `bits` bits, `unused` in the last byte; so many bytes so far.
    Elements { bits: u64, unused: u64, bytes: u64 },
    /// Bits of a legacy array of booleans, so many bytes left.
    Booleans { left: u64 },
    /// The length of the next of so many strings, not whole yet.
    Length { strings: u64 },
    /// Nothing may follow.
    End,
}

impl Value {
    /// The value of a chain in this store.
    pub(super) fn new(file: StoreFile, format: StoreFormat) -> Value {
        let state = if file == StoreFile::Array {
            ArrayState::Header
        } else {
            ArrayState::Text { left: None, strings: 0 }
        };
        Value {
            encoding: match format {
                StoreFormat::Legacy => Encoding::Utf16,
                StoreFormat::Current => Encoding::Utf8,
            },
            held: Vec::new(),
            state,
        }
    }

    /// Takes the data of the next block.
    pub(super) fn feed(&mut self, mut data: &[u8]) -> Result<(), Fault> {
        while !data.is_empty() || self.wants_nothing() {
            match self.state {
                ArrayState::Text { left, strings } => {
                    let here = left.map_or(data.len(), |left| data.len().min(to_usize(left)));
                    let (text, rest) = data.split_at_checked(here).unwrap_or((data, &[]));
                    let left = left.map(|left| left.saturating_sub(here as u64));
                    self.text(text, left == Some(0))?;
                    data = rest;
                    self.state = match (left, strings) {
                        (Some(0), 0) => ArrayState::End,
                        (Some(0), strings) => ArrayState::Length { strings },
                        _ => ArrayState::Text { left, strings },
                    };
                }
                ArrayState::Header => {
                    let wanted = self.header_size(data);
                    if !self.hold(&mut data, wanted) {
                        return Ok(());
                    }
                    self.state = self.header()?;
                    self.held.clear();
                }
                ArrayState::Length { strings } => {
                    if !self.hold(&mut data, 4) {
                        return Ok(());
                    }
                    let length = self.held_length()?;
                    self.held.clear();
                    if self.encoding == Encoding::Utf16 && length % 2 != 0 {
                        return Err("one of its strings ends within a character");
                    }
                    let strings = strings - 1;
                    self.state = ArrayState::Text {
                        left: Some(length),
                        strings,
                    };
                }
                ArrayState::Elements { bits, unused, bytes } => {
                    let bytes = bytes + data.len() as u64;
                    self.state = ArrayState::Elements { bits, unused, bytes };
                    return Ok(());
                }
                ArrayState::Booleans { left } => {
                    let left = left
                        .checked_sub(data.len() as u64)
                        .ok_or("more bytes than its elements need")?;
                    self.state = ArrayState::Booleans { left };
                    return Ok(());
                }
                ArrayState::End => return Err("more bytes than its elements need"),
            }
        }
        Ok(())
    }

    /// Judges what has arrived as a whole.
    pub(super) fn end(self) -> Result<(), Fault> {
        match self.state {
            ArrayState::End | ArrayState::Booleans { left: 0 } | ArrayState::Elements { bits: 0, bytes: 0, .. } => {
                Ok(())
            }
            ArrayState::Text { left: None, .. } if self.held.is_empty() => Ok(()),
            ArrayState::Text { left: None, .. } => Err("it ends within a character"),
            ArrayState::Text { .. } | ArrayState::Length { .. } | ArrayState::Booleans { .. } => {
                Err("it ends before its last element")
            }
            ArrayState::Header => Err("it ends within its header"),
            ArrayState::Elements { bits: 0, .. } => Err("its elements have no bits, but bytes follow"),
            ArrayState::Elements { bits, unused, bytes } => match (bytes * 8).checked_sub(unused) {
                Some(all) if all % bits == 0 => Ok(()),
                None if bytes == 0 => Ok(()),
                _ => Err("it ends within an element"),
            },
        }
    }

    /// Whether a string without characters is to be passed over.
    fn wants_nothing(&self) -> bool {
        matches!(self.state, ArrayState::Text { left: Some(0), .. })
    }

    /// Moves bytes until `wanted` are held.
    fn hold(&mut self, data: &mut &[u8], wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.held.len()).min(data.len());
        if let Some((taken, rest)) = data.split_at_checked(missing) {
            self.held.extend_from_slice(taken);
            *data = rest;
        }
        self.held.len() >= wanted
    }

    fn held_length(&self) -> Result<u64, Fault> {
        let bytes = self.held.last_chunk::<4>().copied().unwrap_or_default();
        u64::try_from(i32::from_be_bytes(bytes)).map_err(|_| "one of its lengths is negative")
    }

    fn text(&mut self, text: &[u8], is_end: bool) -> Result<(), Fault> {
        if self.encoding == Encoding::Utf16 {
            // every pair of bytes is a unit, and Java keeps halves of surrogate pairs as they are
            let is_whole = (self.held.len() + text.len()).is_multiple_of(2);
            self.held.clear();
            if !is_whole {
                self.held.push(0);
            }
        } else {
            let held = std::mem::take(&mut self.held);
            let joined: Cow<'_, [u8]> = match held.as_slice() {
                [] => Cow::Borrowed(text),
                held => Cow::Owned([held, text].concat()),
            };
            if let Err(error) = std::str::from_utf8(&joined) {
                if error.error_len().is_some() {
                    return Err("its bytes are not UTF-8");
                }
                self.held = joined
                    .get(error.valid_up_to()..)
                    .expect("the valid part is the beginning")
                    .to_vec();
            }
        }
        if is_end && !self.held.is_empty() {
            return Err("one of its strings ends within a character");
        }
        Ok(())
    }

    fn kind(&self, data: &[u8]) -> u8 {
        self.held.first().or(data.first()).copied().unwrap_or_default()
    }

    fn header_size(&self, data: &[u8]) -> usize {
        match (self.encoding, self.kind(data)) {
            (Encoding::Utf8, 9) | (Encoding::Utf16, 2 | 3) => 5,
            (Encoding::Utf8, _) => 3,
            (Encoding::Utf16, _) => 1,
        }
    }

    fn header(&self) -> Result<ArrayState, Fault> {
        let kind = self.kind(&[]);
        let strings = |count: u64| match count {
            0 => ArrayState::End,
            strings => ArrayState::Length { strings },
        };
        let whole = |bytes: u64| ArrayState::Elements {
            bits: bytes * 8,
            unused: 0,
            bytes: 0,
        };
        match (self.encoding, kind) {
            (Encoding::Utf8, 9) | (Encoding::Utf16, 2) => Ok(strings(self.held_length()?)),
            (Encoding::Utf16, 3) => Ok(ArrayState::Booleans {
                left: self.held_length()?.div_ceil(8),
            }),
            (Encoding::Utf8, 1..=8) => {
                let [_, used, bits] = self.held.first_chunk::<3>().copied().unwrap_or_default();
                match (used, bits) {
                    (1..=8, 0..=64) => Ok(ArrayState::Elements {
                        bits: u64::from(bits),
                        unused: u64::from(8 - used),
                        bytes: 0,
                    }),
                    (_, 0) => Ok(ArrayState::Elements {
                        bits: 0,
                        unused: 0,
                        bytes: 0,
                    }),
                    _ => Err("its element size is invalid"),
                }
            }
            (Encoding::Utf16, 1 | 5) => Ok(whole(4)),
            (Encoding::Utf16, 4 | 6) => Ok(whole(8)),
            (Encoding::Utf16, 7) => Ok(whole(1)),
            (Encoding::Utf16, 8 | 10) => Ok(whole(2)),
            _ => Err("its element type is invalid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In every split into two blocks.
    fn judged(file: StoreFile, format: StoreFormat, bytes: &[u8]) -> Result<(), Fault> {
        let mut results = (0..=bytes.len()).map(|split| {
            let mut value = Value::new(file, format);
            value.feed(&bytes[..split])?;
            value.feed(&bytes[split..])?;
            value.end()
        });
        let first = results.next().unwrap();
        for other in results {
            assert_eq!(other.is_ok(), first.is_ok(), "{bytes:?}");
        }
        first
    }

    #[test]
    fn text_is_joined_before_it_is_decoded() {
        let text = |bytes: &[u8]| judged(StoreFile::String, StoreFormat::Current, bytes);
        assert_eq!(text("grün €".as_bytes()), Ok(()));
        assert!(text(b"a\xC3").is_err());
        assert!(text(b"\xFFa").is_err());
        let legacy = |bytes: &[u8]| judged(StoreFile::String, StoreFormat::Legacy, bytes);
        assert_eq!(legacy(&[0, 0x41, 0xD8, 0]), Ok(()));
        assert!(legacy(&[0, 0x41, 0xD8]).is_err());
    }

    #[test]
    fn arrays_of_the_current_format() {
        let array = |bytes: &[u8]| judged(StoreFile::Array, StoreFormat::Current, bytes);
        let forty = [&[5, 8, 11][..], &[0; 55]].concat();
        assert_eq!(array(&forty), Ok(()));
        assert!(array(&forty[..57]).is_err());
        let strings = [9, 0, 0, 0, 3, 0, 0, 0, 2, 0x61, 0x62, 0, 0, 0, 0, 0, 0, 0, 1, 0x63];
        assert_eq!(array(&strings), Ok(()));
        assert!(array(&strings[..19]).is_err());
        assert!(array(&[&strings[..], &[0]].concat()).is_err());
        assert_eq!(array(&[9, 0, 0, 0, 0]), Ok(()));
        assert!(array(&[9, 0xFF, 0, 0, 0]).is_err());
        assert!(array(&[11, 8, 8, 1]).is_err());
        assert!(array(&[5, 9, 8, 1]).is_err());
        assert!(array(&[5]).is_err());
    }

    #[test]
    fn arrays_of_the_old_format() {
        let array = |bytes: &[u8]| judged(StoreFile::Array, StoreFormat::Legacy, bytes);
        assert_eq!(array(&[1, 0, 0, 0, 1, 0, 0, 0, 2]), Ok(()));
        assert!(array(&[1, 0, 0, 0, 1, 0, 0, 0]).is_err());
        assert_eq!(array(&[3, 0, 0, 0, 9, 0xFF, 1]), Ok(()));
        assert!(array(&[3, 0, 0, 0, 9, 0xFF]).is_err());
        assert_eq!(array(&[2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0x61]), Ok(()));
        assert!(array(&[2, 0, 0, 0, 1, 0, 0, 0, 1, 0x61]).is_err());
        assert!(array(&[9, 1]).is_err());
    }
}
