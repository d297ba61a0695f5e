//! The properties of one node or relationship: along its chain of records, and through the blocks of long values.

use std::collections::HashSet;

use super::{Damage, Entity, Graph, ValueType, read_error};
use crate::{
    Error,
    check::lookup::{Content, Lookup, PropertyRecord},
};
use neo4j_format::store::{
    StoreFile, StoreFormat,
    record::{Pointer, Property, RecordId, property::longs_of_block},
    value::{Kind, Value, current, legacy},
};

/// Longest value that is read, in bytes of the store.
const BYTES_MAX: usize = 64 << 20;

/// Most memory that an array may take when it is decoded.
const DECODED_MAX: usize = 256 << 20;

/// Keys of one chain that are compared one by one; of more, a set is made.
const FEW_KEYS: usize = 32;

/// A property as its record has it: not decoded, its blocks not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// The lowest id of its key's name.
    pub(crate) key: u32,
    record: u64,
    content: Encoded,
}

impl Stored {
    /// Whether another property of the same store format has the same value, as far as that shows without reading blocks.
    pub(crate) fn is_same(&self, other: &Stored) -> bool {
        let is_long = match self.content {
            Encoded::Longs([first, ..], _) => current::chain_of(first).is_some(),
            Encoded::One(type_code, value) => legacy::chain_of(type_code, value).is_some(),
        };
        match (self.content, other.content) {
            (Encoded::Longs(a, count), Encoded::Longs(b, of_b)) => {
                // the key has different ids in different graphs
                let value = |[first, rest @ ..]: [u64; 4]| (first >> 24, rest);
                !is_long && count == of_b && value(a) == value(b)
            }
            (Encoded::One(of_a, a), Encoded::One(of_b, b)) => !is_long && (of_a, a) == (of_b, b),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Encoded {
    Longs([u64; 4], u8),
    One(u16, u64),
}

/// Reads properties; one for each thread.
pub(crate) struct PropertyReader<'a> {
    graph: &'a Graph,
    properties: Lookup<'a>,
    strings: Lookup<'a>,
    arrays: Lookup<'a>,
    /// The data of one long value.
    data: Vec<u8>,
    found: Vec<Stored>,
    seen: HashSet<u32>,
}

impl<'a> PropertyReader<'a> {
    pub(crate) fn new(graph: &'a Graph) -> PropertyReader<'a> {
        PropertyReader {
            graph,
            properties: Lookup::new(&graph.stores),
            strings: Lookup::new(&graph.stores),
            arrays: Lookup::new(&graph.stores),
            data: Vec::new(),
            found: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Collects the properties of `entity`, whose chain begins at `first`; each key once.
    pub(crate) fn stored(
        &mut self,
        entity: Entity,
        first: Pointer,
        found: &mut Vec<Stored>,
        damage: &mut Vec<Damage>,
    ) -> Result<(), Error> {
        found.clear();
        self.seen.clear();
        let mut wrong = |record: u64, problem: String| {
            damage.push(Damage {
                file: StoreFile::Property.name(),
                record,
                entity,
                problem,
            });
        };
        let (mut previous, mut next) = (None, first);
        while let Some(id) = next {
            let Some(record) = self.properties.property(id).map_err(read_error)? else {
                wrong(id.0, self.properties.absent(StoreFile::Property, id).to_owned());
                break;
            };
            // a chain that enters another one, or itself, is contradicted by the record where it does
            if record.previous != previous {
                wrong(id.0, "the previous record of the chain is another one".to_owned());
                break;
            }
            let end = each(&record, |key, content| {
                let Some(name) = self.graph.keys.get(key.into()) else {
                    wrong(id.0, format!("property key {key} is not in use"));
                    return;
                };
                let key = name.first;
                let is_twice = if found.len() < FEW_KEYS {
                    found.iter().any(|other| other.key == key)
                } else {
                    if self.seen.is_empty() {
                        self.seen.extend(found.iter().map(|other| other.key));
                    }
                    !self.seen.insert(key)
                };
                if is_twice {
                    wrong(id.0, format!("key {:?} occurs twice", name.text));
                } else {
                    found.push(Stored {
                        key,
                        record: id.0,
                        content,
                    });
                }
            });
            if let Some(code) = end {
                wrong(id.0, format!("unknown property type {code}"));
            }
            (previous, next) = (Some(id), record.next);
        }
        Ok(())
    }

    /// Reads the properties of `entity` into `values`, in the order of their keys.
    pub(crate) fn values(
        &mut self,
        entity: Entity,
        first: Pointer,
        values: &mut Vec<(u32, Value)>,
        damage: &mut Vec<Damage>,
    ) -> Result<(), Error> {
        let mut stored = std::mem::take(&mut self.found);
        self.stored(entity, first, &mut stored, damage)?;
        stored.sort_unstable_by_key(|property| property.key);
        values.clear();
        for property in &stored {
            if let Some(value) = self.value(entity, property, damage)? {
                values.push((property.key, value));
            }
        }
        self.found = stored;
        Ok(())
    }

    /// The type of a property; `None` where it has none. A value of this type may still be damaged.
    pub(crate) fn type_of(&mut self, property: &Stored) -> Result<Option<ValueType>, Error> {
        let code = |code: u8| match self.graph.stores.format {
            StoreFormat::Current => current::kind_of(code),
            StoreFormat::Legacy => legacy::kind_of(code),
        };
        let long = match property.content {
            Encoded::Longs([first, ..], _) => match current::chain_of(first) {
                Some(long) => long,
                None if current::is_short_text(first) => return Ok(Some(ValueType::Text)),
                None => {
                    if let Some(element) = current::short_array_kind(first) {
                        return Ok(code(element).map(ValueType::Array));
                    }
                    return Ok(code(current::type_of(first)).map(ValueType::Scalar));
                }
            },
            Encoded::One(type_code, value) => match legacy::chain_of(type_code, value) {
                Some(long) => long,
                None if legacy::is_short_text(type_code) => return Ok(Some(ValueType::Text)),
                None => {
                    let kind = u8::try_from(type_code).ok().and_then(code);
                    return Ok(kind.map(ValueType::Scalar));
                }
            },
        };
        let (StoreFile::Array, first) = long else {
            return Ok(Some(ValueType::Text));
        };
        let block = self
            .arrays
            .block(StoreFile::Array, RecordId(first))
            .map_err(read_error)?;
        let element = block.and_then(|(_, data)| data.first().copied());
        Ok(element.and_then(|element| match self.graph.stores.format {
            StoreFormat::Current if element == current::TEXTS => Some(ValueType::Texts),
            StoreFormat::Legacy if element == legacy::TEXTS => Some(ValueType::Texts),
            _ => code(element).map(ValueType::Array),
        }))
    }

    /// The value of a property; `None` where it is damaged.
    pub(crate) fn value(
        &mut self,
        entity: Entity,
        property: &Stored,
        damage: &mut Vec<Damage>,
    ) -> Result<Option<Value>, Error> {
        let long = match property.content {
            Encoded::Longs([first, ..], _) => current::chain_of(first),
            Encoded::One(type_code, value) => legacy::chain_of(type_code, value),
        };
        self.data.clear();
        let mut wrong = |file: StoreFile, record: u64, problem: String| {
            damage.push(Damage {
                file: file.name(),
                record,
                entity,
                problem,
            });
        };
        if let Some((file, first)) = long {
            let lookup = match file {
                StoreFile::String => &mut self.strings,
                _ => &mut self.arrays,
            };
            if let Err((block, problem)) = read_blocks(lookup, file, first, &mut self.data)? {
                wrong(file, block, problem.to_owned());
                return Ok(None);
            }
            if file == StoreFile::Array && decoded_size(&self.data, self.graph.stores.format) > DECODED_MAX {
                wrong(file, first, "the array is larger than 256 MiB".to_owned());
                return Ok(None);
            }
        }
        let decoded = match &property.content {
            Encoded::Longs(longs, count) => {
                let longs = longs.get(..usize::from(*count)).unwrap_or(longs);
                current::decode(longs, &self.data)
            }
            Encoded::One(type_code, value) => legacy::decode(*type_code, *value, &self.data),
        };
        if let (Encoded::One(_, bits @ 2..), Ok(Value::Scalar(Kind::Boolean, _))) = (&property.content, &decoded) {
            wrong(StoreFile::Property, property.record, format!("{bits} is not a boolean"));
            return Ok(None);
        }
        match decoded {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let (file, record) = long.unwrap_or((StoreFile::Property, property.record));
                wrong(file, record, error.to_string());
                Ok(None)
            }
        }
    }
}

/// Hands out key and bytes of each property of a record; returns the type code that ends it too early.
fn each(record: &PropertyRecord, mut found: impl FnMut(u32, Encoded)) -> Option<u64> {
    let property = match &record.content {
        Content::One(one) => {
            found(one.key, Encoded::One(one.type_code, one.value));
            return None;
        }
        Content::Blocks(property) => property,
    };
    let mut rest = property.payload.as_slice();
    while let Some(first) = rest.first().filter(|first| Property::in_use(**first)) {
        let count = longs_of_block(*first);
        let (longs, behind) = rest.split_at_checked(usize::from(count)).unwrap_or((rest, &[]));
        let mut all = [0; 4];
        all.iter_mut().zip(longs).for_each(|(to, from)| *to = *from);
        let key = u32::try_from(current::key_of(*first)).unwrap_or(u32::MAX);
        let count = u8::try_from(longs.len()).unwrap_or(4);
        found(key, Encoded::Longs(all, count));
        rest = behind;
    }
    rest.first().filter(|end| **end != 0).map(|end| end >> 24 & 15)
}

/// Appends the data of a long value; or the block that is wrong, and why.
fn read_blocks(
    lookup: &mut Lookup<'_>,
    file: StoreFile,
    first: u64,
    data: &mut Vec<u8>,
) -> Result<Result<(), (u64, &'static str)>, Error> {
    let mut id = first;
    // a mark that is moved on at ever longer distances meets every ring
    let (mut mark, mut steps, mut distance) = (u64::MAX, 0_u64, 1_u64);
    loop {
        let absent = lookup.absent(file, RecordId(id));
        let room = lookup.stores.room(file);
        let Some((header, bytes)) = lookup.block(file, RecordId(id)).map_err(read_error)? else {
            return Ok(Err((id, absent)));
        };
        if header.length > room {
            return Ok(Err((id, "the length of the block exceeds the block size")));
        }
        if data.len() + bytes.len() > BYTES_MAX {
            return Ok(Err((first, "the value is larger than 64 MiB")));
        }
        data.extend_from_slice(bytes);
        let Some(RecordId(next)) = header.next else {
            return Ok(Ok(()));
        };
        if next == mark {
            return Ok(Err((id, "its blocks form a cycle")));
        }
        steps += 1;
        if steps == distance {
            (mark, steps, distance) = (next, 0, distance.saturating_mul(2));
        }
        id = next;
    }
}

/// Memory that an array takes in decoded form, about.
fn decoded_size(data: &[u8], format: StoreFormat) -> usize {
    let bits = match (format, data) {
        (StoreFormat::Current, [kind, _, bits, ..]) if *kind != current::TEXTS => usize::from(*bits).max(1),
        (StoreFormat::Legacy, [kind, ..]) if *kind != legacy::TEXTS => {
            legacy::kind_of(*kind).map_or(64, |kind: Kind| usize::try_from(kind.width()).unwrap_or(64))
        }
        _ => return data.len().saturating_mul(8),
    };
    (data.len().saturating_mul(8) / bits).saturating_mul(8)
}
