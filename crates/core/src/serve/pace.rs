//! One rate for all clients together.

use std::{
    num::NonZeroU64,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use neo4j_format::width::to_usize;

/// The longest wait for one portion at the full rate, so that an end is noticed soon and clients take turns.
const PORTIONS_PER_SECOND: u64 = 8;

/// A rate, kept by giving each portion its turn.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<NonZeroU64>,
    free_from: Mutex<Instant>,
}

impl Pace {
    /// Limit in bytes per second, or none.
    pub(super) fn new(per_second: Option<NonZeroU64>) -> Pace {
        Pace {
            per_second,
            free_from: Mutex::new(Instant::now()),
        }
    }

    /// Bytes to send at once.
    pub(super) fn portion(&self) -> usize {
        match self.per_second {
            None => usize::MAX,
            Some(rate) => to_usize(rate.get() / PORTIONS_PER_SECOND).max(1),
        }
    }

    /// When a portion of that many bytes may be sent; `None`: at once. A pause gives no right to a burst.
    pub(super) fn turn(&self, bytes: usize) -> Option<Instant> {
        let rate = self.per_second?.get();
        let nanos = u128::try_from(bytes).unwrap_or(u128::MAX) * 1_000_000_000 / u128::from(rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_from = self.free_from.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*free_from).max(Instant::now());
        *free_from = turn.checked_add(takes).unwrap_or(turn);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_of_all_clients_follow_each_other_at_the_rate() {
        let pace = Pace::new(NonZeroU64::new(1000));
        assert_eq!(pace.portion(), 125);
        let first = pace.turn(125).unwrap();
        for n in 1..8 {
            assert_eq!(pace.turn(125).unwrap() - first, Duration::from_millis(125 * n));
        }
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let pace = Pace::new(None);
        assert_eq!((pace.turn(1 << 30), pace.portion()), (None, usize::MAX));
    }
}
