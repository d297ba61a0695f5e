//! What a target cannot hold.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::reader::{Damage, Entity};

/// Losses and damaged records of each kind that the outcome lists; all are counted.
pub const LISTED: usize = 100;

/// The reasons why a value, a name or an entity does not reach the target unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossKind {
    /// An array without elements.
    EmptyArray,
    /// An array whose only element is the empty string.
    OneEmptyString,
    /// An array with an element that contains the delimiter of arrays, U+001F.
    Delimiter,
    /// A surrogate without its partner, in a text or character.
    LoneSurrogate,
    /// An array of characters becomes an array of strings.
    CharArray,
    /// A number becomes a 64-bit one, or a character a string.
    WiderType,
    /// The name of a property key.
    KeyName,
    /// The name of a relationship type.
    TypeName,
    /// The value of the key that labels are taken from is not a non-empty string.
    Label,
    /// A property of the graph itself.
    GraphProperty,
}

impl LossKind {
    /// All of them.
    pub const ALL: [LossKind; 10] = [
        LossKind::EmptyArray,
        LossKind::OneEmptyString,
        LossKind::Delimiter,
        LossKind::LoneSurrogate,
        LossKind::CharArray,
        LossKind::WiderType,
        LossKind::KeyName,
        LossKind::TypeName,
        LossKind::Label,
        LossKind::GraphProperty,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            LossKind::EmptyArray => "empty-array",
            LossKind::OneEmptyString => "one-empty-string",
            LossKind::Delimiter => "delimiter",
            LossKind::LoneSurrogate => "lone-surrogate",
            LossKind::CharArray => "char-array",
            LossKind::WiderType => "wider-type",
            LossKind::KeyName => "key-name",
            LossKind::TypeName => "type-name",
            LossKind::Label => "label",
            LossKind::GraphProperty => "graph-property",
        }
    }

    /// What it is, and what `-lossy` makes of it.
    pub fn meaning(self) -> &'static str {
        match self {
            LossKind::EmptyArray => "empty array; left out",
            LossKind::OneEmptyString => "array of one empty string; left out",
            LossKind::Delimiter => "array element that contains U+001F; left out",
            LossKind::LoneSurrogate => "unpaired surrogate; replaced by U+FFFD",
            LossKind::CharArray => "char[]; becomes string[]",
            LossKind::WiderType => "byte, short, int, float or char; becomes a 64-bit number or a string",
            LossKind::KeyName => "property key with a name that the target cannot hold; left out",
            LossKind::TypeName => "relationship type with a name that the target cannot hold; left out",
            LossKind::Label => "label that is not a non-empty string; left out",
            LossKind::GraphProperty => "property of the graph itself; left out",
        }
    }
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for LossKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Something that does not reach the target unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Why.
    pub kind: LossKind,
    /// Whose it is.
    pub entity: Entity,
    /// Which of its properties, if it is one.
    pub key: Option<String>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.entity)?;
        match &self.key {
            Some(key) => write!(f, ", {key:?}"),
            None => Ok(()),
        }
    }
}

/// All losses counted, the first ones of each kind listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// How many there are.
    pub total: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<LossKind, u64>,
    /// The first [`LISTED`] of each kind.
    pub listed: Vec<Loss>,
}

impl Losses {
    pub(super) fn add(&mut self, loss: Loss) {
        self.total += 1;
        let count = self.kinds.entry(loss.kind).or_default();
        *count += 1;
        if *count <= LISTED as u64 {
            self.listed.push(loss);
        }
    }
}

/// All damaged records counted, the first ones listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DamagedRecords {
    /// How many there are.
    pub total: u64,
    /// The first [`LISTED`].
    pub listed: Vec<Damage>,
}

impl DamagedRecords {
    pub(crate) fn add(&mut self, damage: Damage) {
        self.total += 1;
        if self.listed.len() < LISTED {
            self.listed.push(damage);
        }
    }
}
