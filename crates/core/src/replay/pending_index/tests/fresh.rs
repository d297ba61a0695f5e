use std::fs;

use super::support::{Store, Until, add, create, delete, entries, key};
use crate::replay::pending_index::{Changes, PendingIndex, PendingState, read_config};
use neo4j_format::{
    DirHandle,
    ids::{LogVersion, TxId},
    log::{LogFormat, files::Slot},
};

const V2: LogFormat = LogFormat::V2;

#[test]
fn nothing_received_leaves_the_directory_as_it_is() {
    for format in [LogFormat::V1, V2] {
        let store = Store::new(format, &["people"]);
        let before = store.files();
        assert!(store.prepare(&[]).unwrap().is_none());
        assert_eq!(store.files(), before);
        let pending = PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), format).unwrap();
        assert_eq!(
            pending,
            PendingIndex {
                state: PendingState::Absent,
                version: LogVersion(3),
                last_tx: TxId(8),
                bytes: 0,
                transactions: 0,
                changes: Changes::default(),
            }
        );
    }
}

#[test]
fn the_first_transaction_makes_the_log_of_the_worked_example() {
    // docs/formats/transaction-log.md §14.4
    let store = Store::new(V2, &["people"]);
    let received = [(9, vec![add("people", 1, "alice")])];
    let update = store.prepare(&received).unwrap().unwrap();
    assert_eq!(store.pending(), []);
    assert_eq!(store.fields(), (3, 8));
    let outcome = update.commit().unwrap();
    assert_eq!(
        (outcome.last_tx, outcome.transactions, outcome.bytes),
        (TxId(9), 1, 158)
    );
    let header = [2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 8];
    let expected = [&header[..], &entries(V2, 2, 9, &received[0].1, Until::Done)].concat();
    assert_eq!(fs::read(store.path("index/lucene.log.1")).unwrap(), expected);
    assert_eq!(
        fs::read(store.path("index/lucene.log.active")).unwrap(),
        [0, 0x31, 0, 0]
    );
    assert_eq!(store.fields(), (3, 9));
    store.no_temporary_file_is_left();
    let pending = PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), V2).unwrap();
    assert_eq!(
        (pending.state, pending.last_tx),
        (PendingState::Pending(Slot::One), TxId(9))
    );
    assert_eq!((pending.bytes, pending.transactions), (158, 1));
}

#[test]
fn a_copied_store_file_that_is_ahead_does_not_matter() {
    let store = Store::new(V2, &["people"]);
    let received = [(5, vec![add("people", 1, "a")]), (6, vec![add("people", 2, "b")])];
    assert_eq!(store.receive(&received), received);
    assert_eq!(store.fields(), (3, 6));
    assert_eq!(
        fs::read(store.path("index/lucene.log.1")).unwrap()[8..16],
        4_i64.to_be_bytes()
    );
}

#[test]
fn an_index_is_known_from_its_creation_on() {
    let store = Store::new(V2, &["people"]);
    let received = [
        (9, vec![add("people", 1, "b"), create("later")]),
        (10, vec![add("later", 1, "a")]),
    ];
    assert_eq!(store.receive(&received), received);
    let pending = PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), V2).unwrap();
    let config = read_config(&DirHandle::open(store.dir.path()).unwrap()).unwrap();
    assert_eq!(pending.changes.to(&config), [key("later"), key("people")].into());
}

#[test]
fn a_store_without_any_index_directory_gets_one() {
    let store = Store::new(V2, &[]);
    fs::remove_dir_all(store.path("index")).unwrap();
    fs::remove_file(store.path("index.db")).unwrap();
    let received = [(2, vec![create("people")]), (3, vec![add("people", 1, "a")])];
    assert_eq!(store.receive(&received), received);
    assert_eq!(
        fs::read(store.path("index/lucene.log.1")).unwrap()[..16],
        [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    );
    assert!(!store.path("index/lucene-store.db").exists());
}

#[test]
fn after_a_clean_close_a_new_log_is_begun() {
    let store = Store::new(V2, &["people"]);
    // what the marker C stands beside was applied, and must not come back
    store.slot(
        "index/lucene.log.1",
        Some(&[0, b'C', 0, 0]),
        &entries(V2, 2, 7, &[delete("people")], Until::Done),
    );
    fs::write(store.path("index/lucene.log.2"), "old").unwrap();
    let pending = PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), V2).unwrap();
    assert_eq!((pending.state, pending.last_tx), (PendingState::Closed, TxId(8)));
    let received = [(9, vec![add("people", 1, "a")])];
    assert_eq!(store.receive(&received), received);
    assert!(!store.path("index/lucene.log.2").exists());
    assert_eq!(
        fs::read(store.path("index/lucene.log.active")).unwrap(),
        [0, b'1', 0, 0]
    );
}

#[test]
fn the_log_version_goes_past_archived_logs() {
    let store = Store::new(V2, &["people"]);
    for version in [3, 4] {
        fs::write(store.path(&format!("index/lucene.log.v{version}")), "archived").unwrap();
    }
    let received = [(9, vec![add("people", 1, "a")])];
    assert_eq!(store.receive(&received), received);
    assert_eq!(store.fields(), (5, 9));
    assert_eq!(
        fs::read(store.path("index/lucene.log.1")).unwrap()[..8],
        [2, 0, 0, 0, 0, 0, 0, 5]
    );
}

#[test]
fn an_empty_slot_is_as_good_as_none() {
    for marker in [None, Some([0, b'2', 0, 0])] {
        let store = Store::new(V2, &["people"]);
        let slot = if marker.is_some() {
            "index/lucene.log.2"
        } else {
            "index/lucene.log.1"
        };
        fs::write(store.path(slot), "").unwrap();
        if let Some(marker) = marker {
            fs::write(store.path("index/lucene.log.active"), marker).unwrap();
        }
        assert_eq!(
            PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), V2)
                .unwrap()
                .state,
            PendingState::Absent
        );
        let received = [(9, vec![add("people", 1, "a")])];
        assert_eq!(store.receive(&received), received);
        assert!(fs::metadata(store.path(slot)).unwrap().len() > 16);
    }
}
