//! Finds the claims that do not match, in bounded memory and without following a pointer.
//!
//! First pass: every claim is hashed, and one sum adds the hash of a credit and subtracts that of a debit. If it is not
//! zero in the end, there is a claim without its counterpart (that it is zero all the same has odds of 2⁻⁶⁴; the keys of
//! the hash are random in each run, so that no store can be made to pass). Most stores are done with that. In the
//! others a second pass has one sum for each of many buckets of claims, and a third collects the claims of the buckets
//! that are not zero and matches them one by one; where they are too many for the memory they are taken in several
//! passes, by ranges of the hash.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use neo4j_format::width::to_usize;

use super::claim::{Claim, Entry, Key};

/// Sums that fit into the cache of a core.
const BUCKETS: usize = 1 << 15;

/// More claims with one key than this are only counted: all of them point to the same record.
const SAME_KEY: usize = 256;

/// Keyed hash of claims.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash {
    keys: [u64; 4],
}

impl Hash {
    /// With keys of this run alone.
    pub(super) fn new() -> Hash {
        let random = RandomState::new();
        Hash {
            keys: [1, 2, 3, 4].map(|i: u64| random.hash_one(i) | 1),
        }
    }

    #[inline]
    pub(super) fn of(&self, key: &Key) -> u64 {
        let ([a, b, c], [k0, k1, k2, k3]) = (key.words(), self.keys);
        fold(fold(a ^ k0, b ^ k1) ^ k2, c ^ k3)
    }
}

/// Both halves of the product.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = a.carrying_mul(b, 0);
    low ^ high
}

fn bucket(hash: u64) -> usize {
    to_usize(hash >> 49)
}

/// The sum of a first pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Balance {
    hash: Hash,
    sum: u64,
}

impl Balance {
    pub(super) fn new(hash: Hash) -> Balance {
        Balance { hash, sum: 0 }
    }

    /// Enters a claim.
    #[inline]
    pub(super) fn enter(&mut self, claim: &Claim) {
        self.sum = added(self.sum, self.hash.of(&claim.key), claim.entry);
    }

    /// Adds what another thread entered.
    pub(super) fn merge(&mut self, other: Balance) {
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Whether each claim has its counterpart.
    pub(super) fn is_even(self) -> bool {
        self.sum == 0
    }
}

#[inline]
fn added(sum: u64, hash: u64, entry: Entry) -> u64 {
    match entry {
        Entry::Credit => sum.wrapping_add(hash),
        Entry::Debit => sum.wrapping_sub(hash),
    }
}

/// The sums of a second pass.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    hash: Hash,
    sums: Vec<u64>,
}

impl Ledger {
    pub(super) fn new(hash: Hash) -> Ledger {
        Ledger {
            hash,
            sums: vec![0; BUCKETS],
        }
    }

    /// Enters a claim.
    pub(super) fn enter(&mut self, claim: &Claim) {
        let hash = self.hash.of(&claim.key);
        if let Some(sum) = self.sums.get_mut(bucket(hash)) {
            *sum = added(*sum, hash, claim.entry);
        }
    }

    /// Adds what another thread entered.
    pub(super) fn merge(&mut self, other: &Ledger) {
        for (sum, more) in self.sums.iter_mut().zip(&other.sums) {
            *sum = sum.wrapping_add(*more);
        }
    }

    /// The buckets with claims that do not match; `None` if all do.
    pub(super) fn suspects(&self) -> Option<Suspects> {
        let open: Vec<bool> = self.sums.iter().map(|sum| *sum != 0).collect();
        open.contains(&true).then_some(Suspects { hash: self.hash, open })
    }
}

/// Buckets that do not balance.
#[derive(Debug)]
pub(super) struct Suspects {
    hash: Hash,
    open: Vec<bool>,
}

/// Claims of such buckets from one range of the hash: all those there are in it.
#[derive(Debug)]
pub(super) struct Collected<'a> {
    suspects: &'a Suspects,
    from: u64,
    /// Claims from here on did not fit.
    until: Option<u64>,
    room: usize,
    claims: Vec<(u64, Claim)>,
    /// Claims that were left out because there are many like them.
    dropped: BTreeMap<Key, u64>,
}

impl<'a> Collected<'a> {
    /// Takes claims with hashes from `from` on, as many as there is room for.
    pub(super) fn new(suspects: &'a Suspects, from: u64, room: usize) -> Collected<'a> {
        Collected {
            suspects,
            from,
            until: None,
            room: room.max(4 * SAME_KEY),
            claims: Vec::new(),
            dropped: BTreeMap::new(),
        }
    }

    /// Takes a claim if it belongs here.
    pub(super) fn take(&mut self, claim: Claim) {
        let hash = self.suspects.hash.of(&claim.key);
        let is_open = self.suspects.open.get(bucket(hash)).is_some_and(|open| *open);
        if is_open && hash >= self.from && self.until.is_none_or(|until| hash < until) {
            self.claims.push((hash, claim));
            if self.claims.len() >= self.room {
                self.make_room();
            }
        }
    }

    /// Drops what is like many others, then the upper half of the hashes.
    fn make_room(&mut self) {
        self.claims.sort_unstable();
        let mut same = (None, 0);
        let dropped = &mut self.dropped;
        self.claims.retain(|(_, claim)| {
            let kind = Some((claim.key, claim.entry));
            same = if same.0 == kind { (kind, same.1 + 1) } else { (kind, 1) };
            if same.1 > SAME_KEY {
                *dropped.entry(claim.key).or_insert(0) += 1;
            }
            same.1 <= SAME_KEY
        });
        if self.claims.len() > self.room / 2 {
            let middle = self.claims.get(self.claims.len() / 2).map(|(hash, _)| *hash);
            if let Some(middle) = middle {
                self.limit(middle);
            }
        }
    }

    fn limit(&mut self, until: u64) {
        self.until = Some(self.until.map_or(until, |before| before.min(until)));
        let until = self.until.unwrap_or(until);
        self.claims.retain(|(hash, _)| *hash < until);
        let hash = self.suspects.hash;
        self.dropped.retain(|key, _| hash.of(key) < until);
    }

    /// Puts together what the threads collected. Returns the groups that do not match and where to go on.
    pub(super) fn settle(mut parts: Vec<Collected<'a>>) -> (Vec<Group>, Option<u64>) {
        let until = parts.iter().filter_map(|part| part.until).min();
        if let Some(until) = until {
            for part in &mut parts {
                part.limit(until);
            }
        }
        let mut dropped = BTreeMap::new();
        let mut claims = Vec::new();
        for part in parts {
            claims.extend(part.claims);
            for (key, count) in part.dropped {
                *dropped.entry(key).or_insert(0) += count;
            }
        }
        claims.sort_unstable();
        let mut groups = Vec::new();
        for group in claims.chunk_by(|(_, a), (_, b)| a.key == b.key) {
            let claims: Vec<Claim> = group.iter().map(|(_, claim)| *claim).collect();
            let credits = claims.iter().filter(|claim| claim.entry == Entry::Credit).count();
            if let Some(first) = claims.first()
                && (credits, claims.len()) != (1, 2)
            {
                groups.push(Group {
                    more: dropped.get(&first.key).copied().unwrap_or_default(),
                    claims,
                });
            }
        }
        (groups, until)
    }
}

/// All claims with one key, where they do not match.
#[derive(Debug)]
pub(super) struct Group {
    /// Credits first.
    pub(super) claims: Vec<Claim>,
    /// More credits like the last one.
    pub(super) more: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::claim;
    use neo4j_format::store::record::{Node, RecordId};

    fn node(first: u64) -> Node {
        Node {
            first_relationship: None,
            first_property: Some(RecordId(first)),
        }
    }

    fn unmatched(nodes: &[(u64, u64)], room: usize) -> (Vec<(usize, u64)>, usize) {
        let mut ledger = Ledger::new(Hash::new());
        let say = |take: &mut dyn FnMut(Claim)| {
            for (id, first) in nodes {
                claim::node(*id, &node(*first), &mut |claim| take(claim));
            }
        };
        let mut balance = Balance::new(Hash::new());
        say(&mut |claim| balance.enter(&claim));
        assert!(!balance.is_even());
        say(&mut |claim| ledger.enter(&claim));
        let suspects = ledger.suspects().unwrap();
        let (mut from, mut found, mut passes) = (0, Vec::new(), 0);
        loop {
            let mut collected = Collected::new(&suspects, from, room);
            say(&mut |claim| collected.take(claim));
            let (groups, next) = Collected::settle(vec![collected]);
            found.extend(groups.iter().map(|group| (group.claims.len(), group.more)));
            passes += 1;
            let Some(next) = next else { break };
            from = next;
        }
        found.sort_unstable();
        (found, passes)
    }

    #[test]
    fn every_claim_is_found_in_one_pass_and_in_many() {
        let nodes: Vec<(u64, u64)> = (0..5000).map(|id| (id, id)).collect();
        assert_eq!(unmatched(&nodes, 1 << 20), (vec![(1, 0); 5000], 1));
        let (found, passes) = unmatched(&nodes, 1);
        assert_eq!(found, vec![(1, 0); 5000]);
        assert!(passes > 4, "{passes}");
    }

    #[test]
    fn very_many_claims_about_one_record_need_no_memory() {
        let mut nodes: Vec<(u64, u64)> = (0..5000).map(|id| (id, 7)).collect();
        nodes.extend((0..100).map(|id| (id, 1000 + id)));
        let (found, _) = unmatched(&nodes, 1);
        assert_eq!(found.len(), 101);
        let (kept, more) = found.iter().max().copied().unwrap();
        assert_eq!(kept as u64 + more, 5000);
    }
}
