//! A response as the disk's thread pulls it; [`super::reader`] fills it.
//!
//! ```text
//! reader task ── batches, at most QUEUE ──▶ Incoming::next
//!             ◀── used batches ───────────
//! ```

use std::io::Read;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{ClientError, batch::Batch, error::replayed};
use crate::{Error, cancel::Cancel};
use neo4j_format::wire::{Decoder, Event, WireError};

/// Batches under way between the two sides; with those being filled and pulled they take less than 4 MiB.
const QUEUE: usize = 6;

/// Bytes asked of a socket or a recording at once.
pub(super) const READ: usize = 256 * 1024;

/// A response that is arriving. Dropping it ends the connection.
#[derive(Debug)]
pub struct Incoming {
    batches: Receiver<Result<Batch, Error>>,
    used: Sender<Batch>,
    current: Batch,
    next: usize,
    address: String,
    cancel: Cancel,
}

impl Incoming {
    /// Pulls the next event; blocks until it is there, and must not be called on a thread of the runtime.
    ///
    /// # Errors
    /// [`ClientError`]; a cancelled run. The response cannot be read on.
    #[expect(clippy::should_implement_trait, reason = "what is pulled borrows from the stream")]
    pub fn next(&mut self) -> Result<Event<&[u8]>, Error> {
        while self.next >= self.current.len() {
            self.next_batch()?;
        }
        self.next += 1;
        Ok(self.current.event(self.next - 1))
    }

    fn next_batch(&mut self) -> Result<(), Error> {
        self.cancel.check()?;
        let mut used = std::mem::replace(&mut self.current, Batch::empty());
        self.next = 0;
        if used.has_room() {
            used.clear();
            // a reader that has ended needs no more buffers
            let _ = self.used.try_send(used);
        }
        match self.batches.blocking_recv() {
            Some(batch) => self.current = batch?,
            None => {
                return Err(ClientError::Lost {
                    address: self.address.clone(),
                }
                .into());
            }
        }
        Ok(())
    }

    /// The response in these recorded bytes, as if it came from a member.
    pub fn replay(mut decoder: Decoder, mut bytes: impl Read + Send + 'static) -> Incoming {
        let (incoming, mut out) = Incoming::pair("recorded response".to_owned(), Cancel::default());
        std::thread::spawn(move || {
            let mut buffer = vec![0; READ];
            while !out.ended() {
                let n = bytes.read(&mut buffer).unwrap_or(0);
                let input = &buffer[..n];
                let fed = if n == 0 {
                    Err(decoder.cut_off())
                } else {
                    out.feed(&mut decoder, input)
                };
                if let Err(error) = fed {
                    let _ = out.batches.blocking_send(Err(replayed(error)));
                    return;
                }
            }
        });
        incoming
    }

    /// Both ends of the queue.
    pub(super) fn pair(address: String, cancel: Cancel) -> (Incoming, Out) {
        let (batches, receiver) = channel(QUEUE);
        let (used, spare) = channel(QUEUE + 2);
        let incoming = Incoming {
            batches: receiver,
            used,
            current: Batch::empty(),
            next: 0,
            address,
            cancel,
        };
        (
            incoming,
            Out {
                batches,
                spare,
                batch: Batch::default(),
                state: OutState::Open,
            },
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutState {
    Open,
    /// The response is complete, or its reader is gone.
    Ended,
}

/// The filling end of the queue.
#[derive(Debug)]
pub(super) struct Out {
    batches: Sender<Result<Batch, Error>>,
    spare: Receiver<Batch>,
    batch: Batch,
    state: OutState,
}

impl Out {
    pub(super) fn ended(&self) -> bool {
        self.state == OutState::Ended
    }

    /// Where to report an error, behind what was flushed.
    pub(super) fn errors(&self) -> Sender<Result<Batch, Error>> {
        self.batches.clone()
    }

    /// Decodes input into the current batch; `true` when that has to be flushed before more can be decoded.
    pub(super) fn fill(&mut self, decoder: &mut Decoder, input: &mut &[u8]) -> Result<bool, WireError> {
        self.batch.fill(decoder, input)?;
        Ok(self.batch.is_full() || self.batch.is_last())
    }

    /// Hands on what has been decoded, waiting for room.
    pub(super) async fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = self.take();
        if self.batches.send(Ok(batch)).await.is_err() {
            self.state = OutState::Ended;
        }
    }

    fn take(&mut self) -> Batch {
        if self.batch.is_last() {
            self.state = OutState::Ended;
        }
        std::mem::replace(&mut self.batch, self.spare.try_recv().unwrap_or_default())
    }

    /// Decodes and hands on all of `input`, on a plain thread.
    fn feed(&mut self, decoder: &mut Decoder, mut input: &[u8]) -> Result<(), WireError> {
        while !self.ended() && self.fill(decoder, &mut input)? {
            let batch = self.take();
            if self.batches.blocking_send(Ok(batch)).is_err() {
                self.state = OutState::Ended;
            }
        }
        Ok(())
    }
}
