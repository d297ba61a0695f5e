//! The records that transactions wrote, collected while they are applied.

use std::collections::BTreeMap;

use neo4j_format::{
    log::Change,
    store::{StoreFile, record::RecordId},
};

/// Records beyond which the whole store is checked instead, which is then no slower.
const RECORDS_MAX: usize = 1 << 20;

/// The records that transactions wrote or deleted.
#[derive(Debug, Clone, Default)]
pub struct WrittenRecords {
    pub(super) records: BTreeMap<StoreFile, Vec<u64>>,
    count: usize,
    pub(super) graph_property: bool,
    pub(super) is_too_many: bool,
}

impl WrittenRecords {
    /// Notes what a change writes.
    pub fn note(&mut self, change: &Change<'_>) {
        match *change {
            Change::Node(id, _) => self.add(StoreFile::Node, id),
            Change::Relationship(id, _) => self.add(StoreFile::Relationship, id),
            Change::RelationshipType(id, _) => self.add(StoreFile::RelationshipType, id),
            Change::PropertyKey(id, _) => self.add(StoreFile::PropertyKey, id),
            Change::Property(id, _) | Change::LegacyProperty(id, _) => self.add(StoreFile::Property, id),
            Change::Dynamic(file, id, _) => self.add(file, id),
            Change::GraphProperty(_) => self.graph_property = true,
        }
    }

    pub(super) fn add(&mut self, kind: StoreFile, RecordId(id): RecordId) {
        if self.is_too_many {
            return;
        }
        self.records.entry(kind).or_default().push(id);
        self.count += 1;
        if self.count > RECORDS_MAX {
            self.tidy();
            if self.count > RECORDS_MAX / 2 {
                self.is_too_many = true;
                self.records.clear();
            }
        }
    }

    pub(super) fn tidy(&mut self) {
        for ids in self.records.values_mut() {
            ids.sort_unstable();
            ids.dedup();
        }
        self.count = self.records.values().map(Vec::len).sum();
    }

    /// Whether the whole store is to be checked instead.
    pub fn is_too_many(&self) -> bool {
        self.is_too_many
    }

    /// Whether this record was written; `None` if it is not known.
    pub fn has(&self, kind: StoreFile, id: u64) -> Option<bool> {
        if self.is_too_many {
            return None;
        }
        let ids = self.records.get(&kind);
        Some(ids.is_some_and(|ids| ids.binary_search(&id).is_ok()))
    }

    /// In order and without repetitions, as [`WrittenRecords::has`] wants it.
    #[must_use]
    pub fn finished(mut self) -> WrittenRecords {
        self.tidy();
        self
    }
}
