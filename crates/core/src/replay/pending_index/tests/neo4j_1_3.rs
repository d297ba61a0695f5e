use std::io;

use super::support::{Store, Transaction, Until, add, command, create, delete, entries, key, remove, utf16};
use crate::replay::pending_index::{IndexRules, Keep, PendingIndexError, Step, Update};
use neo4j_format::{
    ids::TxId,
    log::{
        LogFormat,
        lucene::{LuceneAction, LuceneValue, Text},
    },
    store::record::RecordId,
};

const V1: LogFormat = LogFormat::V1;

/// Relationship *n* goes from node 10*n* to 10*n* + 1; there are five.
#[expect(clippy::unnecessary_wraps, reason = "the shape that is asked for")]
fn ends(id: RecordId) -> io::Result<Option<(i64, i64)>> {
    let id = i64::try_from(id.0).unwrap();
    Ok((id < 5).then_some((10 * id, 10 * id + 1)))
}

fn prepare(store: &Store, received: &[Transaction]) -> Result<Option<Update>, PendingIndexError> {
    let mut rules = IndexRules::Neo4j13 { ends: &mut ends };
    store.prepare_with(&mut rules, &[(received, Keep::All)])
}

fn receive(store: &Store, received: &[Transaction]) -> Vec<Transaction> {
    prepare(store, received)
        .unwrap()
        .expect("something to do")
        .commit()
        .unwrap();
    store.pending()
}

fn defusing(entity: i64, key: &str, value: LuceneValue<'_>, ends: (i64, i64)) -> Vec<u8> {
    let action = LuceneAction::Add {
        entity,
        key: Some(Text(&utf16(key))),
        value,
        ends: Some(ends),
    };
    command("rel", action)
}

#[test]
fn all_forms_of_relationship_removes_are_defused() {
    let store = Store::new(V1, &["rel", "node"]);
    let form = |key, value| command("rel", LuceneAction::Remove { entity: 3, key, value });
    let name = utf16("name");
    let key_value = form(Some(Text(&name)), LuceneValue::Int(7));
    let whole_key = form(Some(Text(&name)), LuceneValue::Null);
    let entity = form(None, LuceneValue::Null);
    let unknown = command(
        "rel",
        LuceneAction::Remove {
            entity: 5,
            key: None,
            value: LuceneValue::Null,
        },
    );
    let received = [(
        9,
        vec![
            key_value.clone(),
            remove("node", 3, "a"),
            whole_key.clone(),
            entity.clone(),
            unknown.clone(),
        ],
    )];
    let empty = LuceneValue::Text(Text(&[]));
    let expected = [(
        9,
        vec![
            defusing(3, "name", LuceneValue::Int(7), (30, 31)),
            key_value,
            remove("node", 3, "a"),
            defusing(3, "name", empty, (30, 31)),
            whole_key,
            defusing(3, "_", empty, (30, 31)),
            entity,
            defusing(5, "_", empty, (-1, -1)),
            unknown,
        ],
    )];
    assert_eq!(receive(&store, &received), expected);
    assert_eq!(store.fields(), (3, 9));
}

#[test]
fn what_is_defused_is_not_defused_again() {
    let store = Store::new(V1, &["rel"]);
    let once = receive(&store, &[(9, vec![remove("rel", 1, "a")])]);
    let before = store.files();
    assert!(prepare(&store, &[]).unwrap().is_none());
    assert_eq!(store.files(), before);
    let twice = receive(&store, &[(10, vec![add("rel", 1, "b")])]);
    assert_eq!(twice[..1], once);
    assert_eq!(twice.len(), 2);
}

#[test]
fn a_log_that_1_3_cannot_replay_is_mended_without_news() {
    let store = Store::new(V1, &["rel"]);
    let bytes = entries(V1, 2, 9, &[remove("rel", 1, "a")], Until::Commit);
    store.slot("index/lucene.log.2", Some(&[0, b'2', 0, 0]), &bytes);
    let mended = receive(&store, &[]);
    assert_eq!(mended[0].1.len(), 2);
    assert_eq!(store.fields(), (3, 9));
}

#[test]
fn ids_seen_twice_are_dropped_and_field_3_follows_the_last() {
    let store = Store::new(V1, &["node"]);
    receive(
        &store,
        &[(7, vec![add("node", 1, "a")]), (8, vec![add("node", 2, "b")])],
    );
    let all = receive(
        &store,
        &[(8, vec![add("node", 2, "b")]), (9, vec![add("node", 3, "c")])],
    );
    assert_eq!(all.iter().map(|(tx, _)| *tx).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(store.fields(), (3, 9));
}

#[test]
fn the_log_is_written_anew_under_a_temporary_name() {
    let store = Store::new(V1, &["node"]);
    receive(&store, &[(9, vec![add("node", 1, "a")])]);
    let update = prepare(&store, &[(10, vec![add("node", 2, "b")])]).unwrap().unwrap();
    let steps: Vec<_> = update.steps().cloned().collect();
    let publish = Step::Publish {
        from: "index/neo4j-backup.lucene.log".into(),
        to: "index/lucene.log.1".into(),
    };
    assert_eq!(steps, [publish, Step::LastTx(TxId(10))]);
}

#[test]
fn a_following_delete_does_not_save_an_add_to_an_unknown_index() {
    let store = Store::new(V1, &["node"]);
    let received = [
        (9, vec![add("gone", 1, "a"), add("node", 1, "a")]),
        (10, vec![delete("gone")]),
    ];
    assert_eq!(
        receive(&store, &received),
        [(9, vec![add("node", 1, "a")]), (10, vec![])]
    );
}

#[test]
fn indexes_missing_in_the_copy_get_their_history() {
    // docs/formats/neo4j-1.3.md §6.2
    let store = Store::new(V1, &["node", "missing"]);
    let history = [
        (2, vec![create("missing")]),
        (3, vec![create("node")]),
        (4, vec![add("node", 1, "a"), add("missing", 1, "b")]),
        (5, vec![add("node", 2, "a")]),
        (6, vec![add("missing", 2, "c"), add("node", 3, "a")]),
    ];
    let stream = [history[4].clone(), (7, vec![add("node", 4, "a")])];
    let indexes = [key("missing")].into();
    let only = Keep::Only {
        indexes: &indexes,
        before: TxId(6),
    };
    let mut ends = ends;
    let mut rules = IndexRules::Neo4j13 { ends: &mut ends };
    let update = store
        .prepare_with(&mut rules, &[(&history, only), (&stream, Keep::All)])
        .unwrap();
    update.unwrap().commit().unwrap();
    let expected = [
        (2, vec![create("missing")]),
        (4, vec![add("missing", 1, "b")]),
        (6, vec![add("missing", 2, "c"), add("node", 3, "a")]),
        (7, vec![add("node", 4, "a")]),
    ];
    assert_eq!(store.pending(), expected);
    assert_eq!(
        std::fs::read(store.path("index/lucene.log.1")).unwrap()[8..16],
        1_i64.to_be_bytes()
    );
}

#[test]
fn an_unreadable_relationship_is_an_error() {
    let store = Store::new(V1, &["rel"]);
    let mut broken = |_: RecordId| Err(io::Error::other("broken"));
    let mut rules = IndexRules::Neo4j13 { ends: &mut broken };
    let received = [(9, vec![remove("rel", 1, "a")])];
    let error = store.prepare_with(&mut rules, &[(&received, Keep::All)]).unwrap_err();
    assert!(matches!(error, PendingIndexError::Relationship { relationship: 1, .. }));
}
