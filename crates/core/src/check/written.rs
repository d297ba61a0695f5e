//! The records that transactions wrote, collected while they are applied.

use std::collections::BTreeMap;

use super::{
    claim::{self, Claim, Pointing},
    delta::{Delta, Image},
    emit::emit_claims,
    error::CheckError,
    finding::Collector,
    header,
    lookup::Lookup,
    stores::Stores,
};
use crate::cancel::Cancel;
use neo4j_format::{
    DirHandle,
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
    pub(super) before: Option<Box<Before>>,
}

/// What records said before transactions wrote them.
#[derive(Debug, Clone)]
pub(super) struct Before {
    /// Their claims.
    pub(super) delta: Delta,
    /// The records they pointed to.
    pub(super) neighbours: WrittenRecords,
    /// Relationship types and property keys that were in use.
    pub(super) names: Vec<(StoreFile, u64)>,
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

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && !self.graph_property && !self.is_too_many
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

    /// Reads what these records, all of them, say in `dir` before they are written. Without that, a check of what was written
    /// is a check of the whole store.
    ///
    /// # Errors
    /// Files that cannot be read, no store, or cancelled.
    pub fn look_before(&mut self, dir: &DirHandle, cancel: &Cancel) -> Result<(), CheckError> {
        self.tidy();
        let mut unheard = Collector::new(0, None);
        let stores = Stores::open(dir, &mut unheard)?;
        let mut before = Before {
            delta: Delta::new(),
            neighbours: WrittenRecords::default(),
            names: Vec::new(),
        };
        if self.graph_property {
            let first = header::check(&stores, &mut unheard)?.graph_property;
            claim::owner(first, Pointing::GraphProperty, 5, &mut |claim| before.enter(&claim));
        }
        let mut lookup = Lookup::new(&stores);
        for (kind, ids) in &self.records {
            for id in ids {
                cancel.check().map_err(|error| CheckError::Cancelled(Box::new(error)))?;
                let Some(bytes) = lookup.bytes(*kind, *id)? else {
                    continue;
                };
                emit_claims(&stores, *kind, *id, bytes, &mut |claim| before.enter(&claim));
            }
        }
        before.neighbours.tidy();
        self.before = Some(Box::new(before));
        Ok(())
    }

    /// In order and without repetitions, as [`WrittenRecords::has`] wants it.
    #[must_use]
    pub fn finished(mut self) -> WrittenRecords {
        self.tidy();
        self
    }
}

impl Before {
    fn enter(&mut self, claim: &Claim) {
        self.delta.enter(claim, Image::Before);
        if let Some((kind, id)) = claim.neighbour() {
            self.neighbours.add(kind, RecordId(id));
        }
        if matches!(claim.pointing, Pointing::TypeName | Pointing::KeyName) {
            self.names.push((claim.pointing.store(), claim.id));
        }
    }
}
