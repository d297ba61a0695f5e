//! What applying transactions costs, apart from servers and their speed.
//!
//! ```text
//! apply rate COMMANDS DIR          transactions from memory into a log and onto store files in DIR: MB/s and commands/s
//! apply source transactions COUNT  a source that has so many new transactions; prints its URI, ends with its input
//! apply source transaction MIB     the same with one transaction of so many MiB
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement ends where something fails, and prints what it found"
)]

#[path = "../tests/support/incremental_source.rs"]
mod incremental_source;

use std::{
    env,
    fs::{self, File},
    io,
    path::Path,
    time::Instant,
};

use incremental_source::{Source, transaction};

use neo4j_backup_core::replay::apply::{Applier, Growth};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, TxId},
    log::{
        Buffer, Item, Layout, LogFormat, LogHeader, LogWriter, SlotReader, TransactionReader,
        encode::{Block, Command, Owner},
        slot,
    },
    store::{
        StoreFile, StoreFormat,
        record::{Node, RecordId, Relationship},
    },
};

const GRAPH: Layout = Layout {
    format: LogFormat::V2,
    source: DataSource::Graph,
};

/// Commands in a transaction, as a small user transaction has them.
const PER_TRANSACTION: u64 = 8;

/// Records that commands are about, round and round.
const RECORDS: u64 = 1_000_000;

/// Last transaction of the recorded full backup that the source hands out.
const RECORDED: i64 = 5;

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["rate", commands, dir] => rate(commands.parse().unwrap(), Path::new(dir)),
        ["source", "transactions", count] => source(count.parse().unwrap(), PER_TRANSACTION),
        ["source", "transaction", mib] => {
            let commands = mib.parse::<u64>().unwrap() * (1 << 20) / command(0).len() as u64;
            source(1, commands);
        }
        // `cargo bench` runs every target without arguments
        _ => {
            println!("usage: apply rate COMMANDS DIR");
            println!("       apply source transactions COUNT | apply source transaction MIB");
        }
    }
}

/// A node, a relationship or a property with a short string, in turns.
fn command(n: u64) -> Vec<u8> {
    let id = RecordId(n % RECORDS);
    let other = Some(RecordId((n + 1) % RECORDS));
    let mut bytes = Vec::new();
    let command = match n % 4 {
        0 | 1 => Command::Node(
            id,
            Some(Node {
                first_relationship: other,
                first_property: other,
            }),
        ),
        2 => Command::Relationship(
            id,
            Some(Relationship {
                first_node: Some(id),
                second_node: other,
                type_id: 1,
                first_previous: None,
                first_next: other,
                second_previous: None,
                second_next: None,
                first_property: other,
            }),
        ),
        _ => Command::Property {
            id,
            owner: Owner::Node(id),
            previous: None,
            next: other,
            // a short string of type 11
            blocks: &[Block {
                longs: &[0xC74D_808A_0B00_0000],
                records: &[],
            }],
            deleted: &[],
        },
    };
    command.encode(LogFormat::V2, &mut bytes);
    bytes
}

fn body(id: i64, commands: u64) -> Vec<u8> {
    let first = id.unsigned_abs() * PER_TRANSACTION;
    let commands: Vec<_> = (first..first + commands).map(command).collect();
    transaction(DataSource::Graph, id, &commands)
}

fn rate(commands: u64, dir: &Path) {
    for kind in StoreFile::ALL {
        let mut bytes = vec![0; 128];
        bytes[..4].copy_from_slice(&128_u32.to_be_bytes());
        let content = if kind.is_dynamic() { bytes } else { Vec::new() };
        fs::write(dir.join(kind.name()), content).unwrap();
    }
    let count = i64::try_from(commands / PER_TRANSACTION).unwrap();
    let bodies: Vec<_> = (2..2 + count).map(|id| (id, body(id, PER_TRANSACTION))).collect();
    let bytes: usize = bodies.iter().map(|(_, body)| body.len()).sum();
    let path = dir.join("log");
    let header = LogHeader {
        format: LogFormat::V2,
        version: LogVersion(1),
        previous_last_tx: TxId(1),
    };
    let start = Instant::now();
    let mut buffer = Buffer::new();
    let mut writer = LogWriter::create(File::create(&path).unwrap(), header, GRAPH).unwrap();
    for (id, body) in &bodies {
        let mut reader = TransactionReader::new(&body[..], GRAPH, TxId(*id), &mut buffer);
        writer.append(&mut reader).unwrap();
    }
    writer.finish().unwrap();
    report("into the log", start, bytes, commands);
    let start = Instant::now();
    let file = File::open(&path).unwrap();
    let mut applier = Applier::open(&DirHandle::open(dir).unwrap(), StoreFormat::Current, Growth::Usual).unwrap();
    let (mut scan, mut read) = (Buffer::new(), Buffer::new());
    let mut slot = SlotReader::open(&file, GRAPH, &mut scan).unwrap();
    while let Some(committed) = slot.next().unwrap() {
        let mut transaction = slot::transaction(&file, GRAPH, &committed, &mut read);
        while let Some(item) = transaction.next().unwrap() {
            if let Item::Change(change) = item {
                applier.apply(&change).unwrap();
            }
        }
    }
    applier.finish().unwrap();
    report("onto the store", start, bytes, commands);
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(what: &str, start: Instant, bytes: usize, commands: u64) {
    let seconds = start.elapsed().as_secs_f64();
    let (megabytes, rate) = (bytes as f64 / 1e6 / seconds, commands as f64 / seconds);
    println!("{what}: {seconds:.3} s, {megabytes:.0} MB/s, {rate:.0} commands/s");
}

fn source(count: i64, commands: u64) {
    let source = Source::recorded();
    for id in RECORDED + 1..=RECORDED + count {
        source.push(DataSource::Graph, id, body(id, commands));
    }
    println!("{}", source.uri());
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
}
