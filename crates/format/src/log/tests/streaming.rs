//! Transactions that do not fit in memory, and sources that do not give everything at once.

use std::io::{self, Read};

use super::sample::{Builder, LUCENE, V2, node, transaction};
use crate::{
    ids::TxId,
    log::{
        Buffer, Change, Item, LogHeader, LogWriter, LuceneCommand, TransactionReader,
        encode::{Block, Command, DynamicRecord, Owner},
        entry::CommitKind,
        lucene::{LuceneAction, LuceneValue, Text},
    },
    store::{
        IndexKind, StoreFile,
        record::{DynamicHeader, RecordId},
    },
};

/// `count` times the same bytes between a beginning and an end, made while they are read.
struct Repeated {
    before: io::Cursor<Vec<u8>>,
    unit: Vec<u8>,
    at: usize,
    left: u64,
    after: io::Cursor<Vec<u8>>,
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.before.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if self.left == 0 {
            return self.after.read(buffer);
        }
        let count = buffer.len().min(self.unit.len() - self.at);
        buffer[..count].copy_from_slice(&self.unit[self.at..self.at + count]);
        self.at += count;
        if self.at == self.unit.len() {
            self.at = 0;
            self.left -= 1;
        }
        Ok(count)
    }
}

fn repeated(before: Vec<u8>, unit: Vec<u8>, left: u64, after: Vec<u8>) -> Repeated {
    Repeated {
        before: io::Cursor::new(before),
        unit,
        at: 0,
        left,
        after: io::Cursor::new(after),
    }
}

fn header() -> LogHeader {
    LogHeader {
        format: V2.format,
        version: crate::ids::LogVersion(0),
        previous_last_tx: TxId(42),
    }
}

#[test]
fn a_transaction_of_100_mb_passes_through_the_buffer() {
    let start = Builder::new(V2, 2).start().bytes;
    let unit = Builder::new(V2, 2).command(&node(7)).bytes;
    let end = Builder::new(V2, 2).commit(43, CommitKind::OnePhase).done();
    let count = 100_000_000 / unit.len() as u64;
    let mut buffer = Buffer::new();
    let source = repeated(start, unit, count, end);
    let mut reader = TransactionReader::new(source, V2, TxId(43), &mut buffer);
    let mut writer = LogWriter::create(io::sink(), header(), V2).unwrap();
    let summary = writer.append(&mut reader).unwrap();
    assert_eq!(summary.commands, count);
    assert!(summary.length > 99_000_000);
    assert_eq!(buffer.capacity(), Buffer::new().capacity());
}

#[test]
fn one_value_of_100_mb_passes_through_the_buffer() {
    let data = vec![b'x'; 65_000];
    let header = DynamicHeader {
        previous: None,
        next: Some(RecordId(18)),
        length: 65_000,
    };
    let record = DynamicRecord {
        store: StoreFile::Array,
        id: RecordId(17),
        content: Some((header, &data)),
    };
    let mut command = Vec::new();
    let block = Block {
        longs: &[1],
        records: &[record],
    };
    let property = Command::Property {
        id: RecordId(1),
        owner: Owner::None,
        previous: None,
        next: None,
        blocks: &[block],
        deleted: &[],
    };
    property.encode(V2.format, &mut command);
    let whole = Builder::new(V2, 2).start().command(&command).bytes;
    let (before, unit) = whole.split_at(whole.len() - 4 - 65_000 - 25);
    let (unit, after) = unit.split_at(65_025);
    let count: u32 = 1_540;
    let mut before = before.to_vec();
    let at = before.len() - 4;
    before[at..].copy_from_slice(&count.to_be_bytes());
    let end = Builder::new(V2, 2).commit(43, CommitKind::OnePhase).done();
    let source = repeated(before, unit.to_vec(), count.into(), [after, &end].concat());
    let mut buffer = Buffer::new();
    let mut reader = TransactionReader::new(source, V2, TxId(43), &mut buffer);
    let (mut records, mut properties) = (0, 0);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Change(Change::Dynamic(StoreFile::Array, RecordId(17), Some((_, bytes)))) => {
                assert_eq!(bytes, data);
                records += 1;
            }
            Item::Change(Change::Property(RecordId(1), Some(_))) => properties += 1,
            _ => {}
        }
    }
    assert_eq!((records, properties), (count, 1));
    assert_eq!(buffer.capacity(), Buffer::new().capacity());
}

/// Gives a few bytes at a time.
struct Dripping<'a>(&'a [u8], usize);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn an_indexed_text_larger_than_the_buffer_is_read_whole() {
    let text = vec![0; 2 * 1_000_000];
    let command = LuceneCommand {
        kind: IndexKind::Node,
        index: Text(&[0, b'i']),
        action: LuceneAction::Add {
            entity: 1,
            key: Some(Text(&[0, b'k'])),
            value: LuceneValue::Text(Text(&text)),
            ends: None,
        },
    };
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    let bytes = transaction(LUCENE, 2, 43, &[bytes.clone(), bytes]);
    let mut buffer = Buffer::new();
    let mut reader = TransactionReader::new(Dripping(&bytes, 10_000), LUCENE, TxId(43), &mut buffer);
    let mut found = 0;
    while let Some(item) = reader.next().unwrap() {
        if let Item::Lucene(read) = item {
            assert_eq!(read, command);
            found += 1;
        }
    }
    assert_eq!(found, 2);
    // and the next transaction gives the memory back
    let small = transaction(LUCENE, 2, 44, &[]);
    let _ = TransactionReader::new(&small[..], LUCENE, TxId(44), &mut buffer);
    assert_eq!(buffer.capacity(), Buffer::new().capacity());
}

#[test]
fn a_text_that_is_promised_but_not_sent_allocates_nothing() {
    let bytes = super::sample::hex("01 01 00000000 0000000000000001 FFFFFFFF 05 00800000 0000");
    let bytes = Builder::new(LUCENE, 2).start().command(&bytes).bytes;
    let mut buffer = Buffer::new();
    let mut reader = TransactionReader::new(&bytes[..], LUCENE, TxId(43), &mut buffer);
    reader.next().unwrap();
    assert!(reader.next().is_err());
    assert_eq!(buffer.capacity(), Buffer::new().capacity());
}
