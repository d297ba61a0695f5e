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
    /// Characters by code; NUL where there is none.
    characters: &'static str,
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

const fn table(number: u8, bits: u32, max: usize, characters: &'static str) -> Table {
    Table {
        number,
        bits,
        max,
        characters,
        avoided: '\0',
    }
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
        self.characters.chars().nth(place).filter(|c| *c != '\0')
    }

    fn code(self, c: char) -> Option<u64> {
        if c == '\0' || c == self.avoided {
            return None;
        }
        let place = self.characters.chars().position(|other| other == c)?;
        u64::try_from(place).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_character_for_every_code() {
        for table in TABLES {
            assert_eq!(table.characters.chars().count(), 1 << table.bits, "{}", table.number);
        }
        assert_eq!(EUROPEAN.code('÷'), None);
        assert_eq!(EUROPEAN.code('.'), Some(0x17));
        assert_eq!(EUROPEAN.code('-'), Some(0x37));
    }
}
