//! Events in batches: what crosses from the socket's task to the disk's thread is few large messages, not millions of
//! small ones.

use std::{ops::Range, sync::Arc};

use crate::{
    ids::{StoreId, TxId},
    wire::{Decoder, Event, PeerPath, WireError},
};

/// Bytes of data in a full batch; large writes are what disks like.
const BATCH_BYTES: usize = 256 * 1024;

/// Room behind a batch that is almost full, for one block of the protocol.
const BLOCK: usize = 255;

/// Events in a full batch, which bounds batches of very small transactions.
const BATCH_ITEMS: usize = 4096;

/// An event, its bytes in the batch.
#[derive(Debug)]
pub(super) enum Item {
    File(PeerPath),
    Data(Range<usize>),
    FileEnd,
    StoreId(StoreId),
    Transaction(Arc<str>, TxId),
    TransactionEnd,
    End,
}

/// Events with the bytes they carry.
#[derive(Debug)]
pub(super) struct Batch {
    data: Vec<u8>,
    items: Vec<Item>,
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
        matches!(self.items.last(), Some(Item::End))
    }

    /// Whether its memory is worth using again.
    pub(super) fn has_room(&self) -> bool {
        self.data.capacity() >= BATCH_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.items.clear();
    }

    pub(super) fn item(&self, index: usize) -> Option<&Item> {
        self.items.get(index)
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.data.get(range).unwrap_or_default()
    }

    /// Decodes `input` into the batch until the batch is full, the response ends or the input is used up.
    pub(super) fn fill(&mut self, decoder: &mut Decoder, input: &mut &[u8]) -> Result<(), WireError> {
        while !self.is_full() && !self.is_last() {
            let item = match decoder.next(input)? {
                None => break,
                Some(Event::Data(piece)) => {
                    self.append(piece);
                    continue;
                }
                Some(Event::File(path)) => Item::File(path),
                Some(Event::FileEnd) => Item::FileEnd,
                Some(Event::StoreId(id)) => Item::StoreId(id),
                Some(Event::Transaction(source, id)) => Item::Transaction(source, id),
                Some(Event::TransactionEnd) => Item::TransactionEnd,
                Some(Event::End) => Item::End,
            };
            self.items.push(item);
        }
        Ok(())
    }

    fn append(&mut self, piece: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(piece);
        let end = self.data.len();
        match self.items.last_mut() {
            Some(Item::Data(range)) => range.end = end,
            _ => self.items.push(Item::Data(start..end)),
        }
    }
}
