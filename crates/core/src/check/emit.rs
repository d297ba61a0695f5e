//! The claims that a record of any store makes about others.

use super::{
    claim::{self, Claim, Pointing},
    lookup::PropertyRecord,
    stores::Stores,
};
use neo4j_format::store::{
    StoreFile,
    record::{Node, PropertyKey, Relationship, RelationshipType},
};

/// Emits every claim of a record.
pub(super) fn emit_claims(stores: &Stores, kind: StoreFile, id: u64, bytes: &[u8], sink: &mut impl FnMut(Claim)) {
    match kind {
        StoreFile::Node => {
            if let Some(node) = bytes.first_chunk().and_then(Node::decode) {
                claim::node(id, &node, sink);
            }
        }
        StoreFile::Relationship => {
            if let Some(relationship) = bytes.first_chunk().and_then(Relationship::decode) {
                claim::relationship(id, &relationship, sink);
            }
        }
        StoreFile::Property => {
            if let Some(record) = PropertyRecord::decode(stores.format, bytes) {
                claim::property(id, &record, sink);
            }
        }
        StoreFile::RelationshipType | StoreFile::PropertyKey => {
            emit_name(stores, kind, id, bytes, sink);
        }
        StoreFile::Neostore => {}
        file => {
            if id > 0
                && let Some((header, _)) = stores.block(bytes)
            {
                claim::block(file, id, &header, stores.format, sink);
            }
        }
    }
}

/// Emits the claim of a relationship type or property key; returns whether it is in use.
pub(super) fn emit_name(stores: &Stores, kind: StoreFile, id: u64, bytes: &[u8], sink: &mut impl FnMut(Claim)) -> bool {
    let (block, file, pointing) = if kind == StoreFile::RelationshipType {
        let found = bytes.first_chunk().and_then(RelationshipType::decode);
        let block = found.map(|found| found.name_block);
        (block, StoreFile::RelationshipTypeName, Pointing::TypeName)
    } else {
        let found = bytes.first_chunk().and_then(PropertyKey::decode);
        let block = found.map(|found| found.name_block);
        (block, StoreFile::PropertyKeyName, Pointing::KeyName)
    };
    if let Some(block) = block {
        claim::name(id, block, stores.format, (file, pointing), sink);
    }
    block.is_some()
}
