//! What a reader of a database sees: entities, properties, index entries, without records and chains.

use std::{collections::BTreeMap, fs::File, path::Path};

use super::{
    DatabaseError, Feed, feed::LoggedTransaction, image::Image, indexes::Indexes, records::properties::blocks_of,
};
use crate::value::{Value, current, legacy};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, TxId},
    log::{Buffer, Item, Layout, LogFormat, SecondPass, SlotReader, TransactionReader, files},
    store::{
        Header, StoreFile, StoreFormat,
        record::{Node, Pointer, RecordId},
    },
};

/// How many transactions are looked up at once.
const BATCH: usize = 1024;

/// Properties by key.
pub type Properties = BTreeMap<String, Value>;

/// A relationship as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Name of its type.
    pub kind: String,
    /// Start node.
    pub start: u64,
    /// End node.
    pub end: u64,
    /// Its properties.
    pub properties: Properties,
}

/// All that a reader sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Nodes by id.
    pub nodes: BTreeMap<u64, Properties>,
    /// Relationships by id.
    pub relationships: BTreeMap<u64, Edge>,
    /// Properties of the graph itself.
    pub graph: Properties,
    /// Indexes.
    pub indexes: Indexes,
}

impl Contents {
    /// What lies in a directory that nothing writes to: in its store files, and in its indexes' pending log.
    ///
    /// # Errors
    /// The directory cannot be read, or a record does not make sense.
    pub fn read(dir: &Path) -> Result<Contents, DatabaseError> {
        let header = Header::open(&DirHandle::open(dir).map_err(DiskError::at(dir))?)?;
        let format = header.format()?;
        let image = Image::read(dir, format, header.graph_property()?)?;
        let mut indexes = Indexes::configured(dir)?;
        let path = dir.join(files::slot(DataSource::Lucene, files::Slot::One));
        if path.exists() {
            let file = File::open(&path).map_err(DiskError::at(&path))?;
            let layout = Layout {
                format: LogFormat::from(format),
                source: DataSource::Lucene,
            };
            let (mut scan, mut pass) = (Buffer::new(), SecondPass::new(&file, layout));
            let mut slot = SlotReader::open(&file, layout, &mut scan)?;
            while let Some(committed) = slot.next()? {
                let mut transaction = pass.transaction(&committed);
                while let Some(item) = transaction.next()? {
                    if let Item::Lucene(command) = item {
                        indexes.apply(&command);
                    }
                }
            }
        }
        Contents::of(&image, indexes)
    }

    /// What the database of this feed held right after these transactions.
    ///
    /// # Errors
    /// The first transactions are not in the logs any more, or the disk failed.
    pub fn at(feed: &Feed, format: StoreFormat, graph: TxId, lucene: TxId) -> Result<Contents, DatabaseError> {
        let mut image = Image::empty(format);
        let reference = Node {
            first_relationship: None,
            first_property: None,
        };
        image.nodes.insert(RecordId(0), reference);
        let mut indexes = Indexes::default();
        for (source, last) in [(DataSource::Graph, graph), (DataSource::Lucene, lucene)] {
            let mut next = TxId::BASE.next();
            while next <= last {
                let places = feed.from(source, next, BATCH)?;
                for place in places.iter().take_while(|place| place.tx <= last) {
                    replay(
                        place,
                        Layout {
                            format: LogFormat::from(format),
                            source,
                        },
                        &mut image,
                        &mut indexes,
                    )?;
                }
                next = match places.last() {
                    Some(place) => place.tx.next(),
                    None => break,
                };
            }
        }
        Contents::of(&image, indexes)
    }

    pub(super) fn of(image: &Image, indexes: Indexes) -> Result<Contents, DatabaseError> {
        let mut contents = Contents {
            indexes,
            graph: properties(image, image.graph_property)?,
            ..Contents::default()
        };
        for (id, node) in &image.nodes {
            contents.nodes.insert(id.0, properties(image, node.first_property)?);
        }
        for (id, relationship) in &image.relationships {
            let end = |node: Pointer| node.map_or(u64::MAX, |node| node.0);
            let kind = RecordId(relationship.type_id.into());
            let edge = Edge {
                kind: image.name(StoreFile::RelationshipType, kind).unwrap_or_default(),
                start: end(relationship.first_node),
                end: end(relationship.second_node),
                properties: properties(image, relationship.first_property)?,
            };
            contents.relationships.insert(id.0, edge);
        }
        Ok(contents)
    }
}

fn replay(
    place: &LoggedTransaction,
    layout: Layout,
    image: &mut Image,
    indexes: &mut Indexes,
) -> Result<(), DatabaseError> {
    let bytes = place.read().map_err(DatabaseError::Log)?;
    let mut buffer = Buffer::new();
    let mut transaction = TransactionReader::new(bytes.as_slice(), layout, place.tx, &mut buffer);
    while let Some(item) = transaction.next()? {
        match item {
            Item::Change(change) => image.apply(&change),
            Item::Lucene(command) => drop(indexes.apply(&command)),
            _ => {}
        }
    }
    Ok(())
}

fn properties(image: &Image, first: Pointer) -> Result<Properties, DatabaseError> {
    let mut found = Properties::new();
    let mut next = first;
    let mut put = |key: u64, value: Value| {
        let name = image.name(StoreFile::PropertyKey, RecordId(key)).unwrap_or_default();
        found.insert(name, value);
    };
    let chain = |chain: Option<(StoreFile, RecordId)>| {
        chain.map_or_else(Vec::new, |(store, first)| image.chain(store, Some(first)))
    };
    // a chain that comes back to itself is cut
    for _ in 0..=image.properties.len().max(image.legacy_properties.len()) {
        let Some(id) = next else { break };
        match image.format {
            StoreFormat::Current => {
                let property = image.properties.get(&id);
                for (longs, data) in blocks_of(property) {
                    let key = current::key_of(longs.first().copied().unwrap_or_default());
                    put(key, current::decode(&longs, &chain(data))?);
                }
                next = property.and_then(|p| p.next);
            }
            StoreFormat::Legacy => {
                let Some(property) = image.legacy_properties.get(&id) else {
                    break;
                };
                let data = legacy::chain_of(property.type_code, property.value);
                let data = chain(data.map(|(store, first)| (store, RecordId(first))));
                let value = legacy::decode(property.type_code, property.value, &data)?;
                put(property.key.into(), value);
                next = property.next;
            }
        }
    }
    Ok(found)
}
