//! A whole graph store, in sequential passes: what each record says of others goes into the ledger, what it can be
//! blamed for alone is judged at once.
//!
//! ```text
//! types, keys ─▶ nodes ─▶ relationships ─▶ properties ─▶ blocks      every claim into the balance
//!            is the balance even? no ─▶ twice more: collect the claims that do not match, judge each
//!            chains that could be rings? ─▶ look for them
//!            either? ─▶ again: relationships against their nodes
//! ```

use std::collections::BTreeMap;

use super::{
    bits::Bits,
    blocks,
    claim::{self, Claim, Pointing, Side},
    emit::{emit_claims, emit_name},
    error::CheckError,
    finding::{Collector, Findings},
    judge::{Judge, Scope},
    ledger::{Balance, Collected, Hash, Ledger},
    options::CheckOptions,
    pass::{Whole, Worker},
    properties, rings,
    rules::Rule,
    stores::Stores,
};
use crate::cancel::Cancel;
use neo4j_format::store::{
    StoreFile,
    record::{Node, Pointer, Relationship},
};

/// Types and keys have no larger ids (property keys of the old format could, and are then looked up one by one).
const NAMES_MAX: u64 = 1 << 24;

/// Findings, and records in use per store.
pub(super) type Checked = (Findings, BTreeMap<StoreFile, u64>);

/// Checks every record of the store.
pub(super) fn check<'a>(
    stores: &'a Stores,
    options: &CheckOptions<'_>,
    found: impl Fn() -> Collector<'a>,
    cancel: &Cancel,
) -> Result<Checked, CheckError> {
    let whole = Whole {
        stores,
        memory: options.memory,
        cancel,
    };
    let hash = Hash::new();
    let mut workers: Vec<Worker<'_>> = (0..options.threads.max(1))
        .map(|_| Worker {
            balance: Balance::new(hash),
            judge: Judge::new(stores, found(), Scope::Whole),
            in_use: BTreeMap::new(),
            reached: 0,
            ascending: 0,
            keys: Vec::new(),
        })
        .collect();
    if let Some(first) = workers.first_mut() {
        claim::owner(stores.graph_property, Pointing::GraphProperty, 5, &mut first.sink());
    }
    let types = whole.names(StoreFile::RelationshipType, &mut workers)?;
    let keys = whole.names(StoreFile::PropertyKey, &mut workers)?;
    whole.nodes(&mut workers)?;
    whole.relationships(&types, &mut workers)?;
    properties::check(&whole, &keys, &mut workers)?;
    for store in stores.iter().filter(|store| store.kind.is_dynamic()) {
        blocks::check(&whole, store, &mut workers)?;
    }
    let is_even = whole.audit(hash, &mut workers)?;
    if workers.iter().any(|worker| worker.ascending > 0)
        && let Some(first) = workers.first_mut()
    {
        rings::relationships(&whole, &mut first.judge)?;
    }
    // what is linked on both sides, and is not a ring, leads back to a node in use
    if !is_even
        || workers
            .iter()
            .any(|worker| worker.judge.has_found(Rule::RelationshipCycle))
    {
        whole.nodes_of_relationships(&mut workers)?;
    }
    let (mut findings, mut in_use) = (found().findings, BTreeMap::new());
    for worker in workers {
        findings.merge(worker.judge.found.findings);
        for (kind, count) in worker.in_use {
            *in_use.entry(kind).or_default() += count;
        }
    }
    Ok((findings, in_use))
}

impl Whole<'_> {
    /// Relationship types or property keys; returns those in use.
    fn names(&self, kind: StoreFile, workers: &mut [Worker<'_>]) -> Result<Bits, CheckError> {
        let records = self.stores.get(kind).records;
        let names = Bits::new(0..records.min(NAMES_MAX));
        self.scan(kind, 0..records, workers, |worker, records| {
            let mut in_use = 0;
            for (id, bytes) in records.iter() {
                worker.judge.in_use_byte(kind, id, bytes);
                if emit_name(self.stores, kind, id, bytes, &mut worker.sink()) {
                    names.insert(id);
                    in_use += 1;
                }
            }
            worker.count(kind, in_use);
            Ok(())
        })?;
        Ok(names)
    }

    fn nodes(&self, workers: &mut [Worker<'_>]) -> Result<(), CheckError> {
        let nodes = self.stores.get(StoreFile::Node).records;
        self.scan(StoreFile::Node, 0..nodes, workers, |worker, records| {
            let (mut in_use, mut balance) = (0, worker.balance);
            for (id, bytes) in records.arrays() {
                if let Some(node) = Node::decode(bytes) {
                    in_use += 1;
                    claim::node(id, &node, &mut |claim| balance.enter(&claim));
                }
            }
            worker.balance = balance;
            worker.count(StoreFile::Node, in_use);
            Ok(())
        })
    }

    fn relationships(&self, types: &Bits, workers: &mut [Worker<'_>]) -> Result<(), CheckError> {
        let relationships = self.stores.get(StoreFile::Relationship).records;
        self.scan(StoreFile::Relationship, 0..relationships, workers, |worker, records| {
            let (mut in_use, mut ascending, mut balance) = (0, 0, worker.balance);
            for (id, bytes) in records.arrays() {
                let Some(relationship) = Relationship::decode(bytes) else {
                    continue;
                };
                in_use += 1;
                claim::relationship(id, &relationship, &mut |claim| balance.enter(&claim));
                ascending += u64::from(is_ascending(id, &relationship));
                if is_odd(&relationship, types) {
                    worker.judge.relationship_alone(id, &relationship)?;
                }
            }
            worker.balance = balance;
            worker.ascending += ascending;
            worker.count(StoreFile::Relationship, in_use);
            Ok(())
        })
    }

    /// Relationships against their nodes: in several passes where the nodes do not fit.
    fn nodes_of_relationships(&self, workers: &mut [Worker<'_>]) -> Result<(), CheckError> {
        let (nodes, relationships) = (
            self.stores.get(StoreFile::Node).records,
            self.stores.get(StoreFile::Relationship).records,
        );
        let mut ranges = self.memory.ranges(nodes, 1);
        if ranges.is_empty() {
            ranges.push(0..0);
        }
        for range in ranges {
            let is_first = range.start == 0;
            let chained = Bits::new(range.clone());
            self.scan(StoreFile::Node, range, workers, |_, records| {
                for (id, bytes) in records.iter() {
                    let node = bytes.first_chunk().and_then(Node::decode);
                    if node.is_some_and(|node| node.first_relationship.is_some()) {
                        chained.insert(id);
                    }
                }
                Ok(())
            })?;
            self.scan(StoreFile::Relationship, 0..relationships, workers, |worker, records| {
                for (id, bytes) in records.iter() {
                    let Some(relationship) = bytes.first_chunk().and_then(Relationship::decode) else {
                        continue;
                    };
                    for side in Side::BOTH {
                        let Some(node) = side.of(&relationship).node else {
                            continue;
                        };
                        let is_due = chained.covers(node.0) || (is_first && node.0 >= nodes);
                        if is_due && !chained.contains(node.0) {
                            worker.judge.relationship_node(id, &relationship, side)?;
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Finds the claims that do not match, and judges them; whether there are none.
    fn audit(&self, hash: Hash, workers: &mut [Worker<'_>]) -> Result<bool, CheckError> {
        let threads = workers.len();
        let Some((first, others)) = workers.split_first_mut() else {
            return Ok(true);
        };
        let mut balance = first.balance;
        for other in others {
            balance.merge(other.balance);
        }
        if balance.is_even() {
            return Ok(true);
        }
        let mut ledgers: Vec<Ledger> = (0..threads).map(|_| Ledger::new(hash)).collect();
        self.every_claim(&mut ledgers, |ledger, claim| ledger.enter(&claim))?;
        let mut total = Ledger::new(hash);
        for ledger in &ledgers {
            total.merge(ledger);
        }
        let Some(suspects) = total.suspects() else {
            return Ok(true);
        };
        let room = self.memory.room(size_of::<(u64, Claim)>(), threads);
        let mut from = Some(0);
        while let Some(start) = from {
            let mut parts: Vec<Collected<'_>> = (0..threads).map(|_| Collected::new(&suspects, start, room)).collect();
            self.every_claim(&mut parts, Collected::take)?;
            let (groups, next) = Collected::settle(parts);
            for group in groups {
                first.judge.group(&group)?;
            }
            from = next;
        }
        Ok(false)
    }

    /// Emits every claim of the store again.
    fn every_claim<S: Send>(&self, parts: &mut [S], take: impl Fn(&mut S, Claim) + Sync) -> Result<(), CheckError> {
        let stores = self.stores;
        if let Some(first) = parts.first_mut() {
            let mut sink = |claim| take(first, claim);
            claim::owner(stores.graph_property, Pointing::GraphProperty, 5, &mut sink);
        }
        for store in stores.iter() {
            let kind = store.kind;
            self.scan(kind, 0..store.records, parts, |part, records| {
                let mut sink = |claim| take(part, claim);
                for (id, bytes) in records.iter() {
                    emit_claims(stores, kind, id, bytes, &mut sink);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Whether a chain leads from this relationship to one of a higher id, as every ring does somewhere.
#[inline]
fn is_ascending(id: u64, relationship: &Relationship) -> bool {
    let leads_up = |next: Pointer| next.is_some_and(|next| next.0 >= id);
    leads_up(relationship.first_next) || leads_up(relationship.second_next)
}

/// Whether a relationship breaks a rule by itself.
#[inline]
fn is_odd(relationship: &Relationship, types: &Bits) -> bool {
    let lacks_node = relationship.first_node.is_none() || relationship.second_node.is_none();
    lacks_node
        || (relationship.is_loop() && Side::Source.of(relationship) != Side::Target.of(relationship))
        || !types.contains(u64::from(relationship.type_id))
}
