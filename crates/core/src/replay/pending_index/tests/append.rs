use std::fs;

use super::support::{Store, Transaction, Until, add, create, entries, received_log, transactions};
use crate::replay::pending_index::{PendingIndex, PendingState, Step, filter::INDEXES_MAX};
use neo4j_format::{
    DirHandle,
    ids::TxId,
    log::{LogFormat, files::Slot},
};

const V2: LogFormat = LogFormat::V2;
const ONE: Option<&[u8]> = Some(&[0, b'1', 0, 0]);
const TWO: Option<&[u8]> = Some(&[0, b'2', 0, 0]);

fn first() -> Transaction {
    (9, vec![add("people", 1, "a"), add("people", 2, "b")])
}

fn second() -> Transaction {
    (10, vec![add("people", 3, "c")])
}

#[test]
fn an_appended_part_shows_only_when_its_first_byte_is_set() {
    let store = Store::new(V2, &["people"]);
    store.receive(&[first()]);
    let before = fs::read(store.path("index/lucene.log.1")).unwrap();
    let mut update = store.prepare(&[second()]).unwrap().unwrap();
    assert_eq!(store.pending(), [first()]);
    let hidden = fs::read(store.path("index/lucene.log.1")).unwrap();
    assert_eq!(hidden[..=before.len()], [&before[..], &[0]].concat());
    let offset = before.len() as u64;
    let reveal = Step::Reveal {
        slot: "index/lucene.log.1".into(),
        offset,
    };
    assert_eq!(update.step().unwrap(), Some(reveal));
    assert_eq!(store.pending(), [first(), second()]);
    assert_eq!(update.step().unwrap(), Some(Step::LastTx(TxId(10))));
    assert_eq!(update.step().unwrap(), None);
    assert_eq!(store.fields(), (3, 10));
    let after = fs::read(store.path("index/lucene.log.1")).unwrap();
    let expected = [&before[..], &entries(V2, 3, 10, &second().1, Until::Done)].concat();
    assert_eq!(after, expected);
}

#[test]
fn every_marker_that_makes_a_slot_pending_is_followed() {
    for (slot, name, marker) in [
        (Slot::One, "index/lucene.log.1", None),
        (Slot::One, "index/lucene.log.1", ONE),
        (Slot::Two, "index/lucene.log.2", TWO),
    ] {
        let store = Store::new(V2, &["people"]);
        store.slot(name, marker, &entries(V2, 5, 9, &first().1, Until::Commit));
        let pending = PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), V2).unwrap();
        assert_eq!((pending.state, pending.last_tx), (PendingState::Pending(slot), TxId(9)));
        assert_eq!(store.receive(&[second()]), [first(), second()]);
        let marker = marker.or(ONE).unwrap();
        assert_eq!(fs::read(store.path("index/lucene.log.active")).unwrap(), marker);
    }
}

#[test]
fn zeros_and_torn_entries_at_the_end_are_cut() {
    let torn = entries(V2, 9, 12, &second().1, Until::Done);
    for tail in [&[0; 3000][..], &torn[..20], &torn[..1]] {
        let store = Store::new(V2, &["people"]);
        let whole = entries(V2, 5, 9, &first().1, Until::Done);
        store.slot("index/lucene.log.1", ONE, &[&whole, tail].concat());
        assert_eq!(store.receive(&[second()]), [first(), second()]);
        let length = fs::metadata(store.path("index/lucene.log.1")).unwrap().len();
        let new = entries(V2, 6, 10, &second().1, Until::Done);
        assert_eq!(length, 16 + (whole.len() + new.len()) as u64);
    }
}

#[test]
fn transactions_that_the_log_has_are_not_added_again() {
    let store = Store::new(V2, &["people"]);
    store.receive(&[first(), second()]);
    let before = store.files();
    assert!(store.prepare(&[first(), second()]).unwrap().is_none());
    assert_eq!(store.files(), before);
    let third = (11, vec![add("people", 1, "d")]);
    assert_eq!(store.receive(&[second(), third.clone()]), [first(), second(), third]);
}

#[test]
fn indexes_created_by_pending_transactions_exist() {
    let store = Store::new(V2, &[]);
    store.receive(&[(9, vec![create("new")])]);
    let received = [(10, vec![add("new", 1, "a")])];
    let expected = [(9, vec![create("new")]), received[0].clone()];
    assert_eq!(store.receive(&received), expected);
}

#[test]
fn a_rolled_back_transaction_makes_the_log_be_written_anew() {
    let store = Store::new(V2, &["people"]);
    let open = entries(V2, 2, 0, &[add("people", 9, "x")], Until::Commands);
    store.slot(
        "index/lucene.log.1",
        ONE,
        &[open, entries(V2, 3, 9, &first().1, Until::Commit)].concat(),
    );
    assert!(
        store
            .prepare(&[])
            .unwrap()
            .unwrap()
            .steps()
            .eq(&[Step::LastTx(TxId(9))])
    );
    let update = store.prepare(&[second()]).unwrap().unwrap();
    assert!(matches!(update.steps().next(), Some(Step::Publish { .. })));
    update.commit().unwrap();
    assert_eq!(store.pending(), [first(), second()]);
    store.no_temporary_file_is_left();
}

#[test]
fn identifiers_never_overflow() {
    let store = Store::new(V2, &["people"]);
    store.slot(
        "index/lucene.log.1",
        ONE,
        &entries(V2, i32::MAX, 9, &first().1, Until::Done),
    );
    assert_eq!(store.receive(&[second()]), [first(), second()]);
}

#[test]
fn a_store_file_behind_the_log_is_brought_level() {
    let store = Store::new(V2, &["people"]);
    let mut update = store.prepare(&[first()]).unwrap().unwrap();
    while update.steps().count() > 1 {
        update.step().unwrap();
    }
    assert_eq!(store.fields(), (3, 8));
    let update = store.prepare(&[]).unwrap().unwrap();
    assert_eq!(update.commit().unwrap().last_tx, TxId(9));
    assert_eq!(store.fields(), (3, 9));
}

#[test]
fn the_received_log_is_what_the_tests_take_it_for() {
    let log = received_log(V2, &[first(), second()]);
    assert_eq!(transactions(&log, V2), [first(), second()]);
}

#[test]
fn a_transaction_that_is_prepared_without_a_command_is_mended() {
    let store = Store::new(V2, &["people"]);
    let empty = entries(V2, 5, 9, &[], Until::Done);
    store.slot("index/lucene.log.1", ONE, &empty);
    // read back by rules that every release asks for
    assert_eq!(store.receive(&[]), [(9, vec![])]);
    let store = Store::new(V2, &["people"]);
    store.slot("index/lucene.log.1", ONE, &empty);
    assert_eq!(store.receive(&[second()]), [(9, vec![]), second()]);
}

#[test]
fn indexes_that_exist_already_do_not_count_against_those_a_log_may_create() {
    let names: Vec<String> = (0..=INDEXES_MAX).map(|n| format!("i{n}")).collect();
    let store = Store::new(V2, &[]);
    let mut config = neo4j_format::store::IndexConfig::default();
    for name in &names {
        config.insert(
            super::support::key(name),
            neo4j_format::store::index_config::IndexProperties::default(),
        );
    }
    fs::write(store.path("index.db"), config.encode()).unwrap();
    let received = (9, vec![create("one more")]);
    assert_eq!(store.receive(std::slice::from_ref(&received)), [received]);
}
