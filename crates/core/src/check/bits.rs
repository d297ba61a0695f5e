//! One bit per record of a range, set by several threads at once.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use neo4j_format::width::to_usize;

/// A set of record ids.
#[derive(Debug)]
pub(crate) struct Bits {
    range: Range<u64>,
    words: Vec<AtomicU64>,
}

impl Bits {
    /// None of `range`.
    pub(crate) fn new(range: Range<u64>) -> Bits {
        let count = range.end.saturating_sub(range.start).div_ceil(64);
        let mut words = Vec::new();
        words.resize_with(to_usize(count), AtomicU64::default);
        Bits { range, words }
    }

    #[inline]
    fn at(&self, id: u64) -> Option<(&AtomicU64, u64)> {
        let index = id.checked_sub(self.range.start)?;
        let word = self.words.get(usize::try_from(index / 64).ok()?)?;
        (id < self.range.end).then_some((word, 1 << (index % 64)))
    }

    /// Whether it can hold this id.
    #[inline]
    pub(crate) fn covers(&self, id: u64) -> bool {
        self.range.contains(&id)
    }

    /// Adds an id that it covers; whether it was there.
    #[inline]
    pub(crate) fn insert(&self, id: u64) -> bool {
        self.at(id)
            .is_some_and(|(word, bit)| word.fetch_or(bit, Ordering::Relaxed) & bit != 0)
    }

    /// Whether an id is there.
    #[inline]
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.at(id)
            .is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_covers() {
        let bits = Bits::new(64..200);
        assert!(!bits.insert(64));
        assert!(bits.insert(64));
        assert!(!bits.insert(199));
        assert!(bits.contains(64) && bits.contains(199) && !bits.contains(100));
        assert!(!bits.insert(200) && !bits.contains(200) && !bits.contains(63) && !bits.covers(63));
    }
}
