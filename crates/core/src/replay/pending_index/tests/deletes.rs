use std::fs;

use super::support::{Store, Until, add, create, delete, entries, key};
use crate::replay::pending_index::{PendingIndexError, Step};
use neo4j_format::DirHandle;
use neo4j_format::log::LogFormat;

const V2: LogFormat = LogFormat::V2;

fn index_directory(store: &Store, name: &str) -> bool {
    store.path(&format!("index/lucene/node/{name}")).exists()
}

#[test]
fn a_deleted_index_is_deleted_here_and_its_commands_go() {
    let store = Store::new(V2, &["people", "old"]);
    let received = [
        (9, vec![add("old", 1, "a"), add("people", 1, "b")]),
        (10, vec![delete("old")]),
        (11, vec![add("people", 2, "c")]),
    ];
    let update = store.prepare(&received).unwrap().unwrap();
    assert_eq!(update.outcome().deleted, [key("old")]);
    assert!(index_directory(&store, "old"));
    update.commit().unwrap();
    let expected = [
        (9, vec![add("people", 1, "b")]),
        (10, vec![]),
        (11, vec![add("people", 2, "c")]),
    ];
    assert_eq!(store.pending(), expected);
    assert!(!index_directory(&store, "old"));
    assert!(index_directory(&store, "people"));
    assert_eq!(store.indexes(), [key("people")].into());
    store.no_temporary_file_is_left();
}

#[test]
fn an_index_made_again_after_its_last_delete_stays() {
    let store = Store::new(V2, &["x"]);
    let received = [
        (9, vec![delete("x")]),
        (10, vec![create("x")]),
        (11, vec![add("x", 1, "a")]),
        (12, vec![delete("x")]),
        (13, vec![create("x")]),
        (14, vec![add("x", 2, "b")]),
    ];
    let expected = [
        (9, vec![]),
        (10, vec![]),
        (11, vec![]),
        (12, vec![]),
        (13, vec![create("x")]),
        (14, vec![add("x", 2, "b")]),
    ];
    assert_eq!(store.receive(&received), expected);
    assert!(!index_directory(&store, "x"));
    assert!(store.indexes().is_empty());
}

#[test]
fn a_delete_reaches_back_into_what_was_pending() {
    let store = Store::new(V2, &["x", "y"]);
    store.receive(&[(9, vec![add("x", 1, "a"), add("y", 1, "a")])]);
    let expected = [(9, vec![add("y", 1, "a")]), (10, vec![])];
    assert_eq!(store.receive(&[(10, vec![delete("x")])]), expected);
    assert_eq!(store.indexes(), [key("y")].into());
}

#[test]
fn the_steps_are_slot_config_directory_slot() {
    let store = Store::new(V2, &["x"]);
    store.receive(&[(9, vec![add("x", 1, "a")])]);
    let mut update = store.prepare(&[(10, vec![delete("x")])]).unwrap().unwrap();
    let slot = |from: &str| Step::Publish {
        from: from.into(),
        to: "index/lucene.log.1".into(),
    };
    assert_eq!(update.step().unwrap(), Some(slot("index/neo4j-backup.lucene.log.step")));
    assert_eq!(store.pending(), [(9, vec![])]);
    let config = Step::Publish {
        from: "neo4j-backup.index.db".into(),
        to: "index.db".into(),
    };
    assert_eq!(update.step().unwrap(), Some(config));
    let directory = Step::RemoveIndex("index/lucene/node/x".into());
    assert_eq!(update.step().unwrap(), Some(directory));
    assert_eq!(update.step().unwrap(), Some(slot("index/neo4j-backup.lucene.log")));
    assert!(matches!(update.step().unwrap(), Some(Step::LastTx(_))));
    assert_eq!(update.step().unwrap(), None);
}

#[test]
fn a_deleted_index_never_comes_back_with_any_release_started_in_between() {
    let store = Store::new(V2, &["x", "y"]);
    store.receive(&[(9, vec![add("x", 1, "a"), add("y", 1, "a")])]);
    let received = [(10, vec![delete("x")]), (11, vec![add("y", 2, "b")])];
    let mut update = store.prepare(&received).unwrap().unwrap();
    while let Some(step) = update.step().unwrap() {
        // 1.8 takes the transaction over without deleting anything, so it must not see it while the index is there
        let sees_delete = store.pending().iter().any(|(id, _)| *id >= 10);
        assert!(!(sees_delete && store.indexes().contains(&key("x"))), "after {step:?}");
    }
    assert!(!index_directory(&store, "x"));
}

#[test]
fn a_delete_left_by_a_crash_is_executed_by_the_next_run() {
    let store = Store::new(V2, &["x"]);
    let log = entries(V2, 2, 9, &[delete("x")], Until::Done);
    store.slot("index/lucene.log.1", Some(&[0, b'1', 0, 0]), &log);
    assert_eq!(store.receive(&[]), [(9, vec![])]);
    assert!(!index_directory(&store, "x"));
    assert!(store.indexes().is_empty());
    assert_eq!(store.fields(), (3, 9));
}

#[test]
fn a_deleted_index_that_the_copied_configuration_lacks_loses_its_directory() {
    let store = Store::new(V2, &[]);
    fs::create_dir_all(store.path("index/lucene/node/x")).unwrap();
    assert_eq!(store.receive(&[(9, vec![delete("x")])]), [(9, vec![])]);
    assert!(!index_directory(&store, "x"));
}

#[test]
fn a_name_that_leads_elsewhere_deletes_nothing() {
    for name in ["", ".", "..", "../../x", "/etc", "a/../../b", "a\0b"] {
        let store = Store::new(V2, &["x"]);
        let before = store.files();
        let error = store.prepare(&[(9, vec![delete(name)])]).unwrap_err();
        assert!(matches!(error, PendingIndexError::IndexName(_)), "{name:?}");
        crate::replay::pending_index::discard(&DirHandle::open(store.dir.path()).unwrap()).unwrap();
        assert_eq!(store.files(), before, "{name:?}");
    }
}

#[test]
fn a_name_of_several_parts_is_a_path_as_it_is_for_neo4j() {
    let store = Store::new(V2, &["a/b", "c"]);
    store.receive(&[(9, vec![delete("a/b")])]);
    assert!(!index_directory(&store, "a/b"));
    assert!(index_directory(&store, "c"));
}
