//! Logs that real releases wrote (`tests/vectors/logs/README.md`).

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    ids::{DataSource, TxId},
    log::{
        Buffer, Change, Entries, Item, Layout, LogError, LogFormat, LogHeader, LogProblem, LogWriter, Part, SlotReader,
        encode::Command, files, slot::FileRange,
    },
};

type Kinds = BTreeMap<&'static str, u64>;

/// The bytes of a part without its identifier.
fn masked(part: &Part<'_>) -> Vec<u8> {
    let mut bytes = part.raw.to_vec();
    if let Some(at) = part.identifier_at {
        bytes[at..at + 4].fill(0);
    }
    bytes
}

/// Whether encoding what was decoded gives the same bytes, where the whole command is known.
fn reencodes(part: &Part<'_>, format: LogFormat) {
    let mut out = Vec::new();
    match part.item {
        Item::Lucene(command) => command.encode(&mut out),
        Item::Change(Change::Node(id, node)) => Command::Node(id, node).encode(format, &mut out),
        Item::Change(Change::Relationship(id, record)) => Command::Relationship(id, record).encode(format, &mut out),
        Item::Change(Change::GraphProperty(first)) => Command::GraphProperty(first).encode(format, &mut out),
        _ => return,
    }
    assert_eq!(out, part.command_bytes());
}

/// Committed transactions without identifiers, found by nothing but the entries; and how often each kind of item occurs.
fn plainly(file: &File, layout: Layout) -> (Vec<(TxId, Vec<u8>)>, Kinds) {
    let mut buffer = Buffer::new();
    let mut entries = Entries::new(FileRange::new(file, 16, u64::MAX), layout, 16, &mut buffer);
    let mut open: HashMap<i32, Vec<u8>> = HashMap::new();
    let (mut committed, mut kinds) = (Vec::new(), BTreeMap::new());
    let mut end = 16;
    loop {
        let part = match entries.next_part() {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(LogError::Malformed { problem, .. }) => {
                assert_eq!(problem, LogProblem::EndOfLog);
                break;
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(part.offset, end);
        end += part.raw.len() as u64;
        *kinds.entry(kind(&part.item)).or_insert(0) += 1;
        reencodes(&part, layout.format);
        if let Item::Start(_) = part.item {
            open.insert(part.identifier, Vec::new());
        }
        if let Some(bytes) = open.get_mut(&part.identifier) {
            bytes.extend(masked(&part));
        }
        if let Item::Commit(commit) = part.item {
            let mut bytes = open.remove(&part.identifier).unwrap();
            bytes.extend([4, 0, 0, 0, 0]);
            committed.push((commit.tx, bytes));
        }
    }
    (committed, kinds)
}

fn kind(item: &Item<'_>) -> &'static str {
    match item {
        Item::Start(_) => "start",
        Item::Prepare(_) => "prepare",
        Item::Commit(_) => "commit",
        Item::Done => "done",
        Item::Lucene(_) => "index",
        Item::Change(Change::Node(..)) => "node",
        Item::Change(Change::Relationship(..)) => "relationship",
        Item::Change(Change::RelationshipType(..)) => "type",
        Item::Change(Change::PropertyKey(..)) => "key",
        Item::Change(Change::Property(..) | Change::LegacyProperty(..)) => "property",
        Item::Change(Change::Dynamic(..)) => "dynamic",
        Item::Change(Change::GraphProperty(_)) => "graph property",
    }
}

/// Copies every committed transaction of a log and compares the copies with the original.
fn copies_but_for_identifiers(path: &Path, source: DataSource) -> Kinds {
    let file = File::open(path).unwrap();
    let mut start = [0; 16];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut start, 0).unwrap();
    let header = LogHeader::decode(start).unwrap();
    let layout = Layout {
        format: header.format,
        source,
    };
    let (committed, kinds) = plainly(&file, layout);
    let (mut scan, mut look) = (Buffer::new(), Buffer::new());
    let mut slot = SlotReader::open(&file, layout, &mut scan).unwrap();
    let mut writer = LogWriter::create(tempfile::tempfile().unwrap(), header, layout).unwrap();
    let mut fingerprints = Vec::new();
    while let Some(found) = slot.next().unwrap() {
        writer.append(&mut slot.transaction(&found, &mut look)).unwrap();
        fingerprints.push(slot.transaction(&found, &mut look).fingerprint().unwrap());
    }
    assert_eq!(slot.finish().unwrap().last_tx, committed.last().map(|(tx, _)| *tx));
    let copy = writer.finish().unwrap();
    assert_eq!(plainly(&copy, layout).0, committed);
    let mut slot = SlotReader::open(&copy, layout, &mut scan).unwrap();
    for (number, expected) in fingerprints.iter().enumerate() {
        let found = slot.next().unwrap().unwrap();
        assert_eq!(found.identifier, i32::try_from(number).unwrap() + 2);
        assert_eq!(slot.transaction(&found, &mut look).fingerprint().unwrap(), *expected);
    }
    let mut ids: Vec<_> = committed.iter().map(|(tx, _)| tx.0).collect();
    ids.sort_unstable();
    let first = header.previous_last_tx.0 + 1;
    assert!(ids.iter().copied().eq((first..).take(ids.len())), "ids with gaps");
    kinds
}

#[test]
fn logs_of_real_releases_are_read_and_copied() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/logs");
    for release in ["1.3", "1.4.2", "1.8"] {
        let graph = copies_but_for_identifiers(&vectors.join(format!("graph-{release}.log")), DataSource::Graph);
        for kind in [
            "node",
            "relationship",
            "type",
            "key",
            "property",
            "dynamic",
            "prepare",
            "done",
        ] {
            assert!(graph.contains_key(kind), "no {kind} in the log of {release}");
        }
        let lucene = copies_but_for_identifiers(&vectors.join(format!("lucene-{release}.log")), DataSource::Lucene);
        assert!(lucene["index"] > 50);
    }
}

#[test]
#[ignore = "NEO4J_BACKUP_STORES must name store directories with logs, separated by colons"]
fn logs_of_store_directories_are_read_and_copied() {
    let stores = std::env::var("NEO4J_BACKUP_STORES").expect("NEO4J_BACKUP_STORES");
    for store in stores.split(':').map(PathBuf::from) {
        for source in DataSource::ALL {
            let base = store.join(files::base(source));
            for entry in std::fs::read_dir(base.parent().unwrap()).unwrap() {
                let path = entry.unwrap().path();
                let path_text = path.to_str().unwrap();
                let suffix = path_text.strip_prefix(base.to_str().unwrap()).unwrap_or_default();
                if suffix.starts_with(".v") || suffix == ".1" || suffix == ".2" {
                    let kinds = copies_but_for_identifiers(&path, source);
                    println!("{path_text}: {kinds:?}");
                }
            }
        }
    }
}
