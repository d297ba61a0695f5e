//! `serve` without Java: what it hands out, and what it does not serve.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    thread,
};

use crate::serving::{Told, ask, backup, connect, enlarge, take};
use crate::support::replay::{STORES, judge};
use crate::support::{Finished, Serving, copy_dir, our_tool};
use rustix::fs::{FlockOperation, fcntl_lock};
use tempfile::TempDir;

use neo4j_backup_core::manifest::{MANIFEST, Manifest, State};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, StoreId, TxId},
    log::entry::{self, Commit, CommitKind, CommitStamp, Origin, Start},
    store::{StoreFormat, neo4j_lock::Neo4jLock},
    wire::{Dialect, request},
};
use neo4j_sandbox::{
    database::{Contents, Database},
    generator::{Generator, WorkloadProfile},
};

/// Milliseconds since 1970.
const TIME: i64 = 1_350_000_000_000;

/// Runs `serve` where it must not start.
fn refused(dir: &Path, options: &[&str]) -> Finished {
    let dir = dir.to_str().unwrap();
    our_tool(&[&["serve", "-listen", "127.0.0.1:0", "-db", dir][..], options].concat())
}

#[test]
fn a_backup_of_a_backup_of_a_backup_has_the_same_stores() {
    let (folder, first) = backup();
    let mut from = first.clone();
    for name in ["second", "third"] {
        let to = folder.path().join(name);
        let serving = Serving::start(&from);
        let finished = take("-full", &serving.uri(), &to);
        assert!(finished.success(), "{finished:?}\n{}", serving.log());
        assert_eq!(judge(&to), Ok(()));
        for store in STORES {
            let [copy, source] = [&to, &first].map(|dir| fs::read(dir.join(store)).unwrap());
            // a copy without a log of the graph has no use for the next log version
            let version = if store == "neostore" { 19..27 } else { 0..0 };
            assert_eq!(copy[..version.start], source[..version.start], "{store}");
            assert_eq!(copy[version.end..], source[version.end..], "{store}");
        }
        let slot = "index/lucene.log.1";
        assert_eq!(fs::read(to.join(slot)).unwrap(), fs::read(first.join(slot)).unwrap());
        assert!(take("-incremental", &serving.uri(), &to).success());
        from = to;
    }
}

#[test]
fn both_dialects_of_a_format_get_the_same_answer_and_a_connection_is_used_again() {
    let (_folder, dir) = backup();
    let serving = Serving::start(&dir);
    assert_eq!(serving.said["result"]["dialects"], serde_json::json!(["D15", "D18"]));
    let mut stream = connect(&serving);
    let answers: Vec<Told> = [Dialect::D15, Dialect::D18, Dialect::D15]
        .map(|dialect| ask(&mut stream, &request::full(dialect)).unwrap())
        .into();
    assert_eq!(answers[0].files.len(), answers[1].files.len());
    assert!(answers[0].files.contains(&"neostore".to_owned()));
    assert_eq!(
        answers[0].files.iter().position(|name| name == "neostore"),
        Some(10),
        "{answers:?}"
    );
    assert!(
        !answers[0]
            .files
            .iter()
            .any(|name| name.contains("log") || name.contains("json"))
    );
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn a_legacy_database_is_served_in_each_dialect_that_it_may_be_of() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("source");
    let id = StoreId {
        creation_time: TIME,
        random: 1,
        store_version: None,
    };
    let mut database = Database::create(&dir, StoreFormat::Legacy, id).unwrap();
    let generator = Generator::new(1, WorkloadProfile::of(StoreFormat::Legacy));
    for step in 0..50 {
        generator.step(&mut database, TIME + step).unwrap();
    }
    let held = database.contents().unwrap();
    database.close().unwrap();

    let serving = Serving::start(&dir);
    assert_eq!(serving.said["result"]["dialects"], serde_json::json!(["D13", "D14"]));
    let answers =
        [Dialect::D13, Dialect::D14].map(|dialect| ask(&mut connect(&serving), &request::full(dialect)).unwrap().files);
    assert_eq!(answers[0], answers[1]);
    // one of a current store is none of these servers' requests, and they have no word for that
    assert_eq!(
        ask(&mut connect(&serving), &request::full(Dialect::D18)),
        Err("closed".to_owned())
    );
    let as_1_3 = Serving::with(&dir, &["-release", "1.3"]);
    assert_eq!(as_1_3.said["result"]["dialects"], serde_json::json!(["D13"]));
    assert_eq!(
        ask(&mut connect(&as_1_3), &request::full(Dialect::D14)),
        Err("closed".to_owned())
    );
    for (serving, name) in [(&serving, "copy"), (&as_1_3, "copy-of-1.3")] {
        let copy = folder.path().join(name);
        let finished = take("-full", &serving.uri(), &copy);
        assert!(finished.success(), "{finished:?}\n{}", serving.log());
        assert!(Contents::read(&copy).unwrap() == held, "{name} is not what was served");
    }
}

#[test]
fn a_probe_of_an_older_dialect_learns_which_ones_are_spoken() {
    let (_folder, dir) = backup();
    let serving = Serving::start(&dir);
    let mut stream = connect(&serving);
    stream.write_all(&request::probe()).unwrap();
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[4..], [8, 1, 0xac, 0xed]);
}

#[test]
fn transactions_are_given_as_far_back_as_the_logs_reach() {
    let (_folder, dir) = backup();
    let serving = Serving::start(&dir);
    let mut stream = connect(&serving);
    let full = ask(&mut stream, &request::full(Dialect::D18)).unwrap();
    let all = |source: &str, after: i64| {
        let mut stream = connect(&serving);
        ask(
            &mut stream,
            &request::incremental(Dialect::D18, &[(source, TxId(after))]),
        )
    };
    // the log of the graph holds what the full backup received: transactions from 4 on
    let graph = all("nioneodb", 4).unwrap().transactions;
    assert_eq!(graph.first(), Some(&("nioneodb".to_owned(), 5)));
    let last = graph.last().unwrap().1;
    assert_eq!(all("nioneodb", last).unwrap().transactions, []);
    assert_eq!(all("nioneodb", 99).unwrap().transactions, []);
    let index = &full.transactions;
    assert!(index.iter().all(|(source, _)| source == "lucene-index"), "{index:?}");
    assert_eq!(all("lucene-index", index[0].1 - 1).unwrap().transactions, *index);
    let error = all("nioneodb", 1).unwrap_err();
    assert!(
        error.contains("No such log version") && error.contains("nioneodb"),
        "{error}"
    );
    let error = all("nothere", 1).unwrap_err();
    assert!(error.contains("No data source 'nothere' found"), "{error}");
    assert_eq!(
        ask(&mut stream, &request::incremental(Dialect::D18, &[])).unwrap(),
        Told::default()
    );
}

#[test]
fn a_base_that_the_logs_do_not_reach_needs_a_full_backup() {
    let (folder, first) = backup();
    let second = folder.path().join("second");
    copy_dir(&first, &second);
    // as if the second had been taken earlier
    File::options()
        .write(true)
        .open(second.join("neostore"))
        .unwrap()
        .write_all_at(&2_i64.to_be_bytes(), 28)
        .unwrap();
    let serving = Serving::start(&first);
    let finished = take("-incremental", &serving.uri(), &second);
    assert_eq!(finished.code, Some(14), "{finished:?}");
}

#[test]
fn the_port_comes_from_the_settings_of_a_server() {
    let (folder, dir) = backup();
    let config = folder.path().join("neo4j.properties");
    let said = |text: &str, options: &[&str]| {
        fs::write(&config, text).unwrap();
        refused(&dir, &[&["-config", config.to_str().unwrap()], options].concat())
    };
    let off = said("online_backup_enabled=false\n", &[]);
    assert_eq!(off.code, Some(78), "{off:?}");
    assert!(off.stderr.contains("does not enable online backup"), "{}", off.stderr);
    let wrong = said("enable_online_backup=port=x\n", &[]);
    assert_eq!(wrong.code, Some(78), "{wrong:?}");
    assert!(
        wrong.stderr.contains("Invalid configuration value 'port=x'"),
        "{}",
        wrong.stderr
    );
    // a port of the range that is taken is passed over
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    fs::write(
        &config,
        format!("online_backup_server=127.0.0.1:{port}-{}\n", port.saturating_add(50)),
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args(["serve", "-db"])
        .arg(&dir)
        .args(["-config", config.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        line.contains("on 127.0.0.1:") && !line.contains(&format!(":{port} ")),
        "{line}"
    );
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let (folder, dir) = backup();
    let nothing = refused(&folder.path().join("nothing"), &[]);
    assert_eq!(nothing.code, Some(78), "{nothing:?}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_ne!(refused(&empty, &[]).code, Some(0));
    assert_eq!(refused(&dir, &["-release", "2.0"]).code, Some(64));
    assert_eq!(refused(&dir, &["-release", "1.4.2"]).code, Some(78));
    assert_eq!(refused(&dir, &["-allow", "10.0.0.1/8"]).code, Some(64));
    assert_eq!(refused(&dir, &["-max-connections", "0"]).code, Some(64));

    let copy = |name: &str| {
        let copy = folder.path().join(name);
        copy_dir(&dir, &copy);
        copy
    };
    let incomplete = copy("incomplete");
    fs::remove_file(incomplete.join(STORES[1])).unwrap();
    assert_eq!(refused(&incomplete, &[]).code, Some(78));
    let unclean = copy("unclean");
    fs::write(unclean.join("nioneo_logical.log.active"), [0, b'1', 0, 0]).unwrap();
    let said = refused(&unclean, &[]);
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.stderr.contains("was not closed cleanly"), "{}", said.stderr);
    let interrupted = copy("interrupted");
    set_state(&interrupted, State::Updating);
    let said = refused(&interrupted, &[]);
    assert_eq!(said.code, Some(11), "{said:?}");
    assert!(said.stderr.contains("was interrupted"), "{}", said.stderr);
    // Neo4j's own lock
    let open = copy("open");
    let held = File::options()
        .read(true)
        .write(true)
        .open(open.join("neostore"))
        .unwrap();
    fcntl_lock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let said = refused(&open, &[]);
    assert_eq!(said.code, Some(11), "{said:?}");
    assert!(said.stderr.contains("is open in Neo4j"), "{}", said.stderr);
}

#[test]
fn requests_wait_for_an_incremental_and_are_refused_while_neo4j_has_the_directory() {
    let (_folder, dir) = backup();
    let serving = Serving::start(&dir);
    let full = || ask(&mut connect(&serving), &request::full(Dialect::D18));
    let before = full().unwrap();

    let lock = File::options()
        .read(true)
        .write(true)
        .open(dir.join("neostore"))
        .unwrap();
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = full().unwrap_err();
    assert!(error.contains("is open in Neo4j; try again later"), "{error}");

    drop(lock);
    // as an incremental holds it
    let lock = Neo4jLock::take(&DirHandle::open(&dir).unwrap()).unwrap();
    assert_eq!(full().unwrap(), before);
    set_state(&dir, State::Updating);
    let waiting = thread::spawn({
        let mut stream = connect(&serving);
        move || ask(&mut stream, &request::full(Dialect::D18))
    });
    serving.wait_for("a request waits");
    assert!(!waiting.is_finished());
    set_state(&dir, State::Complete);
    assert_eq!(waiting.join().unwrap().unwrap(), before);
    drop(lock);

    set_state(&dir, State::Updating);
    let error = full().unwrap_err();
    assert!(error.contains("was interrupted"), "{error}");
}

/// Puts a manifest with another state in place, as a run does.
fn set_state(dir: &Path, state: State) {
    let mut manifest = Manifest::read(&DirHandle::open(dir).unwrap()).unwrap().unwrap();
    manifest.state = state;
    let new = dir.join("neo4j-backup.json.new");
    manifest
        .write(&DirHandle::open(dir).unwrap(), "neo4j-backup.json.new")
        .unwrap();
    fs::rename(new, dir.join(MANIFEST)).unwrap();
}

#[test]
fn an_index_deleted_during_a_full_backup_ends_it() {
    let (_folder, dir) = backup();
    // more than one chunk
    enlarge(&dir, 400_000);
    let serving = Serving::with(&dir, &["-max-rate", "400k"]);
    let mut stream = connect(&serving);
    stream.write_all(&request::full(Dialect::D18)).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    let path = dir.join("index.db");
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let end = b"an index was deleted during this backup";
    let (mut rest, mut buffer) = (Vec::<u8>::new(), [0; 4096]);
    while !rest.windows(end.len()).any(|window| window == end) {
        let n = stream.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "{}", serving.log());
        rest.drain(..rest.len().saturating_sub(end.len()));
        rest.extend(&buffer[..n]);
    }
}

#[test]
fn whoever_may_have_an_index_that_was_deleted_needs_a_full_backup() {
    let (folder, dir) = backup();
    // the way a backup keeps the deletion of an index: as a transaction without commands
    let slot = dir.join("index/lucene.log.1");
    let mut log = fs::read(&slot).unwrap();
    let start = Start {
        global_id: b"NEOKERNL\0\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\0\x09",
        branch: DataSource::Lucene.branch_qualifier(),
        identifier: 99,
        origin: Some(Origin {
            master_id: -1,
            my_id: -1,
            time: 0,
        }),
    };
    start.encode(&mut log).unwrap();
    let commit = Commit {
        kind: CommitKind::OnePhase,
        identifier: 99,
        tx: TxId(7),
        stamp: CommitStamp::Time(0),
    };
    commit.encode(&mut log);
    log.extend(entry::done(99));
    fs::write(&slot, log).unwrap();

    let serving = Serving::start(&dir);
    assert_ne!(serving.said["result"]["warnings"], serde_json::json!([]));
    let after = |id| {
        let frame = request::incremental(Dialect::D18, &[("lucene-index", TxId(id))]);
        ask(&mut connect(&serving), &frame)
    };
    for id in [5, 6] {
        let error = after(id).unwrap_err();
        assert!(error.contains("No such log version"), "{error}");
    }
    assert_eq!(after(7).unwrap(), Told::default());
    let copy = folder.path().join("copy");
    let finished = take("-full", &serving.uri(), &copy);
    assert!(finished.success(), "{finished:?}");
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["result"]["last_transactions"]["lucene-index"], 7, "{report}");
}
