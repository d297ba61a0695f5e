//! What a graph consists of: what one needs to know before a migration.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use serde::Serialize;

use crate::{
    Error,
    cancel::Cancel,
    export::{
        Damage, DamagedRecords, Entity, ValueType,
        ordered::ordered,
        reader::{self, EdgeReader, Graph, PropertyReader},
        threads,
    },
    inspect::{indexes::IndexSummary, inspect},
    progress::{Phase, Progress},
};
use neo4j_format::{
    store::{
        StoreFile,
        record::Pointer,
        value::{Kind, Value},
    },
    width::to_usize,
};

/// Nodes whose relationships are counted in one pass: four bytes for each.
const COUNTED: u64 = 24 << 20;

/// Largest properties that are listed.
const LARGEST: usize = 10;

/// Statistics of a backup, or of a database that was closed cleanly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    dir: PathBuf,
    threads: usize,
}

impl Stats {
    /// Of the directory `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Stats {
        Stats {
            dir: dir.into(),
            threads: threads(),
        }
    }

    /// Reads the whole store. Blocks the thread until it is done.
    ///
    /// # Errors
    /// It is not a database at rest, it cannot be read, or the run was cancelled.
    pub fn run(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<StatsOutcome, Error> {
        progress.phase(Phase::Reading);
        let graph = Graph::open(&self.dir)?;
        let mut outcome = StatsOutcome {
            store_format: graph.stores.format.version(),
            last_transaction: graph.last_transaction().0,
            nodes: 0,
            relationships: 0,
            properties: 0,
            types: Vec::new(),
            keys: Vec::new(),
            degrees: Degrees::default(),
            largest: Vec::new(),
            indexes: inspect(&self.dir)?.indexes,
            damage: DamagedRecords::default(),
        };
        graph
            .damage
            .iter()
            .cloned()
            .for_each(|damage| outcome.damage.add(damage));
        let mut totals = Totals::default();
        for kind in [StoreFile::Node, StoreFile::Relationship] {
            progress.file(kind.name());
            let mut workers: Vec<Worker<'_>> = (0..self.threads).map(|_| Worker::new(&graph)).collect();
            ordered(
                graph.stores.get(kind),
                &mut workers,
                cancel,
                |worker, block, send| {
                    for (id, bytes) in block.iter() {
                        worker.record(kind, id, bytes)?;
                    }
                    send((block.bytes(), std::mem::take(&mut worker.damage)))
                },
                |(bytes, damage)| {
                    progress.bytes(bytes);
                    for one in damage {
                        outcome.damage.add(one);
                    }
                    Ok(())
                },
            )?;
            for worker in workers {
                totals.merge(worker.totals);
            }
        }
        outcome.degrees = degrees(&graph, self.threads, totals.nodes, cancel)?;
        graph.check_unchanged()?;
        totals.report(&graph, &mut outcome);
        Ok(outcome)
    }
}

/// What a graph consists of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StatsOutcome {
    /// Format of the store.
    pub store_format: &'static str,
    /// The last transaction of the graph.
    pub last_transaction: i64,
    /// Nodes.
    pub nodes: u64,
    /// Relationships.
    pub relationships: u64,
    /// Properties of both.
    pub properties: u64,
    /// Relationship types, the most frequent first.
    pub types: Vec<TypeStats>,
    /// Property keys, the most frequent first.
    pub keys: Vec<KeyStats>,
    /// How many relationships nodes have.
    pub degrees: Degrees,
    /// The largest properties.
    pub largest: Vec<LargeProperty>,
    /// Indexes.
    pub indexes: Vec<IndexSummary>,
    /// Records that were not counted.
    pub damage: DamagedRecords,
}

/// Relationships of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeStats {
    /// Its name.
    pub name: String,
    /// Relationships of this type.
    pub count: u64,
    /// How many of them lead from a node to itself.
    pub loops: u64,
}

/// Values of one key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyStats {
    /// Its name.
    pub name: String,
    /// Nodes that have it.
    pub nodes: u64,
    /// Relationships that have it.
    pub relationships: u64,
    /// Its values by type. Several types make several files of an export.
    pub types: Vec<ValueStats>,
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueStats {
    /// The type.
    #[serde(rename = "type")]
    pub of: ValueType,
    /// How many there are.
    pub count: u64,
    /// The lowest number, if they are numbers.
    pub min: Option<f64>,
    /// The highest number.
    pub max: Option<f64>,
    /// The fewest characters or elements, if they are strings or arrays.
    pub shortest: Option<u64>,
    /// The most characters or elements.
    pub longest: Option<u64>,
}

/// How many relationships nodes have; one that leads from a node to itself counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Degrees {
    /// The most relationships of a node.
    pub max: u64,
    /// The node that has so many; the lowest if there are several.
    pub max_node: Option<u64>,
    /// Nodes by number of relationships.
    pub ranges: Vec<DegreeRange>,
}

/// Nodes that have so many relationships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DegreeRange {
    /// The fewest relationships.
    pub from: u64,
    /// The most relationships.
    pub to: u64,
    /// How many nodes there are.
    pub nodes: u64,
}

/// A large property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LargeProperty {
    /// Whose it is.
    pub entity: Entity,
    /// Its key.
    pub key: String,
    /// Its type.
    #[serde(rename = "type")]
    pub of: ValueType,
    /// Bytes of its value, of a string as UTF-8.
    pub bytes: u64,
}

/// State of one thread.
struct Worker<'a> {
    graph: &'a Graph,
    properties: PropertyReader<'a>,
    edges: EdgeReader<'a>,
    values: Vec<(u32, Value)>,
    damage: Vec<Damage>,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    nodes: u64,
    relationships: u64,
    /// Relationships and loops by type.
    types: HashMap<u16, (u64, u64)>,
    /// Nodes and relationships by key.
    keys: HashMap<u32, (u64, u64)>,
    values: HashMap<(u32, ValueType), Range>,
    /// Sorted by size, the largest first.
    largest: Vec<(u64, Entity, u32, ValueType)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Range {
    count: u64,
    numbers: Option<(f64, f64)>,
    lengths: Option<(u64, u64)>,
}

impl<'a> Worker<'a> {
    fn new(graph: &'a Graph) -> Worker<'a> {
        Worker {
            graph,
            properties: PropertyReader::new(graph),
            edges: EdgeReader::new(graph),
            values: Vec::new(),
            damage: Vec::new(),
            totals: Totals::default(),
        }
    }

    fn record(&mut self, kind: StoreFile, id: u64, bytes: &[u8]) -> Result<(), Error> {
        if kind == StoreFile::Node {
            if let Some(node) = reader::node(bytes) {
                self.graph.note_node(id);
                self.totals.nodes += 1;
                self.properties(Entity::Node(id), node.first_property)?;
            }
        } else if let Some(record) = reader::relationship(bytes)
            && let Some(edge) = self.edges.edge(id, &record, &mut self.damage)?
        {
            self.totals.relationships += 1;
            // several ids may have one name
            let name = self.graph.types.get(edge.type_id.into()).map(|name| name.first);
            let of = name.and_then(|id| u16::try_from(id).ok()).unwrap_or(edge.type_id);
            let (count, loops) = self.totals.types.entry(of).or_default();
            *count += 1;
            *loops += u64::from(edge.start == edge.end);
            self.properties(Entity::Relationship(id), edge.first_property)?;
        }
        Ok(())
    }

    fn properties(&mut self, entity: Entity, first: Pointer) -> Result<(), Error> {
        self.properties
            .values(entity, first, &mut self.values, &mut self.damage)?;
        for (key, value) in &self.values {
            let (nodes, relationships) = self.totals.keys.entry(*key).or_default();
            match entity {
                Entity::Node(_) => *nodes += 1,
                _ => *relationships += 1,
            }
            let of = ValueType::of(value);
            self.totals.values.entry((*key, of)).or_default().add(value);
            self.totals.note_size((size(value), entity, *key, of));
        }
        Ok(())
    }
}

impl Totals {
    fn note_size(&mut self, one: (u64, Entity, u32, ValueType)) {
        let is_small = self.largest.last().is_some_and(|last| last.0 >= one.0);
        if is_small && self.largest.len() >= LARGEST {
            return;
        }
        self.largest.push(one);
        self.largest
            .sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
        self.largest.truncate(LARGEST);
    }

    fn merge(&mut self, other: Totals) {
        self.nodes += other.nodes;
        self.relationships += other.relationships;
        for (of, (count, loops)) in other.types {
            let sum = self.types.entry(of).or_default();
            *sum = (sum.0 + count, sum.1 + loops);
        }
        for (key, (nodes, relationships)) in other.keys {
            let sum = self.keys.entry(key).or_default();
            *sum = (sum.0 + nodes, sum.1 + relationships);
        }
        for (key, range) in other.values {
            self.values.entry(key).or_default().merge(range);
        }
        for one in other.largest {
            self.note_size(one);
        }
    }

    fn report(self, graph: &Graph, outcome: &mut StatsOutcome) {
        let key = |id: u32| {
            graph
                .keys
                .get(id.into())
                .map_or(String::new(), |name| name.text.clone())
        };
        outcome.nodes = self.nodes;
        outcome.relationships = self.relationships;
        outcome.properties = self.values.values().map(|range| range.count).sum();
        let types = self.types.into_iter().map(|(id, (count, loops))| TypeStats {
            name: graph
                .types
                .get(id.into())
                .map_or(String::new(), |name| name.text.clone()),
            count,
            loops,
        });
        outcome.types = types.collect();
        outcome
            .types
            .sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        let mut values: BTreeMap<u32, Vec<ValueStats>> = BTreeMap::new();
        for ((id, of), range) in self.values {
            values.entry(id).or_default().push(ValueStats {
                of,
                count: range.count,
                min: range.numbers.map(|(min, _)| min),
                max: range.numbers.map(|(_, max)| max),
                shortest: range.lengths.map(|(shortest, _)| shortest),
                longest: range.lengths.map(|(_, longest)| longest),
            });
        }
        let keys = self.keys.into_iter().map(|(id, (nodes, relationships))| {
            let mut types = values.remove(&id).unwrap_or_default();
            types.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.of.cmp(&b.of)));
            KeyStats {
                name: key(id),
                nodes,
                relationships,
                types,
            }
        });
        outcome.keys = keys.collect();
        let total = |key: &KeyStats| key.nodes + key.relationships;
        outcome
            .keys
            .sort_by(|a, b| total(b).cmp(&total(a)).then_with(|| a.name.cmp(&b.name)));
        let largest = self.largest.into_iter().map(|(bytes, entity, id, of)| LargeProperty {
            entity,
            key: key(id),
            of,
            bytes,
        });
        outcome.largest = largest.collect();
    }
}

impl Range {
    fn add(&mut self, value: &Value) {
        let length = |length: usize| (length as u64, length as u64);
        let one = Range {
            count: 1,
            numbers: match value {
                Value::Scalar(kind, bits) => number(*kind, *bits).map(|number| (number, number)),
                _ => None,
            },
            lengths: match value {
                Value::Scalar(..) => None,
                Value::Text(text) => Some(length(text.encode_utf16().count())),
                Value::Utf16(units) => Some(length(units.len())),
                Value::Array(_, elements) => Some(length(elements.len())),
                Value::Texts(texts) => Some(length(texts.len())),
                Value::Utf16s(texts) => Some(length(texts.len())),
            },
        };
        self.merge(one);
    }

    fn merge(&mut self, other: Range) {
        self.count += other.count;
        self.numbers = match (self.numbers, other.numbers) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        self.lengths = match (self.lengths, other.lengths) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }
}

/// The number that these bits are; NaN has no place in a range, and JSON no infinities.
fn number(kind: Kind, bits: u64) -> Option<f64> {
    let number = match kind {
        Kind::Boolean | Kind::Char => return None,
        Kind::Float => f64::from(f32::from_bits(u32::try_from(bits).ok()?)),
        Kind::Double => f64::from_bits(bits),
        Kind::Byte | Kind::Short | Kind::Int | Kind::Long => {
            let unused = 64 - kind.width();
            let number = (bits << unused).cast_signed() >> unused;
            #[expect(clippy::cast_precision_loss, reason = "the ends of a range are for people")]
            let number = number as f64;
            number
        }
    };
    number.is_finite().then_some(number)
}

/// Bytes of a value.
fn size(value: &Value) -> u64 {
    let width = |kind: &Kind| u64::from(kind.width().div_ceil(8));
    match value {
        Value::Scalar(kind, _) => width(kind),
        Value::Text(text) => text.len() as u64,
        Value::Utf16(units) => 2 * units.len() as u64,
        Value::Array(kind, elements) => width(kind) * elements.len() as u64,
        Value::Texts(texts) => texts.iter().map(|text| text.len() as u64).sum(),
        Value::Utf16s(texts) => texts.iter().map(|units| 2 * units.len() as u64).sum(),
    }
}

/// Counts the relationships of each node, in as many passes as the nodes need.
fn degrees(graph: &Graph, threads: usize, nodes: u64, cancel: &Cancel) -> Result<Degrees, Error> {
    let records = graph.stores.get(StoreFile::Node).records;
    let mut degrees = Degrees::default();
    let mut by_bits = [0_u64; 33];
    let mut connected = 0;
    for first in (0..records).step_by(to_usize(COUNTED)) {
        let count = to_usize(COUNTED.min(records - first));
        let mut counts = Vec::new();
        counts.resize_with(count, AtomicU32::default);
        let add = |node: u64| {
            let place = node.checked_sub(first).map(to_usize);
            if let Some(count) = place.and_then(|place| counts.get(place)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut workers: Vec<EdgeReader<'_>> = (0..threads).map(|_| EdgeReader::new(graph)).collect();
        ordered(
            graph.stores.get(StoreFile::Relationship),
            &mut workers,
            cancel,
            |edges, block, send| {
                let mut damage = Vec::new();
                for (id, bytes) in block.iter() {
                    let Some(record) = reader::relationship(bytes) else {
                        continue;
                    };
                    if let Some(edge) = edges.edge(id, &record, &mut damage)? {
                        add(edge.start);
                        if edge.start != edge.end {
                            add(edge.end);
                        }
                    }
                }
                send(())
            },
            |()| Ok(()),
        )?;
        for (place, count) in counts.iter().enumerate() {
            let degree = u64::from(count.load(Ordering::Relaxed));
            if degree == 0 {
                continue;
            }
            connected += 1;
            let bits = usize::try_from(u64::BITS - degree.leading_zeros()).unwrap_or_default();
            if let Some(nodes) = by_bits.get_mut(bits) {
                *nodes += 1;
            }
            if degree > degrees.max {
                degrees.max = degree;
                degrees.max_node = Some(first + place as u64);
            }
        }
    }
    by_bits[0] = nodes.saturating_sub(connected);
    let last = by_bits.iter().rposition(|nodes| *nodes > 0).map_or(0, |last| last + 1);
    degrees.ranges = (by_bits.iter().take(last).enumerate())
        .map(|(bits, nodes)| DegreeRange {
            from: if bits == 0 { 0 } else { 1 << (bits - 1) },
            to: (1 << bits) - 1,
            nodes: *nodes,
        })
        .collect();
    Ok(degrees)
}
