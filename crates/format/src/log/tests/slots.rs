//! Log files as servers and crashes leave them.

use std::{fs::File, io::Write};

use super::sample::{Builder, V1, V2, node, transaction};
use crate::{
    ids::{LogVersion, TxId},
    log::{
        Buffer, Change, Item, LogElement, LogHeader, LogProblem, LogWriter, SlotReader, TransactionReader,
        entry::{self, CommitKind},
        slot::{Committed, Progress, SlotEnd, Unfinished},
    },
    store::record::RecordId,
};

fn log(entries: &[u8]) -> File {
    let header = LogHeader {
        format: V2.format,
        version: LogVersion(5),
        previous_last_tx: TxId(42),
    };
    file(&[&header.encode()[..], entries].concat())
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Transaction ids with the nodes each of them writes, and how the log ends.
fn read(file: &File) -> (Vec<(i64, Vec<u64>)>, SlotEnd) {
    let (mut scan, mut look) = (Buffer::new(), Buffer::new());
    let mut slot = SlotReader::open(file, V2, &mut scan).unwrap();
    let mut transactions = Vec::new();
    while let Some(committed) = slot.next().unwrap() {
        let mut reader = slot.transaction(&committed, &mut look);
        let mut nodes = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            if let Item::Change(Change::Node(RecordId(id), _)) = item {
                nodes.push(id);
            }
        }
        transactions.push((committed.tx.0, nodes));
    }
    (transactions, slot.finish().unwrap())
}

fn committed(identifier: i32, tx: i64, nodes: &[u64]) -> Builder {
    let start = Builder::new(V2, identifier).start();
    let builder = nodes.iter().fold(start, |builder, id| builder.command(&node(*id)));
    builder.commit(tx, CommitKind::OnePhase)
}

#[test]
fn interleaved_transactions_are_told_apart() {
    let one = |builder: Builder| builder.bytes;
    let entries = [
        one(Builder::new(V2, 2).start()),
        one(Builder::new(V2, 2).command(&node(1))),
        one(Builder::new(V2, 3).start()),
        one(Builder::new(V2, 3).command(&node(2))),
        one(Builder::new(V2, 2).command(&node(3))),
        one(Builder::new(V2, 3).commit(43, CommitKind::OnePhase)),
        one(Builder::new(V2, 2).prepare()),
        one(Builder::new(V2, 4).start()),
        entry::done(3).to_vec(),
        one(Builder::new(V2, 2).commit(44, CommitKind::TwoPhase)),
        one(Builder::new(V2, 4).command(&node(9))),
        entry::done(2).to_vec(),
    ]
    .concat();
    let (transactions, end) = read(&log(&entries));
    assert_eq!(transactions, [(43, vec![2]), (44, vec![1, 3])]);
    assert_eq!(
        end,
        SlotEnd {
            logical_end: 16 + entries.len() as u64,
            last_tx: Some(TxId(44)),
            last_identifier: 4,
            unfinished: vec![Unfinished {
                identifier: 4,
                progress: Progress::Started
            }],
        }
    );
}

#[test]
fn commits_out_of_order_come_in_the_order_of_the_log() {
    let entries = [committed(2, 44, &[1]).done(), committed(3, 43, &[2]).done()].concat();
    let (transactions, end) = read(&log(&entries));
    assert_eq!(transactions, [(44, vec![1]), (43, vec![2])]);
    assert_eq!(end.last_tx, Some(TxId(43)));
}

#[test]
fn an_identifier_may_be_used_again() {
    let entries = [committed(2, 43, &[1]).done(), committed(2, 44, &[2]).done()].concat();
    assert_eq!(read(&log(&entries)).0, [(43, vec![1]), (44, vec![2])]);
}

#[test]
fn a_missing_done_is_made_up() {
    let file = log(&committed(7, 43, &[1]).bytes);
    let (mut scan, mut look) = (Buffer::new(), Buffer::new());
    let mut slot = SlotReader::open(&file, V2, &mut scan).unwrap();
    let found = slot.next().unwrap().unwrap();
    let length = committed(7, 43, &[1]).bytes.len() as u64;
    assert_eq!(
        found,
        Committed {
            tx: TxId(43),
            identifier: 7,
            start: 16,
            end: 16 + length
        }
    );
    let mut copy = LogWriter::create(Vec::new(), slot.header(), V2).unwrap();
    copy.append(&mut slot.transaction(&found, &mut look)).unwrap();
    assert_eq!(copy.finish().unwrap()[16..], committed(2, 43, &[1]).done());
}

#[test]
fn rolled_back_and_prepared_transactions_are_not_committed() {
    let rolled_back = Builder::new(V2, 2).start().command(&node(1)).done();
    let prepared = Builder::new(V2, 3).start().command(&node(2)).prepare().bytes;
    let (transactions, end) = read(&log(&[rolled_back, prepared].concat()));
    assert_eq!(transactions, []);
    assert_eq!(end.last_tx, None);
    assert_eq!(
        end.unfinished,
        [Unfinished {
            identifier: 3,
            progress: Progress::Prepared
        }]
    );
}

#[test]
fn the_log_ends_at_zeros_or_in_a_torn_entry() {
    let first = committed(2, 43, &[1]).done();
    let second = committed(3, 44, &[2]).done();
    let tails = (0..second.len())
        .map(|length| second[..length].to_vec())
        .chain([vec![0; 5000], [3, 0, 0, 0, 2, 0].to_vec()]);
    for tail in tails {
        let commits = tail.starts_with(&committed(3, 44, &[2]).bytes);
        let (transactions, end) = read(&log(&[&first[..], &tail].concat()));
        assert_eq!(transactions.len(), if commits { 2 } else { 1 }, "{} bytes", tail.len());
        assert!(end.logical_end >= 16 + first.len() as u64);
        assert!(end.logical_end <= 16 + (first.len() + tail.len()) as u64);
    }
}

#[test]
fn bytes_that_belong_to_no_log_are_an_error() {
    let file = log(&[&committed(2, 43, &[1]).done()[..], &[0x55]].concat());
    let mut buffer = Buffer::new();
    let mut slot = SlotReader::open(&file, V2, &mut buffer).unwrap();
    slot.next().unwrap();
    let error = slot.next().unwrap_err();
    assert_eq!(error.problem(), Some(LogProblem::UnknownEntry(0x55)));
}

#[test]
fn short_files_and_other_formats_have_no_header() {
    let mut buffer = Buffer::new();
    for length in 0..16 {
        let file = file(&[2; 16][..length]);
        let error = SlotReader::open(&file, V2, &mut buffer).unwrap_err();
        assert_eq!(error.problem(), Some(LogProblem::Truncated));
    }
    let error = SlotReader::open(&log(&[]), V1, &mut buffer).map(|_| ()).unwrap_err();
    assert_eq!(error.problem(), Some(LogProblem::OtherFormat { found: 2, expected: 1 }));
}

#[test]
fn an_interrupted_copy_is_taken_back() {
    let whole = transaction(V2, 9, 43, &[node(1)]);
    let mut buffer = Buffer::new();
    let header = LogHeader {
        format: V2.format,
        version: LogVersion(0),
        previous_last_tx: TxId(42),
    };
    let mut writer = LogWriter::create(tempfile::tempfile().unwrap(), header, V2).unwrap();
    writer
        .append(&mut TransactionReader::new(&whole[..], V2, TxId(43), &mut buffer))
        .unwrap();
    let cut = &whole[..100];
    writer
        .append(&mut TransactionReader::new(cut, V2, TxId(44), &mut buffer))
        .unwrap_err();
    writer.undo().unwrap();
    let next = transaction(V2, 9, 44, &[node(2)]);
    writer
        .append(&mut TransactionReader::new(&next[..], V2, TxId(44), &mut buffer))
        .unwrap();
    assert_eq!(writer.position(), 16 + 2 * whole.len() as u64);
    let (transactions, end) = read(&writer.finish().unwrap());
    assert_eq!(transactions, [(43, vec![1]), (44, vec![2])]);
    assert_eq!(end.last_identifier, 3);
}

#[test]
fn a_prepare_behind_no_command_is_left_out_and_one_phase_remains() {
    let whole = Builder::new(V2, 9)
        .start()
        .prepare()
        .commit(43, CommitKind::TwoPhase)
        .done();
    let mut buffer = Buffer::new();
    let header = LogHeader {
        format: V2.format,
        version: LogVersion(0),
        previous_last_tx: TxId(42),
    };
    let mut writer = LogWriter::create(Vec::new(), header, V2).unwrap();
    writer
        .append(&mut TransactionReader::new(&whole[..], V2, TxId(43), &mut buffer))
        .unwrap();
    let expected = Builder::new(V2, 2).start().commit(43, CommitKind::OnePhase).done();
    assert_eq!(writer.finish().unwrap()[16..], expected);
}

#[test]
fn a_commit_without_its_start_is_an_error() {
    let entries = [
        committed(2, 43, &[1]).done(),
        Builder::new(V2, 3).commit(44, CommitKind::OnePhase).bytes,
    ]
    .concat();
    let (file, mut scan) = (log(&entries), Buffer::new());
    let mut slot = SlotReader::open(&file, V2, &mut scan).unwrap();
    assert_eq!(slot.next().unwrap().unwrap().tx, TxId(43));
    assert_eq!(
        slot.next().unwrap_err().problem(),
        Some(LogProblem::OutOfPlace(LogElement::Commit))
    );
}

#[test]
fn a_commit_that_no_release_writes_ends_the_log() {
    for id in [1, 0, -1, i64::MIN] {
        let whole = committed(2, 43, &[1]).done();
        let entries = [&whole[..], &committed(3, id, &[2]).done()].concat();
        let (transactions, end) = read(&log(&entries));
        assert_eq!(transactions, [(43, vec![1])]);
        assert_eq!(end.last_tx, Some(TxId(43)));
    }
}
