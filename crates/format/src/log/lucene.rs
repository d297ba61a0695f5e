//! Commands of the Lucene data source, equal in all releases (`docs/formats/transaction-log.md` §10.1).
//!
//! ```text
//! u8 command  u8 entity type
//! add, remove, delete:  i32 name length  i64 entity  i32 key length  u8 value type  name  key  value
//!                       [add, relationship: i64 start node  i64 end node]
//! create:               str name  i32 n  n × (str key  str value)
//! ```

use super::{
    error::{LogProblem, VALUE_LENGTH},
    fields::{Decoded, Fields, Stop},
};
use crate::store::index_config::{IndexKey, IndexKind, IndexName};

/// Longest name of an index, in UTF-16 units: it is part of a path.
pub const INDEX_NAME_UNITS_MAX: u32 = 4096;
/// Longest key or configuration string, in UTF-16 units: both are typed by a programmer.
pub const NAME_UNITS_MAX: u32 = 65_535;
/// Longest indexed text, in UTF-16 units (16 MiB), as a command is held in memory while it is looked at.
pub const VALUE_UNITS_MAX: u32 = 8 * 1024 * 1024;
/// Most configuration entries of one index.
pub const CONFIG_ENTRIES_MAX: u32 = 64;

const ADD: u8 = 1;
const REMOVE: u8 = 2;
const DELETE: u8 = 3;
const CREATE: u8 = 4;

/// Text of a command: UTF-16, big-endian, not necessarily well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(pub &'a [u8]);

impl Text<'_> {
    /// Its UTF-16 units.
    pub fn units(&self) -> impl Iterator<Item = u16> {
        self.0.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit))
    }

    fn length(&self) -> i32 {
        i32::try_from(self.0.len() / 2).expect("texts are limited when they are read")
    }
}

impl From<Text<'_>> for IndexName {
    fn from(text: Text<'_>) -> IndexName {
        IndexName::from_units(text.units())
    }
}

/// One command: what happens to which index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LuceneCommand<'a> {
    /// Nodes or relationships.
    pub kind: IndexKind,
    /// Name of the index.
    pub index: Text<'a>,
    /// What happens.
    pub action: LuceneAction<'a>,
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LuceneAction<'a> {
    /// Adds a value to the document of an entity.
    Add {
        /// Node or relationship.
        entity: i64,
        /// Key; `None` is not written by any release.
        key: Option<Text<'a>>,
        /// Value.
        value: LuceneValue<'a>,
        /// Start and end node; of relationships only.
        ends: Option<(i64, i64)>,
    },
    /// Removes a value, all values of a key, or an entity.
    Remove {
        /// Node or relationship.
        entity: i64,
        /// Key; `None` removes the whole entity.
        key: Option<Text<'a>>,
        /// Value; null removes all of the key.
        value: LuceneValue<'a>,
    },
    /// Deletes the index.
    Delete,
    /// Creates the index.
    Create(IndexProperties<'a>),
}

/// An indexed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LuceneValue<'a> {
    /// None.
    Null,
    /// Also short and byte.
    Int(i32),
    /// 64 bits.
    Long(i64),
    /// IEEE-754 bits.
    Float(u32),
    /// IEEE-754 bits.
    Double(u64),
    /// Text.
    Text(Text<'a>),
}

/// Configuration in a create command, checked when it was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexProperties<'a> {
    /// Number of entries.
    pub count: u32,
    /// Their bytes.
    pub bytes: &'a [u8],
}

impl<'a> IndexProperties<'a> {
    /// Key and value of each entry.
    pub fn entries(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> {
        let mut fields = Fields(self.bytes);
        std::iter::from_fn(move || Some((string(&mut fields).ok()?, string(&mut fields).ok()?)))
    }
}

impl<'a> LuceneCommand<'a> {
    /// The index this command is about.
    pub fn key(&self) -> IndexKey {
        IndexKey {
            kind: self.kind,
            name: self.index.into(),
        }
    }

    /// Reads a command at the start of `bytes` and gives back how many of them it uses.
    ///
    /// # Errors
    /// What is wrong with it; [`LogProblem::Truncated`] if `bytes` is too short.
    pub fn decode_from(bytes: &'a [u8]) -> Result<(LuceneCommand<'a>, usize), LogProblem> {
        let mut fields = Fields(bytes);
        match LuceneCommand::decode(&mut fields) {
            Ok(command) => Ok((command, bytes.len().saturating_sub(fields.0.len()))),
            Err(Stop::Short) => Err(LogProblem::Truncated),
            Err(Stop::Bad(problem)) => Err(problem),
        }
    }

    pub(super) fn decode(fields: &mut Fields<'a>) -> Decoded<LuceneCommand<'a>> {
        let command = command_byte(fields)?;
        let kind = kind(fields)?;
        if command == CREATE {
            let name = fields.size("length of an index name", INDEX_NAME_UNITS_MAX)?;
            let index = text(fields, name)?;
            let count = fields.size("number of configuration entries", CONFIG_ENTRIES_MAX)?;
            let all = fields.0;
            for _ in 0..count {
                string(fields)?;
                string(fields)?;
            }
            let used = all.len().saturating_sub(fields.0.len());
            let bytes = all.get(..used).expect("the fields read are the first of all");
            let action = LuceneAction::Create(IndexProperties { count, bytes });
            return Ok(LuceneCommand { kind, index, action });
        }
        let name = fields.size("length of an index name", INDEX_NAME_UNITS_MAX)?;
        let entity = fields.i64()?;
        let key = key_length(fields)?;
        let value_type = fields.u8()?;
        let index = text(fields, name)?;
        let key = key.map(|length| text(fields, length)).transpose()?;
        let value = value(fields, value_type)?;
        let action = match command {
            DELETE => LuceneAction::Delete,
            REMOVE => LuceneAction::Remove { entity, key, value },
            _ => LuceneAction::Add {
                entity,
                key,
                value,
                ends: match kind {
                    IndexKind::Node => None,
                    IndexKind::Relationship => Some((fields.i64()?, fields.i64()?)),
                },
            },
        };
        Ok(LuceneCommand { kind, index, action })
    }

    /// Appends this command to `out`; texts beyond the limits above cannot be read back.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            IndexKind::Node => 1,
            IndexKind::Relationship => 2,
        };
        match self.action {
            LuceneAction::Create(properties) => {
                out.extend_from_slice(&[CREATE, kind]);
                out.extend_from_slice(&self.index.length().to_be_bytes());
                out.extend_from_slice(self.index.0);
                out.extend_from_slice(&properties.count.to_be_bytes());
                out.extend_from_slice(properties.bytes);
            }
            LuceneAction::Add {
                entity,
                key,
                value,
                ends,
            } => {
                self.encode_common(out, [ADD, kind], entity, key, value);
                if let Some((start, end)) = ends {
                    out.extend_from_slice(&start.to_be_bytes());
                    out.extend_from_slice(&end.to_be_bytes());
                }
            }
            LuceneAction::Remove { entity, key, value } => {
                self.encode_common(out, [REMOVE, kind], entity, key, value);
            }
            LuceneAction::Delete => {
                let empty = Text(&[]);
                self.encode_common(out, [DELETE, kind], -1, Some(empty), LuceneValue::Text(empty));
            }
        }
    }

    fn encode_common(
        &self,
        out: &mut Vec<u8>,
        head: [u8; 2],
        entity: i64,
        key: Option<Text<'_>>,
        value: LuceneValue<'_>,
    ) {
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.index.length().to_be_bytes());
        out.extend_from_slice(&entity.to_be_bytes());
        out.extend_from_slice(&key.map_or(-1, |key| key.length()).to_be_bytes());
        out.push(match value {
            LuceneValue::Null => 0,
            LuceneValue::Int(_) => 1,
            LuceneValue::Long(_) => 2,
            LuceneValue::Float(_) => 3,
            LuceneValue::Double(_) => 4,
            LuceneValue::Text(_) => 5,
        });
        out.extend_from_slice(self.index.0);
        out.extend_from_slice(key.map_or(&[], |key| key.0));
        match value {
            LuceneValue::Null => {}
            LuceneValue::Int(int) => out.extend_from_slice(&int.to_be_bytes()),
            LuceneValue::Long(long) => out.extend_from_slice(&long.to_be_bytes()),
            LuceneValue::Float(bits) => out.extend_from_slice(&bits.to_be_bytes()),
            LuceneValue::Double(bits) => out.extend_from_slice(&bits.to_be_bytes()),
            LuceneValue::Text(text) => {
                out.extend_from_slice(&text.length().to_be_bytes());
                out.extend_from_slice(text.0);
            }
        }
    }
}

fn command_byte(fields: &mut Fields<'_>) -> Decoded<u8> {
    match fields.u8()? {
        0 => Err(LogProblem::EndOfLog.into()),
        command @ (ADD | REMOVE | DELETE | CREATE) => Ok(command),
        command => Err(LogProblem::UnknownCommand(command).into()),
    }
}

fn kind(fields: &mut Fields<'_>) -> Decoded<IndexKind> {
    match fields.u8()? {
        1 => Ok(IndexKind::Node),
        2 => Ok(IndexKind::Relationship),
        other => Err(wrong("entity type", other)),
    }
}

fn key_length(fields: &mut Fields<'_>) -> Decoded<Option<u32>> {
    let mut ahead = *fields;
    if ahead.i32()? == -1 {
        *fields = ahead;
        return Ok(None);
    }
    fields.size("length of a key", NAME_UNITS_MAX).map(Some)
}

fn value<'a>(fields: &mut Fields<'a>, value_type: u8) -> Decoded<LuceneValue<'a>> {
    Ok(match value_type {
        0 => LuceneValue::Null,
        1 => LuceneValue::Int(fields.i32()?),
        2 => LuceneValue::Long(fields.i64()?),
        3 => LuceneValue::Float(u32::from_be_bytes(fields.array()?)),
        4 => LuceneValue::Double(fields.u64()?),
        5 => {
            let length = fields.size(VALUE_LENGTH, VALUE_UNITS_MAX)?;
            LuceneValue::Text(text(fields, length)?)
        }
        other => return Err(wrong("value type", other)),
    })
}

fn string<'a>(fields: &mut Fields<'a>) -> Decoded<Text<'a>> {
    let length = fields.size("length of a name", NAME_UNITS_MAX)?;
    text(fields, length)
}

fn text<'a>(fields: &mut Fields<'a>, units: u32) -> Decoded<Text<'a>> {
    let length = usize::try_from(units)
        .ok()
        .and_then(|units| units.checked_mul(2))
        .ok_or(Stop::Short)?;
    Ok(Text(fields.bytes(length)?))
}

fn wrong(field: &'static str, value: u8) -> Stop {
    let value = value.into();
    LogProblem::Value { field, value }.into()
}
