use std::{fs, os::unix::fs::symlink};

use super::support::{Store, Until, add, create, delete, entries};
use crate::{
    ErrorKind,
    replay::pending_index::{PendingIndex, PendingIndexError, discard},
};
use neo4j_format::DirHandle;
use neo4j_format::log::{LogFormat, LogProblem};

const V2: LogFormat = LogFormat::V2;

fn refused(store: &Store) -> PendingIndexError {
    let before = store.files();
    let error = store.prepare(&[(9, vec![add("people", 1, "a")])]).unwrap_err();
    assert_eq!(store.files(), before);
    PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), V2).unwrap_err();
    error
}

#[test]
fn markers_that_no_release_knows() {
    for marker in [
        &b""[..],
        &[0, b'3', 0, 0],
        &[0, b'1', 0],
        &[0, b'1', 0, 0, 0],
        &[0; 5000],
    ] {
        let store = Store::new(V2, &["people"]);
        store.slot("index/lucene.log.1", Some(marker), &[]);
        let error = refused(&store);
        assert!(matches!(
            error,
            PendingIndexError::Marker { .. } | PendingIndexError::TooLarge { .. }
        ));
        assert_eq!(crate::Error::from(error).kind(), ErrorKind::FullNeeded);
    }
}

#[test]
fn a_marker_without_its_slot() {
    let store = Store::new(V2, &["people"]);
    store.slot("index/lucene.log.1", Some(&[0, b'2', 0, 0]), &[]);
    assert!(matches!(refused(&store), PendingIndexError::MissingSlot { .. }));
}

#[test]
fn a_slot_without_a_whole_header_or_of_another_format() {
    let store = Store::new(V2, &["people"]);
    fs::write(store.path("index/lucene.log.1"), [2; 15]).unwrap();
    let PendingIndexError::Log(error) = refused(&store) else {
        panic!("not an error of the log");
    };
    assert_eq!(error.problem(), Some(LogProblem::Truncated));
    fs::write(store.path("index/lucene.log.1"), [1; 16]).unwrap();
    let PendingIndexError::Log(error) = refused(&store) else {
        panic!("not an error of the log");
    };
    assert_eq!(error.problem(), Some(LogProblem::OtherFormat { found: 1, expected: 2 }));
    assert_eq!(crate::Error::from(error).kind(), ErrorKind::FullNeeded);
}

#[test]
fn a_transaction_that_is_prepared_only() {
    let store = Store::new(V2, &["people"]);
    let commands = [add("people", 1, "a"), add("people", 2, "a")];
    store.slot(
        "index/lucene.log.1",
        None,
        &entries(V2, 2, 0, &commands, Until::Prepare),
    );
    assert!(matches!(refused(&store), PendingIndexError::Prepared { .. }));
}

#[test]
fn store_file_and_configuration_that_cannot_be_read() {
    let store = Store::new(V2, &["people"]);
    fs::write(store.path("index/lucene-store.db"), [0; 10]).unwrap();
    assert!(matches!(refused(&store), PendingIndexError::Store(_)));
    let store = Store::new(V2, &["people"]);
    fs::write(store.path("index.db"), "neo4j").unwrap();
    let error = store.prepare(&[(9, vec![add("people", 1, "a")])]).unwrap_err();
    assert!(matches!(error, PendingIndexError::Config(_)));
}

#[test]
fn a_symbolic_link_in_place_of_a_slot_is_not_followed() {
    let store = Store::new(V2, &["people"]);
    fs::write(store.path("elsewhere"), [0; 100]).unwrap();
    symlink(store.path("elsewhere"), store.path("index/lucene.log.1")).unwrap();
    assert!(matches!(refused(&store), PendingIndexError::File { .. }));
}

#[test]
fn a_missing_configuration_is_taken_from_its_old_copy() {
    let store = Store::new(V2, &["people"]);
    fs::rename(store.path("index.db"), store.path("index.db.old")).unwrap();
    let received = [(9, vec![add("people", 1, "a")])];
    assert_eq!(store.receive(&received), received);
}

#[test]
fn more_indexes_than_is_believable() {
    let store = Store::new(V2, &["people"]);
    let adds: Vec<_> = (0..=10_000).map(|number| add(&format!("i{number}"), 1, "a")).collect();
    let creates: Vec<_> = (0..=10_000).map(|number| create(&format!("i{number}"))).collect();
    let unknown = store.prepare(&[(9, adds[1..].to_vec())]).unwrap_err();
    assert!(matches!(unknown, PendingIndexError::UnknownIndexes(_)));
    assert!(store.prepare(&[(9, creates[1..].to_vec())]).is_ok());
    for received in [adds, creates] {
        let error = store.prepare(&[(9, received)]).unwrap_err();
        assert!(matches!(error, PendingIndexError::TooManyIndexes(10_000)));
    }
}

#[test]
fn commands_of_an_index_that_nobody_knows() {
    let unknown = [(10, vec![add("people", 1, "b"), add("gone", 1, "a")])];
    let after_its_end = [
        (10, vec![create("gone"), add("gone", 1, "a"), delete("gone")]),
        (11, vec![add("gone", 1, "b")]),
    ];
    for received in [&unknown[..], &after_its_end] {
        for pending in [&[][..], &[(9, vec![add("people", 2, "c")])]] {
            let store = Store::new(V2, &["people"]);
            if !pending.is_empty() {
                store.receive(pending);
            }
            let before = (store.pending(), store.fields(), store.indexes());
            let error = store.prepare(received).unwrap_err();
            discard(&DirHandle::open(store.dir.path()).unwrap()).unwrap();
            assert_eq!((store.pending(), store.fields(), store.indexes()), before);
            let text = error.to_string();
            assert!(text.contains("node index \"gone\""), "{text}");
            assert_eq!(crate::Error::from(error).kind(), ErrorKind::FullNeeded);
        }
    }
}

#[test]
fn the_same_commands_where_the_index_is_deleted_later_on() {
    let store = Store::new(V2, &["people"]);
    let received = [
        (9, vec![add("people", 1, "b"), add("gone", 1, "a")]),
        (10, vec![delete("gone")]),
    ];
    let expected = [(9, vec![add("people", 1, "b")]), (10, vec![])];
    assert_eq!(store.receive(&received), expected);
}
