//! The load of `tests/peers/Ledger.java`, whose every state shows whether it is one that was committed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use crate::support::{Peer, Release};

/// What a database has of the ledger, when nobody writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) pairs: u64,
    /// How many bookings were ever made in this history.
    pub(crate) bookings: u64,
    /// The name of the last one.
    pub(crate) last: String,
    /// Index entries of pairs that were struck.
    pub(crate) stale: u64,
    /// The pairs that the index lacks.
    pub(crate) unindexed: BTreeSet<String>,
}

impl Balance {
    /// `None` where it does not balance, or the member cannot be read now, as one that changes its role.
    pub(crate) fn of(peer: &mut Peer) -> Option<Balance> {
        let text = answer(peer, "balance")?;
        let mut words = text.split(' ');
        let mut number = || words.next().unwrap().parse().unwrap();
        let (pairs, bookings) = (number(), number());
        Some(Balance {
            pairs,
            bookings,
            last: words.next().unwrap().to_owned(),
            stale: words.next().unwrap().parse().unwrap(),
            unindexed: words.map(str::to_owned).collect(),
        })
    }

    /// Of a copy, which it changes.
    pub(crate) fn booted(release: Release, copy: &Path) -> Option<Balance> {
        let booted = catch_unwind(|| {
            let mut booted = Peer::boot(release, copy);
            let balance = Balance::of(&mut booted);
            booted.quit();
            balance
        });
        booted.ok().flatten()
    }

    /// The pairs that the index lacks although later ones were booked: bookings follow each other, so only the last one
    /// can be one that the source was still committing, the graph's part first.
    pub(crate) fn lost(&self) -> BTreeSet<&str> {
        let is_last = |name: &str| number(name) == Some(self.bookings);
        let names = self.unindexed.iter().map(String::as_str);
        names.filter(|name| !is_last(name)).collect()
    }
}

/// Which booking it was, from 1, by its name; `None` before the first one.
pub(crate) fn number(name: &str) -> Option<u64> {
    name.split('-').next()?.parse().ok()
}

/// `None` where it cannot answer.
pub(crate) fn answer(peer: &mut Peer, command: &str) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| peer.command(command))).ok()
}
