//! Commands of the graph store, both formats (`docs/formats/transaction-log.md` §9).
//!
//! A command is decoded in steps, one [`Change`] each, so that a value of any length passes through a small buffer: the
//! dynamic records of a current property come before the property itself, those of the others behind it.

use super::{
    change::Change,
    error::{LogElement, LogProblem},
    fields::{Decoded, Fields, Stop},
    format::LogFormat,
};
use crate::store::{
    StoreFile,
    record::{
        DynamicHeader, LegacyProperty, Node, Pointer, Property, PropertyKey, RecordId, Relationship, RelationshipType,
    },
};

/// Most data bytes of one dynamic record: the largest block size that can be configured, with the legacy header.
pub const DYNAMIC_DATA_MAX: u32 = 65_535 + 13;

/// Most bytes that one step can use: the entry's five, a property with four blocks, and a dynamic record.
pub(super) const STEP_MAX: usize = 5 + 35 + 4 * 37 + 33 + 65_548 + 4;

const NODE: u8 = 1;
const PROPERTY: u8 = 2;
const RELATIONSHIP: u8 = 3;
const RELATIONSHIP_TYPE: u8 = 4;
const PROPERTY_KEY: u8 = 5;
const NEOSTORE: u8 = 6;

/// Ids below 2³⁵ (`docs/formats/store-format.md` §5.1).
const NODE_BITS: u32 = 35;
/// Ids below 2³⁶.
const PROPERTY_BITS: u32 = 36;

/// What of the current command is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: the next byte is that of an entry.
    Nothing,
    /// Blocks of a current property, of whose last read block `records` dynamic records are still to come.
    Blocks(Unfinished, u32),
    /// Dynamic records, and nothing else.
    Records(Store, u32),
}

/// A current property whose blocks have not all been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfinished {
    id: RecordId,
    property: Property,
    blocks: u8,
    total: u8,
}

/// Where the dynamic records of a command belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// Their own type says: strings or arrays.
    Values,
    /// Names of this store, type 0.
    Names(StoreFile),
}

/// Reads the first step of a command; `place` follows what is being read, for errors.
pub(super) fn first<'a>(
    fields: &mut Fields<'a>,
    format: LogFormat,
    place: &mut LogElement,
    rest: &mut Rest,
) -> Decoded<Change<'a>> {
    let kind = fields.u8()?;
    *place = match kind {
        0 => return Err(LogProblem::EndOfLog.into()),
        NODE => LogElement::Node,
        PROPERTY => LogElement::Property,
        RELATIONSHIP => LogElement::Relationship,
        RELATIONSHIP_TYPE => LogElement::RelationshipType,
        PROPERTY_KEY => LogElement::PropertyKey,
        NEOSTORE if format == LogFormat::V2 => LogElement::GraphProperty,
        _ => return Err(LogProblem::UnknownCommand(kind).into()),
    };
    match kind {
        NODE => node(fields),
        RELATIONSHIP => relationship(fields),
        RELATIONSHIP_TYPE => relationship_type(fields, rest),
        PROPERTY_KEY => property_key(fields, rest),
        NEOSTORE => Ok(Change::GraphProperty(pointer(
            fields,
            "first graph property",
            PROPERTY_BITS,
        )?)),
        _ => match format {
            LogFormat::V1 => legacy_property(fields, rest),
            LogFormat::V2 => property(fields, format, place, rest),
        },
    }
}

/// Reads the next step of a command of which `rest` is not [`Rest::Nothing`].
pub(super) fn next<'a>(
    fields: &mut Fields<'a>,
    format: LogFormat,
    place: &mut LogElement,
    rest: &mut Rest,
) -> Decoded<Change<'a>> {
    match *rest {
        Rest::Blocks(unfinished, records) => blocks(fields, format, place, rest, unfinished, records),
        Rest::Records(store, records) => {
            *place = LogElement::DynamicRecord;
            let change = dynamic(fields, format, store)?;
            *rest = records_left(store, records.saturating_sub(1));
            Ok(change)
        }
        Rest::Nothing => Err(LogProblem::UnknownCommand(0).into()),
    }
}

fn records_left(store: Store, records: u32) -> Rest {
    match records {
        0 => Rest::Nothing,
        records => Rest::Records(store, records),
    }
}

#[inline]
fn node<'a>(fields: &mut Fields<'a>) -> Decoded<Change<'a>> {
    let id = id(fields, NODE_BITS)?;
    Ok(Change::Node(
        id,
        if in_use(fields)? {
            Some(Node {
                first_relationship: pointer(fields, "first relationship", NODE_BITS)?,
                first_property: pointer(fields, "first property", PROPERTY_BITS)?,
            })
        } else {
            None
        },
    ))
}

#[inline]
fn relationship<'a>(fields: &mut Fields<'a>) -> Decoded<Change<'a>> {
    let id = id(fields, NODE_BITS)?;
    if !in_use(fields)? {
        return Ok(Change::Relationship(id, None));
    }
    let first_node = pointer(fields, "first node", NODE_BITS)?;
    let second_node = pointer(fields, "second node", NODE_BITS)?;
    let type_id = fields.i32()?;
    Ok(Change::Relationship(
        id,
        Some(Relationship {
            first_node,
            second_node,
            type_id: u16::try_from(type_id).map_err(|_| value("relationship type", type_id))?,
            first_previous: pointer(fields, "first previous", NODE_BITS)?,
            first_next: pointer(fields, "first next", NODE_BITS)?,
            second_previous: pointer(fields, "second previous", NODE_BITS)?,
            second_next: pointer(fields, "second next", NODE_BITS)?,
            first_property: pointer(fields, "first property", PROPERTY_BITS)?,
        }),
    ))
}

fn relationship_type<'a>(fields: &mut Fields<'a>, rest: &mut Rest) -> Decoded<Change<'a>> {
    let id = fields.i32()?;
    let id = RecordId(u16::try_from(id).map_err(|_| value("relationship type", id))?.into());
    let used = in_use(fields)?;
    let name_block = name_block(fields)?;
    let records = fields.size("number of name blocks", u32::MAX)?;
    *rest = records_left(Store::Names(StoreFile::RelationshipTypeName), records);
    Ok(Change::RelationshipType(
        id,
        used.then_some(RelationshipType { name_block }),
    ))
}

fn property_key<'a>(fields: &mut Fields<'a>, rest: &mut Rest) -> Decoded<Change<'a>> {
    let id = fields.i32()?;
    let id = RecordId(u32::try_from(id).map_err(|_| value("property key", id))?.into());
    let used = in_use(fields)?;
    let property_count = fields.i32()?;
    let name_block = name_block(fields)?;
    let records = fields.size("number of name blocks", u32::MAX)?;
    *rest = records_left(Store::Names(StoreFile::PropertyKeyName), records);
    Ok(Change::PropertyKey(
        id,
        used.then_some(PropertyKey {
            property_count,
            name_block,
        }),
    ))
}

fn legacy_property<'a>(fields: &mut Fields<'a>, rest: &mut Rest) -> Decoded<Change<'a>> {
    let id = id(fields, PROPERTY_BITS)?;
    let used = property_flags(fields)?;
    let _owner = fields.i64()?;
    let property = if used {
        let type_code = fields.i32()?;
        let key = fields.i32()?;
        Some(LegacyProperty {
            type_code: match u16::try_from(type_code) {
                Ok(code @ 1..=11) => code,
                _ => return Err(value("property type", type_code)),
            },
            key: u32::try_from(key).map_err(|_| value("property key", key))?,
            value: fields.u64()?,
            previous: pointer(fields, "previous property", PROPERTY_BITS)?,
            next: pointer(fields, "next property", PROPERTY_BITS)?,
        })
    } else {
        None
    };
    let records = fields.size("number of dynamic records", u32::MAX)?;
    *rest = records_left(Store::Values, records);
    Ok(Change::LegacyProperty(id, property))
}

#[inline]
fn property<'a>(
    fields: &mut Fields<'a>,
    format: LogFormat,
    place: &mut LogElement,
    rest: &mut Rest,
) -> Decoded<Change<'a>> {
    let id = id(fields, PROPERTY_BITS)?;
    let used = property_flags(fields)?;
    let next = pointer(fields, "next property", PROPERTY_BITS)?;
    let previous = pointer(fields, "previous property", PROPERTY_BITS)?;
    let _owner = fields.i64()?;
    let total = fields.u8()?;
    if total > 4 {
        return Err(value("number of blocks", total));
    }
    if used != (total > 0) {
        return Err(LogProblem::InUse(total).into());
    }
    let property = Property {
        previous,
        next,
        payload: [0; 4],
        used: 0,
    };
    let unfinished = Unfinished {
        id,
        property,
        blocks: total,
        total,
    };
    blocks(fields, format, place, rest, unfinished, 0)
}

/// Goes on with a current property until one change is complete.
#[inline]
fn blocks<'a>(
    fields: &mut Fields<'a>,
    format: LogFormat,
    place: &mut LogElement,
    rest: &mut Rest,
    mut unfinished: Unfinished,
    mut records: u32,
) -> Decoded<Change<'a>> {
    loop {
        if let Some(left) = records.checked_sub(1) {
            *place = LogElement::DynamicRecord;
            let change = dynamic(fields, format, Store::Values)?;
            *rest = Rest::Blocks(unfinished, left);
            return Ok(change);
        }
        *place = LogElement::Property;
        let Some(left) = unfinished.blocks.checked_sub(1) else {
            break;
        };
        unfinished.blocks = left;
        let longs = match fields.u8()? {
            size @ (8 | 16 | 24 | 32) => size / 8,
            size => return Err(value("size of a property block", size)),
        };
        let used = unfinished.property.used;
        let payload = unfinished.property.payload.iter_mut().skip(used.into());
        if usize::from(longs) > payload.len() {
            let value = i64::from(used.saturating_add(longs)).saturating_mul(8);
            let (field, limit) = ("size of all property blocks", 32);
            return Err(LogProblem::Limit { field, value, limit }.into());
        }
        for long in payload.take(longs.into()) {
            *long = fields.u64()?;
        }
        unfinished.property.used = used.saturating_add(longs);
        records = fields.size("number of dynamic records", u32::MAX)?;
    }
    let deleted = fields.size("number of deleted dynamic records", u32::MAX)?;
    *rest = records_left(Store::Values, deleted);
    let used = unfinished.total > 0;
    Ok(Change::Property(unfinished.id, used.then_some(unfinished.property)))
}

#[inline]
fn dynamic<'a>(fields: &mut Fields<'a>, format: LogFormat, store: Store) -> Decoded<Change<'a>> {
    let id = id(fields, PROPERTY_BITS)?;
    if id.0 == 0 {
        // block 0 is the header of a dynamic store
        return Err(value("dynamic record", 0_u8));
    }
    let kind = fields.i32()?;
    let file = match (store, format, kind) {
        (Store::Names(file), _, 0) => file,
        (Store::Values, LogFormat::V1, 2) | (Store::Values, LogFormat::V2, 9) => StoreFile::String,
        (Store::Values, LogFormat::V1, 9) | (Store::Values, LogFormat::V2, 10) => StoreFile::Array,
        _ => return Err(value("type of a dynamic record", kind)),
    };
    if !in_use(fields)? {
        return Ok(Change::Dynamic(file, id, None));
    }
    let previous = match format {
        LogFormat::V1 => pointer(fields, "previous block", PROPERTY_BITS)?,
        LogFormat::V2 => None,
    };
    let length = fields.size("length of a dynamic record", DYNAMIC_DATA_MAX)?;
    let header = DynamicHeader {
        previous,
        next: pointer(fields, "next block", PROPERTY_BITS)?,
        length,
    };
    let data = fields.bytes(usize::try_from(length).map_err(|_| Stop::Short)?)?;
    Ok(Change::Dynamic(file, id, Some((header, data))))
}

fn value(field: &'static str, value: impl Into<i64>) -> Stop {
    let value = value.into();
    LogProblem::Value { field, value }.into()
}

#[inline]
fn in_use(fields: &mut Fields<'_>) -> Decoded<bool> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        flags => Err(value("in-use flag", flags)),
    }
}

/// Bit 0 is in use, bit 1 says that the owner is a relationship.
#[inline]
fn property_flags(fields: &mut Fields<'_>) -> Decoded<bool> {
    match fields.u8()? {
        flags @ 0..=3 => Ok(flags & 1 == 1),
        flags => Err(value("property flags", flags)),
    }
}

#[inline]
fn id(fields: &mut Fields<'_>, bits: u32) -> Decoded<RecordId> {
    pointer(fields, "record id", bits)?.ok_or(value("record id", -1))
}

/// −1, or an id of at most `bits` bits; the one that looks like −1 in a record is never handed out.
#[inline]
fn pointer(fields: &mut Fields<'_>, field: &'static str, bits: u32) -> Decoded<Pointer> {
    let pointer = fields.i64()?;
    match u64::try_from(pointer) {
        Ok(id) if id.checked_shr(bits) == Some(0) && id != 0xFFFF_FFFF => Ok(Some(RecordId(id))),
        Err(_) if pointer == -1 => Ok(None),
        _ => Err(value(field, pointer)),
    }
}

/// −1, or the block where a name begins, 32 bits wide but never with the top bit.
fn name_block(fields: &mut Fields<'_>) -> Decoded<Pointer> {
    let block = fields.i32()?;
    match u32::try_from(block) {
        Ok(id) => Ok(Some(RecordId(id.into()))),
        Err(_) if block == -1 => Ok(None),
        Err(_) => Err(value("name block", block)),
    }
}
