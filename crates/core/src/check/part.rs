//! A part of a graph store: the records that some transactions wrote, and their neighbours.
//!
//! What nothing refers to any more cannot be seen this way, nor can a second owner.

use std::collections::{BTreeMap, HashSet};

use super::{
    claim::{Claim, Pointing, Side},
    emit::emit_claims,
    error::CheckError,
    finding::{Collector, Findings},
    judge::{Judge, Scope},
    lookup::PropertyRecord,
    stores::Stores,
    value,
    written::WrittenRecords,
};
use crate::cancel::Cancel;
use neo4j_format::store::{
    StoreFile,
    record::{RecordId, Relationship},
};

/// Records of property chains that are remembered as seen.
const SEEN_MAX: usize = 1 << 20;

/// Checks the records that were written, and those they point to.
pub(super) fn check(
    stores: &Stores,
    written: &WrittenRecords,
    found: Collector<'_>,
    cancel: &Cancel,
) -> Result<(Findings, BTreeMap<StoreFile, u64>), CheckError> {
    let mut part = Part {
        judge: Judge::new(stores, found, Scope::Part),
        checked: BTreeMap::new(),
        seen: HashSet::new(),
        cancel,
    };
    let mut neighbours = WrittenRecords::default();
    if written.graph_property {
        let mut claims = Vec::new();
        super::claim::owner(stores.graph_property, Pointing::GraphProperty, 5, &mut |claim| {
            claims.push(claim);
        });
        part.claims(&claims, Some(&mut neighbours))?;
    }
    for (kind, ids) in &written.records {
        part.records(*kind, ids, Some(&mut neighbours))?;
    }
    neighbours.tidy();
    for (kind, ids) in &neighbours.records {
        let fresh: Vec<u64> = ids
            .iter()
            .copied()
            .filter(|id| written.has(*kind, *id) != Some(true))
            .collect();
        part.records(*kind, &fresh, None)?;
    }
    Ok((part.judge.found.findings, part.checked))
}

struct Part<'a> {
    judge: Judge<'a>,
    checked: BTreeMap<StoreFile, u64>,
    /// Property records whose chains were looked at.
    seen: HashSet<u64>,
    cancel: &'a Cancel,
}

impl Part<'_> {
    fn records(
        &mut self,
        kind: StoreFile,
        ids: &[u64],
        mut neighbours: Option<&mut WrittenRecords>,
    ) -> Result<(), CheckError> {
        let mut copy = Vec::new();
        for id in ids {
            self.cancel
                .check()
                .map_err(|error| CheckError::Cancelled(Box::new(error)))?;
            copy.clear();
            match self.judge.lookup.bytes(kind, *id)? {
                Some(bytes) => copy.extend_from_slice(bytes),
                None => continue,
            }
            let mut claims = Vec::new();
            let stores = self.judge.lookup.stores;
            emit_claims(stores, kind, *id, &copy, &mut |claim| claims.push(claim));
            self.alone(kind, *id, &copy)?;
            self.claims(&claims, neighbours.as_deref_mut())?;
            *self.checked.entry(kind).or_default() += u64::from(!claims.is_empty());
        }
        Ok(())
    }

    fn claims(&mut self, claims: &[Claim], mut neighbours: Option<&mut WrittenRecords>) -> Result<(), CheckError> {
        for claim in claims {
            self.judge.claim(claim)?;
            if let Some((neighbours, (kind, id))) = neighbours.as_deref_mut().zip(claim.neighbour()) {
                neighbours.add(kind, RecordId(id));
            }
        }
        Ok(())
    }

    /// The rules of one record, and the values that begin with it.
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
                    let mut values = Vec::new();
                    value::long_values(&record, |file, first| values.push((file, first)));
                    for (file, first) in values {
                        judge.value(file, first.0)?;
                    }
                    if self.seen.len() > SEEN_MAX {
                        self.seen.clear();
                    }
                    judge.property_chain(id, &mut self.seen)?;
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
}
