//! A database in both formats, read back on every way there is.

use std::{collections::BTreeMap, path::Path};

use super::*;
use crate::{
    generator::{Generator, WorkloadProfile},
    value::{Kind, Value},
};
use neo4j_format::store::{
    header::CURRENT_VERSION,
    index_config::{IndexKey, IndexKind},
    record::RecordId,
};

const FORMATS: [StoreFormat; 2] = [StoreFormat::Legacy, StoreFormat::Current];
const TIME: i64 = 1_350_000_000_000;

fn create_in(dir: &Path, format: StoreFormat) -> Database {
    let id = StoreId {
        creation_time: TIME,
        random: 42,
        store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
    };
    Database::create(dir, format, id).unwrap()
}

fn generate(database: &mut Database, seed: u64, steps: i64) {
    let taste = WorkloadProfile {
        graph_properties: database.format() == StoreFormat::Current,
        self_relationships: true,
        nodes: 100,
        ..WorkloadProfile::of(database.format())
    };
    let generator = Generator::new(seed, taste);
    for step in 0..steps {
        generator.step(database, TIME + step).unwrap();
    }
}

#[test]
fn what_was_written_is_read_back_from_memory_logs_and_files() {
    for format in FORMATS {
        for seed in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let mut database = create_in(dir.path(), format);
            generate(&mut database, seed, 500);
            let model = database.contents().unwrap();
            let (nodes, relationships) = (model.nodes.len(), model.relationships.len());
            assert!(
                nodes > 50 && relationships > 20,
                "{format:?}, seed {seed}: {nodes}, {relationships}"
            );
            let feed = database.feed().clone();
            let (graph, lucene) = (feed.last(DataSource::Graph), feed.last(DataSource::Lucene));
            assert_eq!(Contents::at(&feed, format, graph, lucene).unwrap(), model);
            assert_eq!(
                Contents::read(dir.path()).unwrap(),
                model,
                "{format:?}, seed {seed}, open"
            );
            database.close().unwrap();
            assert_eq!(
                Contents::read(dir.path()).unwrap(),
                model,
                "{format:?}, seed {seed}, closed"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_contents_through_closes_and_crashes() {
    for format in FORMATS {
        let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut database = create_in(whole.path(), format);
        generate(&mut database, 9, 90);
        let expected = database.contents().unwrap();
        let mut database = create_in(broken.path(), format);
        generate(&mut database, 9, 30);
        database.close().unwrap();
        let mut database = Database::open(broken.path()).unwrap();
        generate(&mut database, 9, 30);
        // as a crash leaves it: neither trailers nor a clean marker
        drop(database);
        let mut database = Database::open(broken.path()).unwrap();
        generate(&mut database, 9, 30);
        let found = database.contents().unwrap();
        // freed ids are forgotten at a restart, so ids differ, not what there is
        assert_eq!(count(&found), count(&expected));
        assert_eq!(
            database.feed().from(DataSource::Graph, TxId(2), 1).unwrap()[0].tx,
            TxId(2)
        );
    }
}

fn count(contents: &Contents) -> (usize, bool) {
    (contents.indexes.entries().count(), contents.nodes.is_empty())
}

#[test]
fn each_operation_does_what_it_says() {
    for format in FORMATS {
        let dir = tempfile::tempdir().unwrap();
        let mut database = create_in(dir.path(), format);
        let mut expected: BTreeMap<u64, Properties> = BTreeMap::from([(0, Properties::new())]);
        let mut transaction = database.begin(TIME);
        let (a, b) = (transaction.create_node(), transaction.create_node());
        let node = Element::Node(a);
        for (key, value) in [
            ("short", Value::text("Alice")),
            ("long", Value::text("x".repeat(500))),
            ("empty", Value::text("")),
            ("flags", Value::array(Kind::Boolean, [1, 0, 1])),
            ("many", Value::array(Kind::Long, 0..100)),
            ("texts", Value::Texts(vec!["a".to_owned(), "ö".repeat(40)])),
            ("changed", Value::int(1)),
            ("removed", Value::text("y".repeat(300))),
        ] {
            transaction.set_property(node, key, &value).unwrap();
            expected.entry(a.0).or_default().insert(key.to_owned(), value);
        }
        expected.insert(b.0, Properties::new());
        let loop_ = transaction.create_relationship("KNOWS", a, a).unwrap();
        let first = transaction.create_relationship("KNOWS", a, b).unwrap();
        let second = transaction.create_relationship("LIKES", b, a).unwrap();
        transaction.commit().unwrap();

        let mut transaction = database.begin(TIME);
        transaction
            .set_property(node, "changed", &Value::text("z".repeat(130)))
            .unwrap();
        assert!(transaction.remove_property(node, "removed").unwrap());
        assert!(!transaction.remove_property(node, "removed").unwrap());
        transaction.delete_relationship(first).unwrap();
        assert_eq!(transaction.delete_node(b), Err(NotPossible::HasRelationships(b)));
        transaction
            .set_property(Element::Relationship(second), "since", &Value::long(-5))
            .unwrap();
        transaction.commit().unwrap();

        let of_a = expected.entry(a.0).or_default();
        of_a.insert("changed".to_owned(), Value::text("z".repeat(130)));
        of_a.remove("removed");
        let contents = Contents::read(dir.path()).unwrap();
        assert_eq!(contents.nodes, expected);
        let edges: Vec<_> = contents
            .relationships
            .iter()
            .map(|(id, edge)| (*id, edge.kind.as_str()))
            .collect();
        assert_eq!(edges, [(loop_.0, "KNOWS"), (second.0, "LIKES")]);
        assert_eq!(
            contents.relationships[&second.0].properties,
            Properties::from([("since".to_owned(), Value::long(-5))])
        );
    }
}

#[test]
fn a_transaction_over_graph_and_index_has_one_global_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut database = create_in(dir.path(), StoreFormat::Current);
    let people = IndexKey {
        kind: IndexKind::Node,
        name: "people".into(),
    };
    let mut transaction = database.begin(TIME);
    transaction.create_index(&people);
    assert_eq!(transaction.commit().unwrap(), None);
    let mut transaction = database.begin(TIME);
    let node = transaction.create_node();
    transaction.add_to_index(&people, node, "name", "alice").unwrap();
    assert_eq!(transaction.commit().unwrap(), Some(TxId(2)));
    let bytes = |source, tx| database.feed().from(source, tx, 1).unwrap()[0].read().unwrap();
    let (graph, lucene) = (bytes(DataSource::Graph, TxId(2)), bytes(DataSource::Lucene, TxId(3)));
    assert_eq!(graph[3..28], lucene[3..28]);
    let indexes = database.contents().unwrap().indexes;
    assert_eq!(indexes.entry(&people, 1).unwrap()["name"].len(), 1);
}

#[test]
fn another_member_that_applies_the_transactions_has_the_same_contents() {
    for format in FORMATS {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut master = create_in(one.path(), format);
        generate(&mut master, 3, 200);
        let mut slave = create_in(two.path(), format);
        for source in DataSource::ALL {
            for place in master.feed().from(source, TxId(2), usize::MAX).unwrap() {
                slave.apply(source, place.tx, place.read().unwrap()).unwrap();
            }
        }
        assert_eq!(slave.contents().unwrap(), master.contents().unwrap());
        let gap = slave.apply(DataSource::Graph, TxId(2), Vec::new());
        assert!(matches!(gap, Err(DatabaseError::Gap { .. })));
    }
}

#[test]
fn transactions_that_were_forgotten_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut database = create_in(dir.path(), StoreFormat::Current);
    generate(&mut database, 1, 40);
    let feed = database.feed().clone();
    feed.forget_before(DataSource::Graph, TxId(20));
    assert_eq!(
        feed.from(DataSource::Graph, TxId(19), 1).unwrap_err(),
        NotKept {
            source_name: DataSource::Graph,
            wanted: TxId(19),
            first: TxId(20)
        }
    );
    assert_eq!(feed.from(DataSource::Graph, TxId(20), 2).unwrap().len(), 2);
    assert!(feed.from(DataSource::Graph, TxId(1000), 2).unwrap().is_empty());
}

/// Ids that are handed out again belong to nothing else.
#[test]
fn freed_ids_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut database = create_in(dir.path(), StoreFormat::Current);
    let mut transaction = database.begin(TIME);
    let node = transaction.create_node();
    transaction
        .set_property(Element::Node(node), "text", &Value::text("x".repeat(500)))
        .unwrap();
    transaction.commit().unwrap();
    let mut transaction = database.begin(TIME);
    transaction.delete_node(node).unwrap();
    assert_ne!(transaction.create_node(), node, "not in the transaction that frees it");
    transaction.commit().unwrap();
    let mut transaction = database.begin(TIME);
    assert_eq!(transaction.create_node(), node);
    assert_eq!(node, RecordId(1));
    transaction.commit().unwrap();
}
