//! A reproducible stream of transactions: what transaction *n* does follows from the seed, *n* and what the database
//! holds, so that the same seed in another empty database gives the same contents.
//!
//! It creates, changes and deletes nodes, relationships and properties of every type, makes new keys and types, keeps
//! two indexes and lets the graph grow up to a limit and then about keep its size.

mod values;

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use self::values::Values;
use super::database::{Database, DatabaseError, Element, Transaction};
use neo4j_format::{
    ids::{DataSource, TxId},
    store::{
        StoreFormat,
        index_config::{IndexKey, IndexKind},
        record::RecordId,
    },
};

/// Most operations in one transaction.
const OPERATIONS_MAX: u32 = 8;

/// What the stream contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadProfile {
    /// Relationships from a node to itself; 1.3 cannot read them.
    pub self_relationships: bool,
    /// Properties of the graph itself; from 1.6 on.
    pub graph_properties: bool,
    /// Transactions of the indexes.
    pub indexes: bool,
    /// Nodes from which on as many are deleted as are created.
    pub nodes: usize,
}

impl WorkloadProfile {
    /// All that every release of a format can read.
    pub fn of(format: StoreFormat) -> WorkloadProfile {
        WorkloadProfile {
            self_relationships: format == StoreFormat::Current,
            graph_properties: false,
            indexes: true,
            nodes: 2000,
        }
    }
}

/// The stream.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    taste: WorkloadProfile,
}

/// The operations, each as often as it is named here.
const OPERATIONS: [Operation; 20] = {
    use Operation::{
        CreateNode, DeleteNode, DeleteRelationship, Index, Relate, RemoveProperty, SetGraphProperty, SetProperty,
    };
    [
        CreateNode,
        CreateNode,
        CreateNode,
        CreateNode,
        Relate,
        Relate,
        Relate,
        Relate,
        Relate,
        SetProperty,
        SetProperty,
        SetProperty,
        SetProperty,
        RemoveProperty,
        RemoveProperty,
        DeleteRelationship,
        DeleteNode,
        Index,
        Index,
        SetGraphProperty,
    ]
};

#[derive(Debug, Clone, Copy)]
enum Operation {
    CreateNode,
    Relate,
    SetProperty,
    RemoveProperty,
    DeleteRelationship,
    DeleteNode,
    Index,
    SetGraphProperty,
}

impl Generator {
    /// The stream of this seed.
    pub fn new(seed: u64, taste: WorkloadProfile) -> Generator {
        Generator { seed, taste }
    }

    /// Commits the next transaction, at `time` in milliseconds since 1970; gives its id, if it touched the graph.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn step(&self, database: &mut Database, time: i64) -> Result<Option<TxId>, DatabaseError> {
        let before = DataSource::ALL.map(|source| database.feed().last(source));
        // what was drawn may turn out to change nothing
        for attempt in 0_u64.. {
            let [graph, lucene] = before.map(|tx| tx.0.cast_unsigned());
            let number = graph.rotate_left(24) ^ lucene.rotate_left(48) ^ attempt;
            let mut draw = Draw {
                rng: SmallRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number),
                values: Values {
                    legacy: database.format() == StoreFormat::Legacy,
                },
                taste: self.taste,
            };
            let transaction = draw.transaction(database.begin(time))?;
            let graph = transaction.commit()?;
            if DataSource::ALL.map(|source| database.feed().last(source)) != before {
                return Ok(graph);
            }
        }
        Ok(None)
    }
}

/// Names of relationship types that come up in the course of time; the longest takes two blocks.
const TYPES: [&str; 6] = [
    "KNOWS",
    "LIKES",
    "WORKS_AT",
    "BEFREUNDET_MIT_Ä",
    "HAS_A_NAME_OF_MORE_THAN_THIRTY_BYTES",
    "ЗНАЕТ",
];

/// Names of property keys; others are made with numbers.
const KEYS: [&str; 6] = [
    "name",
    "age",
    "since",
    "größe",
    "a_key_with_a_name_of_more_than_thirty_bytes",
    "w",
];

/// Kind and name of the indexes.
const INDEXES: [(IndexKind, &str); 2] = [(IndexKind::Node, "people"), (IndexKind::Relationship, "knows")];

/// The key by which entities are indexed.
const INDEX_KEY: &str = "name";

fn index((kind, name): (IndexKind, &str)) -> IndexKey {
    IndexKey {
        kind,
        name: name.into(),
    }
}

/// What is drawn for one transaction.
struct Draw {
    rng: SmallRng,
    values: Values,
    taste: WorkloadProfile,
}

impl Draw {
    /// Fills a transaction.
    fn transaction<'a>(&mut self, mut transaction: Transaction<'a>) -> Result<Transaction<'a>, DatabaseError> {
        // indexes and types are made in transactions of their own, as releases do it
        if let Some(index) = INDEXES
            .into_iter()
            .map(index)
            .find(|index| !transaction.indexes().contains(index))
            && self.taste.indexes
        {
            transaction.create_index(&index);
        } else if transaction.image().type_names().is_empty() {
            transaction.create_type(TYPES[0])?;
        } else if self.rng.random_ratio(1, 64) {
            transaction.create_type(TYPES[self.rng.random_range(0..TYPES.len())])?;
        } else {
            for _ in 0..self.rng.random_range(1..=OPERATIONS_MAX) {
                self.operation(&mut transaction)?;
            }
        }
        Ok(transaction)
    }

    fn operation(&mut self, transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
        let crowded = transaction.image().nodes.len() > self.taste.nodes;
        match OPERATIONS
            .choose(&mut self.rng)
            .copied()
            .unwrap_or(Operation::CreateNode)
        {
            Operation::CreateNode if crowded => self.delete_node(transaction)?,
            Operation::CreateNode => drop(self.create_node(transaction)?),
            Operation::Relate => self.relate(transaction)?,
            Operation::SetProperty => {
                if let Some(element) = self.element(transaction) {
                    self.set_property(transaction, element)?;
                }
            }
            Operation::RemoveProperty => {
                if let Some(element) = self.element(transaction) {
                    let key = self.key();
                    transaction.remove_property(element, &key)?;
                }
            }
            Operation::DeleteRelationship => {
                if let Some(id) = self.relationship(transaction) {
                    delete_relationship(transaction, id)?;
                }
            }
            Operation::DeleteNode => self.delete_node(transaction)?,
            Operation::Index => self.index(transaction)?,
            Operation::SetGraphProperty if self.taste.graph_properties => {
                self.set_property(transaction, Element::Graph)?;
            }
            Operation::SetGraphProperty => {}
        }
        Ok(())
    }

    fn create_node(&mut self, transaction: &mut Transaction<'_>) -> Result<RecordId, DatabaseError> {
        let id = transaction.create_node();
        for _ in 0..self.rng.random_range(0..4) {
            self.set_property(transaction, Element::Node(id))?;
        }
        Ok(id)
    }

    fn relate(&mut self, transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
        let start = self.node(transaction);
        let end = if self.taste.self_relationships && self.rng.random_ratio(1, 12) {
            start
        } else {
            self.node(transaction)
        };
        if start == end && !self.taste.self_relationships {
            return Ok(());
        }
        let kind = self.existing_type(transaction);
        let id = transaction.create_relationship(&kind, start, end)?;
        if self.rng.random_ratio(1, 2) {
            self.set_property(transaction, Element::Relationship(id))?;
        }
        Ok(())
    }

    fn set_property(&mut self, transaction: &mut Transaction<'_>, element: Element) -> Result<(), DatabaseError> {
        let (key, value) = (self.key(), self.values.any(&mut self.rng));
        transaction.set_property(element, &key, &value)?;
        Ok(())
    }

    fn delete_node(&mut self, transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
        let id = self.node(transaction);
        if id == RecordId(0) {
            return Ok(());
        }
        let of_node = transaction.image().relationships_of(id);
        for relationship in of_node {
            delete_relationship(transaction, relationship)?;
        }
        forget(transaction, INDEXES[0], id);
        transaction.delete_node(id)?;
        Ok(())
    }

    fn index(&mut self, transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
        if !self.taste.indexes {
            return Ok(());
        }
        let which = INDEXES[self.rng.random_range(0..INDEXES.len())];
        let entity = match which.0 {
            IndexKind::Node => Some(self.node(transaction)),
            IndexKind::Relationship => self.relationship(transaction),
        };
        if let Some(entity) = entity {
            let word = values::word(&mut self.rng);
            transaction.add_to_index(&index(which), entity, INDEX_KEY, &word)?;
        }
        Ok(())
    }

    /// A node that exists; there always is one.
    fn node(&mut self, transaction: &Transaction<'_>) -> RecordId {
        pick(&mut self.rng, &transaction.image().nodes).unwrap_or(RecordId(0))
    }

    fn relationship(&mut self, transaction: &Transaction<'_>) -> Option<RecordId> {
        pick(&mut self.rng, &transaction.image().relationships)
    }

    fn element(&mut self, transaction: &Transaction<'_>) -> Option<Element> {
        if self.rng.random_ratio(2, 3) {
            Some(Element::Node(self.node(transaction)))
        } else {
            self.relationship(transaction).map(Element::Relationship)
        }
    }

    fn key(&mut self) -> String {
        if self.rng.random_ratio(1, 50) {
            return format!("key{}", self.rng.random_range(0..40));
        }
        (*KEYS.choose(&mut self.rng).unwrap_or(&"name")).to_owned()
    }

    fn existing_type(&mut self, transaction: &Transaction<'_>) -> String {
        let names = transaction.image().type_names();
        names
            .choose(&mut self.rng)
            .cloned()
            .unwrap_or_else(|| "KNOWS".to_owned())
    }
}

fn delete_relationship(transaction: &mut Transaction<'_>, id: RecordId) -> Result<(), DatabaseError> {
    forget(transaction, INDEXES[1], id);
    transaction.delete_relationship(id)?;
    Ok(())
}

/// Takes what is deleted out of its index; what this very transaction put there stays, which no reader is shown.
fn forget(transaction: &mut Transaction<'_>, which: (IndexKind, &str), id: RecordId) {
    if transaction.indexes().entry(&index(which), id.0.cast_signed()).is_some() {
        transaction.remove_from_index(&index(which), id);
    }
}

/// One of the records, each about as likely.
fn pick<T>(rng: &mut SmallRng, records: &std::collections::BTreeMap<RecordId, T>) -> Option<RecordId> {
    let (last, _) = records.last_key_value()?;
    let from = RecordId(rng.random_range(0..=last.0));
    records.range(from..).next().map(|(id, _)| *id)
}
