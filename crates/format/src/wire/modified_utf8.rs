//! Text as Java serializes it (`docs/formats/wire-protocol.md` §6.2).
//!
//! ```text
//! 0001 – 007F        0xxxxxxx
//! 0000, 0080 – 07FF  110xxxxx 10xxxxxx
//! 0800 – FFFF        1110xxxx 10xxxxxx 10xxxxxx
//! ```
//!
//! Each is one UTF-16 unit, so a character beyond the first plane takes two sequences and a surrogate may stand alone.

/// The text of these bytes; a lone surrogate and every byte that belongs to no sequence become U+FFFD.
pub fn decode(bytes: &[u8]) -> String {
    let (mut rest, mut units) = (bytes, Vec::with_capacity(bytes.len()));
    while let Some((unit, later)) = unit(rest) {
        units.push(unit);
        rest = later;
    }
    String::from_utf16_lossy(&units)
}

/// The first unit and what follows it; `None` at the end.
fn unit(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let low = |byte: u8| u16::from(byte & 0x3f);
    let (first, later) = bytes.split_first()?;
    let first = *first;
    let found = match bytes {
        [0..=0x7f, ..] => Some((u16::from(first), later)),
        [0xc0..=0xdf, b @ 0x80..=0xbf, later @ ..] => Some((u16::from(first & 0x1f) << 6 | low(*b), later)),
        [0xe0..=0xef, b @ 0x80..=0xbf, c @ 0x80..=0xbf, later @ ..] => {
            Some((u16::from(first & 0x0f) << 12 | low(*b) << 6 | low(*c), later))
        }
        _ => None,
    };
    Some(found.unwrap_or((0xfffd, later)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_of_every_width_are_read() {
        assert_eq!(decode("plain, täglich, 日本".as_bytes()), "plain, täglich, 日本");
        assert_eq!(decode(&[b'a', 0xc0, 0x80, b'b']), "a\0b");
        // U+1F600 as its two surrogates
        assert_eq!(decode(&[0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]), "\u{1f600}");
    }

    #[test]
    fn what_is_no_text_is_replaced_and_nothing_behind_it_is_lost() {
        assert_eq!(decode(&[0xed, 0xa0, 0xbd, b'x']), "\u{fffd}x");
        assert_eq!(
            decode(&[0x80, b'x', 0xff, 0xe6, 0x97]),
            "\u{fffd}x\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(decode(&[0xe6, b'x', b'y']), "\u{fffd}xy");
    }

    proptest::proptest! {
        #[test]
        fn every_sequence_of_units_comes_back(units: Vec<u16>) {
            let mut bytes = Vec::new();
            for unit in &units {
                let last = |shift: u16| u8::try_from(unit >> shift & 0x3f).unwrap() | 0x80;
                match unit {
                    1..=0x7f => bytes.push(u8::try_from(*unit).unwrap()),
                    0 | 0x80..=0x7ff => bytes.extend([u8::try_from(unit >> 6).unwrap() | 0xc0, last(0)]),
                    _ => bytes.extend([u8::try_from(unit >> 12).unwrap() | 0xe0, last(6), last(0)]),
                }
            }
            proptest::prop_assert_eq!(decode(&bytes), String::from_utf16_lossy(&units));
        }
    }
}
