//! The pass over the property records: keys and values, and every chain from its head.

use std::collections::HashSet;

use super::{
    bits::Bits,
    claim,
    error::CheckError,
    judge::Judge,
    lookup::{Lookup, PropertyRecord},
    pass::{Whole, Worker},
    rings,
    rules::Rule,
    scan::Records,
    value,
};
use neo4j_format::store::{StoreFile, StoreFormat, record::RecordId};

/// A chain is searched for a key that comes twice up to so many keys.
const KEYS_MAX: usize = 1 << 16;

/// Steps of a walk between two looks at the cancellation.
const STEPS: u64 = 1 << 16;

/// Checks all property records; `keys` are those in use.
pub(super) fn check(whole: &Whole<'_>, keys: &Bits, workers: &mut [Worker<'_>]) -> Result<(), CheckError> {
    match whole.stores.format {
        StoreFormat::Legacy => each(whole, keys, workers, PropertyRecord::legacy),
        StoreFormat::Current => each(whole, keys, workers, PropertyRecord::current),
    }?;
    rings::of_unreached(
        whole,
        StoreFile::Property,
        workers,
        Rule::PropertyCycle,
        consistent_next,
    )
}

/// Each record as `decode` sees it: the loop is made for each format on its own.
fn each(
    whole: &Whole<'_>,
    keys: &Bits,
    workers: &mut [Worker<'_>],
    decode: impl Fn(&[u8]) -> Option<PropertyRecord> + Sync,
) -> Result<(), CheckError> {
    let kind = StoreFile::Property;
    let records = whole.stores.get(kind).records;
    whole.scan(kind, 0..records, workers, |worker, records| {
        let (mut in_use, mut reached, mut balance) = (0, 0, worker.balance);
        let mut say = |claim| balance.enter(&claim);
        for (id, bytes) in records.iter() {
            let Some(record) = decode(bytes) else {
                deleted(&mut worker.judge, id, bytes);
                continue;
            };
            in_use += 1;
            claim::property_links(id, &record, &mut say);
            let (mut is_odd, mut count) = (false, 0);
            let ends_wrongly = value::look(&record, |seen| {
                count += 1;
                is_odd |= seen.is_wrong || !keys.contains(u64::from(seen.key));
                if let Some(first) = seen.elsewhere {
                    claim::property_value(id, &record, first, &mut say);
                }
            });
            if is_odd || ends_wrongly {
                worker.judge.property_alone(id, &record)?;
            }
            match (record.previous, record.next) {
                (None, None) if count < 2 => reached += 1,
                (None, _) => walk(whole, worker, records, id, record)?,
                _ => {}
            }
        }
        worker.balance = balance;
        worker.reached += reached;
        worker.count(kind, in_use);
        Ok(())
    })
}

/// A record of the current format is deleted by a first long of zero; any other without a legal type is damage.
pub(super) fn deleted(judge: &mut Judge<'_>, id: u64, bytes: &[u8]) {
    if judge.lookup.stores.format == StoreFormat::Current {
        let first = bytes
            .get(9..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .map(u64::from_be_bytes);
        if let Some(first) = first.filter(|first| *first != 0) {
            let message = || format!("unknown type {}", first >> 24 & 15);
            judge.add(Rule::InvalidPropertyType, (StoreFile::Property, id), message, None);
        }
    }
}

/// Follows a chain from its head as long as both sides of each link agree, so that all walks together meet each record
/// once, in any store.
fn walk(
    whole: &Whole<'_>,
    worker: &mut Worker<'_>,
    records: Records<'_>,
    head: u64,
    first: PropertyRecord,
) -> Result<(), CheckError> {
    let mut keys = std::mem::take(&mut worker.keys);
    keys.clear();
    let (mut id, mut record) = (head, first);
    for step in 1.. {
        worker.reached += 1;
        if keys.len() < KEYS_MAX {
            value::keys(&record, |key| keys.push(key));
        }
        let Some(RecordId(next)) = record.next else { break };
        let found = match records.get(next) {
            Some(bytes) => PropertyRecord::decode(whole.stores.format, bytes),
            None => worker.judge.lookup.property(RecordId(next))?,
        };
        match found {
            Some(found) if found.previous == Some(RecordId(id)) => (id, record) = (next, found),
            _ => break,
        }
        if step % STEPS == 0 {
            whole.cancelled()?;
        }
    }
    twice(&mut worker.judge, head, &mut keys);
    worker.keys = keys;
    Ok(())
}

/// Looks for a key that comes twice.
fn twice(judge: &mut Judge<'_>, head: u64, keys: &mut [u32]) {
    keys.sort_unstable();
    let pair = keys.windows(2).find(|pair| pair.first() == pair.last());
    if let Some(key) = pair.and_then(<[u32]>::first) {
        let message = || format!("key {key} occurs twice in the chain that begins here");
        judge.add(Rule::KeyTwice, (StoreFile::Property, head), message, None);
    }
}

fn consistent_next(lookup: &mut Lookup<'_>, id: u64) -> Result<Option<u64>, CheckError> {
    let next = lookup.property(RecordId(id))?.and_then(|record| record.next);
    let Some(next) = next else { return Ok(None) };
    let back = lookup.property(next)?.and_then(|record| record.previous);
    Ok((back == Some(RecordId(id))).then_some(next.0))
}

impl Judge<'_> {
    /// Looks for a key that comes twice in the chain of this record, unless it is one of `seen`.
    pub(super) fn property_chain(&mut self, id: u64, seen: &mut HashSet<u64>) -> Result<(), CheckError> {
        if seen.contains(&id) {
            return Ok(());
        }
        let mut head = id;
        for _ in 0..KEYS_MAX {
            let previous = self.lookup.property(RecordId(head))?.and_then(|record| record.previous);
            match previous {
                Some(previous) if consistent_next(&mut self.lookup, previous.0)? == Some(head) => head = previous.0,
                _ => break,
            }
        }
        let (mut keys, mut at) = (Vec::new(), Some(head));
        while let Some(id) = at.filter(|_| keys.len() < KEYS_MAX) {
            seen.insert(id);
            if let Some(record) = self.lookup.property(RecordId(id))? {
                value::keys(&record, |key| keys.push(key));
            }
            at = consistent_next(&mut self.lookup, id)?;
            if at == Some(head) {
                let message = || "leads back to itself".to_owned();
                self.add(Rule::PropertyCycle, (StoreFile::Property, head), message, None);
                return Ok(());
            }
        }
        twice(self, head, &mut keys);
        Ok(())
    }
}
