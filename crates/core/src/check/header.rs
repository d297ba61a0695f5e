//! `neostore`: its records, and the first property of the graph (`docs/formats/store-format.md` §4).

use std::{io, os::unix::fs::FileExt};

use super::{
    error::CheckError,
    finding::{Collector, RecordRef},
    rules::Rule,
    stores::Stores,
};
use neo4j_format::{
    ids::{LogVersion, TxId},
    store::{StoreFile, StoreFormat, header::CURRENT_VERSION, record::RecordId},
    width::to_usize,
};

const RECORD: usize = 9;

/// What other files are compared with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Header {
    /// Version of the next log.
    pub(super) log_version: Option<LogVersion>,
    /// Last transaction of the graph.
    pub(super) last_transaction: Option<TxId>,
    /// First property of the graph itself.
    pub(super) graph_property: Option<RecordId>,
    /// How many records there are.
    pub(super) records: u64,
}

/// Reads and judges the records.
pub(super) fn check(stores: &Stores, findings: &mut Collector<'_>) -> Result<Header, CheckError> {
    let store = stores.get(StoreFile::Neostore);
    let mut bytes = [0; 6 * RECORD];
    let length = to_usize(store.records.saturating_mul(store.size));
    let present = length.min(bytes.len());
    let file = stores.dir.open_file(&store.path).map_err(CheckError::at(&store.path))?;
    match file.read_exact_at(bytes.get_mut(..present).expect("no more is read than there is room"), 0) {
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(CheckError::at(&store.path)(e)),
        _ => {}
    }
    let record = |n: usize| {
        let record = bytes.chunks_exact(RECORD).nth(n)?;
        let (in_use, value) = record.split_first()?;
        let value = i64::from_be_bytes(*value.first_chunk()?);
        (*in_use == 1).then_some(value)
    };
    let needed = match stores.format {
        StoreFormat::Legacy => 4,
        StoreFormat::Current => 5,
    };
    let names = [
        "creation time",
        "random id",
        "log version",
        "last transaction",
        "store version",
    ];
    for (n, name) in names.into_iter().enumerate().take(needed) {
        if record(n).is_none() {
            let message = || format!("the {name} is missing");
            findings.add(Rule::HeaderRecordMissing, store.place(n as u64), message, None);
        }
    }
    let version = record(4).filter(|version| stores.format == StoreFormat::Current && *version != CURRENT_VERSION);
    if let Some(version) = version {
        let message = || format!("store version {version:#018x} instead of {CURRENT_VERSION:#018x}");
        findings.add(Rule::StoreVersionDiffers, store.place(4), message, None);
    }
    let has_graph_property = stores.format == StoreFormat::Current && record(5).is_some();
    Ok(Header {
        log_version: record(2).map(|version| LogVersion(version.cast_unsigned())),
        last_transaction: record(3).map(TxId),
        graph_property: record(5)
            .filter(|_| has_graph_property)
            .and_then(|value| u64::try_from(value).ok())
            .map(RecordId),
        records: needed as u64 + u64::from(has_graph_property),
    })
}

/// Where something about the records of `neostore` is to be shown.
pub(super) fn place(record: u64) -> RecordRef {
    RecordRef {
        file: StoreFile::Neostore.name().into(),
        record: Some(record),
        offset: record * RECORD as u64,
    }
}
