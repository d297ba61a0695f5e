//! A store directory with an index part, and logs of received transactions.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::replay::pending_index::{IndexRules, Input, Keep, PendingIndexError, Update, prepare};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, TxId},
    log::{
        Buffer, Item, Layout, LogFormat, LogHeader, LogWriter, LuceneCommand, SlotReader, TransactionReader,
        entry::{self, Commit, CommitKind, CommitStamp, Origin, Prepare, Start},
        lucene::{IndexProperties, LuceneAction, LuceneValue, Text},
    },
    store::{IndexConfig, IndexKey, IndexKind},
};

pub(super) const TIME: i64 = 0x13A_49C2_4780;

pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Bytes of a command on a node index, or, for names that begin with `r`, a relationship index.
pub(super) fn command(index: &str, action: LuceneAction<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let name = utf16(index);
    let command = LuceneCommand {
        kind: kind(index),
        index: Text(&name),
        action,
    };
    command.encode(&mut out);
    out
}

fn kind(index: &str) -> IndexKind {
    if index.starts_with('r') {
        IndexKind::Relationship
    } else {
        IndexKind::Node
    }
}

pub(super) fn key(index: &str) -> IndexKey {
    IndexKey {
        kind: kind(index),
        name: index.into(),
    }
}

pub(super) fn add(index: &str, entity: i64, value: &str) -> Vec<u8> {
    let ends = (kind(index) == IndexKind::Relationship).then_some((1, 2));
    let action = LuceneAction::Add {
        entity,
        key: Some(Text(&utf16("name"))),
        value: LuceneValue::Text(Text(&utf16(value))),
        ends,
    };
    command(index, action)
}

pub(super) fn remove(index: &str, entity: i64, value: &str) -> Vec<u8> {
    let action = LuceneAction::Remove {
        entity,
        key: Some(Text(&utf16("name"))),
        value: LuceneValue::Text(Text(&utf16(value))),
    };
    command(index, action)
}

pub(super) fn delete(index: &str) -> Vec<u8> {
    command(index, LuceneAction::Delete)
}

pub(super) fn create(index: &str) -> Vec<u8> {
    let (provider, lucene) = (utf16("provider"), utf16("lucene"));
    let bytes = [&[0, 0, 0, 8], &provider[..], &[0, 0, 0, 6], &lucene[..]].concat();
    let properties = IndexProperties {
        count: 1,
        bytes: &bytes,
    };
    command(index, LuceneAction::Create(properties))
}

/// The entries of a transaction, the last of them not necessarily there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Commands,
    Prepare,
    Commit,
    Done,
}

pub(super) fn entries(format: LogFormat, identifier: i32, tx: i64, commands: &[Vec<u8>], until: Until) -> Vec<u8> {
    let mut out = Vec::new();
    let random = b"NEOKERNL\0\x11\x22\x33\x44\x55\x66\x77\x88".to_vec();
    let v2 = format == LogFormat::V2;
    let start = Start {
        global_id: &[random, 7_i64.to_be_bytes().to_vec()].concat(),
        branch: DataSource::Lucene.branch_qualifier(),
        identifier,
        origin: v2.then_some(Origin {
            master_id: -1,
            my_id: -1,
            time: TIME,
        }),
    };
    start.encode(&mut out).unwrap();
    for command in commands {
        out.extend_from_slice(&entry::command(identifier));
        out.extend_from_slice(command);
    }
    let kind = match until {
        Until::Commands => return out,
        _ if commands.len() == 1 => CommitKind::OnePhase,
        _ => {
            let time = v2.then_some(TIME);
            Prepare { identifier, time }.encode(&mut out);
            CommitKind::TwoPhase
        }
    };
    if until == Until::Prepare {
        return out;
    }
    let commit = Commit {
        kind,
        identifier,
        tx: TxId(tx),
        stamp: if v2 {
            CommitStamp::Time(TIME + 123)
        } else {
            CommitStamp::Master(-1)
        },
    };
    commit.encode(&mut out);
    if until == Until::Done {
        out.extend_from_slice(&entry::done(identifier));
    }
    out
}

pub(super) type Transaction = (i64, Vec<Vec<u8>>);

/// A store directory, whose logs have one format.
pub(super) struct Store {
    pub(super) dir: tempfile::TempDir,
    pub(super) format: LogFormat,
}

impl Store {
    /// As after a full copy: these indexes, log version 3, last transaction 8.
    pub(super) fn new(format: LogFormat, indexes: &[&str]) -> Store {
        let dir = tempfile::tempdir().unwrap();
        for index in indexes {
            let path = dir
                .path()
                .join("index/lucene")
                .join(kind(index).directory())
                .join(index);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("segments.gen"), "x").unwrap();
        }
        let store = Store { dir, format };
        fs::create_dir_all(store.path("index")).unwrap();
        let mut config = IndexConfig::default();
        for index in indexes {
            config.insert(
                key(index),
                neo4j_format::store::index_config::IndexProperties::default(),
            );
        }
        fs::write(store.path("index.db"), config.encode()).unwrap();
        let longs: &[i64] = &[5, 6, 3, 8, 0x352E_3303];
        let bytes: Vec<u8> = longs.iter().flat_map(|long| long.to_be_bytes()).collect();
        let length = if format == LogFormat::V1 { 32 } else { 40 };
        fs::write(store.path("index/lucene-store.db"), &bytes[..length]).unwrap();
        store
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a log into the slot, with any marker.
    pub(super) fn slot(&self, slot: &str, marker: Option<&[u8]>, entries: &[u8]) {
        let header = LogHeader {
            format: self.format,
            version: LogVersion(3),
            previous_last_tx: TxId(8),
        };
        fs::write(self.path(slot), [&header.encode()[..], entries].concat()).unwrap();
        if let Some(marker) = marker {
            fs::write(self.path("index/lucene.log.active"), marker).unwrap();
        }
    }

    pub(super) fn prepare(&self, received: &[Transaction]) -> Result<Option<Update>, PendingIndexError> {
        self.prepare_with(&mut IndexRules::Later, &[(received, Keep::All)])
    }

    pub(super) fn prepare_with(
        &self,
        rules: &mut IndexRules<'_>,
        received: &[(&[Transaction], Keep<'_>)],
    ) -> Result<Option<Update>, PendingIndexError> {
        let logs: Vec<_> = received
            .iter()
            .map(|(transactions, keep)| (received_log(self.format, transactions), *keep))
            .collect();
        let inputs: Vec<_> = logs
            .iter()
            .map(|(log, keep)| Input {
                log,
                path: Path::new("received"),
                keep: *keep,
            })
            .collect();
        prepare(&DirHandle::open(self.dir.path()).unwrap(), self.format, rules, &inputs)
    }

    /// Adds transactions, and gives what is pending then.
    pub(super) fn receive(&self, received: &[Transaction]) -> Vec<Transaction> {
        self.prepare(received)
            .unwrap()
            .expect("something to do")
            .commit()
            .unwrap();
        self.pending()
    }

    /// Transactions in the active slot, as Neo4j would replay them.
    pub(super) fn pending(&self) -> Vec<Transaction> {
        let marker = fs::read(self.path("index/lucene.log.active")).ok();
        let slot = match marker.as_deref() {
            Some([0, b'C', 0, 0]) => return Vec::new(),
            Some([0, b'2', 0, 0]) => "index/lucene.log.2",
            _ => "index/lucene.log.1",
        };
        match File::open(self.path(slot)) {
            Ok(file) => transactions(&file, self.format),
            Err(_) => Vec::new(),
        }
    }

    pub(super) fn config(&self) -> IndexConfig {
        IndexConfig::decode(&fs::read(self.path("index.db")).unwrap()).unwrap()
    }

    pub(super) fn indexes(&self) -> BTreeSet<IndexKey> {
        self.config().iter().map(|(key, _)| key.clone()).collect()
    }

    /// Log version and last transaction in `lucene-store.db`.
    pub(super) fn fields(&self) -> (i64, i64) {
        let bytes = fs::read(self.path("index/lucene-store.db")).unwrap();
        assert_eq!(bytes.len(), if self.format == LogFormat::V1 { 32 } else { 40 });
        let (longs, _) = bytes.as_chunks::<8>();
        assert_eq!(longs[..2], [5_i64.to_be_bytes(), 6_i64.to_be_bytes()]);
        (i64::from_be_bytes(longs[2]), i64::from_be_bytes(longs[3]))
    }

    /// Content of all files, by path.
    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut directories = vec![self.dir.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let content = fs::read(&path).unwrap();
                    files.push((path.strip_prefix(self.dir.path()).unwrap().to_owned(), content));
                }
            }
        }
        files.sort();
        files
    }

    pub(super) fn no_temporary_file_is_left(&self) {
        for (path, _) in self.files() {
            assert!(!path.to_string_lossy().contains("neo4j-backup"), "{}", path.display());
        }
    }
}

fn lucene(format: LogFormat) -> Layout {
    Layout {
        format,
        source: DataSource::Lucene,
    }
}

/// A log as it is written while transactions arrive.
pub(super) fn received_log(format: LogFormat, transactions: &[Transaction]) -> File {
    let header = LogHeader {
        format,
        version: LogVersion(0),
        previous_last_tx: TxId(0),
    };
    let mut writer = LogWriter::create(tempfile::tempfile().unwrap(), header, lucene(format)).unwrap();
    let mut buffer = Buffer::new();
    for (tx, commands) in transactions {
        let bytes = entries(format, 77, *tx, commands, Until::Done);
        let mut reader = TransactionReader::new(&bytes[..], lucene(format), TxId(*tx), &mut buffer);
        writer.append(&mut reader).unwrap();
    }
    writer.finish().unwrap()
}

/// Ids and commands of a log; also checks what every release asks for.
pub(super) fn transactions(file: &File, format: LogFormat) -> Vec<Transaction> {
    let (mut scan, mut look) = (Buffer::new(), Buffer::new());
    let mut slot = SlotReader::open(file, lucene(format), &mut scan).unwrap();
    let mut all = Vec::new();
    let mut identifiers = BTreeSet::new();
    while let Some(committed) = slot.next().unwrap() {
        assert!(identifiers.insert(committed.identifier), "identifier used twice");
        let mut reader = slot.transaction(&committed, &mut look);
        let (mut commands, mut prepared) = (Vec::new(), false);
        while let Some(part) = reader.next_part().unwrap() {
            match part.item {
                Item::Lucene(_) => commands.push(part.command_bytes().to_vec()),
                Item::Prepare(_) => prepared = true,
                Item::Commit(commit) if commands.is_empty() => {
                    assert_eq!((prepared, commit.kind), (false, CommitKind::OnePhase));
                }
                _ => {}
            }
        }
        all.push((committed.tx.0, commands));
    }
    all
}
