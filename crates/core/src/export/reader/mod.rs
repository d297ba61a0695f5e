//! The graph in a store as its users see it: nodes and relationships in the order of their ids, with names and values.
//!
//! Reads the store natively in both formats, changes nothing, and needs no index. Chains of properties are followed
//! through caches of fixed size, so that memory does not grow with the store. What cannot be read is reported as
//! [`Damage`] and left out: a record that its neighbours contradict is never passed on as somebody's property.

mod names;
mod properties;
mod value_type;

use std::path::Path;

use serde::Serialize;

pub(crate) use names::Names;
pub(crate) use properties::{PropertyReader, Stored};
pub use value_type::ValueType;

use crate::{
    Error, ErrorKind,
    check::{CheckError, Collector, bits::Bits, lookup::Lookup, stores::Stores},
    manifest::{Manifest, State},
    target::staging::refuse_if_at_work,
    verification::readable,
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::TxId,
    log::files::{self},
    store::{
        Header, HeaderError, StoreFile,
        neo4j_lock::{self, Holder},
        record::{Node, Pointer, RecordId, Relationship},
    },
};

/// Nodes up to which one bit for each is kept; of larger stores, nodes are looked up one by one.
const NODES_MAX: u64 = 1 << 29;

/// What nodes and relationships have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// A node, by its id.
    Node(u64),
    /// A relationship, by its id.
    Relationship(u64),
    /// The graph itself, which has properties from 1.6 on.
    Graph,
}

impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entity::Node(id) => write!(f, "node {id}"),
            Entity::Relationship(id) => write!(f, "relationship {id}"),
            Entity::Graph => f.write_str("the graph"),
        }
    }
}

impl Serialize for Entity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A record that cannot be read, or that its neighbours contradict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The store file.
    pub file: &'static str,
    /// The record.
    pub record: u64,
    /// What lacks it, or some of it.
    pub entity: Entity,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {} ({})", self.file, self.record, self.problem, self.entity)
    }
}

/// A relationship whose type and both nodes are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) type_id: u16,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) first_property: Pointer,
}

/// A store, opened for reading.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) stores: Stores,
    pub(crate) types: Names,
    pub(crate) keys: Names,
    /// Damage found while it was opened.
    pub(crate) damage: Vec<Damage>,
    last_transaction: TxId,
    /// Nodes in use, as far as they have been read.
    nodes: Option<Bits>,
}

impl Graph {
    /// Opens the store in `dir`: a backup, or a database that was closed cleanly.
    ///
    /// # Errors
    /// There is no such store, it is in use or was not closed, or it cannot be read.
    pub(crate) fn open(dir: &Path) -> Result<Graph, Error> {
        refuse_if_at_work(dir)?;
        let dir = &readable(dir)?;
        refuse_unfinished(dir)?;
        if !dir.has(StoreFile::Neostore.name()) {
            return Err(read_error(CheckError::NoStore(dir.path().to_owned())));
        }
        let header = Header::open_read_only(dir).map_err(no_database)?;
        let last_transaction = header.last_transaction().map_err(no_database)?;
        let mut stores = Stores::open(dir, &mut Collector::new(0, None)).map_err(read_error)?;
        stores.graph_property = header.graph_property().map_err(no_database)?;
        for store in stores.iter() {
            if !store.path.is_file() {
                let text = format!("{}: is missing", store.path.display());
                return Err(Error::new(ErrorKind::NotOurs, text).with_hint("name a whole database"));
            }
        }
        let mut damage = Vec::new();
        let types = Names::read(&stores, StoreFile::RelationshipType, &mut damage)?;
        let keys = Names::read(&stores, StoreFile::PropertyKey, &mut damage)?;
        let count = stores.get(StoreFile::Node).records;
        Ok(Graph {
            types,
            keys,
            damage,
            last_transaction,
            nodes: (count <= NODES_MAX).then(|| Bits::new(0..count)),
            stores,
        })
    }

    /// Notes that a node is in use; [`EdgeReader`] asks for it.
    pub(crate) fn note_node(&self, id: u64) {
        if let Some(nodes) = &self.nodes {
            nodes.insert(id);
        }
    }

    /// The last transaction that the store has.
    pub(crate) fn last_transaction(&self) -> TxId {
        self.last_transaction
    }

    /// Fails if somebody wrote to the store since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        let dir = &self.stores.dir;
        refuse_if_at_work(dir.path())?;
        refuse_unfinished(dir)?;
        let now = Header::open_read_only(dir)
            .and_then(|header| header.last_transaction())
            .map_err(no_database)?;
        if now == self.last_transaction {
            return Ok(());
        }
        let text = format!("{}: was changed while it was read", dir.display());
        Err(Error::new(ErrorKind::TargetInUse, text).with_hint("run again when nothing writes to the directory"))
    }
}

/// Judges relationships, with a cache of its own.
pub(crate) struct EdgeReader<'a> {
    graph: &'a Graph,
    nodes: Lookup<'a>,
}

impl<'a> EdgeReader<'a> {
    pub(crate) fn new(graph: &'a Graph) -> EdgeReader<'a> {
        EdgeReader {
            graph,
            nodes: Lookup::new(&graph.stores),
        }
    }

    /// The relationship in this record if both its nodes and its type are there.
    pub(crate) fn edge(
        &mut self,
        id: u64,
        record: &Relationship,
        damage: &mut Vec<Damage>,
    ) -> Result<Option<Edge>, Error> {
        let mut wrong = |problem: String| {
            damage.push(Damage {
                file: StoreFile::Relationship.name(),
                record: id,
                entity: Entity::Relationship(id),
                problem,
            });
            Ok(None)
        };
        let (Some(RecordId(start)), Some(RecordId(end))) = (record.first_node, record.second_node) else {
            return wrong("one of its nodes is missing".to_owned());
        };
        for node in [start, end] {
            let is_there = match &self.graph.nodes {
                Some(nodes) => nodes.contains(node),
                None => self.nodes.node(RecordId(node)).map_err(read_error)?.is_some(),
            };
            if !is_there {
                return wrong(format!("node {node} is not in use"));
            }
        }
        if self.graph.types.get(record.type_id.into()).is_none() {
            return wrong(format!("relationship type {} is not in use", record.type_id));
        }
        Ok(Some(Edge {
            type_id: record.type_id,
            start,
            end,
            first_property: record.first_property,
        }))
    }
}

/// The node in these bytes.
pub(crate) fn node(bytes: &[u8]) -> Option<Node> {
    bytes.first_chunk().and_then(Node::decode)
}

/// The relationship in these bytes.
pub(crate) fn relationship(bytes: &[u8]) -> Option<Relationship> {
    bytes.first_chunk().and_then(Relationship::decode)
}

/// What a failure of the readers that the check shares means here.
pub(crate) fn read_error(error: CheckError) -> Error {
    match error {
        CheckError::Cancelled(error) => *error,
        CheckError::Disk(error) => error.into(),
        CheckError::Header(error) => no_database(error),
        CheckError::NoStore(_) => {
            Error::new(ErrorKind::NotOurs, error).with_hint("name the directory of a backup or database")
        }
    }
}

fn no_database(error: HeaderError) -> Error {
    match error {
        HeaderError::Io { path, source } => DiskError::new(path, source).into(),
        error => Error::new(ErrorKind::NotOurs, error).with_hint("name the directory of a backup or database"),
    }
}

/// Refuses a backup that is not complete, and a database that is open or waits for recovery.
fn refuse_unfinished(dir: &DirHandle) -> Result<(), Error> {
    let state = Manifest::read(dir)?.map_or(State::Complete, |manifest| manifest.state);
    if state != State::Complete {
        let text = format!("{}: the backup is not complete", dir.display());
        return Err(Error::new(ErrorKind::Configuration, text).with_hint("run the interrupted backup again"));
    }
    if let Some(Holder::Process(_)) = neo4j_lock::holder(dir) {
        let text = format!("{}: the database is open", dir.display());
        return Err(Error::new(ErrorKind::TargetInUse, text).with_hint("shut Neo4j down, or take a backup"));
    }
    if files::is_closed_cleanly(dir) {
        return Ok(());
    }
    let text = format!("{}: the database was not closed cleanly", dir.display());
    Err(Error::new(ErrorKind::Configuration, text)
        .with_hint("start and stop Neo4j on a copy of it, or take a backup of the running server"))
}
