//! A backup of a database of the sandbox, the run that brings it up to date, and the judgement of a disk that this run
//! may leave when power is lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "panicking is how tests report"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use crate::{
    disk_trace::{Effect, folder_in_memory, record},
    lost_power::{Disk, Fate, Recording},
    neo4j_start::{Index, Started, start},
    support::{copy_dir, incremental_source::transaction, our_tool, snapshot},
};
use neo4j_backup_core::{
    cancel::Cancel,
    progress::Quiet,
    serve::{Limits, Release, Service, Stop},
    verify::{VerifyOutcome, VerifyVerdict, verify},
};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, StoreId, TxId},
    log::{
        LogFormat, LogHeader, LuceneCommand,
        encode::{Command, DynamicRecord, Owner},
        files::{self, Marker, Slot},
        lucene::{LuceneAction, Text},
    },
    store::{
        IndexKey, IndexKind, IndexName, StoreFile, StoreFormat, header::CURRENT_VERSION, lucene_store, record::RecordId,
    },
};
use neo4j_sandbox::{
    Live,
    database::Database,
    generator::{Generator, WorkloadProfile},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// Transactions before the full backup, until the incremental behind it, and until the one that is looked at.
const LOADS: [i64; 3] = [40, 10, 25];

/// Name of an index that is deleted and made anew.
const GONE: &str = "gone";

/// What the backup is like that the run brings up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// It has a pending index log, to which transactions are added.
    Pending,
    /// One of the transactions deletes an index, so that the pending log is written anew.
    IndexDeleted,
    /// A database that Neo4j closed, with slots that nobody replays, taken over as it stood.
    Adopted,
    /// A run was interrupted, and Neo4j was killed that had started on what it left.
    Interrupted,
}

pub struct Scene {
    work: TempDir,
    uri: String,
    base: Base,
    /// What a start makes of the base, and of what a run makes of it that nobody stops.
    old: Started,
    new: Started,
    /// Files after that run, but for manifest and checksums.
    expected: BTreeMap<PathBuf, Vec<u8>>,
    /// The source's runtime.
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    pub fn new(base: Base) -> Scene {
        let work = folder_in_memory();
        let dir = |name: &str| work.path().join(name);
        let id = StoreId {
            creation_time: 1,
            random: 2,
            store_version: Some(CURRENT_VERSION),
        };
        let mut source = Database::create(&dir("source"), StoreFormat::Current, id).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let uri = format!("single://{}", listener.local_addr().unwrap());
        let live = Live::of(&source, Release::Other).unwrap();
        runtime.spawn(async move {
            Service::new(Arc::new(live), Limits::default())
                .run(listener, &Stop::default())
                .await
        });
        make_index(&mut source);
        load(&mut source, LOADS[0]);
        run("-full", &uri, &dir("base"));
        load(&mut source, LOADS[1]);
        run("-incremental", &uri, &dir("base"));
        skip_ids(&mut source, 20_000);
        load(&mut source, LOADS[2]);
        match base {
            Base::Pending => {}
            Base::IndexDeleted => {
                delete_index(&mut source);
                make_index(&mut source);
            }
            Base::Adopted => {
                close_as_neo4j_does(&dir("base"), &dir("source"));
                let adopted = our_tool(&["verify", "-adopt", dir("base").to_str().unwrap()]);
                assert!(adopted.success(), "{}", adopted.stderr);
            }
            Base::Interrupted => {
                interrupt(&uri, &dir("base"), &dir("copy"));
                skip_ids(&mut source, 40_000);
                load(&mut source, LOADS[2]);
            }
        }
        copy_dir(&dir("base"), &dir("whole"));
        run("-incremental", &uri, &dir("whole"));
        let started = |name: &str| start(&dir(name), &dir("work")).unwrap();
        let (old, new) = (started("base"), started("whole"));
        let contents = source.contents().unwrap();
        assert!(new.graph.nodes == contents.nodes && new.graph.relationships == contents.relationships);
        assert!(old.graph != new.graph && old.indexes != new.indexes);
        Scene {
            uri,
            base,
            old,
            new,
            expected: stores(&dir("whole")),
            _runtime: runtime,
            work,
        }
    }

    pub fn dir(&self) -> &Path {
        self.work.path()
    }

    /// What the run does that brings the backup up to date.
    pub fn record(&self) -> Recording {
        recorded(&self.uri, &self.dir().join("base"), &self.dir().join("copy"))
    }

    /// Neo4j starts, from the old state or the new one, and no index is ahead of the graph.
    fn starts(&self, dir: &Path, work: &Path) -> Result<(), String> {
        let found = start(dir, work)?;
        let states = [&self.old, &self.new];
        let graph = states.iter().position(|state| found.graph == state.graph);
        let graph = graph.ok_or("a graph that there never was")?;
        let gone = index(GONE);
        let others = |started: &Started| {
            let mut indexes = started.indexes.clone();
            indexes.remove(&gone);
            indexes
        };
        let indexes = others(&found);
        let index = states.iter().position(|state| indexes == others(state));
        let index = index.ok_or("indexes that there never were")?;
        if index > graph {
            return Err("the indexes are ahead of the graph".to_owned());
        }
        let found = found.indexes.get(&gone);
        let while_it_is_deleted = self.base == Base::IndexDeleted
            && found.is_none_or(|found| {
                let without_its_log = self.old.indexes[&gone].files == found.files && found.entries.is_empty();
                without_its_log || *found == Index::default()
            });
        if while_it_is_deleted || states.iter().any(|state| found == state.indexes.get(&gone)) {
            Ok(())
        } else {
            Err(format!("an index that is deleted has {found:?}"))
        }
    }

    /// The next run ends well, with the bytes that a run leaves which nobody stops.
    fn is_repaired(&self, dir: &Path) -> Result<(), String> {
        let told = verify(&DirHandle::open(dir).unwrap(), &Quiet, &Cancel::default())
            .map_err(|error| format!("verify: {error}"))?;
        if !matches!(told.verdict, VerifyVerdict::Intact | VerifyVerdict::InterruptedUpdate) {
            return Err(format!("verify: {}", named(&told)));
        }
        let next = our_tool(&arguments("-incremental", &self.uri, dir));
        if !next.success() {
            return Err(format!("the next run: {}", next.stderr));
        }
        let told = verify(&DirHandle::open(dir).unwrap(), &Quiet, &Cancel::default())
            .map_err(|error| format!("verify: {error}"))?;
        if told.verdict != VerifyVerdict::Intact {
            return Err(format!("verify after the next run: {}", named(&told)));
        }
        let found = stores(dir);
        let names: BTreeSet<_> = found.keys().chain(self.expected.keys()).collect();
        match names.iter().find(|name| found.get(**name) != self.expected.get(**name)) {
            None => Ok(()),
            Some(name) => Err(format!("{} is another after the next run", name.display())),
        }
    }

    /// Once the run has ended all of it is there.
    fn is_done(&self, dir: &Path, work: &Path) -> Result<(), String> {
        let told = verify(&DirHandle::open(dir).unwrap(), &Quiet, &Cancel::default())
            .map_err(|error| format!("verify: {error}"))?;
        if told.verdict != VerifyVerdict::Intact {
            return Err("the run has ended, and yet it is no complete backup".to_owned());
        }
        match start(dir, work)? {
            found if found == self.new => Ok(()),
            _ => Err("the run has ended, and yet a start does not give what it brought".to_owned()),
        }
    }

    /// What is wrong with a disk.
    pub fn judge(&self, run_has_ended: bool, with_next_run: bool, disk: &Disk, at: &Path) -> Result<(), String> {
        let (found, work) = (at.join("found"), at.join("work"));
        disk.write(&found);
        self.starts(&found, &work).map_err(|error| format!("Neo4j: {error}"))?;
        if run_has_ended {
            self.is_done(&found, &work)?;
        }
        if with_next_run {
            self.is_repaired(&found)
        } else {
            Ok(())
        }
    }
}

/// What is wrong, by file.
fn named(told: &VerifyOutcome) -> String {
    let findings = told.findings.iter();
    let named = findings.map(|finding| format!("{} {:?} by {:?}", finding.path, finding.problem, finding.cause));
    named.collect::<Vec<_>>().join(", ")
}

fn index(name: &str) -> IndexKey {
    IndexKey {
        kind: IndexKind::Node,
        name: IndexName::from_units(name.encode_utf16()),
    }
}

fn load(source: &mut Database, transactions: i64) {
    let generator = Generator::new(1, WorkloadProfile::of(StoreFormat::Current));
    for time in 0..transactions {
        generator.step(source, time).unwrap();
    }
}

/// Makes an index with an entry, and a file of Lucene's as a server would have it.
fn make_index(source: &mut Database) {
    let mut transaction = source.begin(1);
    transaction.create_index(&index(GONE));
    transaction.commit().unwrap();
    let mut transaction = source.begin(1);
    let node = transaction.create_node();
    transaction.add_to_index(&index(GONE), node, "key", "text").unwrap();
    transaction.commit().unwrap();
    let folder = source.dir().join("index/lucene/node").join(GONE);
    fs::create_dir_all(&folder).unwrap();
    for name in ["_0.cfs", "segments_1"] {
        fs::write(folder.join(name), name).unwrap();
    }
}

/// What a run on a copy of `base` does to it.
fn recorded(uri: &str, base: &Path, copy: &Path) -> Recording {
    copy_dir(base, copy);
    Recording::new(base, record(PROGRAM, &arguments("-incremental", uri, copy), copy))
}

/// A run is killed while it writes into the store files, and Neo4j when it has written its marker.
fn interrupt(uri: &str, base: &Path, copy: &Path) {
    let recording = recorded(uri, base, copy);
    let calls = recording.calls().iter();
    let written = calls.rev().position(|call| {
        matches!(call.effect, Effect::Write { .. }) && call.path == Path::new(StoreFile::Relationship.name())
    });
    let until = recording.calls().len() - written.unwrap();
    recording.disk(until, |_| Fate::Kept).write(base);
    fs::remove_dir_all(copy).unwrap();
    let marker = base.join(files::marker(DataSource::Graph));
    fs::write(marker, Marker::Active(Slot::One).encode()).unwrap();
}

/// Leaves every store file without a record for more than a page before this offset, as transactions do that were rolled
/// back.
fn skip_ids(source: &mut Database, offset: u64) {
    const BLOCK: u64 = 128;
    const NAME: u64 = 38;
    let id = |store: StoreFile| {
        let names = matches!(store, StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName);
        let size = store.record_size(StoreFormat::Current);
        RecordId(offset / size.unwrap_or(if names { NAME } else { BLOCK }))
    };
    let freed = |store| DynamicRecord {
        store,
        id: id(store),
        content: None,
    };
    let commands = [
        Command::Node(id(StoreFile::Node), None),
        Command::Relationship(id(StoreFile::Relationship), None),
        Command::RelationshipType(
            id(StoreFile::RelationshipType),
            None,
            &[freed(StoreFile::RelationshipTypeName)],
        ),
        Command::PropertyKey(id(StoreFile::PropertyKey), None, &[freed(StoreFile::PropertyKeyName)]),
        Command::Property {
            id: id(StoreFile::Property),
            owner: Owner::None,
            previous: None,
            next: None,
            blocks: &[],
            deleted: &[freed(StoreFile::String), freed(StoreFile::Array)],
        },
    ];
    let encoded = commands.iter().map(|command| {
        let mut bytes = Vec::new();
        command.encode(LogFormat::V2, &mut bytes);
        bytes
    });
    let next = source.feed().last(DataSource::Graph).next();
    let body = transaction(DataSource::Graph, next.0, &encoded.collect::<Vec<_>>());
    source.apply(DataSource::Graph, next, body).unwrap();
}

fn delete_index(source: &mut Database) {
    let name: Vec<u8> = GONE.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let command = LuceneCommand {
        kind: IndexKind::Node,
        index: Text(&name),
        action: LuceneAction::Delete,
    };
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    let next = source.feed().last(DataSource::Lucene).next();
    let body = transaction(DataSource::Lucene, next.0, &[bytes]);
    source.apply(DataSource::Lucene, next, body).unwrap();
}

/// As a release does that keeps its logs; slots of older versions, and a log of a start without transactions, lie there.
fn close_as_neo4j_does(dir: &Path, source: &Path) {
    fs::remove_file(dir.join("neo4j-backup.json")).unwrap();
    fs::remove_file(dir.join("neo4j-backup.sums")).unwrap();
    let archived = |source, version| dir.join(files::archived(source, LogVersion(version)));
    let index_log = dir.join(files::slot(DataSource::Lucene, Slot::One));
    fs::rename(index_log, archived(DataSource::Lucene, 0)).unwrap();
    let nothing = LogHeader {
        format: LogFormat::V2,
        version: LogVersion(1),
        previous_last_tx: TxId(2),
    };
    fs::write(archived(DataSource::Lucene, 1), nothing.encode()).unwrap();
    let store = File::options().write(true).open(dir.join(lucene_store::PATH)).unwrap();
    store
        .write_all_at(&1_u64.to_be_bytes(), lucene_store::VERSION_AT)
        .unwrap();
    for (data_source, slot) in [(0, Slot::One), (0, Slot::Two), (1, Slot::One), (1, Slot::Two)] {
        let data_source = DataSource::ALL[data_source];
        fs::copy(archived(data_source, 0), dir.join(files::slot(data_source, slot))).unwrap();
        fs::write(dir.join(files::marker(data_source)), Marker::Clean.encode()).unwrap();
    }
    fs::copy(source.join("index.db"), dir.join("index.db")).unwrap();
}

fn arguments(mode: &str, from: &str, to: &Path) -> Vec<String> {
    let to = to.to_str().unwrap();
    let words = [mode, "-from", from, "-to", to, "-verify=false", "-quiet"];
    words.map(str::to_owned).to_vec()
}

fn run(mode: &str, from: &str, to: &Path) {
    let finished = our_tool(&arguments(mode, from, to));
    assert!(finished.success(), "{}", finished.stderr);
}

fn stores(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    snapshot(dir)
        .into_iter()
        .map(|(path, bytes)| (path.strip_prefix(dir).unwrap().to_owned(), bytes))
        .filter(|(path, _)| !path.to_str().unwrap().starts_with("neo4j-backup."))
        .collect()
}
