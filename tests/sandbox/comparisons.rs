//! `diff` and `stats` say what the models of the databases say.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{collections::BTreeMap, fs, path::Path};

use neo4j_backup_core::{
    Cancel, Diff, Stats,
    diff::{Change, DiffVerdict},
    export::{Entity, ValueType},
    progress::Quiet,
};
use neo4j_format::{
    ids::StoreId,
    store::{StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    database::{Contents, Database, Properties},
    generator::{Generator, WorkloadProfile},
};

use crate::support::copy_dir;

const TIME: i64 = 1_350_000_000_000;

/// Runs the steps of a generator on a database, which is made if it is missing, and closes it.
fn grown(dir: &Path, format: StoreFormat, seed: u64, steps: std::ops::Range<i64>) -> Contents {
    let mut database = if dir.exists() {
        Database::open(dir).unwrap()
    } else {
        fs::create_dir(dir).unwrap();
        let id = StoreId {
            creation_time: TIME,
            random: seed.cast_signed(),
            store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
        };
        Database::create(dir, format, id).unwrap()
    };
    let profile = WorkloadProfile {
        graph_properties: format == StoreFormat::Current,
        ..WorkloadProfile::of(format)
    };
    let generator = Generator::new(seed, profile);
    for step in steps {
        generator.step(&mut database, TIME + step).unwrap();
    }
    let contents = database.contents().unwrap();
    database.close().unwrap();
    contents
}

/// Ids only in `b`, only in `a`, and in both with different content.
fn expected<T: PartialEq>(a: &BTreeMap<u64, T>, b: &BTreeMap<u64, T>) -> Vec<(u64, Change)> {
    let mut all: Vec<(u64, Change)> = Vec::new();
    all.extend(b.keys().filter(|id| !a.contains_key(id)).map(|id| (*id, Change::Added)));
    all.extend(
        a.keys()
            .filter(|id| !b.contains_key(id))
            .map(|id| (*id, Change::Removed)),
    );
    let changed = a
        .iter()
        .filter(|(id, one)| b.get(id).is_some_and(|other| other != *one));
    all.extend(changed.map(|(id, _)| (*id, Change::Changed)));
    all.sort_unstable_by_key(|(id, _)| *id);
    all
}

#[test]
fn differences_are_those_of_the_models() {
    for (seed, format) in [
        (3, StoreFormat::Legacy),
        (4, StoreFormat::Current),
        (5, StoreFormat::Current),
    ] {
        let work = tempfile::tempdir().unwrap();
        let (old, new) = (work.path().join("old"), work.path().join("new"));
        let before = grown(&old, format, seed, 0..300);
        copy_dir(&old, &new);
        let equal = Diff::new(&old, &new).run(&Quiet, &Cancel::default(), |difference| {
            panic!("{difference:?}");
        });
        let equal = equal.unwrap();
        assert_eq!(equal.verdict, DiffVerdict::Equal, "seed {seed}");
        assert_eq!(equal.nodes.equal, before.nodes.len() as u64);
        assert_eq!(equal.relationships.equal, before.relationships.len() as u64);

        let after = grown(&new, format, seed + 100, 300..360);
        for (a, b, models) in [(&old, &new, (&before, &after)), (&new, &old, (&after, &before))] {
            let (mut nodes, mut relationships) = (Vec::new(), Vec::new());
            let outcome = Diff::new(a, b)
                .run(&Quiet, &Cancel::default(), |difference| match difference.entity {
                    Entity::Node(id) => nodes.push((id, difference.change)),
                    Entity::Relationship(id) => relationships.push((id, difference.change)),
                    Entity::Graph => {}
                })
                .unwrap();
            assert_eq!(outcome.verdict, DiffVerdict::Different, "seed {seed}");
            assert_eq!(nodes, expected(&models.0.nodes, &models.1.nodes), "seed {seed}");
            let edges = expected(&models.0.relationships, &models.1.relationships);
            assert_eq!(relationships, edges, "seed {seed}");
            assert_eq!(outcome.is_graph_changed, before.graph != after.graph);
            assert_eq!(
                outcome.nodes.added + outcome.nodes.removed + outcome.nodes.changed,
                nodes.len() as u64
            );
        }
    }
}

#[test]
fn statistics_are_those_of_the_model() {
    for (seed, format) in [(7, StoreFormat::Legacy), (8, StoreFormat::Current)] {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("database");
        let model = grown(&dir, format, seed, 0..400);
        let found = Stats::new(&dir).run(&Quiet, &Cancel::default()).unwrap();
        assert_eq!(found.nodes, model.nodes.len() as u64);
        assert_eq!(found.relationships, model.relationships.len() as u64);

        let (mut types, mut degrees) = (BTreeMap::new(), BTreeMap::<u64, u64>::new());
        for edge in model.relationships.values() {
            *types.entry(edge.kind.clone()).or_insert(0) += 1;
            for node in [Some(edge.start), Some(edge.end).filter(|end| *end != edge.start)] {
                *degrees.entry(node.unwrap_or(u64::MAX)).or_default() += 1;
            }
        }
        degrees.remove(&u64::MAX);
        let of_store: BTreeMap<String, u64> = found.types.iter().map(|of| (of.name.clone(), of.count)).collect();
        assert_eq!(of_store, types);
        assert_eq!(found.degrees.max, degrees.values().copied().max().unwrap());
        for range in &found.degrees.ranges {
            let degree = |id| degrees.get(id).copied().unwrap_or(0);
            let nodes = model
                .nodes
                .keys()
                .filter(|id| (range.from..=range.to).contains(&degree(id)));
            assert_eq!(range.nodes, nodes.count() as u64, "{range:?}");
        }

        let mut values: BTreeMap<(String, ValueType), u64> = BTreeMap::new();
        let edges = model.relationships.values().map(|edge| &edge.properties);
        let all: Vec<&Properties> = model.nodes.values().chain(edges).collect();
        for (key, value) in all.iter().flat_map(|all| all.iter()) {
            *values.entry((key.clone(), ValueType::of(value))).or_default() += 1;
        }
        let of_store: BTreeMap<(String, ValueType), u64> = found
            .keys
            .iter()
            .flat_map(|key| key.types.iter().map(|of| ((key.name.clone(), of.of), of.count)))
            .collect();
        assert_eq!(of_store, values);
        assert_eq!(found.properties, values.values().sum::<u64>());
        assert!(found.largest.len() == 10 && found.largest.is_sorted_by(|a, b| a.bytes >= b.bytes));
    }
}
