//! Work on the records of a store by several threads whose results come out in the order of the records.
//!
//! Each thread takes the next block of records and sends pieces of its result through a channel of its own. The caller's
//! thread empties the channels in the order of the blocks. All channels are bounded: a thread that is ahead waits, so memory
//! does not grow with the store.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use super::reader::read_error;
use crate::{Error, ErrorKind, cancel::Cancel, check::stores::Store, runtime::no_thread};
use neo4j_format::width::to_usize;

/// Bytes of a block of records, about.
const BLOCK: u64 = 128 << 10;

/// Pieces of one block that wait.
const PIECES: usize = 2;

/// Sends a piece of the result of a block.
pub(crate) type Send<'a, P> = dyn FnMut(P) -> Result<(), Error> + 'a;

/// Whole records in the order of their ids.
pub(crate) struct Block<'a> {
    first: u64,
    bytes: &'a [u8],
    width: usize,
}

impl<'a> Block<'a> {
    /// Each record with its id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        (self.first..).zip(self.bytes.chunks_exact(self.width))
    }

    /// The id of the first one.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        (self.bytes.len() / self.width) as u64
    }

    /// Bytes of the records.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Runs `work` on every block of `store`, on as many threads as there are `states`; `take` gets the pieces in order.
///
/// # Errors
/// The first error of `work` or `take`; the run was cancelled.
pub(crate) fn ordered<S: std::marker::Send, P: std::marker::Send>(
    store: &Store,
    states: &mut [S],
    cancel: &Cancel,
    work: impl Fn(&mut S, &Block<'_>, &mut Send<'_, P>) -> Result<(), Error> + Sync,
    mut take: impl FnMut(P) -> Result<(), Error>,
) -> Result<(), Error> {
    let per_block = (BLOCK / store.size.max(1)).max(1);
    let (queue, channels) = sync_channel(states.len().saturating_mul(2));
    let queue = Queue {
        state: Mutex::new((0, Some(queue))),
        per_block,
        records: store.records,
    };
    let (queue, work) = (&queue, &work);
    thread::scope(|scope| {
        // dropped when this closure ends, which wakes every thread that still sends
        let channels: Receiver<Receiver<Result<P, Error>>> = channels;
        let mut is_read = false;
        for state in states {
            let thread = thread::Builder::new().spawn_scoped(scope, move || {
                let mut buffer = Vec::new();
                while let Some((range, sender)) = queue.next() {
                    let done = read(store, &range, &mut buffer, cancel).and_then(|()| {
                        let block = Block {
                            first: range.start,
                            bytes: &buffer,
                            width: store.width(),
                        };
                        work(state, &block, &mut |piece| {
                            sender.send(Ok(piece)).map_err(|_| stopped())
                        })
                    });
                    if let Err(error) = done {
                        // if the receiver is gone, the caller has an error of its own
                        let _ = sender.send(Err(error));
                        queue.close();
                        return;
                    }
                }
            });
            // a store that fewer threads read is read more slowly
            if let Err(cause) = thread
                && !is_read
            {
                return Err(no_thread(&cause));
            }
            is_read = true;
        }
        for pieces in channels {
            for piece in pieces {
                take(piece?)?;
            }
        }
        Ok(())
    })
}

/// Hands out blocks, with the channel for the result of each.
struct Queue<P> {
    /// First record of the next block, and where its channel is announced.
    state: Mutex<(u64, Announcements<P>)>,
    per_block: u64,
    records: u64,
}

/// Records to work on, and where the pieces go.
type Task<P> = (Range<u64>, SyncSender<Result<P, Error>>);

type Announcements<P> = Option<SyncSender<Receiver<Result<P, Error>>>>;

impl<P> Queue<P> {
    fn next(&self) -> Option<Task<P>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, announce) = &mut *state;
        let range = *first..first.saturating_add(self.per_block).min(self.records);
        if range.is_empty() {
            *announce = None;
            return None;
        }
        let (sender, receiver) = sync_channel(PIECES);
        if announce.as_ref()?.send(receiver).is_err() {
            *announce = None;
            return None;
        }
        *first = range.end;
        Some((range, sender))
    }

    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }
}

fn read(store: &Store, range: &Range<u64>, buffer: &mut Vec<u8>, cancel: &Cancel) -> Result<(), Error> {
    cancel.check()?;
    let count = to_usize(range.end - range.start);
    buffer.resize(count.saturating_mul(store.width()), 0);
    store.read(range.start, buffer).map_err(read_error)
}

/// Ends a thread after the caller has stopped. Never shown.
fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::check::{Collector, stores::Stores};
    use neo4j_format::{DirHandle, store::StoreFile};

    /// A store of so many nodes, each with its id in its last bytes.
    fn stores(nodes: u32) -> (tempfile::TempDir, Stores) {
        let dir = tempfile::tempdir().unwrap();
        let records: Vec<u8> = (0..nodes)
            .flat_map(|id| [&[1, 255, 255, 255, 255][..], &id.to_be_bytes()].concat())
            .collect();
        fs::write(dir.path().join(StoreFile::Node.name()), records).unwrap();
        let header: Vec<u8> = [1, 0, 0, 0, 0, 0, 0, 0, 1].repeat(4);
        fs::write(dir.path().join("neostore"), header).unwrap();
        let stores = Stores::open(&DirHandle::open(dir.path()).unwrap(), &mut Collector::new(0, None)).unwrap();
        (dir, stores)
    }

    #[test]
    fn pieces_come_in_the_order_of_the_records() {
        let (_dir, stores) = stores(100_000);
        for threads in [1, 3] {
            let mut expected = 0;
            ordered(
                stores.get(StoreFile::Node),
                &mut vec![(); threads],
                &Cancel::default(),
                |(), block, send| {
                    for (id, bytes) in block.iter() {
                        assert_eq!(bytes[5..], u32::try_from(id).unwrap().to_be_bytes());
                        if id % 777 == 0 {
                            send(id)?;
                        }
                    }
                    Ok(())
                },
                |id| {
                    assert_eq!(id, expected);
                    expected += 777;
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(expected / 777, 100_000_u64.div_ceil(777));
        }
    }

    #[test]
    fn an_error_on_either_side_ends_everything() {
        let (_dir, stores) = stores(200_000);
        let failed = || Error::new(ErrorKind::Failed, "failed");
        let run = |cancel: &Cancel, worker: u64, taker: u64| {
            ordered(
                stores.get(StoreFile::Node),
                &mut [(), ()],
                cancel,
                |(), block, send| {
                    block.iter().try_for_each(|(id, _)| {
                        if id == worker {
                            return Err(failed());
                        }
                        send(id)
                    })
                },
                |id| if id == taker { Err(failed()) } else { Ok(()) },
            )
        };
        let cancel = Cancel::default();
        assert_eq!(run(&cancel, 150_000, u64::MAX).unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(run(&cancel, u64::MAX, 70_000).unwrap_err().kind(), ErrorKind::Failed);
        run(&cancel, u64::MAX, u64::MAX).unwrap();
        cancel.cancel(ErrorKind::Terminated);
        assert_eq!(
            run(&cancel, u64::MAX, u64::MAX).unwrap_err().kind(),
            ErrorKind::Terminated
        );
    }
}
