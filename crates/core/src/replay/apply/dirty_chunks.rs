//! The chunks that replay changed: only these are sealed and digested again.

use crate::manifest::sums::CHUNK;
use neo4j_format::width::to_usize;

/// What was written to one store file.
#[derive(Debug, Default, Clone)]
pub struct DirtyChunks {
    /// One more than the highest record written or deleted.
    pub high_id: u64,
    /// Chunks of [`CHUNK`] bytes that changed, one bit each.
    chunks: Vec<u64>,
}

impl DirtyChunks {
    /// Notes that the bytes from `offset` on changed.
    pub fn note(&mut self, offset: u64, length: u64) {
        for chunk in offset / CHUNK..=(offset + length.max(1) - 1) / CHUNK {
            let (word, bit) = (to_usize(chunk / 64), chunk % 64);
            if word >= self.chunks.len() {
                self.chunks.resize(word.saturating_add(1), 0);
            }
            if let Some(word) = self.chunks.get_mut(word) {
                *word |= 1 << bit;
            }
        }
    }

    /// Adds what another replay wrote.
    pub fn merge(&mut self, other: &DirtyChunks) {
        self.high_id = self.high_id.max(other.high_id);
        self.chunks.resize(self.chunks.len().max(other.chunks.len()), 0);
        for (word, more) in self.chunks.iter_mut().zip(&other.chunks) {
            *word |= more;
        }
    }

    /// Whether this chunk changed.
    pub fn has(&self, chunk: u64) -> bool {
        let word = usize::try_from(chunk / 64).ok().and_then(|word| self.chunks.get(word));
        word.is_some_and(|word| word >> (chunk % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_across_two_chunks_touches_both() {
        let mut touched = DirtyChunks::default();
        touched.note(CHUNK - 1, 2);
        assert_eq!([0, 1, 2].map(|chunk| touched.has(chunk)), [true, true, false]);
        let mut other = DirtyChunks::default();
        other.note(1000 * CHUNK, 1);
        touched.merge(&other);
        assert!(touched.has(0) && touched.has(1000) && !touched.has(999));
    }
}
