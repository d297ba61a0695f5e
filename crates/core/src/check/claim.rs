//! Double entry: what one record says of another, the other must confirm.
//!
//! A relationship whose next one is 7 *credits* "7 comes behind me at this node", and relationship 7 *debits* it by its
//! previous pointer. In a consistent store every credit has its one debit. Which record says what is written here once,
//! for the pass that adds them up and for the one that finds what does not match ([`super::ledger`]).

use super::lookup::{Content, PropertyRecord};
use neo4j_format::store::{
    StoreFile, StoreFormat,
    record::{DynamicHeader, Node, Pointer, RecordId, Relationship},
};

/// Which end of a relationship.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Source,
    Target,
}

/// Node and neighbours of a relationship on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) node: Pointer,
    pub(super) previous: Pointer,
    pub(super) next: Pointer,
}

impl Side {
    pub(super) const BOTH: [Side; 2] = [Side::Source, Side::Target];

    #[inline]
    pub(super) fn of(self, relationship: &Relationship) -> End {
        match self {
            Side::Source => End {
                node: relationship.first_node,
                previous: relationship.first_previous,
                next: relationship.first_next,
            },
            Side::Target => End {
                node: relationship.second_node,
                previous: relationship.second_previous,
                next: relationship.second_next,
            },
        }
    }

    /// The side on which a relationship has this node; of a loop the source side.
    pub(super) fn with(node: RecordId, relationship: &Relationship) -> Option<Side> {
        Side::BOTH
            .into_iter()
            .find(|side| side.of(relationship).node == Some(node))
    }

    /// The sides of a relationship; of a loop, whose sides are equal, one.
    pub(super) fn distinct(relationship: &Relationship) -> &'static [Side] {
        if relationship.is_loop() {
            &[Side::Source]
        } else {
            &Side::BOTH
        }
    }
}

/// The pointer that says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pointing {
    NodeRelationship,
    NodeProperty,
    RelationshipPrevious(Side),
    RelationshipNext(Side),
    RelationshipProperty,
    GraphProperty,
    PropertyPrevious,
    PropertyNext,
    /// A string or array of a property.
    PropertyValue(StoreFile),
    TypeName,
    KeyName,
    BlockNext(StoreFile),
    /// A block in use, which wants to be referred to.
    Block(StoreFile),
    /// The previous block of a block of the old format.
    BlockPrevious(StoreFile),
}

impl Pointing {
    /// The store of the record that has the pointer.
    pub(super) fn store(self) -> StoreFile {
        match self {
            Pointing::NodeRelationship | Pointing::NodeProperty => StoreFile::Node,
            Pointing::RelationshipPrevious(_) | Pointing::RelationshipNext(_) | Pointing::RelationshipProperty => {
                StoreFile::Relationship
            }
            Pointing::GraphProperty => StoreFile::Neostore,
            Pointing::PropertyPrevious | Pointing::PropertyNext | Pointing::PropertyValue(_) => StoreFile::Property,
            Pointing::TypeName => StoreFile::RelationshipType,
            Pointing::KeyName => StoreFile::PropertyKey,
            Pointing::BlockNext(file) | Pointing::Block(file) | Pointing::BlockPrevious(file) => file,
        }
    }
}

/// What is said; credit and debit of the same thing have equal keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    kind: PointingKind,
    owner: u64,
    /// One more than the id, 0 for none.
    previous: u64,
    pub(super) record: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PointingKind {
    /// At node `owner`, `record` comes behind `previous`.
    Relationship,
    /// Property `record` comes behind `previous`, or is the first of something.
    Property,
    /// Block `record` is referred to.
    Block(StoreFile),
    /// Block `record` comes behind `previous`: the old format.
    BlockOrder(StoreFile),
}

impl Key {
    /// Three words that differ between any two keys.
    #[inline]
    pub(super) fn words(&self) -> [u64; 3] {
        let kind = match self.kind {
            PointingKind::Relationship => 0,
            PointingKind::Property => 1,
            PointingKind::Block(file) => 2 + number(file),
            PointingKind::BlockOrder(file) => 6 + number(file),
        };
        // ids have 36 bits at most
        [self.owner << 4 ^ kind, self.previous, self.record]
    }

    /// The store whose block several records refer to, if it is about that.
    pub(super) fn block(&self) -> Option<StoreFile> {
        match self.kind {
            PointingKind::Block(file) => Some(file),
            _ => None,
        }
    }

    /// Whether it is about a block.
    pub(super) fn is_of_block(&self) -> bool {
        matches!(self.kind, PointingKind::Block(_) | PointingKind::BlockOrder(_))
    }

    /// Whether it is about the order of blocks rather than their being referred to.
    pub(super) fn is_order(&self) -> bool {
        matches!(self.kind, PointingKind::BlockOrder(_))
    }

    /// Whether it is the head of a property chain.
    pub(super) fn is_first_property(&self) -> bool {
        self.kind == PointingKind::Property && self.previous == 0
    }
}

fn number(file: StoreFile) -> u64 {
    match file {
        StoreFile::RelationshipTypeName => 0,
        StoreFile::PropertyKeyName => 1,
        StoreFile::String => 2,
        _ => 3,
    }
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) key: Key,
    pub(super) entry: Entry,
    /// Who says it.
    pub(super) pointing: Pointing,
    pub(super) id: u64,
}

impl Claim {
    /// The record that the pointer leads to.
    pub(super) fn neighbour(&self) -> Option<(StoreFile, u64)> {
        let (record, previous) = (self.key.record, self.key.previous.checked_sub(1));
        match self.pointing {
            Pointing::NodeRelationship | Pointing::RelationshipNext(_) => Some((StoreFile::Relationship, record)),
            Pointing::RelationshipPrevious(_) => match previous {
                Some(previous) => Some((StoreFile::Relationship, previous)),
                None => Some((StoreFile::Node, self.key.owner)),
            },
            Pointing::NodeProperty
            | Pointing::RelationshipProperty
            | Pointing::GraphProperty
            | Pointing::PropertyNext => Some((StoreFile::Property, record)),
            Pointing::PropertyPrevious => previous.map(|previous| (StoreFile::Property, previous)),
            Pointing::PropertyValue(file) | Pointing::BlockNext(file) => Some((file, record)),
            Pointing::TypeName => Some((StoreFile::RelationshipTypeName, record)),
            Pointing::KeyName => Some((StoreFile::PropertyKeyName, record)),
            Pointing::Block(_) | Pointing::BlockPrevious(_) => None,
        }
    }
}

/// Each needs the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    Credit,
    Debit,
}

#[inline]
fn optional(pointer: Pointer) -> u64 {
    pointer.map_or(0, |RecordId(id)| id.saturating_add(1))
}

#[inline]
fn chain(node: RecordId, previous: Pointer, record: u64) -> Key {
    Key {
        kind: PointingKind::Relationship,
        owner: node.0,
        previous: optional(previous),
        record,
    }
}

#[inline]
fn property_after(previous: Pointer, record: u64) -> Key {
    Key {
        kind: PointingKind::Property,
        owner: 0,
        previous: optional(previous),
        record,
    }
}

#[inline]
fn credit(key: Key, pointing: Pointing, id: u64) -> Claim {
    Claim {
        key,
        entry: Entry::Credit,
        pointing,
        id,
    }
}

#[inline]
fn debit(key: Key, pointing: Pointing, id: u64) -> Claim {
    Claim {
        key,
        entry: Entry::Debit,
        pointing,
        id,
    }
}

/// The first property of something is credited by it.
#[inline]
pub(super) fn owner(property: Pointer, pointing: Pointing, id: u64, say: &mut impl FnMut(Claim)) {
    if let Some(RecordId(property)) = property {
        say(credit(property_after(None, property), pointing, id));
    }
}

/// What a node says.
#[inline]
pub(super) fn node(id: u64, node: &Node, say: &mut impl FnMut(Claim)) {
    if let Some(RecordId(first)) = node.first_relationship {
        let key = chain(RecordId(id), None, first);
        say(credit(key, Pointing::NodeRelationship, id));
    }
    owner(node.first_property, Pointing::NodeProperty, id, say);
}

/// What a relationship says.
#[inline]
pub(super) fn relationship(id: u64, relationship: &Relationship, say: &mut impl FnMut(Claim)) {
    neighbours(Side::Source, id, relationship, say);
    if !relationship.is_loop() {
        neighbours(Side::Target, id, relationship, say);
    }
    owner(relationship.first_property, Pointing::RelationshipProperty, id, say);
}

#[inline]
fn neighbours(side: Side, id: u64, relationship: &Relationship, say: &mut impl FnMut(Claim)) {
    let end = side.of(relationship);
    let Some(node) = end.node else { return };
    let key = chain(node, end.previous, id);
    say(debit(key, Pointing::RelationshipPrevious(side), id));
    if let Some(RecordId(next)) = end.next {
        let key = chain(node, Some(RecordId(id)), next);
        say(credit(key, Pointing::RelationshipNext(side), id));
    }
}

/// What a property record says.
#[inline]
pub(super) fn property(id: u64, record: &PropertyRecord, say: &mut impl FnMut(Claim)) {
    property_links(id, record, say);
    super::value::long_values(record, |file, first| property_value(id, record, (file, first), say));
}

/// What it says of its neighbours.
#[inline]
pub(super) fn property_links(id: u64, record: &PropertyRecord, say: &mut impl FnMut(Claim)) {
    let key = property_after(record.previous, id);
    say(debit(key, Pointing::PropertyPrevious, id));
    if let Some(RecordId(next)) = record.next {
        let key = property_after(Some(RecordId(id)), next);
        say(credit(key, Pointing::PropertyNext, id));
    }
}

/// What it says of the first block of a value.
#[inline]
pub(super) fn property_value(
    id: u64,
    record: &PropertyRecord,
    (file, first): (StoreFile, RecordId),
    say: &mut impl FnMut(Claim),
) {
    let is_legacy = matches!(record.content, Content::One(_));
    refer(file, None, first, is_legacy, Pointing::PropertyValue(file), id, say);
}

/// A name record refers to its first block.
pub(super) fn name(
    id: u64,
    block: Pointer,
    format: StoreFormat,
    (file, pointing): (StoreFile, Pointing),
    say: &mut impl FnMut(Claim),
) {
    if let Some(first) = block {
        refer(file, None, first, format == StoreFormat::Legacy, pointing, id, say);
    }
}

/// What a block says. One that holds nothing is as good as not in use.
pub(super) fn block(
    file: StoreFile,
    id: u64,
    header: &DynamicHeader,
    format: StoreFormat,
    say: &mut impl FnMut(Claim),
) {
    let is_legacy = format == StoreFormat::Legacy;
    if header.length > 0 {
        say(debit(referred(file, id), Pointing::Block(file), id));
        if is_legacy {
            let key = ordered(file, header.previous, id);
            say(debit(key, Pointing::BlockPrevious(file), id));
        }
    }
    if let Some(next) = header.next {
        let previous = Some(RecordId(id));
        refer(file, previous, next, is_legacy, Pointing::BlockNext(file), id, say);
    }
}

fn refer(
    file: StoreFile,
    previous: Pointer,
    RecordId(block): RecordId,
    is_legacy: bool,
    pointing: Pointing,
    id: u64,
    say: &mut impl FnMut(Claim),
) {
    say(credit(referred(file, block), pointing, id));
    if is_legacy {
        say(credit(ordered(file, previous, block), pointing, id));
    }
}

/// That something refers to this block.
pub(super) fn referred(file: StoreFile, record: u64) -> Key {
    Key {
        kind: PointingKind::Block(file),
        owner: 0,
        previous: 0,
        record,
    }
}

fn ordered(file: StoreFile, previous: Pointer, record: u64) -> Key {
    Key {
        kind: PointingKind::BlockOrder(file),
        owner: 0,
        previous: optional(previous),
        record,
    }
}
