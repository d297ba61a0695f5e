//! A crash between any two steps: the directory is one from which every release starts, and the next run brings it to
//! the state that no crash would have left.

use std::collections::BTreeSet;

use super::support::{Store, Transaction, Until, add, create, delete, entries, key, remove};
use crate::replay::pending_index::{IndexRules, Keep, PendingIndex, Update, discard};
use neo4j_format::{
    DirHandle,
    log::{LogFormat, LuceneCommand, lucene::LuceneAction},
    store::{IndexKey, record::RecordId},
};

const V2: LogFormat = LogFormat::V2;

/// Adds transactions by the rules of the release that the store's format stands for here.
fn prepare(store: &Store, received: &[Transaction]) -> Option<Update> {
    if store.format == V2 {
        return store.prepare(received).unwrap();
    }
    let mut ends = |_: RecordId| Ok(Some((3, 4)));
    let mut rules = IndexRules::Neo4j13 { ends: &mut ends };
    store.prepare_with(&mut rules, &[(received, Keep::All)]).unwrap()
}

/// Whether a release before 1.8 starts: no command on an index that does not exist when it is replayed
/// (`docs/formats/transaction-log.md` §10.3). Gives the indexes that exist afterwards.
fn replay(store: &Store) -> BTreeSet<IndexKey> {
    PendingIndex::inspect(&DirHandle::open(store.dir.path()).unwrap(), store.format).unwrap();
    let mut indexes = store.indexes();
    for (tx, commands) in store.pending() {
        for command in commands {
            let (command, _) = LuceneCommand::decode_from(&command).unwrap();
            match command.action {
                LuceneAction::Create(_) => {
                    indexes.insert(command.key());
                }
                LuceneAction::Delete => {
                    indexes.remove(&command.key());
                }
                LuceneAction::Add { .. } | LuceneAction::Remove { .. } => {
                    assert!(indexes.contains(&command.key()), "transaction {tx}, {}", command.key());
                }
            }
        }
    }
    indexes
}

/// What the directory held before.
type Setup = fn(&Store);

fn crash_everywhere(setup: Setup, received: &[Transaction], indexes: &[&str]) {
    crash_everywhere_in(V2, setup, received, indexes);
    crash_everywhere_in(LogFormat::V1, setup, received, indexes);
}

fn crash_everywhere_in(format: LogFormat, setup: Setup, received: &[Transaction], indexes: &[&str]) {
    let expected: BTreeSet<_> = indexes.iter().map(|name| key(name)).collect();
    let finished = prepared(format, setup);
    prepare(&finished, received).unwrap().commit().unwrap();
    assert_eq!(replay(&finished), expected);
    for steps in 0.. {
        let store = prepared(format, setup);
        let before = store.pending().len();
        let mut update = prepare(&store, received).unwrap();
        for _ in 0..steps {
            update.step().unwrap();
        }
        let left = update.steps().count();
        drop(update);
        let seen = store.pending().len();
        assert!(seen == before || seen == finished.pending().len());
        replay(&store);
        if let Some(update) = prepare(&store, received) {
            update.commit().unwrap();
        }
        discard(&DirHandle::open(store.dir.path()).unwrap()).unwrap();
        assert_eq!(store.files(), finished.files(), "after {steps} steps");
        if left == 0 {
            assert!(steps > 0);
            return;
        }
    }
}

fn prepared(format: LogFormat, setup: Setup) -> Store {
    let store = Store::new(format, &["people", "old", "rold"]);
    setup(&store);
    store
}

fn adds() -> Vec<Transaction> {
    vec![
        (9, vec![add("people", 1, "a"), remove("people", 2, "b")]),
        (10, vec![create("new")]),
        (11, vec![add("new", 1, "a"), add("old", 1, "a")]),
    ]
}

fn deletes() -> Vec<Transaction> {
    vec![
        (
            12,
            vec![add("old", 2, "a"), remove("rold", 1, "b"), add("people", 1, "b")],
        ),
        (13, vec![delete("old")]),
        (14, vec![delete("rold")]),
        (15, vec![create("rold")]),
        (16, vec![add("rold", 2, "a"), remove("rold", 3, "a")]),
    ]
}

#[test]
fn after_a_full_copy() {
    let setup: Setup = |_| {};
    crash_everywhere(setup, &adds(), &["people", "old", "rold", "new"]);
    crash_everywhere(setup, &deletes(), &["people", "rold"]);
}

#[test]
fn after_a_clean_close() {
    let setup: Setup = |store| {
        let commands = [delete("people")];
        let marker: &[u8] = &[0, b'C', 0, 0];
        store.slot(
            "index/lucene.log.1",
            Some(marker),
            &entries(store.format, 2, 7, &commands, Until::Done),
        );
        std::fs::write(store.path("index/lucene.log.v3"), "archived").unwrap();
    };
    crash_everywhere(setup, &adds(), &["people", "old", "rold", "new"]);
    crash_everywhere(setup, &deletes(), &["people", "rold"]);
}

#[test]
fn with_a_pending_log() {
    let setup: Setup = |store| {
        prepare(store, &adds()).unwrap().commit().unwrap();
    };
    crash_everywhere(setup, &deletes(), &["people", "rold", "new"]);
    let more = [(12, vec![add("new", 2, "b"), remove("people", 1, "a")])];
    crash_everywhere(setup, &more, &["people", "old", "rold", "new"]);
}

#[test]
fn with_an_unfinished_transaction() {
    let setup: Setup = |store| {
        let open = entries(store.format, 2, 0, &[add("people", 9, "x")], Until::Commands);
        let whole = entries(store.format, 3, 9, &[add("people", 1, "a")], Until::Commit);
        store.slot("index/lucene.log.2", Some(&[0, b'2', 0, 0]), &[open, whole].concat());
    };
    crash_everywhere(setup, &deletes(), &["people", "rold"]);
}
