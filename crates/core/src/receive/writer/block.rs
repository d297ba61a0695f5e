//! Bytes on their way to the disk.

/// Bytes of a block: a disk takes large writes best.
pub(super) const BLOCK: usize = 1 << 20;

/// What direct writes have to be aligned to in memory and in the file; no disk has larger sectors.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes on their way to the disk, where direct writes can take them from.
pub(super) struct Block {
    memory: Vec<u8>,
    /// Where the aligned part of the memory begins.
    start: usize,
    filled: usize,
}

impl Block {
    pub(super) fn new() -> Block {
        let memory = vec![0; BLOCK + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Block {
            memory,
            start,
            filled: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == BLOCK
    }

    /// Takes as many bytes as there is room for; returns the others.
    pub(super) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
        let free = self.start + self.filled;
        if let Some(place) = self.memory.get_mut(free..free + now.len()) {
            place.copy_from_slice(now);
        }
        self.filled += now.len();
        later
    }

    pub(super) fn empty(&mut self) {
        self.filled = 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory
            .get(self.start..self.start + self.filled)
            .unwrap_or_default()
    }
}
