//! The passes over a dynamic store: each block, then each text or array from its first block on.

use super::{
    bits::Bits,
    chain::Value,
    claim,
    error::CheckError,
    judge::Judge,
    lookup::Lookup,
    pass::{Whole, Worker},
    record::is_legal_in_use,
    rings,
    rules::Rule,
    scan::Records,
    stores::Store,
};
use neo4j_format::store::{StoreFile, record::RecordId};

/// Steps of a walk between two looks at the cancellation.
const STEPS: u64 = 1 << 16;

/// What is known of the blocks of a range.
struct BlockLinks {
    /// Another block leads there.
    continued: Bits,
    /// Several do.
    shared: Bits,
}

/// Checks a dynamic store, in several passes where two bits for each block do not fit.
pub(super) fn check(whole: &Whole<'_>, store: &Store, workers: &mut [Worker<'_>]) -> Result<(), CheckError> {
    let (file, format) = (store.kind, whole.stores.format);
    let room = whole.stores.room(file);
    for range in whole.memory.ranges(store.records, 2) {
        let is_first = range.start == 0;
        let known = BlockLinks {
            continued: Bits::new(range.clone()),
            shared: Bits::new(range.clone()),
        };
        whole.scan(file, 1..store.records, workers, |worker, records| {
            let mut in_use = 0;
            for (id, bytes) in records.iter() {
                if is_first && !is_legal_in_use(file, format, bytes.first().copied().unwrap_or_default()) {
                    worker.judge.in_use_byte(file, id, bytes);
                }
                let Some((header, _)) = whole.stores.block(bytes) else {
                    continue;
                };
                if let Some(RecordId(next)) = header.next
                    && known.continued.insert(next)
                {
                    known.shared.insert(next);
                }
                if is_first {
                    in_use += 1;
                    claim::block(file, id, &header, format, &mut worker.sink());
                    if header.length == 0 || header.length > room || header.next.is_some() {
                        worker.judge.block_alone(file, id, &header);
                    }
                }
            }
            worker.count(file, in_use);
            Ok(())
        })?;
        whole.scan(file, range.start.max(1)..range.end, workers, |worker, records| {
            for (id, bytes) in records.iter() {
                if !known.continued.contains(id) && whole.stores.block(bytes).is_some() {
                    walk(whole, worker, records, &known, (file, id))?;
                }
            }
            Ok(())
        })?;
    }
    let next = |lookup: &mut Lookup<'_>, id| next_block(lookup, file, id);
    rings::of_unreached(whole, file, workers, Rule::BlockCycle, next)
}

/// Decodes a value from its first block on, up to a block that several lead to, which is a finding of its own. So each
/// block is met once by all walks together, and what they find does not depend on which comes first; outside of the
/// range, where it is not known which blocks are shared, the length of a walk is limited.
fn walk(
    whole: &Whole<'_>,
    worker: &mut Worker<'_>,
    records: Records<'_>,
    known: &BlockLinks,
    (file, head): (StoreFile, u64),
) -> Result<(), CheckError> {
    let mut value = Some(Value::new(file, whole.stores.format));
    let mut fault = None;
    let room = whole.stores.room(file);
    let mut id = head;
    for step in 1.. {
        let block = match records.get(id) {
            Some(bytes) => whole.stores.block(bytes),
            None => worker.judge.lookup.block(file, RecordId(id))?,
        };
        let Some((header, data)) = block else {
            // the chain is broken, which is a finding of its own
            value = None;
            break;
        };
        if known.shared.contains(id) {
            value = None;
            break;
        }
        worker.reached += 1;
        if header.length == 0 || header.length > room {
            value = None;
        }
        if let Some(value) = value.as_mut().filter(|_| fault.is_none()) {
            fault = value.feed(data).err();
        }
        match header.next {
            Some(RecordId(next)) if next != 0 => id = next,
            Some(_) => {
                value = None;
                break;
            }
            None => break,
        }
        if step % STEPS == 0 {
            whole.cancelled()?;
        }
        if step > whole.stores.get(file).records {
            value = None;
            break;
        }
    }
    let fault = value.and_then(|value| fault.or_else(|| value.end().err()));
    if let Some(fault) = fault {
        worker.judge.invalid_value(file, head, fault);
    }
    Ok(())
}

fn next_block(lookup: &mut Lookup<'_>, file: StoreFile, id: u64) -> Result<Option<u64>, CheckError> {
    let next = lookup.block(file, RecordId(id))?.and_then(|(header, _)| header.next);
    let Some(next) = next.filter(|next| next.0 != id) else {
        return Ok(None);
    };
    Ok(lookup.block(file, next)?.map(|_| next.0))
}

impl Judge<'_> {
    fn invalid_value(&mut self, file: StoreFile, head: u64, fault: &'static str) {
        let rule = match file {
            StoreFile::Array => Rule::InvalidArray,
            _ => Rule::InvalidText,
        };
        self.add(rule, (file, head), || fault.to_owned(), None);
    }

    /// Decodes the value that begins at this block, and says which blocks it meets.
    pub(super) fn value(&mut self, file: StoreFile, head: u64, mut met: impl FnMut(u64)) -> Result<(), CheckError> {
        let mut value = Value::new(file, self.lookup.stores.format);
        let (mut id, room) = (head, self.lookup.stores.room(file));
        for _ in 0..self.lookup.stores.get(file).records {
            let Some((header, data)) = self.lookup.block(file, RecordId(id))? else {
                return Ok(());
            };
            if header.length == 0 || header.length > room {
                return Ok(());
            }
            met(id);
            if let Err(fault) = value.feed(data) {
                self.invalid_value(file, head, fault);
                return Ok(());
            }
            let Some(next) = header.next else {
                if let Err(fault) = value.end() {
                    self.invalid_value(file, head, fault);
                }
                return Ok(());
            };
            id = next.0;
        }
        self.add(
            Rule::BlockCycle,
            (file, head),
            || "its chain of blocks does not end".to_owned(),
            None,
        );
        Ok(())
    }
}
