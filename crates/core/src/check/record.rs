//! The rules that one record breaks alone, or towards nodes, types and keys, which do not point back.

use super::{
    claim::Side,
    error::CheckError,
    judge::{Judge, shown},
    lookup::PropertyRecord,
    rules::Rule,
    value::{self, Wrong},
};
use neo4j_format::store::{
    StoreFile, StoreFormat,
    record::{DynamicHeader, RecordId, Relationship},
};

impl Judge<'_> {
    /// Type, nodes and the two halves of a loop.
    pub(super) fn relationship_alone(&mut self, id: u64, relationship: &Relationship) -> Result<(), CheckError> {
        let at = (StoreFile::Relationship, id);
        let kind = u64::from(relationship.type_id);
        if self.lookup.relationship_type(kind)?.is_none() {
            let absent = self.lookup.absent(StoreFile::RelationshipType, RecordId(kind));
            let other = Some((StoreFile::RelationshipType, RecordId(kind)));
            self.add(Rule::LabelNotInUse, at, || format!("its type {kind} {absent}"), other);
        }
        if relationship.first_node.is_none() {
            self.add(Rule::IllegalSourceNode, at, || "it has no start node".into(), None);
        }
        if relationship.second_node.is_none() {
            self.add(Rule::IllegalTargetNode, at, || "it has no end node".into(), None);
        }
        let (source, target) = (Side::Source.of(relationship), Side::Target.of(relationship));
        if source.node.is_some() && source.node == target.node && source != target {
            let message = || {
                format!(
                    "as the start it has previous {} and next {}, as the end previous {} and next {}",
                    shown(source.previous),
                    shown(source.next),
                    shown(target.previous),
                    shown(target.next)
                )
            };
            self.add(Rule::LoopPointersDiffer, at, message, None);
        }
        Ok(())
    }

    /// The node on one side.
    pub(super) fn relationship_node(
        &mut self,
        id: u64,
        relationship: &Relationship,
        side: Side,
    ) -> Result<(), CheckError> {
        let end = side.of(relationship);
        let Some(node) = end.node else { return Ok(()) };
        let at = (StoreFile::Relationship, id);
        let other = Some((StoreFile::Node, node));
        let (what, not_in_use, no_relationships) = match side {
            Side::Source => ("start", Rule::SourceNodeNotInUse, Rule::SourceNodeHasNoRelationships),
            Side::Target => ("end", Rule::TargetNodeNotInUse, Rule::TargetNodeHasNoRelationships),
        };
        match self.lookup.node(node)? {
            None => {
                let absent = self.lookup.absent(StoreFile::Node, node);
                self.add(not_in_use, at, || format!("its {what} node {node} {absent}"), other);
            }
            Some(found) => {
                if let (None, Some(previous)) = (found.first_relationship, end.previous) {
                    let message = || {
                        format!(
                            "its previous relationship at its {what} node {node} is {previous}, but that node has no relationships"
                        )
                    };
                    self.add(no_relationships, at, message, other);
                }
            }
        }
        Ok(())
    }

    /// Keys and values.
    pub(super) fn property_alone(&mut self, id: u64, record: &PropertyRecord) -> Result<(), CheckError> {
        let at = (StoreFile::Property, id);
        let mut faults = Vec::new();
        value::judge(record, |key, wrong| faults.push((key, wrong)));
        for (key, wrong) in faults {
            let of = key.map_or_else(|| "after its blocks".to_owned(), |key| format!("of key {key}"));
            match wrong {
                Wrong::Type(kind) => {
                    self.add(Rule::InvalidPropertyType, at, || format!("{of}: type {kind}"), None);
                }
                Wrong::Value(kind, why) => {
                    let message = || format!("{of}, type {kind}: {why}");
                    self.add(Rule::InvalidPropertyValue, at, message, None);
                }
            }
        }
        let mut keys = Vec::new();
        value::keys(record, |key| keys.push(u64::from(key)));
        for key in keys {
            if self.lookup.property_key(key)?.is_none() {
                let absent = self.lookup.absent(StoreFile::PropertyKey, RecordId(key));
                let other = Some((StoreFile::PropertyKey, RecordId(key)));
                self.add(Rule::KeyNotInUse, at, || format!("its key {key} {absent}"), other);
            }
        }
        Ok(())
    }

    /// Length and next block of a block.
    pub(super) fn block_alone(&mut self, file: StoreFile, id: u64, header: &DynamicHeader) {
        let at = (file, id);
        let (room, length) = (self.lookup.stores.room(file), header.length);
        if length > room {
            let message = || format!("its length is {length} bytes; the block holds at most {room}");
            self.add(Rule::InvalidLength, at, message, None);
        }
        if length == 0 {
            self.add(Rule::EmptyBlock, at, || "in use without data".into(), None);
        }
        let Some(next) = header.next else { return };
        if next.0 == id {
            let message = || format!("its next block is itself ({next})");
            self.add(Rule::SelfReferentialNext, at, message, None);
        }
        if length < room {
            let message = || format!("holds only {length} of {room} bytes, but its next block is {next}");
            self.add(Rule::RecordNotFullReferencesNext, at, message, Some((file, next)));
        }
    }

    /// The in-use byte of a type, key or block.
    pub(super) fn in_use_byte(&mut self, kind: StoreFile, id: u64, bytes: &[u8]) {
        let byte = bytes.first().copied().unwrap_or_default();
        if !is_legal_in_use(kind, self.lookup.stores.format, byte) {
            let message = || format!("its first byte is {byte:#04x}");
            self.add(Rule::IllegalInUse, (kind, id), message, None);
        }
    }
}

/// Whether a record of this store may begin with this byte.
pub(super) fn is_legal_in_use(kind: StoreFile, format: StoreFormat, byte: u8) -> bool {
    match (kind, format) {
        (StoreFile::RelationshipType | StoreFile::PropertyKey, _) => byte <= 1,
        (_, StoreFormat::Current) if kind.is_dynamic() => byte >> 4 <= 1,
        _ => true,
    }
}
