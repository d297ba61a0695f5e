//! The character tables of short texts (`docs/formats/store-format.md` §5.6.1).

/// One of the encodings that give each character a few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// Its number in a current property block.
    pub(super) number: u8,
    /// Bits of a character.
    pub(super) bits: u32,
    /// Most characters in a current property block.
    pub(super) max: usize,
    /// Characters by code, all of them Latin-1; NUL where there is none.
    characters: [u8; 128],
    /// A character of the table that no writer puts there.
    avoided: char,
}

pub(super) const NUMERICAL: Table = table(1, 4, 54, "0123456789 .-+,'");
pub(super) const UPPER: Table = table(3, 5, 43, " ABCDEFGHIJKLMNOPQRSTUVWXYZ_.-:/");
pub(super) const LOWER: Table = table(4, 5, 43, " abcdefghijklmnopqrstuvwxyz_.-:/");
pub(super) const ALPHANUMERIC: Table = table(
    7,
    6,
    36,
    " ABCDEFGHIJKLMNOPQRSTUVWXYZ01234_abcdefghijklmnopqrstuvwxyz56789",
);
pub(super) const EUROPEAN: Table = table(
    9,
    7,
    31,
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ.ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö-øùúûüýþÿ\
     \u{20}ABCDEFGHIJKLMNOPQRSTUVWXYZ01234_abcdefghijklmnopqrstuvwxyz56789",
);

/// In the order in which a writer tries them.
pub(super) const TABLES: [Table; 9] = [
    NUMERICAL,
    table(2, 4, 54, "0123456789 -:/+,"),
    UPPER,
    LOWER,
    table(5, 5, 43, ",abcdefghijklmnopqrstuvwxyz_.-+@"),
    Table {
        avoided: '|',
        ..table(
            6,
            6,
            36,
            " abcdefghijklmnopqrstuvwxyz\0\0\0\0\x000123456789_.-:/+,'@|;*?&%#()$<>=",
        )
    },
    ALPHANUMERIC,
    Table {
        avoided: ';',
        ..table(
            8,
            6,
            36,
            " ABCDEFGHIJKLMNOPQRSTUVWXYZ_.-:/;abcdefghijklmnopqrstuvwxyz+,'@|",
        )
    },
    EUROPEAN,
];

const fn table(number: u8, bits: u32, max: usize, characters: &str) -> Table {
    Table {
        number,
        bits,
        max,
        characters: latin_1(characters.as_bytes()),
        avoided: '\0',
    }
}

/// The codes of characters below U+0100 from their UTF-8, in which they have one byte or two.
const fn latin_1(utf_8: &[u8]) -> [u8; 128] {
    let mut codes = [0; 128];
    let (mut from, mut to) = (0, 0);
    while from < utf_8.len() {
        let byte = utf_8[from];
        if byte < 0x80 {
            codes[to] = byte;
            from += 1;
        } else {
            codes[to] = byte << 6 | utf_8[from + 1] & 0x3F;
            from += 2;
        }
        to += 1;
    }
    codes
}

impl Table {
    /// The table of this number.
    pub(super) fn numbered(number: u8) -> Option<Table> {
        TABLES.into_iter().find(|table| table.number == number)
    }

    /// The codes of all characters, `None` if one of them has none.
    pub(super) fn codes(self, text: &str) -> Option<Vec<u64>> {
        text.chars().map(|c| self.code(c)).collect()
    }

    /// The character of this code.
    pub(super) fn character(self, code: u64) -> Option<char> {
        let place = usize::try_from(code).ok()?;
        let character = self.characters.get(place).filter(|c| **c != 0)?;
        Some(char::from(*character))
    }

    fn code(self, c: char) -> Option<u64> {
        if c == '\0' || c == self.avoided {
            return None;
        }
        let place = self.characters.iter().position(|other| char::from(*other) == c)?;
        u64::try_from(place).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_character_for_every_code() {
        for table in TABLES {
            let count = 1 << table.bits;
            for code in 0..count {
                let is_gap = table.number == 6 && (27..=31).contains(&code);
                assert_eq!(table.character(code).is_none(), is_gap, "{}: {code}", table.number);
            }
            assert!(table.characters[1 << table.bits..].iter().all(|c| *c == 0));
        }
        assert_eq!(EUROPEAN.code('÷'), None);
        assert_eq!(EUROPEAN.code('.'), Some(0x17));
        assert_eq!(EUROPEAN.code('-'), Some(0x37));
    }
}
