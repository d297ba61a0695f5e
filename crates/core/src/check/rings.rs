//! Cycles. Both sides of every link of a cycle agree, so the ledger does not see them.

use std::{
    collections::{HashMap, HashSet},
    mem,
};

use super::{
    bits::Bits,
    claim::Side,
    error::CheckError,
    judge::Judge,
    lookup::Lookup,
    pass::{Whole, Worker},
    rules::Rule,
    scan::scan_backward,
};
use neo4j_format::store::{
    StoreFile,
    record::{Pointer, RecordId, Relationship},
};

/// Bytes that an entry of the two tables below takes, its share of free places included.
const ENTRY: usize = 96;

/// Looks for rings among the records of a store where the workers reached fewer of them, from the first ones of their
/// chains, than are in use. Resets the counts for the next store.
pub(super) fn of_unreached(
    whole: &Whole<'_>,
    kind: StoreFile,
    workers: &mut [Worker<'_>],
    rule: Rule,
    next: impl FnMut(&mut Lookup<'_>, u64) -> Result<Option<u64>, CheckError>,
) -> Result<(), CheckError> {
    let reached: u64 = workers.iter_mut().map(|worker| mem::take(&mut worker.reached)).sum();
    let in_use: u64 = workers.iter().filter_map(|worker| worker.in_use.get(&kind)).sum();
    match workers.first_mut() {
        Some(first) if reached != in_use => locate(whole, kind, &mut first.judge, rule, next),
        _ => Ok(()),
    }
}

/// Looks for rings among the records of a store.
///
/// Each walk stops where an earlier one was, so that all of them together meet a record once for each range that fits
/// the memory.
fn locate(
    whole: &Whole<'_>,
    kind: StoreFile,
    judge: &mut Judge<'_>,
    rule: Rule,
    mut next: impl FnMut(&mut Lookup<'_>, u64) -> Result<Option<u64>, CheckError>,
) -> Result<(), CheckError> {
    let records = whole.stores.get(kind).records;
    for range in whole.memory.ranges(records, 1) {
        let visited = Bits::new(range.clone());
        for first in range {
            if visited.insert(first) {
                continue;
            }
            let (mut at, mut length) = (first, 1_u64);
            while let Some(found) = next(&mut judge.lookup, at)? {
                if found == first {
                    let message = || format!("part of a cycle of {length} records");
                    judge.add(rule, (kind, first), message, None);
                    break;
                }
                if visited.insert(found) || length > records {
                    break;
                }
                (at, length) = (found, length + 1);
                if length.is_multiple_of(1 << 16) {
                    whole.cancelled()?;
                }
            }
            if first.is_multiple_of(1 << 16) {
                whole.cancelled()?;
            }
        }
    }
    Ok(())
}

/// A link of a relationship chain as both sides know it: the next one, this one, and the node.
type Link = (u64, u64, u64);

/// Node and label, and the label that follows.
type Labels = HashMap<(u64, u64), u64>;

/// Looks for rings of relationships at one node.
///
/// A new relationship becomes the first of its chain, so chains mostly lead from higher ids to lower ones; a ring needs
/// a link that leads upward. From the upper end of each such link a label is carried down in one pass from the last
/// record to the first: to the end of the chain, or to the next link that leads upward. What is left is a table of
/// labels that lead to labels, and the rings in it. Labels of different nodes have nothing to do with each other: where
/// there are too many for the memory, a pass takes a part of the nodes.
pub(super) fn relationships(whole: &Whole<'_>, judge: &mut Judge<'_>) -> Result<(), CheckError> {
    let room = whole.memory.room(ENTRY, 1) * 2;
    let mut parts: u64 = 1;
    let mut part = 0;
    while part < parts {
        let pass = Pass { parts, part, room };
        if let Some(leads_to) = pass.labels(whole)? {
            report(judge, &leads_to);
            part += 1;
        } else {
            // the parts before this one are the same nodes as twice as many of the finer ones
            (parts, part) = (parts * 2, part * 2);
        }
    }
    Ok(())
}

struct Pass {
    parts: u64,
    part: u64,
    room: usize,
}

impl Pass {
    /// Whether this pass looks at the chain of this node. Twice as many parts divide each part in two: the node's bits
    /// are taken from the highest of a product down.
    fn takes(&self, node: u64) -> bool {
        let mixed = node.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.parts == 1 || mixed >> (64 - self.parts.trailing_zeros()) == self.part
    }

    /// Which label leads to which, by node and id; `None` where there is no room for them.
    fn labels(&self, whole: &Whole<'_>) -> Result<Option<Labels>, CheckError> {
        let (mut open, mut leads_to) = (HashMap::<Link, u64>::new(), HashMap::new());
        let mut is_full = false;
        let store = whole.stores.get(StoreFile::Relationship);
        scan_backward(store, whole.cancel, |records| {
            for (id, bytes) in records.iter().rev() {
                let Some(relationship) = bytes.first_chunk().and_then(Relationship::decode) else {
                    continue;
                };
                for side in Side::distinct(&relationship) {
                    let end = side.of(&relationship);
                    let Some(RecordId(node)) = end.node.filter(|node| self.takes(node.0)) else {
                        continue;
                    };
                    let label = match end.previous {
                        Some(previous) if previous.0 <= id => Some(id),
                        Some(previous) => open.remove(&(id, previous.0, node)),
                        None => None,
                    };
                    match (label, end.next) {
                        (Some(label), Some(next)) if next.0 < id => {
                            open.insert((next.0, id, node), label);
                        }
                        (Some(label), Some(next)) => {
                            leads_to.insert((node, label), next.0);
                        }
                        _ => {}
                    }
                }
            }
            is_full |= open.len() + leads_to.len() > self.room;
            if is_full {
                open.clear();
                leads_to.clear();
            }
            Ok(())
        })?;
        Ok((!is_full).then_some(leads_to))
    }
}

/// Rings among labels.
fn report(judge: &mut Judge<'_>, leads_to: &Labels) {
    // the walk in which a label was met
    let mut met: HashMap<(u64, u64), (u64, u64)> = HashMap::new();
    for start in leads_to.keys() {
        let mut at = *start;
        let again = loop {
            if let Some(walk) = met.get(&at) {
                break (walk == start).then_some(at);
            }
            met.insert(at, *start);
            match leads_to.get(&at) {
                Some(next) => at.1 = *next,
                None => break None,
            }
        };
        let Some((node, first)) = again else { continue };
        let ring = std::iter::successors(Some(first), |label| {
            leads_to.get(&(node, *label)).copied().filter(|next| *next != first)
        });
        let lowest = ring.min().unwrap_or(first);
        let message = || format!("part of a cycle at node {node}");
        let other = Some((StoreFile::Node, RecordId(node)));
        judge.add(
            Rule::RelationshipCycle,
            (StoreFile::Relationship, lowest),
            message,
            other,
        );
    }
}

/// Links that the walks of a check of a part follow; beyond that one pass over the store costs less.
const LINKS_MAX: usize = 1 << 18;

/// Walks along the chains of single relationships, which together meet each link once.
#[derive(Debug, Default)]
pub(super) struct Walks {
    /// Nodes and relationships whose chains were judged.
    judged: HashSet<(u64, u64)>,
    links: usize,
}

/// In which direction a chain is followed.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Next,
    Previous,
}

impl Walks {
    /// Whether the walks were given up.
    pub(super) fn are_too_long(&self) -> bool {
        self.links > LINKS_MAX
    }

    /// Reports the chain of this relationship at this node if it is a ring: follows it in both directions at the same time
    /// until either of them ends, since what was written is mostly near the head.
    pub(super) fn follow(&mut self, judge: &mut Judge<'_>, node: RecordId, id: u64) -> Result<(), CheckError> {
        if self.judged.contains(&(node.0, id)) {
            return Ok(());
        }
        let (mut met, mut lowest) = (vec![id], id);
        let (mut ahead, mut behind) = (id, id);
        let is_ring = loop {
            let Some(next) = linked(&mut judge.lookup, node, ahead, Direction::Next)? else {
                break false;
            };
            let Some(previous) = linked(&mut judge.lookup, node, behind, Direction::Previous)? else {
                break false;
            };
            if next == id {
                break true;
            }
            self.links += 1;
            if self.judged.contains(&(node.0, next)) || self.judged.contains(&(node.0, previous)) || self.are_too_long()
            {
                break false;
            }
            (ahead, behind, lowest) = (next, previous, lowest.min(next));
            met.extend([next, previous]);
        };
        self.judged.extend(met.into_iter().map(|id| (node.0, id)));
        if is_ring {
            let message = || format!("part of a cycle at node {node}");
            let other = Some((StoreFile::Node, node));
            judge.add(
                Rule::RelationshipCycle,
                (StoreFile::Relationship, lowest),
                message,
                other,
            );
        }
        Ok(())
    }
}

/// The neighbour of a relationship at a node, where both sides of the link agree.
fn linked(lookup: &mut Lookup<'_>, node: RecordId, id: u64, direction: Direction) -> Result<Option<u64>, CheckError> {
    let mut neighbour = |id: RecordId, direction: Direction| -> Result<Pointer, CheckError> {
        let found = lookup.relationship(id)?;
        let end = found.and_then(|found| Some(Side::with(node, &found)?.of(&found)));
        Ok(end.and_then(|end| match direction {
            Direction::Next => end.next,
            Direction::Previous => end.previous,
        }))
    };
    let (there, back) = match direction {
        Direction::Next => (Direction::Next, Direction::Previous),
        Direction::Previous => (Direction::Previous, Direction::Next),
    };
    let Some(found) = neighbour(RecordId(id), there)? else {
        return Ok(None);
    };
    let agrees = neighbour(found, back)? == Some(RecordId(id));
    Ok(agrees.then_some(found.0))
}
