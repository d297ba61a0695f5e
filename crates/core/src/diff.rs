//! What differs between two graphs: two backups of a database, or a database and its restored copy.
//!
//! Nodes and relationships are compared by their ids, properties by the names of their keys. Both stores are read once,
//! side by side.

use std::{collections::HashMap, path::PathBuf};

use serde::Serialize;

use crate::{
    Error,
    cancel::Cancel,
    check::stores::Store,
    error,
    export::{
        Damage, DamagedRecords, Entity,
        ordered::{Block, ordered},
        reader::{self, Edge, EdgeReader, Graph, Names, PropertyReader, Stored, read_error},
        threads, typed_json,
    },
    progress::{Phase, Progress},
};
use neo4j_format::{
    store::{StoreFile, record::Pointer, value::Value},
    width::to_usize,
};

/// A comparison of two directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    a: PathBuf,
    b: PathBuf,
    threads: usize,
}

impl Diff {
    /// Compares the graph in `a` with the graph in `b`: both backups, or databases that were closed cleanly.
    pub fn new(a: impl Into<PathBuf>, b: impl Into<PathBuf>) -> Diff {
        Diff {
            a: a.into(),
            b: b.into(),
            threads: threads(),
        }
    }

    /// Compares; `found` gets each difference, nodes first, in the order of their ids. Blocks the thread until it is
    /// done.
    ///
    /// # Errors
    /// One of them is not a database at rest or cannot be read, or the run was cancelled.
    pub fn run(
        &self,
        progress: &dyn Progress,
        cancel: &Cancel,
        mut found: impl FnMut(&Difference),
    ) -> Result<DiffOutcome, Error> {
        progress.phase(Phase::Reading);
        let graphs = Both {
            a: Graph::open(&self.a)?,
            b: Graph::open(&self.b)?,
        };
        let mut outcome = DiffOutcome {
            verdict: DiffVerdict::Equal,
            last_transactions: [graphs.a.last_transaction().0, graphs.b.last_transaction().0],
            nodes: Changes::default(),
            relationships: Changes::default(),
            properties: Changes::default(),
            is_graph_changed: false,
            damage: [DamagedRecords::default(), DamagedRecords::default()],
        };
        for (graph, damage) in [&graphs.a, &graphs.b].into_iter().zip(&mut outcome.damage) {
            graph.damage.iter().cloned().for_each(|one| damage.add(one));
        }
        let keys = Translation::new(&graphs.a.keys, &graphs.b.keys);
        for kind in [StoreFile::Node, StoreFile::Relationship] {
            progress.file(kind.name());
            let (a, b) = (graphs.a.stores.get(kind), graphs.b.stores.get(kind));
            // the longer one leads, and the other one is read beside it
            let is_a_longer = a.records >= b.records;
            let (longer, other) = if is_a_longer { (a, b) } else { (b, a) };
            let mut workers: Vec<Worker<'_>> = (0..self.threads).map(|_| Worker::new(&graphs, &keys)).collect();
            ordered(
                longer,
                &mut workers,
                cancel,
                |worker, block, send| {
                    worker.block(kind, (block, other, is_a_longer))?;
                    send((block.bytes(), std::mem::take(&mut worker.result)))
                },
                |(bytes, result)| {
                    progress.bytes(bytes);
                    result.differences.iter().for_each(&mut found);
                    outcome.add(kind, result);
                    Ok(())
                },
            )?;
        }
        let mut worker = Worker::new(&graphs, &keys);
        let first = [&graphs.a, &graphs.b].map(|graph| graph.stores.graph_property);
        let changes = worker.properties(Entity::Graph, first)?;
        if !changes.is_empty() {
            outcome.is_graph_changed = true;
            worker.changed(Entity::Graph, None, changes);
        }
        worker.result.differences.iter().for_each(&mut found);
        outcome.add(StoreFile::Neostore, worker.result);
        graphs.a.check_unchanged()?;
        graphs.b.check_unchanged()?;
        let is_same = |changes: &Changes| (changes.added, changes.removed, changes.changed) == (0, 0, 0);
        let is_equal = is_same(&outcome.nodes) && is_same(&outcome.relationships) && !outcome.is_graph_changed;
        outcome.verdict = match (is_equal, outcome.damage.iter().any(|damage| damage.total > 0)) {
            (false, _) => DiffVerdict::Different,
            (true, true) => DiffVerdict::Damaged,
            (true, false) => DiffVerdict::Equal,
        };
        Ok(outcome)
    }
}

/// Whether two graphs are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiffVerdict {
    /// They are.
    Equal,
    /// They are not.
    Different,
    /// They are as far as they can be read.
    Damaged,
}

impl DiffVerdict {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            DiffVerdict::Equal => error::SUCCESS,
            DiffVerdict::Different => error::FAILED,
            DiffVerdict::Damaged => error::INCONSISTENT,
        }
        .code
    }
}

/// How many differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Only the second graph has them.
    pub added: u64,
    /// Only the first graph has them.
    pub removed: u64,
    /// Both have them, with different content.
    pub changed: u64,
    /// Both have them.
    pub equal: u64,
}

impl Changes {
    fn add(&mut self, other: Changes) {
        self.added += other.added;
        self.removed += other.removed;
        self.changed += other.changed;
        self.equal += other.equal;
    }
}

/// How two graphs differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiffOutcome {
    /// Whether they are equal.
    pub verdict: DiffVerdict,
    /// The last transactions of both.
    pub last_transactions: [i64; 2],
    /// Nodes.
    pub nodes: Changes,
    /// Relationships.
    pub relationships: Changes,
    /// Properties of entities that both have.
    pub properties: Changes,
    /// Whether the properties of the graph itself differ.
    #[serde(rename = "graph_changed")]
    pub is_graph_changed: bool,
    /// Records of both that were left out.
    pub damage: [DamagedRecords; 2],
}

impl DiffOutcome {
    fn add(&mut self, kind: StoreFile, found: RecordChanges) {
        match kind {
            StoreFile::Node => self.nodes.add(found.entities),
            StoreFile::Relationship => self.relationships.add(found.entities),
            _ => {}
        }
        self.properties.add(found.properties);
        for (all, more) in self.damage.iter_mut().zip(found.damage) {
            for one in more {
                all.add(one);
            }
        }
    }
}

/// What happened to an entity or property on the way from the first graph to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only the second graph has it.
    Added,
    /// Only the first graph has it.
    Removed,
    /// Both have it, with different content.
    Changed,
}

/// An entity that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// How.
    pub change: Change,
    /// Which one.
    pub entity: Entity,
    /// Type and nodes of a relationship in both graphs, if they differ.
    pub ends: Option<[Ends; 2]>,
    /// Properties that differ, if both graphs have the entity.
    pub properties: Vec<PropertyDifference>,
}

/// Type and nodes of a relationship.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// The name of its type.
    #[serde(rename = "type")]
    pub of: String,
    /// Its start node.
    pub start: u64,
    /// Its end node.
    pub end: u64,
}

/// A property that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PropertyDifference {
    /// Its key.
    pub key: String,
    /// Its value in the first graph, with the type; `None` if it has none.
    pub before: Option<serde_json::Value>,
    /// Its value in the second graph.
    pub after: Option<serde_json::Value>,
}

struct Both {
    a: Graph,
    b: Graph,
}

/// The keys of the second graph as keys of the first: the same name has the same number.
struct Translation(HashMap<u32, u32>);

impl Translation {
    fn new(a: &Names, b: &Names) -> Translation {
        let of_a: HashMap<&str, u32> = a.iter().map(|name| (name.text.as_str(), name.first)).collect();
        // names that the first graph does not have get numbers from the top
        let mut next = u32::MAX;
        let all = b.iter().map(|name| {
            let number = of_a.get(name.text.as_str()).copied().unwrap_or_else(|| {
                next = next.saturating_sub(1);
                next
            });
            (name.first, number)
        });
        Translation(all.collect())
    }
}

/// What a thread found in some records.
#[derive(Debug, Default)]
struct RecordChanges {
    entities: Changes,
    properties: Changes,
    differences: Vec<Difference>,
    damage: [Vec<Damage>; 2],
}

/// State of one thread.
struct Worker<'a> {
    graphs: &'a Both,
    keys: &'a Translation,
    readers: [PropertyReader<'a>; 2],
    edges: [EdgeReader<'a>; 2],
    stored: [Vec<Stored>; 2],
    /// Records of the store that does not lead.
    buffer: Vec<u8>,
    result: RecordChanges,
}

impl<'a> Worker<'a> {
    fn new(graphs: &'a Both, keys: &'a Translation) -> Worker<'a> {
        Worker {
            graphs,
            keys,
            readers: [PropertyReader::new(&graphs.a), PropertyReader::new(&graphs.b)],
            edges: [EdgeReader::new(&graphs.a), EdgeReader::new(&graphs.b)],
            stored: [Vec::new(), Vec::new()],
            buffer: Vec::new(),
            result: RecordChanges::default(),
        }
    }

    fn block(&mut self, kind: StoreFile, (block, other, is_a): (&Block<'_>, &Store, bool)) -> Result<(), Error> {
        let width = other.width();
        let count = other.records.saturating_sub(block.first()).min(block.count());
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(to_usize(count).saturating_mul(width), 0);
        if count > 0 {
            other.read(block.first(), &mut buffer).map_err(read_error)?;
        }
        let mut others = buffer.chunks_exact(width);
        for (id, bytes) in block.iter() {
            let other = others.next().unwrap_or_default();
            let both = if is_a { [bytes, other] } else { [other, bytes] };
            if kind == StoreFile::Node {
                self.nodes(id, both)?;
            } else {
                self.relationships(id, both)?;
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn nodes(&mut self, id: u64, both: [&[u8]; 2]) -> Result<(), Error> {
        let nodes = both.map(reader::node);
        let graphs = [&self.graphs.a, &self.graphs.b];
        for (graph, node) in graphs.into_iter().zip(nodes) {
            if node.is_some() {
                graph.note_node(id);
            }
        }
        let entity = Entity::Node(id);
        match nodes {
            [None, None] => {}
            [None, Some(_)] => self.only(entity, Change::Added),
            [Some(_), None] => self.only(entity, Change::Removed),
            [Some(a), Some(b)] => {
                let changes = self.properties(entity, [a.first_property, b.first_property])?;
                self.both(entity, None, changes);
            }
        }
        Ok(())
    }

    fn relationships(&mut self, id: u64, both: [&[u8]; 2]) -> Result<(), Error> {
        let entity = Entity::Relationship(id);
        let mut edges: [Option<Edge>; 2] = [None, None];
        let sides = self.edges.iter_mut().zip(&mut self.result.damage).zip(both);
        for (((reader, damage), bytes), edge) in sides.zip(&mut edges) {
            if let Some(record) = reader::relationship(bytes) {
                *edge = reader.edge(id, &record, damage)?;
            }
        }
        match edges {
            [None, None] => {}
            [None, Some(_)] => self.only(entity, Change::Added),
            [Some(_), None] => self.only(entity, Change::Removed),
            [Some(a), Some(b)] => {
                let ends = [ends_in(&self.graphs.a, &a), ends_in(&self.graphs.b, &b)];
                let ends = (ends[0] != ends[1]).then(|| {
                    ends.map(|(of, start, end)| Ends {
                        of: of.to_owned(),
                        start,
                        end,
                    })
                });
                let changes = self.properties(entity, [a.first_property, b.first_property])?;
                self.both(entity, ends, changes);
            }
        }
        Ok(())
    }

    fn only(&mut self, entity: Entity, change: Change) {
        match change {
            Change::Added => self.result.entities.added += 1,
            _ => self.result.entities.removed += 1,
        }
        self.result.differences.push(Difference {
            change,
            entity,
            ends: None,
            properties: Vec::new(),
        });
    }

    fn both(&mut self, entity: Entity, ends: Option<[Ends; 2]>, properties: Vec<PropertyDifference>) {
        if ends.is_none() && properties.is_empty() {
            self.result.entities.equal += 1;
        } else {
            self.changed(entity, ends, properties);
        }
    }

    fn changed(&mut self, entity: Entity, ends: Option<[Ends; 2]>, properties: Vec<PropertyDifference>) {
        self.result.entities.changed += 1;
        self.result.differences.push(Difference {
            change: Change::Changed,
            entity,
            ends,
            properties,
        });
    }

    /// The properties in which two chains differ.
    fn properties(&mut self, entity: Entity, first: [Pointer; 2]) -> Result<Vec<PropertyDifference>, Error> {
        let mut differences = Vec::new();
        let mut stored = std::mem::take(&mut self.stored);
        for (side, (found, first)) in stored.iter_mut().zip(first).enumerate() {
            if let (Some(reader), Some(damage)) = (self.readers.get_mut(side), self.result.damage.get_mut(side)) {
                reader.stored(entity, first, found, damage)?;
            }
        }
        let [of_a, of_b] = &mut stored;
        for property in of_b.iter_mut() {
            property.key = self.keys.0.get(&property.key).copied().unwrap_or(u32::MAX);
        }
        for found in [&mut *of_a, &mut *of_b] {
            found.sort_unstable_by_key(|property| property.key);
        }
        let (mut rest_a, mut rest_b) = (of_a.as_slice(), of_b.as_slice());
        loop {
            let pair = match (rest_a.first(), rest_b.first()) {
                (None, None) => break,
                (Some(a), Some(b)) if a.key == b.key => (Some(a), Some(b)),
                (Some(a), Some(b)) if a.key < b.key => (Some(a), None),
                (Some(a), None) => (Some(a), None),
                (_, b) => (None, b),
            };
            if pair.0.is_some() {
                rest_a = rest_a.get(1..).unwrap_or_default();
            }
            if pair.1.is_some() {
                rest_b = rest_b.get(1..).unwrap_or_default();
            }
            if let (Some(a), Some(b)) = pair
                && self.is_same_format()
                && a.is_same(b)
            {
                self.result.properties.equal += 1;
                continue;
            }
            let values = [self.value(0, entity, pair.0)?, self.value(1, entity, pair.1)?];
            let changes = &mut self.result.properties;
            match &values {
                [None, None] => continue,
                [a, b] if a == b => {
                    changes.equal += 1;
                    continue;
                }
                [None, Some(_)] => changes.added += 1,
                [Some(_), None] => changes.removed += 1,
                [Some(_), Some(_)] => changes.changed += 1,
            }
            let [before, after] = values.map(|value| value.as_ref().map(typed_json));
            differences.push(PropertyDifference {
                key: self.key(pair),
                before,
                after,
            });
        }
        self.stored = stored;
        Ok(differences)
    }

    fn is_same_format(&self) -> bool {
        self.graphs.a.stores.format == self.graphs.b.stores.format
    }

    fn value(&mut self, side: usize, entity: Entity, property: Option<&Stored>) -> Result<Option<Value>, Error> {
        let (Some(property), Some(reader), Some(damage)) =
            (property, self.readers.get_mut(side), self.result.damage.get_mut(side))
        else {
            return Ok(None);
        };
        reader.value(entity, property, damage)
    }

    fn key(&self, pair: (Option<&Stored>, Option<&Stored>)) -> String {
        let name = match pair {
            (Some(a), _) => self.graphs.a.keys.get(a.key.into()),
            (None, Some(b)) => {
                let of_b = self.graphs.b.keys.iter();
                let mut named = of_b.filter(|name| self.keys.0.get(&name.first) == Some(&b.key));
                named.next()
            }
            (None, None) => None,
        };
        name.map_or(String::new(), |name| name.text.clone())
    }
}

fn ends_in<'a>(graph: &'a Graph, edge: &Edge) -> (&'a str, u64, u64) {
    let name = graph.types.get(edge.type_id.into());
    (name.map_or("", |name| name.text.as_str()), edge.start, edge.end)
}
