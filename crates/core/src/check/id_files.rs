//! The `.id` files: high ids and free ids (`docs/formats/store-format.md` §6).

use std::{collections::BTreeMap, fs::File, io, ops::Range, os::unix::fs::FileExt, path::Path};

use super::{
    budget::Memory,
    error::CheckError,
    finding::{Collector, RecordRef},
    lookup::{Lookup, PropertyRecord},
    rules::Rule,
    stores::{Store, Stores},
};
use crate::cancel::Cancel;
use neo4j_format::{
    DirHandle,
    store::{
        StoreFile,
        record::{Node, PropertyKey, Relationship, RelationshipType},
    },
    width::to_usize,
};

/// Bytes before the free ids.
const HEADER: u64 = 9;

/// Bytes of free ids read at once.
const BLOCK: u64 = 64 * 1024;

/// Checks the id file of every store but `neostore`, whose ids are the records of its format.
pub(super) fn check(
    stores: &Stores,
    header_records: u64,
    memory: Memory,
    findings: &mut Collector<'_>,
    cancel: &Cancel,
) -> Result<(), CheckError> {
    let mut lookup = Lookup::new(stores);
    let neostore = stores.get(StoreFile::Neostore);
    for store in stores.iter().chain([neostore]) {
        let path = stores.dir.join(store.kind.id_name());
        let place = |offset| RecordRef {
            file: store.kind.id_name().into(),
            record: None,
            offset,
        };
        let Some((file, length)) = open(&stores.dir, &path)? else {
            findings.add(Rule::IdFileMissing, place(0), || "the file is missing".into(), None);
            continue;
        };
        let mut header = [0; 9];
        if length < HEADER || !(length - HEADER).is_multiple_of(8) {
            let message = || format!("{length} bytes is not a valid length for an id file");
            findings.add(Rule::IdFileDamaged, place(0), message, None);
            continue;
        }
        file.read_exact_at(&mut header, 0).map_err(CheckError::at(&path))?;
        let [state, high_id @ ..] = header;
        match state {
            0 => {}
            1 => {
                findings.add(Rule::IdFileNotClosed, place(0), || "its first byte is 1".into(), None);
                continue;
            }
            other => {
                findings.add(
                    Rule::IdFileDamaged,
                    place(0),
                    || format!("its first byte is {other}"),
                    None,
                );
                continue;
            }
        }
        let high_id = u64::from_be_bytes(high_id);
        let last = if store.kind == StoreFile::Neostore {
            header_records.checked_sub(1)
        } else {
            last_in_use(stores, store, cancel)?
        };
        if let Some(last) = last.filter(|last| *last >= high_id) {
            let message = || format!("high id is {high_id}, but record {last} is in use");
            findings.add(Rule::HighIdTooLow, place(1), message, Some(store.place(last)));
        }
        let free = FreeIds {
            store,
            file: &file,
            path: &path,
            count: (length - HEADER) / 8,
            high_id,
        };
        free.check(&mut lookup, memory, findings, cancel)?;
    }
    Ok(())
}

fn open(dir: &DirHandle, path: &Path) -> Result<Option<(File, u64)>, CheckError> {
    match dir.open_file(path).and_then(|file| Ok((file.metadata()?, file))) {
        Ok((found, file)) => Ok(Some((file, found.len()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(CheckError::at(path)(e)),
    }
}

/// Whether a record is in use.
fn in_use(stores: &Stores, kind: StoreFile, id: u64, bytes: &[u8]) -> bool {
    match kind {
        StoreFile::Node => bytes.first_chunk().and_then(Node::decode).is_some(),
        StoreFile::Relationship => bytes.first_chunk().and_then(Relationship::decode).is_some(),
        StoreFile::RelationshipType => bytes.first_chunk().and_then(RelationshipType::decode).is_some(),
        StoreFile::PropertyKey => bytes.first_chunk().and_then(PropertyKey::decode).is_some(),
        StoreFile::Property => PropertyRecord::decode(stores.format, bytes).is_some(),
        StoreFile::Neostore => false,
        _ => id > 0 && stores.block(bytes).is_some(),
    }
}

/// Reads backward, so that it costs little where the last record is in use.
fn last_in_use(stores: &Stores, store: &Store, cancel: &Cancel) -> Result<Option<u64>, CheckError> {
    let per_block = (BLOCK / store.size).max(1);
    let mut end = store.records;
    let mut buffer = Vec::new();
    while end > 0 {
        cancel.check().map_err(|error| CheckError::Cancelled(Box::new(error)))?;
        let first = end.saturating_sub(per_block);
        let count = to_usize(end - first);
        buffer.resize(count.saturating_mul(store.width()), 0);
        store.read(first, &mut buffer)?;
        let mut records = buffer.chunks_exact(store.width()).enumerate();
        let last = records.rfind(|(i, bytes)| in_use(stores, store.kind, first + *i as u64, bytes));
        if let Some((i, _)) = last {
            return Ok(Some(first + i as u64));
        }
        end = first;
    }
    Ok(None)
}

struct FreeIds<'a> {
    store: &'a Store,
    file: &'a File,
    path: &'a Path,
    count: u64,
    high_id: u64,
}

/// Free ids with their places in the file, the lowest that fit; and where to go on.
struct Free {
    ids: Vec<(u64, u64)>,
    until: Option<u64>,
}

impl FreeIds<'_> {
    /// Takes as many at a time as fit, in ranges of ids, and looks them up in order.
    fn check(
        &self,
        lookup: &mut Lookup<'_>,
        memory: Memory,
        findings: &mut Collector<'_>,
        cancel: &Cancel,
    ) -> Result<(), CheckError> {
        let room = memory.room(size_of::<(u64, u64)>(), 1).max(1);
        let mut from = Some(0);
        while let Some(start) = from.filter(|_| self.count > 0) {
            let Free { mut ids, until } = self.collect(start, room, findings, cancel)?;
            ids.sort_unstable();
            let mut before = None;
            for (id, index) in ids {
                self.one(lookup, id, index, before, findings)?;
                before = Some(id);
            }
            from = until;
        }
        Ok(())
    }

    /// Free ids from `start` on.
    fn collect(
        &self,
        start: u64,
        room: usize,
        findings: &mut Collector<'_>,
        cancel: &Cancel,
    ) -> Result<Free, CheckError> {
        let (mut ids, mut until) = (Vec::new(), None);
        // repetitions that were left out, by id
        let mut repeated: BTreeMap<u64, u64> = BTreeMap::new();
        let mut buffer = Vec::new();
        for block in blocks(self.count) {
            cancel.check().map_err(|error| CheckError::Cancelled(Box::new(error)))?;
            let bytes = block.end.saturating_sub(block.start).saturating_mul(8);
            buffer.resize(to_usize(bytes), 0);
            self.file
                .read_exact_at(&mut buffer, HEADER + block.start * 8)
                .map_err(CheckError::at(self.path))?;
            for (index, id) in block.zip(buffer.as_chunks().0) {
                let id = u64::from_be_bytes(*id);
                if id >= self.high_id {
                    if start == 0 {
                        let message = || format!("free id {id} is not below the high id {}", self.high_id);
                        findings.add(Rule::FreeIdTooHigh, self.place(index), message, None);
                    }
                } else if id >= start && until.is_none_or(|until| id < until) {
                    ids.push((id, index));
                }
            }
            if ids.len() > room {
                ids.sort_unstable();
                // one repetition of each is kept for the report
                let mut same = (None, 0);
                ids.retain(|(id, _)| {
                    same = if same.0 == Some(*id) {
                        (same.0, same.1 + 1)
                    } else {
                        (Some(*id), 1)
                    };
                    if same.1 > 2 {
                        *repeated.entry(*id).or_default() += 1;
                    }
                    same.1 <= 2
                });
                if ids.len() > room / 2 {
                    until = ids.get(ids.len() / 2).map(|(id, _)| *id);
                    ids.retain(|(id, _)| until.is_none_or(|until| *id < until));
                    repeated.retain(|id, _| until.is_none_or(|until| *id < until));
                }
            }
        }
        findings.count(Rule::FreeIdTwice, repeated.values().sum());
        Ok(Free { ids, until })
    }

    fn one(
        &self,
        lookup: &mut Lookup<'_>,
        id: u64,
        index: u64,
        before: Option<u64>,
        findings: &mut Collector<'_>,
    ) -> Result<(), CheckError> {
        if before == Some(id) {
            findings.add(
                Rule::FreeIdTwice,
                self.place(index),
                || format!("id {id} is listed as free twice"),
                None,
            );
            return Ok(());
        }
        let stores = lookup.stores;
        let kind = self.store.kind;
        let bytes = lookup.bytes(kind, id)?;
        if bytes.is_some_and(|bytes| in_use(stores, kind, id, bytes)) {
            let message = || format!("id {id} is listed as free, but its record is in use");
            findings.add(
                Rule::FreeIdInUse,
                self.place(index),
                message,
                Some(self.store.place(id)),
            );
        }
        Ok(())
    }

    fn place(&self, index: u64) -> RecordRef {
        RecordRef {
            file: self.store.kind.id_name().into(),
            record: None,
            offset: HEADER + index * 8,
        }
    }
}

fn blocks(count: u64) -> impl Iterator<Item = Range<u64>> {
    let step = BLOCK / 8;
    (0..count.div_ceil(step)).map(move |i| i * step..count.min((i + 1) * step))
}
