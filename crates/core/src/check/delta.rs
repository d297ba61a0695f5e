//! What transactions change in the claims that records make about each other.
//!
//! In a consistent store each claim has exactly one counterpart ([`super::claim`]). So it is enough to compare the claims
//! of the written records before and after. If the difference balances, every pointer between a written and an unwritten
//! record is as correct as before, and the unwritten records need not be read.

use super::{
    claim::{Claim, Entry, Key},
    ledger::Hash,
};

/// When a record says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// Before the transactions.
    Before,
    /// After them.
    After,
}

/// The difference between two images of the same records.
#[derive(Debug, Clone)]
pub(super) struct Delta {
    hash: Hash,
    credits: Vec<u64>,
    debits: Vec<u64>,
}

/// What does not balance in it.
#[derive(Debug)]
pub(super) struct Unbalanced {
    /// Whether a pointer leads to a record that is not what it wants, or a relationship is not where its chain has it.
    pub(super) is_wrong: bool,
    /// Chains and blocks to which nothing refers any more, in order.
    unowned: Vec<u64>,
    hash: Hash,
}

impl Delta {
    pub(super) fn new() -> Delta {
        Delta {
            hash: Hash::new(),
            credits: Vec::new(),
            debits: Vec::new(),
        }
    }

    /// Enters what a record says in this image.
    pub(super) fn enter(&mut self, claim: &Claim, image: Image) {
        let hash = tagged(&self.hash, &claim.key);
        match (claim.entry, image) {
            (Entry::Credit, Image::After) | (Entry::Debit, Image::Before) => self.credits.push(hash),
            (Entry::Debit, Image::After) | (Entry::Credit, Image::Before) => self.debits.push(hash),
        }
    }

    /// Takes away what balances.
    pub(super) fn settle(mut self) -> Unbalanced {
        self.credits.sort_unstable();
        self.debits.sort_unstable();
        let (mut credits, mut is_wrong, mut unowned) = (self.credits.into_iter().peekable(), false, Vec::new());
        for debit in self.debits {
            while credits.next_if(|credit| *credit < debit).is_some() {
                is_wrong = true;
            }
            if credits.next_if_eq(&debit).is_none() {
                match debit & MAY_LACK_OWNER {
                    0 => is_wrong = true,
                    _ => unowned.push(debit),
                }
            }
        }
        Unbalanced {
            is_wrong: is_wrong || credits.next().is_some(),
            unowned,
            hash: self.hash,
        }
    }
}

impl Unbalanced {
    /// Whether nothing refers any more to the record of this key.
    pub(super) fn is_unowned(&self, key: &Key) -> bool {
        self.unowned.binary_search(&tagged(&self.hash, key)).is_ok()
    }
}

/// In the hash of a record that may exist although nothing refers to it: that is lost space, and no error.
const MAY_LACK_OWNER: u64 = 1;

fn tagged(hash: &Hash, key: &Key) -> u64 {
    let may_lack_owner = key.is_first_property() || key.is_of_block();
    hash.of(key) & !MAY_LACK_OWNER | u64::from(may_lack_owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::claim::{self, Pointing};
    use neo4j_format::store::record::{Pointer, RecordId};

    fn refers_to(property: u64) -> Claim {
        let mut found = None;
        let first: Pointer = Some(RecordId(property));
        claim::owner(first, Pointing::NodeProperty, 1, &mut |claim| found = Some(claim));
        found.unwrap()
    }

    #[test]
    fn what_is_said_before_and_after_is_no_difference() {
        let mut delta = Delta::new();
        for image in [Image::Before, Image::After] {
            for property in 0..100 {
                delta.enter(&refers_to(property), image);
            }
        }
        let settled = delta.settle();
        assert!(!settled.is_wrong && settled.unowned.is_empty());
    }

    #[test]
    fn a_second_reference_is_wrong_and_a_lost_one_is_known() {
        let mut more = Delta::new();
        more.enter(&refers_to(7), Image::After);
        assert!(more.settle().is_wrong);
        let mut fewer = Delta::new();
        fewer.enter(&refers_to(7), Image::Before);
        let settled = fewer.settle();
        assert!(!settled.is_wrong);
        assert!(settled.is_unowned(&refers_to(7).key) && !settled.is_unowned(&refers_to(8).key));
    }
}
