//! One pass over a store file in big blocks, on several cores.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use neo4j_format::width::to_usize;

use super::{error::CheckError, stores::Store};
use crate::cancel::Cancel;

/// Bytes read at once, about: they fit into a core's own cache.
const BLOCK: u64 = 256 << 10;

/// Records of a block are a multiple of this, so that two threads never share a word of a bitmap.
const STEP: u64 = 64;

/// Whole records in the order of their ids.
#[derive(Debug, Clone, Copy)]
pub(super) struct Records<'a> {
    pub(super) first: u64,
    bytes: &'a [u8],
    width: usize,
}

impl<'a> Records<'a> {
    /// Each record with its id.
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = (u64, &'a [u8])> {
        let first = self.first;
        let records = self.bytes.chunks_exact(self.width).enumerate();
        records.map(move |(i, record)| (first + i as u64, record))
    }

    /// The same where a record has `N` bytes.
    pub(super) fn arrays<const N: usize>(self) -> impl Iterator<Item = (u64, &'a [u8; N])> {
        (self.first..).zip(self.bytes.as_chunks().0)
    }

    /// One of them, if it is among them.
    pub(super) fn get(&self, id: u64) -> Option<&'a [u8]> {
        let at = usize::try_from(id.checked_sub(self.first)?)
            .ok()?
            .checked_mul(self.width)?;
        self.bytes.get(at..at.checked_add(self.width)?)
    }
}

/// Hands all records in `range` to `each`, a block at a time, in no particular order and on as many threads as there
/// are `states`, each with its own; blocks start at multiples of 64.
pub(super) fn scan<S: Send>(
    store: &Store,
    range: Range<u64>,
    states: &mut [S],
    cancel: &Cancel,
    each: impl Fn(&mut S, Records<'_>) -> Result<(), CheckError> + Sync,
) -> Result<(), CheckError> {
    let per_block = (BLOCK / store.size / STEP).max(1) * STEP;
    let end = range.end.min(store.records);
    let blocks = AtomicU64::new(range.start / per_block);
    let work = |state: &mut S| -> Result<(), CheckError> {
        let mut buffer = Vec::new();
        loop {
            let first = blocks.fetch_add(1, Ordering::Relaxed).saturating_mul(per_block);
            let last = first.saturating_add(per_block).min(end);
            let first = first.max(range.start);
            if first >= last {
                return Ok(());
            }
            cancel.check().map_err(|error| CheckError::Cancelled(Box::new(error)))?;
            let width = store.width();
            let count = to_usize(last - first);
            buffer.resize(count.saturating_mul(width), 0);
            store.read(first, &mut buffer)?;
            each(
                state,
                Records {
                    first,
                    bytes: &buffer,
                    width,
                },
            )?;
        }
    };
    let work = &work;
    if end <= range.start.saturating_add(per_block) {
        return states.first_mut().map_or(Ok(()), work);
    }
    thread::scope(|scope| {
        let mut states = states.iter_mut();
        let own = states.next();
        // if the system refuses a thread, the others do its work
        let others: Vec<_> = states
            .map_while(|state| thread::Builder::new().spawn_scoped(scope, move || work(state)).ok())
            .collect();
        let mut result = own.map_or(Ok(()), work);
        for other in others {
            let joined = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(joined);
        }
        result
    })
}

/// The same on this thread alone, from the last record to the first.
pub(super) fn scan_backward(
    store: &Store,
    cancel: &Cancel,
    mut each: impl FnMut(Records<'_>) -> Result<(), CheckError>,
) -> Result<(), CheckError> {
    let per_block = (BLOCK / store.size / STEP).max(1) * STEP;
    let mut buffer = Vec::new();
    for block in (0..store.records.div_ceil(per_block)).rev() {
        cancel.check().map_err(|error| CheckError::Cancelled(Box::new(error)))?;
        let first = block * per_block;
        let width = store.width();
        let count = to_usize(per_block.min(store.records - first));
        buffer.resize(count.saturating_mul(width), 0);
        store.read(first, &mut buffer)?;
        each(Records {
            first,
            bytes: &buffer,
            width,
        })?;
    }
    Ok(())
}
