//! A part of a graph store: the records that some transactions wrote, and the records that these point to, or pointed to
//! before.
//!
//! What the transactions did to all other records shows in what the written ones said before and say now ([`super::delta`]).
//! Where that does not balance, or it takes more than the written records to judge one of them, the whole store is checked
//! instead. Lost space is not reported: it needs no transaction that is wrong.

use std::collections::{BTreeMap, HashSet};

use super::{
    claim::{self, Claim, Pointing, Side},
    delta::{Delta, Image, Unbalanced},
    emit::emit_claims,
    error::CheckError,
    finding::Collector,
    judge::{Judge, Scope},
    lookup::PropertyRecord,
    options::CheckOptions,
    pass::Whole,
    properties,
    rings::{self, Walks},
    rules::Severity,
    stores::Stores,
    whole::Checked,
    written::{Before, WrittenRecords},
};
use crate::cancel::Cancel;
use neo4j_format::store::{
    StoreFile,
    record::{RecordId, Relationship},
};

/// Records of property chains that are remembered as seen.
const SEEN_MAX: usize = 1 << 20;

/// Checks the records that were written, those they point to and those they pointed to; `None` where the whole store has to
/// be checked.
pub(super) fn check(
    stores: &Stores,
    written: &WrittenRecords,
    options: &CheckOptions<'_>,
    found: Collector<'_>,
    cancel: &Cancel,
) -> Result<Option<Checked>, CheckError> {
    let Some(before) = &written.before else {
        return Ok(written.is_empty().then(|| (found.findings, BTreeMap::new())));
    };
    let mut part = Part {
        judge: Judge::new(stores, found, Scope::Part),
        written,
        delta: before.delta.clone(),
        neighbours: WrittenRecords::default(),
        checked: BTreeMap::new(),
        seen: HashSet::new(),
        met: HashSet::new(),
        cancel,
    };
    part.written()?;
    part.neighbours(before)?;
    let whole = Whole {
        stores,
        memory: options.memory,
        cancel,
    };
    part.relationship_rings(&whole)?;
    let unbalanced = part.delta.settle();
    let mut rest = Rest {
        judge: part.judge,
        met: part.met,
        written,
    };
    let is_all = !unbalanced.is_wrong && rest.has_all_names(before)? && rest.has_met_all_blocks(before, &unbalanced)?;
    let findings = rest.judge.found.findings;
    // what was found is enough to know that something is wrong
    let is_enough = is_all || findings.total(Severity::Error) > 0;
    Ok(is_enough.then_some((findings, part.checked)))
}

/// Whose records are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Written,
    Neighbours,
}

struct Part<'a> {
    judge: Judge<'a>,
    written: &'a WrittenRecords,
    delta: Delta,
    /// Records that the written ones point to.
    neighbours: WrittenRecords,
    checked: BTreeMap<StoreFile, u64>,
    /// Property records whose chains were looked at.
    seen: HashSet<u64>,
    /// Written blocks of values that were decoded.
    met: HashSet<(StoreFile, u64)>,
    cancel: &'a Cancel,
}

impl Part<'_> {
    fn written(&mut self) -> Result<(), CheckError> {
        let written = self.written;
        if written.graph_property {
            let mut claims = Vec::new();
            let first = self.judge.lookup.stores.graph_property;
            claim::owner(first, Pointing::GraphProperty, 5, &mut |claim| claims.push(claim));
            self.claims(&claims, Whose::Written)?;
        }
        for (kind, ids) in &written.records {
            self.records(*kind, ids, Whose::Written)?;
        }
        Ok(())
    }

    fn neighbours(&mut self, before: &Before) -> Result<(), CheckError> {
        let mut neighbours = std::mem::take(&mut self.neighbours);
        for (kind, ids) in &before.neighbours.records {
            for id in ids {
                neighbours.add(*kind, RecordId(*id));
            }
        }
        neighbours.tidy();
        for (kind, ids) in &neighbours.records {
            let fresh: Vec<u64> = ids
                .iter()
                .copied()
                .filter(|id| self.written.has(*kind, *id) != Some(true))
                .collect();
            self.records(*kind, &fresh, Whose::Neighbours)?;
        }
        Ok(())
    }

    fn records(&mut self, kind: StoreFile, ids: &[u64], whose: Whose) -> Result<(), CheckError> {
        let mut copy = Vec::new();
        for id in ids {
            self.cancelled()?;
            copy.clear();
            match self.judge.lookup.bytes(kind, *id)? {
                Some(bytes) => copy.extend_from_slice(bytes),
                None => continue,
            }
            let mut claims = Vec::new();
            let stores = self.judge.lookup.stores;
            emit_claims(stores, kind, *id, &copy, &mut |claim| claims.push(claim));
            self.alone(kind, *id, &copy)?;
            self.claims(&claims, whose)?;
            *self.checked.entry(kind).or_default() += u64::from(!claims.is_empty());
        }
        Ok(())
    }

    fn claims(&mut self, claims: &[Claim], whose: Whose) -> Result<(), CheckError> {
        for claim in claims {
            self.judge.claim(claim)?;
            let is_of_value = matches!(
                claim.pointing,
                Pointing::TypeName | Pointing::KeyName | Pointing::PropertyValue(_)
            );
            if is_of_value
                && !claim.key.is_order()
                && let Some((file, first)) = claim.neighbour()
            {
                let (written, met) = (self.written, &mut self.met);
                self.judge.value(file, first, |id| {
                    if written.has(file, id) == Some(true) {
                        met.insert((file, id));
                    }
                })?;
            }
            if whose == Whose::Written {
                self.delta.enter(claim, Image::After);
                if let Some((kind, id)) = claim.neighbour() {
                    self.neighbours.add(kind, RecordId(id));
                }
            }
        }
        Ok(())
    }

    /// The rules of one record.
    fn alone(&mut self, kind: StoreFile, id: u64, bytes: &[u8]) -> Result<(), CheckError> {
        let judge = &mut self.judge;
        judge.in_use_byte(kind, id, bytes);
        match kind {
            StoreFile::Relationship => {
                if let Some(relationship) = bytes.first_chunk().and_then(Relationship::decode) {
                    judge.relationship_alone(id, &relationship)?;
                    for side in Side::BOTH {
                        judge.relationship_node(id, &relationship, side)?;
                    }
                }
            }
            StoreFile::Property => {
                let format = judge.lookup.stores.format;
                if let Some(record) = PropertyRecord::decode(format, bytes) {
                    judge.property_alone(id, &record)?;
                    if self.seen.len() > SEEN_MAX {
                        self.seen.clear();
                    }
                    judge.property_chain(id, &mut self.seen)?;
                } else {
                    properties::deleted(judge, id, bytes);
                }
            }
            file if file.is_dynamic() => {
                let block = judge.lookup.stores.block(bytes).filter(|_| id > 0);
                if let Some((header, _)) = block {
                    judge.block_alone(file, id, &header);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A ring that was not there before has a link that was written.
    fn relationship_rings(&mut self, whole: &Whole<'_>) -> Result<(), CheckError> {
        let written = self.written.records.get(&StoreFile::Relationship);
        let mut walks = Walks::default();
        for id in written.into_iter().flatten() {
            self.cancelled()?;
            let Some(relationship) = self.judge.lookup.relationship(RecordId(*id))? else {
                continue;
            };
            for side in Side::distinct(&relationship) {
                if let Some(node) = side.of(&relationship).node {
                    walks.follow(&mut self.judge, node, *id)?;
                }
            }
            if walks.are_too_long() {
                return rings::relationships(whole, &mut self.judge);
            }
        }
        Ok(())
    }

    fn cancelled(&self) -> Result<(), CheckError> {
        self.cancel
            .check()
            .map_err(|error| CheckError::Cancelled(Box::new(error)))
    }
}

/// What is left to be judged once the difference is known.
struct Rest<'a> {
    judge: Judge<'a>,
    met: HashSet<(StoreFile, u64)>,
    written: &'a WrittenRecords,
}

impl Rest<'_> {
    /// Whether no relationship type and no property key was deleted, which nothing points back from.
    fn has_all_names(&mut self, before: &Before) -> Result<bool, CheckError> {
        for (kind, id) in &before.names {
            let is_in_use = match kind {
                StoreFile::RelationshipType => self.judge.lookup.relationship_type(*id)?.is_some(),
                _ => self.judge.lookup.property_key(*id)?.is_some(),
            };
            if !is_in_use {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the value of each block that was written was decoded: blocks do not say which is the first one. A block that
    /// lost the one before it begins a value of its own.
    fn has_met_all_blocks(&mut self, before: &Before, unbalanced: &Unbalanced) -> Result<bool, CheckError> {
        if before.neighbours.is_too_many() {
            return Ok(false);
        }
        let mut unmet = Vec::new();
        for (file, ids) in &self.written.records {
            if !file.is_dynamic() {
                continue;
            }
            for id in ids {
                let block = self.judge.lookup.block(*file, RecordId(*id))?;
                let has_data = block.is_some_and(|(header, _)| header.length > 0);
                if has_data && !self.met.contains(&(*file, *id)) {
                    unmet.push((*file, *id));
                }
            }
        }
        let referred = before.neighbours.records.iter();
        let referred = referred.filter(|(file, _)| file.is_dynamic());
        let referred = referred.flat_map(|(file, ids)| ids.iter().map(|id| (*file, *id)));
        for (file, id) in unmet.iter().copied().chain(referred) {
            // the first one of a value that nothing refers to
            if unbalanced.is_unowned(&claim::referred(file, id)) {
                let met = &mut self.met;
                self.judge.value(file, id, |id| {
                    met.insert((file, id));
                })?;
            }
        }
        Ok(unmet.iter().all(|block| self.met.contains(block)))
    }
}
