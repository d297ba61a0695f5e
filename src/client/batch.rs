//! Events in batches: what crosses from the socket's task to the disk's thread is few large messages, not millions of
//! small ones.

use std::{ops::Range, sync::Arc};

use crate::{
    ids::{StoreId, TxId},
    wire::{Decoder, Event, PeerPath, WireError},
};

/// Bytes of data in a full batch; large writes are what disks like.
const BATCH_BYTES: usize = 256 * 1024;

/// Events in a full batch, which bounds batches of very small transactions.
const BATCH_ITEMS: usize = 8192;

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

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) data: Vec<u8>,
    pub(super) items: Vec<Item>,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.data.len() >= BATCH_BYTES || self.items.len() >= BATCH_ITEMS
    }

    pub(super) fn is_last(&self) -> bool {
        matches!(self.items.last(), Some(Item::End))
    }

    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.items.clear();
    }

    /// Decodes `input` into the batch until the batch is full, the response ends or the input is used up.
    pub(super) fn fill(&mut self, decoder: &mut Decoder, input: &mut &[u8]) -> Result<(), WireError> {
        while !self.is_full() && !self.is_last() {
            let item = match decoder.next(input)? {
                None => break,
                Some(Event::Data(piece)) => {
                    let start = self.data.len();
                    self.data.extend_from_slice(piece);
                    match self.items.last_mut() {
                        Some(Item::Data(range)) => {
                            range.end = self.data.len();
                            continue;
                        }
                        _ => Item::Data(start..self.data.len()),
                    }
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
}
