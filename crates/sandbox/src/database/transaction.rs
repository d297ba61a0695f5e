//! One write transaction, over the graph and its indexes.

use super::{
    Database, DatabaseError, Machines,
    image::Image,
    indexes::Indexes,
    journal::Journal,
    records::{NotPossible, Records, missing},
};
use crate::value::Value;
use neo4j_format::{
    ids::{DataSource, TxId},
    log::{
        LogFormat, LuceneCommand,
        encode::Owner,
        entry::{self, Commit, CommitKind, CommitStamp, Origin, Prepare, Start},
        lucene::{IndexProperties, LuceneAction, LuceneValue, Text},
    },
    store::{
        StoreFile,
        index_config::{IndexKey, IndexKind},
        record::RecordId,
    },
};

/// The identifier of entries before the log gives them one.
const UNNUMBERED: i32 = 2;

/// What has properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// The graph itself; from 1.6 on.
    Graph,
    /// A node.
    Node(RecordId),
    /// A relationship.
    Relationship(RecordId),
}

impl From<Element> for Owner {
    fn from(element: Element) -> Owner {
        match element {
            Element::Graph => Owner::None,
            Element::Node(id) => Owner::Node(id),
            Element::Relationship(id) => Owner::Relationship(id),
        }
    }
}

/// Work in progress. There is no way back: dropping it without commit leaves a database that only can be dropped too.
#[derive(Debug)]
#[must_use = "what was changed has to be committed"]
pub struct Transaction<'a> {
    records: Records<'a>,
    indexes: &'a mut Indexes,
    journal: &'a mut Journal,
    index_commands: Vec<Vec<u8>>,
    head: Head,
}

/// What the entries around the commands say.
#[derive(Debug, Clone, Copy)]
struct Head {
    machines: Machines,
    run: u64,
    serial: u64,
    time: i64,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(database: &'a mut Database, time: i64) -> Transaction<'a> {
        let head = Head {
            machines: database.machines,
            run: database.run,
            serial: database.serial,
            time,
        };
        Transaction {
            records: Records::new(&mut database.image),
            indexes: &mut database.indexes,
            journal: &mut database.journal,
            index_commands: Vec::new(),
            head,
        }
    }

    /// A new node.
    pub fn create_node(&mut self) -> RecordId {
        self.records.create_node()
    }

    /// Deletes a node with its properties.
    ///
    /// # Errors
    /// It does not exist, or has relationships.
    pub fn delete_node(&mut self, id: RecordId) -> Result<(), NotPossible> {
        self.records.delete_node(id)
    }

    /// A new relationship of a type that exists.
    ///
    /// # Errors
    /// A node or the type does not exist.
    pub fn create_relationship(&mut self, kind: &str, start: RecordId, end: RecordId) -> Result<RecordId, NotPossible> {
        let kind = match self.find_name(StoreFile::RelationshipType, kind) {
            Some(id) => id,
            None => self.records.create_type(kind)?,
        };
        self.records.create_relationship(kind, start, end)
    }

    /// Deletes a relationship with its properties.
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete_relationship(&mut self, id: RecordId) -> Result<(), NotPossible> {
        self.records.delete_relationship(id)
    }

    /// Makes a relationship type of this name, if there is none.
    ///
    /// # Errors
    /// There are too many.
    pub fn create_type(&mut self, name: &str) -> Result<(), NotPossible> {
        if self.find_name(StoreFile::RelationshipType, name).is_none() {
            self.records.create_type(name)?;
        }
        Ok(())
    }

    /// Sets a property; its key is made if there is none.
    ///
    /// # Errors
    /// The element does not exist.
    pub fn set_property(&mut self, element: Element, key: &str, value: &Value) -> Result<(), NotPossible> {
        let key = match self.find_name(StoreFile::PropertyKey, key) {
            Some(id) => id,
            None => self.records.create_key(key),
        };
        self.records.set_property(element.into(), key, value)
    }

    /// Removes a property; says whether there was one.
    ///
    /// # Errors
    /// The element does not exist.
    pub fn remove_property(&mut self, element: Element, key: &str) -> Result<bool, NotPossible> {
        match self.find_name(StoreFile::PropertyKey, key) {
            Some(key) => self.records.remove_property(element.into(), key),
            None => Ok(false),
        }
    }

    /// Makes an exact index if there is none of this name. Releases do this in a transaction of its own.
    pub fn create_index(&mut self, index: &IndexKey) {
        if self.indexes.contains(index) {
            return;
        }
        let mut bytes = Vec::new();
        let entries = [("provider", "lucene"), ("type", "exact")];
        for word in entries.iter().flat_map(|(key, value)| [key, value]) {
            let units = utf16(word);
            bytes.extend_from_slice(&i32::try_from(units.len() / 2).unwrap_or(i32::MAX).to_be_bytes());
            bytes.extend_from_slice(&units);
        }
        let properties = IndexProperties {
            count: 2,
            bytes: &bytes,
        };
        self.index_command(index, LuceneAction::Create(properties));
    }

    /// Adds a text to the entry of a node or relationship in an index.
    ///
    /// # Errors
    /// The relationship does not exist.
    pub fn add_to_index(
        &mut self,
        index: &IndexKey,
        entity: RecordId,
        key: &str,
        text: &str,
    ) -> Result<(), NotPossible> {
        let ends = match index.kind {
            IndexKind::Node => None,
            IndexKind::Relationship => {
                let found = self.image().relationships.get(&entity);
                let found = found.ok_or(missing(StoreFile::Relationship, entity))?;
                let end = |node: Option<RecordId>| node.map_or(-1, signed);
                Some((end(found.first_node), end(found.second_node)))
            }
        };
        let (key, text) = (utf16(key), utf16(text));
        self.index_command(
            index,
            LuceneAction::Add {
                entity: signed(entity),
                key: Some(Text(&key)),
                value: LuceneValue::Text(Text(&text)),
                ends,
            },
        );
        Ok(())
    }

    /// Removes a node or relationship from an index.
    pub fn remove_from_index(&mut self, index: &IndexKey, entity: RecordId) {
        self.index_command(
            index,
            LuceneAction::Remove {
                entity: signed(entity),
                key: None,
                value: LuceneValue::Null,
            },
        );
    }

    /// The indexes before this transaction.
    pub fn indexes(&self) -> &Indexes {
        self.indexes
    }

    pub(crate) fn image(&self) -> &Image {
        self.records.image()
    }

    /// Commits; gives the id of the graph's transaction, if there was anything for the graph. A transaction that changed
    /// nothing leaves no trace.
    ///
    /// # Errors
    /// [`DatabaseError`]; then the database has to be dropped and opened again.
    pub fn commit(self) -> Result<Option<TxId>, DatabaseError> {
        let Transaction {
            records,
            indexes,
            journal,
            index_commands,
            head,
        } = self;
        let format = LogFormat::from(records.image().format);
        let kind = if records.is_empty() || index_commands.is_empty() {
            CommitKind::OnePhase
        } else {
            CommitKind::TwoPhase
        };
        let mut transactions = Vec::new();
        let mut graph = None;
        if !records.is_empty() {
            let tx = journal.next(DataSource::Graph);
            let mut bytes = head.start(format, DataSource::Graph);
            records.commands(|command| {
                bytes.extend_from_slice(&entry::command(UNNUMBERED));
                command.encode(format, &mut bytes);
            });
            head.end(format, kind, tx, &mut bytes);
            transactions.push((DataSource::Graph, tx, bytes));
            graph = Some(tx);
        }
        if !index_commands.is_empty() {
            let tx = journal.next(DataSource::Lucene);
            let mut bytes = head.start(format, DataSource::Lucene);
            for command in index_commands {
                bytes.extend_from_slice(&entry::command(UNNUMBERED));
                bytes.extend_from_slice(&command);
            }
            head.end(format, kind, tx, &mut bytes);
            transactions.push((DataSource::Lucene, tx, bytes));
        }
        if !transactions.is_empty() {
            journal.commit(&transactions, records.into_image(), indexes)?;
        }
        Ok(graph)
    }

    fn index_command(&mut self, index: &IndexKey, action: LuceneAction<'_>) {
        let name: Vec<u8> = index.name.units().iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let command = LuceneCommand {
            kind: index.kind,
            index: Text(&name),
            action,
        };
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        self.index_commands.push(bytes);
    }

    fn find_name(&self, file: StoreFile, name: &str) -> Option<RecordId> {
        self.image().find_name(file, name)
    }
}

impl Head {
    /// 25 bytes that no other transaction has; both data sources of one have the same.
    fn global_id(self) -> Vec<u8> {
        [&b"NEOKERNL\0"[..], &self.run.to_be_bytes(), &self.serial.to_be_bytes()].concat()
    }

    fn start(self, format: LogFormat, source: DataSource) -> Vec<u8> {
        let mut bytes = Vec::new();
        let global_id = self.global_id();
        let start = Start {
            global_id: &global_id,
            branch: source.branch_qualifier(),
            identifier: UNNUMBERED,
            origin: match format {
                LogFormat::V1 => None,
                LogFormat::V2 => Some(Origin {
                    master_id: self.machines.master,
                    my_id: self.machines.own,
                    time: self.time,
                }),
            },
        };
        // a global id of 25 bytes is never too long
        let _ = start.encode(&mut bytes);
        bytes
    }

    fn end(self, format: LogFormat, kind: CommitKind, tx: TxId, bytes: &mut Vec<u8>) {
        if kind == CommitKind::TwoPhase {
            let prepare = Prepare {
                identifier: UNNUMBERED,
                time: (format == LogFormat::V2).then_some(self.time),
            };
            prepare.encode(bytes);
        }
        let commit = Commit {
            kind,
            identifier: UNNUMBERED,
            tx,
            stamp: match format {
                LogFormat::V1 => CommitStamp::Master(self.machines.master),
                LogFormat::V2 => CommitStamp::Time(self.time),
            },
        };
        commit.encode(bytes);
        bytes.extend_from_slice(&entry::done(UNNUMBERED));
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn signed(id: RecordId) -> i64 {
    id.0.cast_signed()
}
