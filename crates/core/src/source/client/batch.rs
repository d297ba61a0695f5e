//! Events in batches: what crosses from the socket's task to the disk's thread is few large messages, not millions of
//! small ones.

use std::ops::Range;

use neo4j_format::wire::{Decoder, Event, WireError};

/// Bytes of data in a full batch; large writes are what disks like.
const BATCH_BYTES: usize = 256 * 1024;

/// Room behind a batch that is almost full, for one block of the protocol.
const BLOCK: usize = 255;

/// Events in a full batch, which bounds batches of very small transactions.
const BATCH_ITEMS: usize = 4096;

/// Events with the bytes they carry.
#[derive(Debug)]
pub(super) struct Batch {
    data: Vec<u8>,
    items: Vec<Event<Range<usize>>>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            data: Vec::with_capacity(BATCH_BYTES + BLOCK),
            items: Vec::new(),
        }
    }
}

impl Batch {
    /// One that holds nothing and takes no memory.
    pub(super) fn empty() -> Batch {
        Batch {
            data: Vec::new(),
            items: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.data.len() >= BATCH_BYTES || self.items.len() >= BATCH_ITEMS
    }

    /// Whether it ends the response.
    pub(super) fn is_last(&self) -> bool {
        matches!(self.items.last(), Some(Event::End))
    }

    /// Whether its memory is worth using again.
    pub(super) fn has_room(&self) -> bool {
        self.data.capacity() >= BATCH_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.items.clear();
    }

    /// The event with this index, which is below [`Batch::len`].
    #[expect(clippy::expect_used, reason = "broken invariants must not pass for received data")]
    pub(super) fn event(&self, index: usize) -> Event<&[u8]> {
        let event = self.items.get(index);
        let event = event.expect("the caller checks the number of events").clone();
        event.map(|range| self.data.get(range).expect("events refer to bytes of their own batch"))
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Decodes `input` into the batch until the batch is full, the response ends or the input is used up.
    pub(super) fn fill(&mut self, decoder: &mut Decoder, input: &mut &[u8]) -> Result<(), WireError> {
        while !self.is_full() && !self.is_last() {
            let Some(event) = decoder.next(input)? else { break };
            let event = event.map(|piece| {
                let start = self.data.len();
                self.data.extend_from_slice(piece);
                start..self.data.len()
            });
            match (self.items.last_mut(), event) {
                (Some(Event::Data(before)), Event::Data(piece)) => before.end = piece.end,
                (_, event) => self.items.push(event),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "events refer to bytes of their own batch")]
    fn an_event_without_its_bytes_is_not_taken_for_an_empty_one() {
        let mut batch = Batch::empty();
        batch.items.push(Event::Data(0..9));
        let _ = batch.event(0);
    }

    #[test]
    #[should_panic(expected = "the caller checks the number of events")]
    fn an_event_that_is_not_there_does_not_end_the_response() {
        let _ = Batch::empty().event(0);
    }
}
