//! Transactions out of several logs, in the order of their ids.

use std::{fs, path::Path};

use super::sample::{Builder, V2, node, transaction};
use crate::{
    DirHandle,
    ids::{LogVersion, TxId},
    log::{Change, Item, LogHeader, TransactionRange, TransactionRangeError, entry::CommitKind},
    store::record::RecordId,
};

fn write(dir: &Path, name: &str, version: u64, before: i64, entries: &[Vec<u8>]) {
    let header = LogHeader {
        format: V2.format,
        version: LogVersion(version),
        previous_last_tx: TxId(before),
    };
    fs::write(dir.join(name), [&header.encode()[..], &entries.concat()].concat()).unwrap();
}

fn archive(dir: &Path, version: u64, before: i64, entries: &[Vec<u8>]) {
    write(dir, &format!("nioneo_logical.log.v{version}"), version, before, entries);
}

/// A transaction that writes the node of its own number.
fn tx(id: i64) -> Vec<u8> {
    let identifier = i32::try_from(id).unwrap();
    transaction(V2, identifier, id, &[node(id.cast_unsigned())])
}

fn ids(transaction_range: &TransactionRange) -> Result<Vec<i64>, TransactionRangeError> {
    let mut found = Vec::new();
    transaction_range.read(|transaction| {
        let id = transaction.tx().0;
        let mut nodes = Vec::new();
        while let Some(item) = transaction.next()? {
            if let Item::Change(Change::Node(RecordId(node), _)) = item {
                nodes.push(node.cast_signed());
            }
        }
        assert_eq!(nodes, [id]);
        found.push(id);
        Ok::<(), TransactionRangeError>(())
    })?;
    Ok(found)
}

fn between(dir: &Path, after: i64, last: i64) -> Result<Vec<i64>, TransactionRangeError> {
    let slot = dir.join("nioneo_logical.log.1");
    let active = slot.exists().then_some(slot);
    ids(&TransactionRange::find(
        &DirHandle::open(dir).unwrap(),
        V2,
        active.as_deref(),
        TxId(after),
        TxId(last),
    )?)
}

fn missing(result: Result<Vec<i64>, TransactionRangeError>) -> (i64, u64) {
    match result {
        Err(TransactionRangeError::Missing { missing, version, .. }) => (missing.0, version.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_range_is_found_across_archived_logs_and_the_active_one() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path(), 3, 1, &[tx(2), tx(3)]);
    archive(dir.path(), 4, 3, &[]);
    archive(dir.path(), 5, 3, &[tx(4)]);
    write(dir.path(), "nioneo_logical.log.1", 6, 4, &[tx(5), tx(6)]);
    for after in 1..=6 {
        for last in after..=6 {
            let expected: Vec<i64> = (after + 1..=last).collect();
            assert_eq!(between(dir.path(), after, last).unwrap(), expected, "{after} – {last}");
        }
    }
    assert_eq!(missing(between(dir.path(), 0, 6)), (1, 2));
    assert_eq!(missing(between(dir.path(), 5, 7)).0, 7);
}

#[test]
fn what_a_later_log_repeats_is_passed_over_and_what_came_early_waits() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path(), 0, 1, &[tx(3), tx(2), tx(4)]);
    archive(dir.path(), 1, 4, &[tx(4), tx(6), tx(7), tx(5)]);
    for after in 1..=6 {
        let expected: Vec<i64> = (after + 1..=7).collect();
        assert_eq!(between(dir.path(), after, 7).unwrap(), expected);
    }
}

#[test]
fn interleaved_transactions_come_out_whole() {
    let one = |builder: Builder| builder.bytes;
    let dir = tempfile::tempdir().unwrap();
    let entries = [
        one(Builder::new(V2, 2).start()),
        one(Builder::new(V2, 3).start().command(&node(2))),
        one(Builder::new(V2, 2).command(&node(3))),
        one(Builder::new(V2, 2).commit(3, CommitKind::OnePhase)),
        one(Builder::new(V2, 3).commit(2, CommitKind::OnePhase)),
    ];
    archive(dir.path(), 0, 1, &entries);
    assert_eq!(between(dir.path(), 1, 3).unwrap(), [2, 3]);
}

#[test]
fn a_missing_log_matters_only_where_transactions_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path(), 0, 1, &[tx(2), tx(3)]);
    archive(dir.path(), 2, 3, &[tx(4), tx(5)]);
    assert_eq!(between(dir.path(), 1, 5).unwrap(), [2, 3, 4, 5]);
    archive(dir.path(), 2, 4, &[tx(5)]);
    assert_eq!(missing(between(dir.path(), 1, 5)), (2, 1));
    assert_eq!(missing(between(dir.path(), 3, 5)), (4, 1));
    assert_eq!(between(dir.path(), 4, 5).unwrap(), [5]);
}

#[test]
fn the_log_of_one_transaction_that_the_original_tool_leaves_is_used() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path(), 4, -1, &[tx(17)]);
    assert_eq!(between(dir.path(), 16, 17).unwrap(), [17]);
    assert_eq!(missing(between(dir.path(), 15, 17)), (16, 3));
    archive(dir.path(), 5, 17, &[tx(18)]);
    assert_eq!(between(dir.path(), 16, 18).unwrap(), [17, 18]);
}

#[test]
fn a_hole_inside_a_log_is_an_error_and_so_is_a_damaged_log() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path(), 0, 1, &[tx(2), tx(4)]);
    assert_eq!(missing(between(dir.path(), 1, 4)).0, 3);
    archive(dir.path(), 0, 1, &[tx(2), vec![0x55]]);
    assert!(matches!(between(dir.path(), 1, 3), Err(TransactionRangeError::Log(_))));
    fs::write(dir.path().join("nioneo_logical.log.v0"), [9; 40]).unwrap();
    assert!(matches!(between(dir.path(), 1, 3), Err(TransactionRangeError::Log(_))));
    fs::write(dir.path().join("nioneo_logical.log.v0"), [2; 10]).unwrap();
    assert_eq!(missing(between(dir.path(), 1, 3)), (2, 0));
}
