//! What all passes over a whole store share: the stores, and the state of each thread.

use std::{collections::BTreeMap, ops::Range};

use super::{
    budget::Memory,
    claim::Claim,
    error::CheckError,
    judge::Judge,
    ledger::Balance,
    scan::{Records, scan},
    stores::Stores,
};
use crate::cancel::Cancel;
use neo4j_format::store::StoreFile;

/// State of one thread of a check.
pub(super) struct Worker<'a> {
    pub(super) balance: Balance,
    pub(super) judge: Judge<'a>,
    /// Records in use per store.
    pub(super) in_use: BTreeMap<StoreFile, u64>,
    /// Records reached from the head of their chain.
    pub(super) reached: u64,
    /// Links from a lower id to a higher one; every ring has at least one.
    pub(super) ascending: u64,
    /// Property keys of the current chain.
    pub(super) keys: Vec<u32>,
}

impl Worker<'_> {
    /// A sink that enters claims into the balance.
    pub(super) fn sink(&mut self) -> impl FnMut(Claim) {
        |claim| self.balance.enter(&claim)
    }

    pub(super) fn count(&mut self, kind: StoreFile, in_use: u64) {
        *self.in_use.entry(kind).or_default() += in_use;
    }
}

/// The stores of a check, its memory limit and its cancellation; shared by all passes.
pub(super) struct Whole<'a> {
    pub(super) stores: &'a Stores,
    pub(super) memory: Memory,
    pub(super) cancel: &'a Cancel,
}

impl Whole<'_> {
    /// Scans `range` of the store `kind`, divided among the threads.
    pub(super) fn scan<S: Send>(
        &self,
        kind: StoreFile,
        range: Range<u64>,
        states: &mut [S],
        each: impl Fn(&mut S, Records<'_>) -> Result<(), CheckError> + Sync,
    ) -> Result<(), CheckError> {
        scan(self.stores.get(kind), range, states, self.cancel, each)
    }

    /// For long walks: an error if the run was cancelled.
    pub(super) fn cancelled(&self) -> Result<(), CheckError> {
        self.cancel
            .check()
            .map_err(|error| CheckError::Cancelled(Box::new(error)))
    }
}
