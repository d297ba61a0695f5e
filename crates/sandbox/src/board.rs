//! Who is in the cluster and who is its master: what real members agree on through the coordinators.
//!
//! A member that dies keeps its seat until its session has expired, and nobody takes its role before. Then the one with
//! the highest transaction is elected, of equal ones the one that registered first. A member that comes back with a
//! higher transaction than the master's takes the role, as it does with real members; what was committed meanwhile is
//! branched off (`docs/formats/zookeeper-discovery.md` §6).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::live::Live;
use neo4j_format::ids::{DataSource, MemberId, TxId};

/// The members' common knowledge; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Board(Arc<Mutex<BoardState>>);

#[derive(Debug, Default)]
struct BoardState {
    master: Option<MemberId>,
    /// How many masters there were.
    term: u64,
    seats: BTreeMap<MemberId, Seat>,
}

#[derive(Debug)]
struct Seat {
    live: Live,
    sequence: i32,
    /// When its session expires, if nothing is heard of it.
    expires: Option<Instant>,
}

/// The master as the others see it.
#[derive(Debug, Clone)]
pub(super) struct Master {
    pub(super) id: MemberId,
    pub(super) term: u64,
    pub(super) live: Live,
    /// Whether it can be reached.
    pub(super) is_there: bool,
}

impl Board {
    /// A member has registered.
    pub(super) fn join(&self, id: MemberId, live: Live, sequence: i32) {
        let mut state = self.lock();
        let last = last_of(&live);
        state.seats.insert(
            id,
            Seat {
                live,
                sequence,
                expires: None,
            },
        );
        let of_master = state.master.and_then(|master| state.seats.get(&master));
        if of_master.is_none_or(|seat| last > last_of(&seat.live)) && state.master != Some(id) {
            state.appoint(Some(id));
        }
    }

    /// A member has closed its session.
    pub(super) fn leave(&self, id: MemberId) {
        let mut state = self.lock();
        state.seats.remove(&id);
        state.replace_missing_master();
    }

    /// Nothing is heard of a member any more; its session expires then.
    pub(super) fn lose(&self, id: MemberId, expires: Instant) {
        if let Some(seat) = self.lock().seats.get_mut(&id) {
            seat.expires = Some(expires);
        }
    }

    /// A member is heard of again; says whether its session was still there.
    pub(super) fn find(&self, id: MemberId) -> bool {
        let mut state = self.lock();
        state.expire(Instant::now());
        match state.seats.get_mut(&id) {
            Some(seat) => {
                seat.expires = None;
                true
            }
            None => false,
        }
    }

    /// A member's database was replaced by another.
    pub(super) fn replace(&self, id: MemberId, live: Live) {
        if let Some(seat) = self.lock().seats.get_mut(&id) {
            seat.live = live;
        }
    }

    /// Who is master now.
    pub(super) fn master(&self) -> Option<Master> {
        let mut state = self.lock();
        state.expire(Instant::now());
        let id = state.master?;
        let seat = state.seats.get(&id)?;
        Some(Master {
            id,
            term: state.term,
            live: seat.live.clone(),
            is_there: seat.expires.is_none(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BoardState> {
        // every change is whole before anything can panic
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BoardState {
    fn expire(&mut self, now: Instant) {
        self.seats
            .retain(|_, seat| seat.expires.is_none_or(|expires| expires > now));
        self.replace_missing_master();
    }

    fn replace_missing_master(&mut self) {
        if self.master.is_some_and(|master| self.seats.contains_key(&master)) {
            return;
        }
        let present = self.seats.iter().filter(|(_, seat)| seat.expires.is_none());
        let best = present.max_by_key(|(_, seat)| (last_of(&seat.live), std::cmp::Reverse(seat.sequence)));
        let best = best.map(|(id, _)| *id);
        if best != self.master {
            self.appoint(best);
        }
    }

    fn appoint(&mut self, member: Option<MemberId>) {
        self.master = member;
        self.term += 1;
    }
}

fn last_of(live: &Live) -> TxId {
    live.feed().last(DataSource::Graph)
}
