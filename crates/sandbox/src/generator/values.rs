//! Random property values of every type.

use rand::{RngExt, rngs::SmallRng, seq::IndexedRandom};

use crate::value::{Kind, Value};

/// Characters of short texts: one line for each way a store writes them.
const ALPHABETS: [&str; 9] = [
    "0123456789",
    "0123456789-. +,'",
    "ABCDEFGH _.:",
    "abcdefgh _.:",
    "abc@example.com",
    "abcABC0123_.",
    "äöüéabc",
    "абв",
    "😀x",
];

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// Draws values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    /// The oldest releases can read back neither empty arrays nor most arrays of eight and more booleans.
    pub(super) legacy: bool,
}

impl Values {
    /// A value of any type.
    pub(super) fn any(self, rng: &mut SmallRng) -> Value {
        match rng.random_range(0..8) {
            0..3 => {
                let kind = kind(rng);
                Value::scalar(kind, bits(rng, kind))
            }
            3 | 4 => Value::Text(text(rng, 15)),
            5 => Value::Text(long_text(rng)),
            _ => self.array(rng),
        }
    }

    fn array(self, rng: &mut SmallRng) -> Value {
        let shortest = usize::from(self.legacy);
        let longest = if rng.random_ratio(1, 3) { 120 } else { 8 };
        let length = rng.random_range(shortest..longest);
        if rng.random_ratio(1, 5) {
            return Value::Texts((0..length.min(12)).map(|_| text(rng, 40)).collect());
        }
        let kind = kind(rng);
        let length = if self.legacy && kind == Kind::Boolean {
            length.min(7)
        } else {
            length
        };
        Value::array(kind, (0..length).map(|_| bits(rng, kind)))
    }
}

/// A short word in lower case, so that words meet again.
pub(super) fn word(rng: &mut SmallRng) -> String {
    let mut letter = |among: u8| char::from(b'a' + rng.random_range(0..among));
    [letter(6), letter(4), letter(26)].into_iter().collect()
}

fn kind(rng: &mut SmallRng) -> Kind {
    *Kind::ALL.choose(rng).unwrap_or(&Kind::Int)
}

/// Numbers of every size; fractions are eighths, which every language prints alike.
fn bits(rng: &mut SmallRng, kind: Kind) -> u64 {
    let eighths: i32 = rng.random_range(-8000..8000);
    match kind {
        Kind::Float => {
            let eighths: i16 = i16::try_from(eighths).unwrap_or_default();
            (f32::from(eighths) / 8.0).to_bits().into()
        }
        Kind::Double => (f64::from(eighths) / 8.0).to_bits(),
        Kind::Char => rng.random_range(0x20..0xD000),
        _ => {
            let number: i64 = rng.random();
            (number >> rng.random_range(0..64)).cast_unsigned()
        }
    }
}

fn text(rng: &mut SmallRng, longest: usize) -> String {
    let alphabet = *ALPHABETS.choose(rng).unwrap_or(&LETTERS);
    drawn(rng, alphabet, longest)
}

fn long_text(rng: &mut SmallRng) -> String {
    let mut text = drawn(rng, LETTERS, 700);
    if rng.random_ratio(1, 3) {
        text.push_str(&drawn(rng, "本日は晴天なり", 60));
    }
    text
}

fn drawn(rng: &mut SmallRng, alphabet: &str, longest: usize) -> String {
    let characters: Vec<char> = alphabet.chars().collect();
    let length = rng.random_range(0..=longest);
    (0..length).filter_map(|_| characters.choose(rng).copied()).collect()
}
