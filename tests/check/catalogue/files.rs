//! Headers, framing, id files and logs.

use std::fs;

use super::{Expected, at, of, store::Damaged};
use neo4j_backup_core::check::Rule;
use neo4j_format::store::{StoreFile, StoreFormat};

const LOG: &str = "nioneo_logical.log.v0";
const MARKER: &str = "nioneo_logical.log.active";
const SLOT: &str = "nioneo_logical.log.1";

pub(super) fn header_record_is_not_in_use(store: &Damaged) -> Option<Expected> {
    store.poke("neostore", 27, &[0]);
    at(Rule::HeaderRecordMissing, StoreFile::Neostore, 3)
}

pub(super) fn header_is_cut(store: &Damaged) -> Option<Expected> {
    let bytes = store.bytes("neostore");
    fs::write(store.path("neostore"), &bytes[..30]).unwrap();
    at(Rule::HeaderRecordMissing, StoreFile::Neostore, 3)
}

pub(super) fn store_version_differs(store: &Damaged) -> Option<Expected> {
    if store.format == StoreFormat::Legacy {
        return None;
    }
    store.poke("neostore", 37, &[0, 0x30, 0x2E, 0x42]);
    at(Rule::StoreVersionDiffers, StoreFile::Neostore, 4)
}

pub(super) fn store_is_missing(store: &Damaged) -> Option<Expected> {
    fs::remove_file(store.path("neostore.propertystore.db.arrays")).unwrap();
    of(Rule::StoreMissing, "neostore.propertystore.db.arrays")
}

/// Takes the trailer off a file, and puts these bytes in its place.
fn end_with(store: &Damaged, kind: StoreFile, end: &[u8]) {
    let mut bytes = store.bytes(kind.name());
    bytes.truncate(bytes.len() - kind.trailer(store.format).len());
    bytes.extend_from_slice(end);
    fs::write(store.path(kind.name()), bytes).unwrap();
}

pub(super) fn trailer_is_misaligned(store: &Damaged) -> Option<Expected> {
    let trailer = StoreFile::Node.trailer(store.format);
    end_with(store, StoreFile::Node, format!("..{trailer}").as_bytes());
    of(Rule::TrailerMisaligned, StoreFile::Node.name())
}

pub(super) fn trailer_is_of_the_other_version(store: &Damaged) -> Option<Expected> {
    let other = match store.format {
        StoreFormat::Legacy => StoreFormat::Current,
        StoreFormat::Current => StoreFormat::Legacy,
    };
    end_with(store, StoreFile::Node, StoreFile::Node.trailer(other).as_bytes());
    of(Rule::TrailerOfOtherVersion, StoreFile::Node.name())
}

pub(super) fn trailer_is_gone(store: &Damaged) -> Option<Expected> {
    end_with(store, StoreFile::Node, &[]);
    of(Rule::NotClosed, StoreFile::Node.name())
}

pub(super) fn file_ends_within_a_record(store: &Damaged) -> Option<Expected> {
    end_with(store, StoreFile::Node, &[1, 2, 3]);
    of(Rule::PartialRecord, StoreFile::Node.name())
}

pub(super) fn block_size_is_zero(store: &Damaged) -> Option<Expected> {
    store.poke("neostore.propertystore.db.strings", 0, &[0; 4]);
    at(Rule::BlockSize, StoreFile::String, 0)
}

pub(super) fn block_size_of_names_is_another(store: &Damaged) -> Option<Expected> {
    store.poke("neostore.relationshiptypestore.db.names", 0, &[0, 0, 0, 40]);
    at(Rule::BlockSize, StoreFile::RelationshipTypeName, 0)
}

pub(super) fn id_file_is_missing(store: &Damaged) -> Option<Expected> {
    fs::remove_file(store.path("neostore.nodestore.db.id")).unwrap();
    of(Rule::IdFileMissing, "neostore.nodestore.db.id")
}

pub(super) fn id_file_is_sticky(store: &Damaged) -> Option<Expected> {
    store.poke("neostore.nodestore.db.id", 0, &[1]);
    of(Rule::IdFileNotClosed, "neostore.nodestore.db.id")
}

pub(super) fn id_file_is_cut(store: &Damaged) -> Option<Expected> {
    fs::write(store.path("neostore.nodestore.db.id"), [0; 8]).unwrap();
    of(Rule::IdFileDamaged, "neostore.nodestore.db.id")
}

pub(super) fn high_id_is_too_low(store: &Damaged) -> Option<Expected> {
    fs::write(store.path("neostore.nodestore.db.id"), [0, 0, 0, 0, 0, 0, 0, 0, 3]).unwrap();
    of(Rule::HighIdTooLow, "neostore.nodestore.db.id")
}

pub(super) fn high_id_of_the_header_is_too_low(store: &Damaged) -> Option<Expected> {
    fs::write(store.path("neostore.id"), [0, 0, 0, 0, 0, 0, 0, 0, 3]).unwrap();
    of(Rule::HighIdTooLow, "neostore.id")
}

fn free_ids(store: &Damaged, ids: &[u64]) {
    let mut bytes = store.bytes("neostore.nodestore.db.id");
    bytes.truncate(9);
    bytes.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
    fs::write(store.path("neostore.nodestore.db.id"), bytes).unwrap();
}

pub(super) fn free_id_is_in_use(store: &Damaged) -> Option<Expected> {
    free_ids(store, &[store.unused(StoreFile::Node), 0]);
    of(Rule::FreeIdInUse, "neostore.nodestore.db.id")
}

pub(super) fn free_id_is_too_high(store: &Damaged) -> Option<Expected> {
    free_ids(store, &[1 << 40]);
    of(Rule::FreeIdTooHigh, "neostore.nodestore.db.id")
}

pub(super) fn free_id_comes_twice(store: &Damaged) -> Option<Expected> {
    let unused = store.unused(StoreFile::Node);
    free_ids(store, &[unused, unused]);
    of(Rule::FreeIdTwice, "neostore.nodestore.db.id")
}

pub(super) fn marker_is_damaged(store: &Damaged) -> Option<Expected> {
    fs::write(store.path(MARKER), [0, 0x39, 0, 0]).unwrap();
    of(Rule::LogMarker, MARKER)
}

pub(super) fn active_log_is_missing(store: &Damaged) -> Option<Expected> {
    fs::write(store.path(MARKER), [0, 0x31, 0, 0]).unwrap();
    of(Rule::ActiveLogMissing, SLOT)
}

pub(super) fn active_log_has_half_a_header(store: &Damaged) -> Option<Expected> {
    fs::write(store.path(MARKER), [0, 0x31, 0, 0]).unwrap();
    fs::write(store.path(SLOT), [1; 7]).unwrap();
    of(Rule::ActiveLogMissing, SLOT)
}

/// Whether the release kept its log; 1.4.2 did not.
fn has_log(store: &Damaged) -> Option<()> {
    store.path(LOG).exists().then_some(())
}

pub(super) fn log_was_not_recovered(store: &Damaged) -> Option<Expected> {
    has_log(store)?;
    fs::rename(store.path(LOG), store.path(SLOT)).unwrap();
    fs::write(store.path(MARKER), [0, 0x31, 0, 0]).unwrap();
    of(Rule::UnrecoveredLog, SLOT)
}

pub(super) fn log_is_damaged(store: &Damaged) -> Option<Expected> {
    has_log(store)?;
    // the type of the first entry
    store.poke(LOG, 16, &[0x77]);
    of(Rule::LogUnreadable, LOG)
}

pub(super) fn log_is_cut(store: &Damaged) -> Option<Expected> {
    has_log(store)?;
    let bytes = store.bytes(LOG);
    fs::write(store.path(LOG), &bytes[..bytes.len() - 3]).unwrap();
    of(Rule::LogUnreadable, LOG)
}

pub(super) fn log_has_another_version(store: &Damaged) -> Option<Expected> {
    has_log(store)?;
    store.poke(LOG, 7, &[9]);
    of(Rule::LogVersionDiffers, LOG)
}

pub(super) fn logs_have_a_gap(store: &Damaged) -> Option<Expected> {
    has_log(store)?;
    // the first log ends early, the next one is the whole of it without its beginning
    let bytes = store.bytes(LOG);
    let mut next = bytes.clone();
    next[7] = 1;
    fs::write(store.path("nioneo_logical.log.v1"), &next).unwrap();
    let starts = transactions(store);
    let (second, last) = (starts[1], *starts.last().unwrap());
    fs::write(store.path(LOG), &bytes[..second]).unwrap();
    next.drain(16..last);
    fs::write(store.path("nioneo_logical.log.v1"), next).unwrap();
    of(Rule::LogOutOfOrder, "nioneo_logical.log.v1")
}

/// Where the transactions of the log begin.
fn transactions(store: &Damaged) -> Vec<usize> {
    use neo4j_format::{
        ids::DataSource,
        log::{Buffer, Layout, LogFormat, SlotReader},
    };
    let file = fs::File::open(store.path(LOG)).unwrap();
    let layout = Layout {
        format: LogFormat::from(store.format),
        source: DataSource::Graph,
    };
    let mut buffer = Buffer::new();
    let mut reader = SlotReader::open(&file, layout, &mut buffer).unwrap();
    let mut starts = Vec::new();
    while let Some(committed) = reader.next().unwrap() {
        starts.push(usize::try_from(committed.start).unwrap());
    }
    starts
}

pub(super) fn log_is_ahead_of_the_store(store: &Damaged) -> Option<Expected> {
    has_log(store)?;
    store.poke("neostore", 28, &2_u64.to_be_bytes());
    of(Rule::LogAheadOfStore, LOG)
}

pub(super) fn version_of_the_next_log_is_taken(store: &Damaged) -> Option<Expected> {
    has_log(store)?;
    store.poke("neostore", 19, &0_u64.to_be_bytes());
    of(Rule::LogVersionTaken, LOG)
}

pub(super) fn transaction_log_is_missing(store: &Damaged) -> Option<Expected> {
    fs::remove_file(store.path("tm_tx_log.1")).unwrap();
    of(Rule::TransactionManager, "active_tx_log")
}

pub(super) fn name_of_the_transaction_log_is_missing(store: &Damaged) -> Option<Expected> {
    fs::remove_file(store.path("active_tx_log")).unwrap();
    of(Rule::TransactionManager, "active_tx_log")
}

pub(super) fn lucene_store_is_cut(store: &Damaged) -> Option<Expected> {
    fs::write(store.path("index/lucene-store.db"), [0; 20]).unwrap();
    of(Rule::LuceneStoreUnreadable, "index/lucene-store.db")
}

pub(super) fn index_config_is_missing(store: &Damaged) -> Option<Expected> {
    fs::remove_file(store.path("index.db")).unwrap();
    let index = store.path("index/lucene/node/people");
    fs::create_dir_all(&index).unwrap();
    fs::write(index.join("segments_1"), "").unwrap();
    of(Rule::IndexConfigMissing, "index.db")
}

pub(super) fn index_config_is_damaged(store: &Damaged) -> Option<Expected> {
    store.poke("index.db", 12, &[0xFF]);
    of(Rule::IndexConfigUnreadable, "index.db")
}
