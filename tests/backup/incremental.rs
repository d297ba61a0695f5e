//! Incremental backups by the built program from a source whose transactions are made up: what becomes of the backup,
//! and that whatever a source sends wrong leaves it as it was.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::support::incremental_source::{Answer, Source, Transaction, transaction};
use crate::support::replay::{judge, left_over};
use crate::support::{Finished, our_tool, side_by_side, snapshot};
use serde_json::Value;
use tempfile::TempDir;

use neo4j_format::{
    ids::DataSource,
    log::{
        encode::{Block, Command, DynamicRecord, Owner},
        format::LogFormat,
    },
    store::{
        StoreFile,
        record::{DynamicHeader, Node, RecordId},
    },
};

/// Last transactions of the recorded full backup.
const GRAPH: i64 = 5;
const INDEX: i64 = 6;

/// A backup of the recorded source.
struct Scene {
    _folder: TempDir,
    target: PathBuf,
    source: Source,
}

impl Scene {
    fn new() -> Scene {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("backup");
        let source = Source::recorded();
        let scene = Scene {
            _folder: folder,
            target,
            source,
        };
        let full = scene.run("-full", &[]);
        assert_eq!(full.code, Some(0), "{}", full.stderr);
        scene
    }

    fn run(&self, mode: &str, options: &[&str]) -> Finished {
        let (uri, target) = (self.source.uri(), self.target.to_str().unwrap());
        let args = [mode, "-from", &uri, "-to", target, "-verify=false", "-output=json"];
        our_tool(&[&args, options].concat())
    }

    fn incremental(&self) -> Finished {
        self.run("-incremental", &[])
    }

    #[track_caller]
    fn succeeds(&self, options: &[&str]) -> Value {
        let finished = self.run("-incremental", options);
        assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
        assert_eq!(judge(&self.target), Ok(()));
        assert!(left_over(&self.target).is_empty(), "{:?}", left_over(&self.target));
        serde_json::from_str(&finished.stdout).unwrap()
    }

    /// The run is refused with this code and these words, and nothing of the backup has changed.
    #[track_caller]
    fn is_refused(&self, code: i32, words: &[&str]) {
        let before = snapshot(&self.target);
        let finished = self.incremental();
        assert_eq!(finished.code, Some(code), "{}{}", finished.stdout, finished.stderr);
        for word in words {
            assert!(finished.stderr.contains(word), "no {word:?} in {}", finished.stderr);
        }
        let after = snapshot(&self.target);
        assert!(before == after, "{:?}", differences(&before, &after));
        assert!(left_over(&self.target).is_empty(), "{:?}", left_over(&self.target));
    }

    /// What the source sends is refused, and once it is honest again the next run needs no clean-up.
    #[track_caller]
    fn refuses(&self, code: i32, words: &[&str], change: impl Fn(&mut Answer) + Send + Sync + 'static) {
        self.source.tamper(change);
        self.is_refused(code, words);
        self.source.honest();
        self.succeeds(&[]);
    }

    /// Bytes of a store file.
    fn store(&self, file: StoreFile) -> Vec<u8> {
        fs::read(self.target.join(file.name())).unwrap()
    }
}

fn differences(one: &BTreeMap<PathBuf, Vec<u8>>, other: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let all: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing = all.into_iter().filter(|path| one.get(*path) != other.get(*path));
    differing.cloned().collect()
}

fn node(id: u64) -> Command<'static> {
    let node = Node {
        first_relationship: None,
        first_property: None,
    };
    Command::Node(RecordId(id), Some(node))
}

/// Bytes of a made-up transaction of the graph that creates a node.
fn creates_node(id: i64, node_id: u64) -> Vec<u8> {
    let mut command = Vec::new();
    node(node_id).encode(LogFormat::V2, &mut command);
    transaction(DataSource::Graph, id, &[command])
}

fn of_graph(id: i64, body: Vec<u8>) -> Transaction {
    Transaction {
        source: DataSource::Graph.name().to_owned(),
        id,
        body,
    }
}

/// A chain of two blocks of the string store; what the first says about its successor is given.
fn long_string(successor: Option<u64>, second: u64) -> Vec<u8> {
    let header = |next: Option<u64>, length| DynamicHeader {
        previous: None,
        next: next.map(RecordId),
        length,
    };
    let text = [b'x'; 120];
    let records = [
        DynamicRecord {
            store: StoreFile::String,
            id: RecordId(40),
            content: Some((header(successor, 120), &text)),
        },
        DynamicRecord {
            store: StoreFile::String,
            id: RecordId(second),
            content: Some((header(None, 3), b"end")),
        },
    ];
    // a string in the dynamic store: type 9 in bits 24 – 27, the first block above them
    let long = 40 << 28 | 9 << 24;
    let block = Block {
        longs: &[long],
        records: &records,
    };
    let mut bytes = Vec::new();
    Command::Property {
        id: RecordId(30),
        owner: Owner::Node(RecordId(1)),
        previous: None,
        next: None,
        blocks: &[block],
        deleted: &[],
    }
    .encode(LogFormat::V2, &mut bytes);
    bytes
}

#[test]
fn new_transactions_are_applied_and_archived() {
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    scene.source.commit(&[node(71)]);
    let report = scene.succeeds(&[]);
    assert_eq!(report["result"]["transactions"], 2);
    assert_eq!(report["result"]["history"], "proven");
    assert_eq!(report["result"]["last_transactions"]["nioneodb"], GRAPH + 2);
    let nodes = scene.store(StoreFile::Node);
    assert_eq!(nodes.len(), 72 * 9 + "NodeStore v0.A.0".len());
    assert_eq!(nodes[71 * 9..72 * 9], [1, 255, 255, 255, 255, 255, 255, 255, 255]);
    assert!(scene.target.join("nioneo_logical.log.v2").exists());
    scene.source.commit(&[node(72)]);
    assert_eq!(scene.succeeds(&[])["result"]["transactions"], 1);
}

#[test]
fn where_nothing_is_new_only_the_time_in_the_manifest_changes() {
    let scene = Scene::new();
    let times = |dir: &Path| -> BTreeMap<PathBuf, SystemTime> {
        let files = snapshot(dir).into_keys();
        files
            .map(|path| (path.clone(), fs::metadata(path).unwrap().modified().unwrap()))
            .collect()
    };
    let (before, times_before) = (snapshot(&scene.target), times(&scene.target));
    let report = scene.succeeds(&[]);
    assert_eq!(report["result"]["transactions"], 0);
    let manifest = scene.target.join("neo4j-backup.json");
    assert_eq!(
        differences(&before, &snapshot(&scene.target)),
        std::slice::from_ref(&manifest)
    );
    let mut times_after = times(&scene.target);
    times_after.insert(manifest.clone(), times_before[&manifest]);
    assert_eq!(times_after, times_before);
    let read = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let (mut was, mut is) = (read(&before[&manifest]), read(&fs::read(&manifest).unwrap()));
    for field in ["finished", "checksum"] {
        (was[field], is[field]) = (Value::Null, Value::Null);
    }
    assert_eq!(was, is);
}

#[test]
fn only_stores_that_transactions_touch_are_changed() {
    let scene = Scene::new();
    let before = snapshot(&scene.target);
    scene.source.commit(&[node(70)]);
    scene.succeeds(&[]);
    let changed: Vec<_> = differences(&before, &snapshot(&scene.target))
        .into_iter()
        .map(|path| path.strip_prefix(&scene.target).unwrap().to_str().unwrap().to_owned())
        .collect();
    let expected = [
        "neo4j-backup.json",
        "neo4j-backup.sums",
        "neostore",
        "neostore.nodestore.db",
        "neostore.nodestore.db.id",
        "nioneo_logical.log.v2",
    ];
    assert_eq!(changed, expected);
}

#[test]
fn a_gap_a_repeat_and_another_order_are_refused() {
    let scene = Scene::new();
    for n in 70..73 {
        scene.source.commit(&[node(n)]);
    }
    let words = ["of nioneodb"];
    scene.refuses(15, &words, |answer| {
        answer.transactions.retain(|tx| tx.id != GRAPH + 2);
    });
    for n in 73..76 {
        scene.source.commit(&[node(n)]);
    }
    scene.refuses(15, &words, |answer| {
        let at = answer.transactions.iter().position(|tx| tx.id == GRAPH + 4).unwrap();
        answer.transactions.insert(at, answer.transactions[at].clone());
    });
    for n in 76..79 {
        scene.source.commit(&[node(n)]);
    }
    scene.refuses(15, &words, |answer| answer.transactions.reverse());
}

#[test]
fn an_unknown_data_source_is_refused_and_a_vanished_one_too() {
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    scene.refuses(15, &["other-index"], |answer| {
        answer.sources.push("other-index".to_owned());
        answer.transactions.push(Transaction {
            source: "other-index".to_owned(),
            id: 2,
            body: vec![1],
        });
    });
    scene.source.commit(&[node(71)]);
    // the index part of the target has a transaction that such a source does not know
    scene.refuses(13, &["behind", "lucene-index"], |answer| {
        answer.sources.retain(|name| name == "nioneodb");
        answer.transactions.retain(|tx| tx.source == "nioneodb");
    });
}

#[test]
fn a_transaction_that_is_not_one_is_refused() {
    let scene = Scene::new();
    let good = creates_node(GRAPH + 1, 70);
    let bad = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    // START takes 58 bytes, the command 5 + 26, 1PC 21 and DONE 5
    let (command, commit) = (58 + 1, good.len() - 26);
    let global_id = good[1];
    assert_eq!((global_id, good[commit], good[58]), (25, 5, 3));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("cut short", bad(&|body| body.truncate(body.len() - 12))),
        ("without COMMIT", bad(&|body| drop(body.drain(commit..commit + 21)))),
        ("without DONE", bad(&|body| body.truncate(commit + 21))),
        ("without START", bad(&|body| drop(body.drain(..58)))),
        ("an unknown entry", bad(&|body| body[commit] = 9)),
        ("an unknown command", bad(&|body| body[command + 4] = 77)),
        ("an identifier that changes", bad(&|body| body[command] ^= 1)),
        ("another id in COMMIT", bad(&|body| body[commit + 12] ^= 1)),
        ("another branch", bad(&|body| body[3 + 25] ^= 1)),
        ("bytes behind DONE", bad(&|body| body.push(0))),
        ("an in-use flag of 2", bad(&|body| body[command + 4 + 9] = 2)),
        ("a record id beyond the format", creates_node(GRAPH + 1, 1 << 36)),
        ("a record id beyond reason", creates_node(GRAPH + 1, 1 << 34)),
        (
            "a chain that points elsewhere",
            transaction(DataSource::Graph, GRAPH + 1, &[long_string(Some(99), 41)]),
        ),
        (
            "a chain that ends too early",
            transaction(DataSource::Graph, GRAPH + 1, &[long_string(None, 41)]),
        ),
        ("nothing but zeros", vec![0; 300]),
    ];
    for (what, body) in cases {
        eprintln!("{what}");
        scene
            .source
            .tamper(move |answer| answer.transactions.push(of_graph(GRAPH + 1, body.clone())));
        scene.is_refused(15, &[]);
    }
    scene.source.honest();
    scene.source.commit(&[node(70)]);
    scene.succeeds(&[]);
}

#[test]
fn a_chain_that_is_whole_is_applied() {
    let scene = Scene::new();
    let body = transaction(DataSource::Graph, GRAPH + 1, &[long_string(Some(41), 41)]);
    scene.source.push(DataSource::Graph, GRAPH + 1, body);
    scene.succeeds(&[]);
    let strings = scene.store(StoreFile::String);
    assert_eq!(strings[41 * 128..41 * 128 + 11], *b"\x10\0\0\x03\xff\xff\xff\xffend");
}

#[test]
fn a_bad_transaction_behind_good_ones_leaves_the_backup_as_it_was() {
    let scene = Scene::new();
    for n in 70..90 {
        scene.source.commit(&[node(n)]);
    }
    let last = scene.source.last(DataSource::Graph);
    scene.refuses(15, &[], move |answer| {
        answer
            .transactions
            .push(of_graph(last + 1, creates_node(last + 1, 1 << 34)));
    });
    assert_eq!(scene.succeeds(&[])["result"]["transactions"], 0);
}

#[test]
fn a_response_cut_at_any_byte_leaves_the_backup_as_it_was() {
    let scene = || {
        let scene = Scene::new();
        scene.source.commit(&[node(70)]);
        scene
    };
    let asked = [(DataSource::Graph, GRAPH - 1), (DataSource::Lucene, INDEX - 1)];
    let whole = scene().source.answer(&asked).len();
    side_by_side((0..whole).step_by(97).chain([whole - 1]), |cut| {
        let scene = scene();
        let before = snapshot(&scene.target);
        scene.source.damage(move |bytes| bytes.truncate(cut));
        let finished = scene.incremental();
        assert!(
            matches!(finished.code, Some(10 | 15)),
            "cut at {cut}: {:?} {}",
            finished.code,
            finished.stderr
        );
        let after = snapshot(&scene.target);
        assert!(before == after, "cut at {cut}: {:?}", differences(&before, &after));
        scene.source.honest();
        scene.succeeds(&[]);
    });
}

#[test]
fn an_endless_stream_ends_at_the_time_limit() {
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    scene.source.damage(|bytes| {
        // a continuation is announced and never comes
        bytes[4] |= 1;
    });
    let before = snapshot(&scene.target);
    let finished = scene.run("-incremental", &["-timeout=1s"]);
    assert!(matches!(finished.code, Some(10 | 17)), "{}", finished.stderr);
    assert!(before == snapshot(&scene.target));
}

#[test]
fn another_database_is_refused_whatever_else_is_wrong() {
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    scene.refuses(13, &["the source is database"], |answer| answer.store_id[15] ^= 1);
    // it has other transactions, fewer ones, or none of those
    scene.refuses(13, &["the source is database"], |answer| {
        answer.store_id[15] ^= 1;
        answer.transactions.iter_mut().for_each(|tx| tx.id += 3);
    });
    scene.refuses(13, &["the source is database"], |answer| {
        answer.store_id[15] ^= 1;
        answer.transactions.clear();
    });
    scene.source.prune_before(100);
    scene.is_refused(14, &[]);
}

#[test]
fn a_source_behind_the_target_is_refused_with_both_ids() {
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    scene.source.commit(&[node(71)]);
    scene.succeeds(&[]);
    scene.source.forget(DataSource::Graph, 1);
    scene.is_refused(13, &["behind", "transaction 7 of nioneodb", "its last one is 6"]);
}

#[test]
fn a_branched_history_is_refused_and_both_sides_are_shown() {
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    scene.succeeds(&[]);
    scene.source.forget(DataSource::Graph, 1);
    scene.source.commit(&[node(80)]);
    scene.source.commit(&[node(81)]);
    scene.is_refused(13, &["branched history", "transaction 6 of nioneodb"]);
    let before = snapshot(&scene.target);
    let finished = scene.run("-incremental", &["-fallback-full"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(before != snapshot(&scene.target));
}

#[test]
fn pruned_logs_name_what_is_needed() {
    let scene = Scene::new();
    for n in 70..75 {
        scene.source.commit(&[node(n)]);
    }
    scene.source.prune_before(GRAPH + 3);
    let said = "the server does not tell which is the first that it has";
    scene.is_refused(14, &["No such log version", "transaction 6 of nioneodb", said]);
}

#[test]
fn where_only_the_proof_is_gone_the_report_says_so_unless_it_is_required() {
    let scene = Scene::new();
    scene.source.forget(DataSource::Lucene, 0);
    for n in 70..75 {
        scene.source.commit(&[node(n)]);
    }
    scene.source.prune_before(INDEX + 1);
    // the graph's 6 is needed and gone
    scene.is_refused(14, &[]);
    scene.source.prune_before(GRAPH + 1);
    let before = snapshot(&scene.target);
    let refused = scene.run("-incremental", &["-require-history"]);
    assert_eq!(refused.code, Some(13), "{}", refused.stderr);
    assert!(before == snapshot(&scene.target));
    let report = scene.succeeds(&[]);
    assert_eq!(report["result"]["history"], "not-proven");
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("the common history cannot be proven: the source no longer has transaction"),
        "{warnings}"
    );
}

/// A server takes seconds to find such a transaction in its logs.
#[test]
fn a_very_large_last_transaction_is_asked_for_once_only() {
    let scene = Scene::new();
    let id = GRAPH + 1;
    let many: Vec<_> = (100..60_000).map(node).collect();
    assert_eq!(scene.source.commit(&many), id);
    let asked_with_last = |after: i64| {
        let asked = scene.source.asked();
        let (_, graph) = asked.last().unwrap().first().unwrap().clone();
        graph < after
    };
    // the transaction before it proves the history
    assert_eq!(scene.succeeds(&[])["result"]["history"], "proven");
    let report = scene.succeeds(&[]);
    assert_eq!(report["result"]["history"], "unchanged");
    assert!(!asked_with_last(id));
    // who wants a proof gets one
    assert_eq!(scene.succeeds(&["-require-history"])["result"]["history"], "proven");
    assert!(asked_with_last(id));
    // and so does whoever goes on
    scene.source.commit(&[node(70)]);
    assert_eq!(scene.succeeds(&[])["result"]["history"], "proven");
    // another history of the same length is noticed then
    scene.source.commit(&many);
    assert_eq!(scene.succeeds(&[])["result"]["history"], "proven");
    scene.source.forget(DataSource::Graph, 1);
    scene.source.commit(&[node(71)]);
    assert_eq!(scene.succeeds(&[])["result"]["history"], "unchanged");
    scene.source.commit(&[node(72)]);
    scene.is_refused(13, &["branched history"]);
}

#[test]
fn a_copy_that_somebody_wrote_to_is_refused_with_both_ids() {
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    scene.source.commit(&[node(71)]);
    // another program counted on and left no log that shows what it wrote
    let neostore = scene.target.join("neostore");
    let mut bytes = fs::read(&neostore).unwrap();
    bytes[28..36].copy_from_slice(&(GRAPH + 1).to_be_bytes());
    fs::write(&neostore, bytes).unwrap();
    scene.is_refused(13, &["transaction 6", "transaction 5"]);
}

#[test]
fn damaged_and_missing_base_files_call_for_a_full_backup() {
    for file in ["neostore.nodestore.db", "neostore", "neostore.propertystore.db.strings"] {
        let scene = Scene::new();
        scene.source.commit(&[node(70)]);
        fs::remove_file(scene.target.join(file)).unwrap();
        scene.is_refused(14, &[]);
    }
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    let manifest: Value = serde_json::from_slice(&fs::read(scene.target.join("neo4j-backup.json")).unwrap()).unwrap();
    let of_an_index = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|file| file["path"].as_str())
        .find(|path| path.starts_with("index/lucene/"))
        .unwrap();
    fs::remove_file(scene.target.join(of_an_index)).unwrap();
    scene.is_refused(14, &[of_an_index, "is missing"]);
    let scene = Scene::new();
    scene.source.commit(&[node(70)]);
    let strings = scene.target.join("neostore.propertystore.db.strings");
    let mut bytes = fs::read(&strings).unwrap();
    bytes[..4].fill(0xff);
    fs::write(&strings, bytes).unwrap();
    scene.is_refused(14, &["block size"]);
}

#[test]
fn a_backup_with_damaged_checksums_is_refused_since_damage_could_not_be_found() {
    let sums = |scene: &Scene| scene.target.join("neo4j-backup.sums");
    let damages: [fn(&Path); 4] = [
        |sums| {
            let mut bytes = fs::read(sums).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(sums, bytes).unwrap();
        },
        |sums| {
            let bytes = fs::read(sums).unwrap();
            fs::write(sums, &bytes[..bytes.len() - 16]).unwrap();
        },
        |sums| fs::write(sums, "short").unwrap(),
        |sums| fs::remove_file(sums).unwrap(),
    ];
    for damage in damages {
        let scene = Scene::new();
        scene.source.commit(&[node(70)]);
        damage(&sums(&scene));
        scene.is_refused(14, &["neo4j-backup.sums: damaged"]);
        let full = scene.run("-incremental", &["-fallback-full"]);
        assert_eq!(full.code, Some(0), "{}", full.stderr);
    }
}

#[test]
fn through_a_link_in_the_target_nothing_is_written() {
    for name in [
        "neostore.nodestore.db",
        "neostore.nodestore.db.id",
        "neostore.propertystore.db.strings",
        "nioneo_logical.log.1",
        "neo4j-backup.received",
        "neo4j-backup.json.new",
        "neo4j-backup.sums.new",
        "index",
    ] {
        let scene = Scene::new();
        scene.source.commit(&[node(70)]);
        let (inside, elsewhere) = (scene.target.join(name), scene.target.with_file_name("elsewhere"));
        if inside.exists() {
            fs::rename(&inside, &elsewhere).unwrap();
        } else {
            fs::write(&elsewhere, "somebody's").unwrap();
        }
        symlink(&elsewhere, &inside).unwrap();
        let before = if elsewhere.is_dir() {
            snapshot(&elsewhere)
        } else {
            BTreeMap::from([(elsewhere.clone(), fs::read(&elsewhere).unwrap())])
        };
        scene.is_refused(78, &[name, "is a link"]);
        for (path, bytes) in before {
            assert!(fs::read(&path).unwrap() == bytes, "{}", path.display());
        }
    }
}
