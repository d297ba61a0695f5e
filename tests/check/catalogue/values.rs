//! Properties, blocks and names.

use super::{
    Expected, at,
    store::{Damaged, id},
};
use neo4j_backup_core::check::Rule;
use neo4j_format::store::{
    StoreFile, StoreFormat,
    record::{DynamicHeader, LegacyProperty, PropertyKey, RecordId, RelationshipType},
};

/// A property record and the key of its first property.
fn some_property(store: &Damaged) -> (u64, u32) {
    match store.format {
        StoreFormat::Legacy => {
            let (id, found) = store.legacy_properties()[0];
            (id, found.key)
        }
        StoreFormat::Current => {
            let (id, found) = store.current_properties()[0];
            (id, u32::try_from(found.payload[0] & 0xFF_FFFF).unwrap())
        }
    }
}

/// Writes over the first long of a current property, or changes a legacy one.
fn rewrite(
    store: &Damaged,
    property: u64,
    current: impl Fn(u64) -> u64,
    legacy: impl Fn(LegacyProperty) -> LegacyProperty,
) {
    let bytes = store.record(StoreFile::Property, property);
    match store.format {
        StoreFormat::Legacy => {
            let found = LegacyProperty::decode(bytes.first_chunk().unwrap()).unwrap();
            store.write(StoreFile::Property, property, 0, &legacy(found).encode().unwrap());
        }
        StoreFormat::Current => {
            let first = u64::from_be_bytes(*bytes[9..].first_chunk().unwrap());
            store.write(StoreFile::Property, property, 9, &current(first).to_be_bytes());
        }
    }
}

pub(super) fn key_is_deleted(store: &Damaged) -> Option<Expected> {
    let (property, key) = some_property(store);
    store.write(StoreFile::PropertyKey, u64::from(key), 0, &[0]);
    at(Rule::KeyNotInUse, StoreFile::Property, property)
}

pub(super) fn key_never_was(store: &Damaged) -> Option<Expected> {
    let (property, _) = some_property(store);
    rewrite(
        store,
        property,
        |first| first | 0xFF_FFFF,
        |found| LegacyProperty { key: u32::MAX, ..found },
    );
    at(Rule::KeyNotInUse, StoreFile::Property, property)
}

pub(super) fn key_comes_twice_in_a_chain(store: &Damaged) -> Option<Expected> {
    let all = store.properties();
    let (head, second) = all
        .iter()
        .find_map(|(id, links)| Some((*id, links.next.filter(|_| links.previous.is_none())?.0)))
        .unwrap();
    let key = match store.format {
        StoreFormat::Legacy => {
            let found = store.legacy_properties().into_iter().find(|(id, _)| *id == head);
            found.unwrap().1.key
        }
        StoreFormat::Current => {
            let found = store.current_properties().into_iter().find(|(id, _)| *id == head);
            u32::try_from(found.unwrap().1.payload[0] & 0xFF_FFFF).unwrap()
        }
    };
    rewrite(
        store,
        second,
        |first| first & !0xFF_FFFF | u64::from(key),
        |found| LegacyProperty { key, ..found },
    );
    at(Rule::KeyTwice, StoreFile::Property, head)
}

pub(super) fn type_of_a_property_does_not_exist(store: &Damaged) -> Option<Expected> {
    let (property, _) = some_property(store);
    rewrite(
        store,
        property,
        |first| first | 15 << 24,
        |found| LegacyProperty { type_code: 77, ..found },
    );
    at(Rule::InvalidPropertyType, StoreFile::Property, property)
}

pub(super) fn type_behind_the_blocks_does_not_exist(store: &Damaged) -> Option<Expected> {
    if store.format == StoreFormat::Legacy {
        return None;
    }
    let mut all = store.current_properties().into_iter();
    let (property, _) = all.find(|(_, found)| found.used == 1).unwrap();
    store.write(StoreFile::Property, property, 17, &(14_u64 << 24).to_be_bytes());
    at(Rule::InvalidPropertyType, StoreFile::Property, property)
}

pub(super) fn value_of_a_property_is_illegal(store: &Damaged) -> Option<Expected> {
    let (property, _) = some_property(store);
    // a short string of encoding 31; a boolean that is 2
    rewrite(
        store,
        property,
        |first| first & 0xFF_FFFF | 11 << 24 | 31 << 28,
        |found| LegacyProperty {
            type_code: 3,
            value: 2,
            ..found
        },
    );
    at(Rule::InvalidPropertyValue, StoreFile::Property, property)
}

pub(super) fn string_block_is_deleted(store: &Damaged) -> Option<Expected> {
    let (property, blocks) = store.long_value(StoreFile::String, 1);
    store.write(StoreFile::String, blocks[0], 0, &[0]);
    at(Rule::StringNotInUse, StoreFile::Property, property)
}

pub(super) fn array_block_is_deleted(store: &Damaged) -> Option<Expected> {
    let (property, blocks) = store.long_value(StoreFile::Array, 1);
    store.write(StoreFile::Array, blocks[0], 0, &[0]);
    at(Rule::ArrayNotInUse, StoreFile::Property, property)
}

pub(super) fn string_lies_behind_the_file(store: &Damaged) -> Option<Expected> {
    let (property, _) = store.long_value(StoreFile::String, 1);
    store.set_long_value(property, 1 << 34);
    at(Rule::StringNotInUse, StoreFile::Property, property)
}

fn empty(store: &Damaged, file: StoreFile, block: u64) {
    let header = store.header(file, block);
    store.set_header(file, block, DynamicHeader { length: 0, ..header });
}

pub(super) fn string_is_empty(store: &Damaged) -> Option<Expected> {
    let (property, blocks) = store.long_value(StoreFile::String, 1);
    empty(store, StoreFile::String, blocks[0]);
    at(Rule::StringEmpty, StoreFile::Property, property)
}

pub(super) fn array_is_empty(store: &Damaged) -> Option<Expected> {
    let (property, blocks) = store.long_value(StoreFile::Array, 1);
    empty(store, StoreFile::Array, blocks[0]);
    at(Rule::ArrayEmpty, StoreFile::Property, property)
}

fn share(store: &Damaged, file: StoreFile, rule: Rule) -> Option<Expected> {
    let all = store.long_values(file);
    let ((_, block), (other, _)) = (all[0], all[1]);
    store.set_long_value(other, block);
    at(rule, file, block)
}

pub(super) fn two_properties_share_a_string(store: &Damaged) -> Option<Expected> {
    share(store, StoreFile::String, Rule::StringMultipleOwners)
}

pub(super) fn two_properties_share_an_array(store: &Damaged) -> Option<Expected> {
    share(store, StoreFile::Array, Rule::ArrayMultipleOwners)
}

pub(super) fn block_claims_too_much(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 1);
    let header = store.header(StoreFile::String, blocks[0]);
    store.set_header(StoreFile::String, blocks[0], DynamicHeader { length: 121, ..header });
    at(Rule::InvalidLength, StoreFile::String, blocks[0])
}

pub(super) fn block_holds_nothing(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 1);
    empty(store, StoreFile::String, blocks[0]);
    at(Rule::EmptyBlock, StoreFile::String, blocks[0])
}

fn set_next(store: &Damaged, file: StoreFile, block: u64, next: u64) {
    let header = store.header(file, block);
    store.set_header(
        file,
        block,
        DynamicHeader {
            next: id(next),
            ..header
        },
    );
}

pub(super) fn block_is_its_own_next(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 2);
    set_next(store, StoreFile::String, blocks[0], blocks[0]);
    at(Rule::SelfReferentialNext, StoreFile::String, blocks[0])
}

pub(super) fn next_block_is_deleted(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 2);
    store.write(StoreFile::String, blocks[1], 0, &[0]);
    at(Rule::NextBlockNotInUse, StoreFile::String, blocks[0])
}

pub(super) fn next_block_holds_nothing(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 2);
    empty(store, StoreFile::String, blocks[1]);
    at(Rule::EmptyNextBlock, StoreFile::String, blocks[0])
}

pub(super) fn full_block_is_shortened(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 2);
    let header = store.header(StoreFile::String, blocks[0]);
    store.set_header(StoreFile::String, blocks[0], DynamicHeader { length: 100, ..header });
    at(Rule::RecordNotFullReferencesNext, StoreFile::String, blocks[0])
}

pub(super) fn previous_block_is_another(store: &Damaged) -> Option<Expected> {
    if store.format == StoreFormat::Current {
        return None;
    }
    let (_, blocks) = store.long_value(StoreFile::String, 2);
    let header = store.header(StoreFile::String, blocks[1]);
    store.set_header(
        StoreFile::String,
        blocks[1],
        DynamicHeader {
            previous: None,
            ..header
        },
    );
    at(Rule::PreviousBlockDiffers, StoreFile::String, blocks[1])
}

pub(super) fn block_is_forgotten(store: &Damaged) -> Option<Expected> {
    let all = store.long_values(StoreFile::Array);
    let ((_, block), (other, forgotten)) = (all[0], all[1]);
    store.set_long_value(other, block);
    at(Rule::OrphanDynamicRecord, StoreFile::Array, forgotten)
}

pub(super) fn rest_of_a_string_is_forgotten(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 2);
    let header = store.header(StoreFile::String, blocks[0]);
    store.set_header(StoreFile::String, blocks[0], DynamicHeader { next: None, ..header });
    at(Rule::OrphanDynamicRecord, StoreFile::String, blocks[1])
}

pub(super) fn blocks_form_a_ring(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 3);
    let last = *blocks.last().unwrap();
    let header = store.header(StoreFile::String, blocks[0]);
    store.set_header(StoreFile::String, blocks[0], DynamicHeader { next: None, ..header });
    let header = store.header(StoreFile::String, last);
    store.set_header(
        StoreFile::String,
        last,
        DynamicHeader {
            next: id(blocks[1]),
            length: 120,
            ..header
        },
    );
    let header = store.header(StoreFile::String, blocks[1]);
    store.set_header(
        StoreFile::String,
        blocks[1],
        DynamicHeader {
            previous: id(last).filter(|_| store.format == StoreFormat::Legacy),
            ..header
        },
    );
    at(Rule::BlockCycle, StoreFile::String, *blocks[1..].iter().min().unwrap())
}

pub(super) fn text_is_cut_in_a_character(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::String, 1);
    let last = *blocks.last().unwrap();
    match store.format {
        StoreFormat::Legacy => {
            let header = store.header(StoreFile::String, last);
            let length = header.length - 1;
            store.set_header(StoreFile::String, last, DynamicHeader { length, ..header });
        }
        StoreFormat::Current => store.set_data(StoreFile::String, last, 0, &[0xFF]),
    }
    at(Rule::InvalidText, StoreFile::String, blocks[0])
}

pub(super) fn array_has_another_element_type(store: &Damaged) -> Option<Expected> {
    let (_, blocks) = store.long_value(StoreFile::Array, 1);
    store.set_data(StoreFile::Array, blocks[0], 0, &[99]);
    at(Rule::InvalidArray, StoreFile::Array, blocks[0])
}

pub(super) fn array_is_cut(store: &Damaged) -> Option<Expected> {
    let block = store.long_value(StoreFile::Array, 1).1[0];
    let strings = match store.format {
        StoreFormat::Legacy => 2,
        StoreFormat::Current => 9,
    };
    // an array of a thousand strings, whatever it was
    store.set_data(StoreFile::Array, block, 0, &[strings, 0, 0, 3, 0xE8]);
    at(Rule::InvalidArray, StoreFile::Array, block)
}

fn name_of_type(store: &Damaged, kind: u64) -> u64 {
    let bytes = store.record(StoreFile::RelationshipType, kind);
    let found = RelationshipType::decode(bytes.first_chunk().unwrap()).unwrap();
    found.name_block.unwrap().0
}

/// The keys that have a name; those of transactions that were rolled back do not.
fn named_keys(store: &Damaged) -> Vec<u64> {
    let records = (store.bytes(StoreFile::PropertyKey.name()).len() / store.size(StoreFile::PropertyKey)) as u64;
    let name = |key: &u64| {
        let bytes = store.record(StoreFile::PropertyKey, *key);
        PropertyKey::decode(bytes.first_chunk().unwrap()).and_then(|key| key.name_block)
    };
    (0..records - 3).filter(|key| name(key).is_some()).collect()
}

fn name_of_key(store: &Damaged, key: u64) -> u64 {
    let bytes = store.record(StoreFile::PropertyKey, key);
    PropertyKey::decode(bytes.first_chunk().unwrap())
        .unwrap()
        .name_block
        .unwrap()
        .0
}

pub(super) fn name_of_a_type_is_cut_in_a_character(store: &Damaged) -> Option<Expected> {
    let (file, block) = (StoreFile::RelationshipTypeName, name_of_type(store, 0));
    let header = store.header(file, block);
    match store.format {
        StoreFormat::Legacy => {
            let length = header.length - 1;
            store.set_header(file, block, DynamicHeader { length, ..header });
        }
        StoreFormat::Current => store.set_data(file, block, 0, &[0xC3]),
    }
    at(Rule::InvalidText, file, block)
}

pub(super) fn name_of_a_type_is_deleted(store: &Damaged) -> Option<Expected> {
    let block = name_of_type(store, 0);
    store.write(StoreFile::RelationshipTypeName, block, 0, &[0]);
    at(Rule::NameBlockNotInUse, StoreFile::RelationshipType, 0)
}

pub(super) fn name_of_a_key_is_deleted(store: &Damaged) -> Option<Expected> {
    let key = named_keys(store)[0];
    let block = name_of_key(store, key);
    store.write(StoreFile::PropertyKeyName, block, 0, &[0]);
    at(Rule::NameBlockNotInUse, StoreFile::PropertyKey, key)
}

pub(super) fn name_is_empty(store: &Damaged) -> Option<Expected> {
    let key = named_keys(store)[0];
    empty(store, StoreFile::PropertyKeyName, name_of_key(store, key));
    at(Rule::EmptyName, StoreFile::PropertyKey, key)
}

pub(super) fn two_keys_share_a_name(store: &Damaged) -> Option<Expected> {
    let keys = named_keys(store);
    let block = name_of_key(store, keys[0]);
    let key = PropertyKey {
        property_count: 0,
        name_block: Some(RecordId(block)),
    };
    store.write(StoreFile::PropertyKey, keys[1], 0, &key.encode().unwrap());
    at(Rule::NameMultipleOwners, StoreFile::PropertyKeyName, block)
}

pub(super) fn in_use_byte_of_a_type(store: &Damaged) -> Option<Expected> {
    store.write(StoreFile::RelationshipType, 0, 0, &[3]);
    at(Rule::IllegalInUse, StoreFile::RelationshipType, 0)
}

pub(super) fn in_use_byte_of_a_key(store: &Damaged) -> Option<Expected> {
    store.write(StoreFile::PropertyKey, 0, 0, &[0x81]);
    at(Rule::IllegalInUse, StoreFile::PropertyKey, 0)
}

pub(super) fn in_use_byte_of_a_block(store: &Damaged) -> Option<Expected> {
    if store.format == StoreFormat::Legacy {
        return None;
    }
    let (_, blocks) = store.long_value(StoreFile::String, 1);
    store.write(StoreFile::String, blocks[0], 0, &[0x30]);
    at(Rule::IllegalInUse, StoreFile::String, blocks[0])
}
