//! The memory a check may take, divided among what it keeps.

use std::ops::Range;

use neo4j_format::width::to_usize;

/// A limit on memory. What does not fit is done in several passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(u64);

/// So few things fit in any case.
const ROOM_MIN: usize = 1024;

impl Memory {
    /// Fixed part for any store: buffers, caches, sums, findings.
    const FIXED: u64 = 16 << 20;

    /// The smallest limit that can be kept, in bytes.
    pub const MIN: u64 = 24 << 20;

    /// A limit of so many bytes. Below [`Memory::MIN`] it is not kept, with as many passes as there can be.
    pub fn new(bytes: u64) -> Memory {
        Memory(bytes)
    }

    fn free(self) -> u64 {
        self.0.saturating_sub(Memory::FIXED)
    }

    /// Divides `records` into ranges for which `per_record` bits each fit beside the rest.
    pub(super) fn ranges(self, records: u64, per_record: u64) -> Vec<Range<u64>> {
        // a multiple of 64, so that words of bitmaps are not shared
        let step = (self.free() / 2 * 8 / per_record).max(64) / 64 * 64;
        let ranges = (0..records.div_ceil(step)).map(|i| i * step..records.min((i + 1) * step));
        ranges.collect()
    }

    /// How many things of `size` bytes each of `threads` may collect.
    pub(super) fn room(self, size: usize, threads: usize) -> usize {
        let all = to_usize(self.free() / 2);
        // what is collected is put together once
        (all / size.max(1) / threads.max(1) / 2).max(ROOM_MIN)
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(256 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_once() {
        let memory = Memory::new(Memory::MIN);
        for records in [0, 1, 64, 1 << 26, (1 << 26) + 1] {
            let mut end = 0;
            for range in memory.ranges(records, 1) {
                assert_eq!((range.start, range.start % 64), (end, 0));
                end = range.end;
            }
            assert_eq!(end, records);
        }
        assert_eq!(Memory::default().ranges(1 << 26, 1).len(), 1);
        assert_eq!(memory.ranges(1 << 26, 1).len(), 2);
    }
}
