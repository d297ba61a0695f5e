//! `export`, `stats` and `diff` on damages of the catalogue: each ends, and what is not damaged is there.
//!
//! A usual run takes a sample, `CHECK_ALL=1` takes all.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use crate::{
    catalogue::{CASES, store::Damaged},
    support::Exported,
};
use neo4j_backup_core::{
    Cancel, Diff, Error, Export, Stats,
    export::{Entity, ExportOutcome, ExportVerdict, Format},
    progress::Quiet,
};
use neo4j_format::store::{StoreFile, StoreFormat};
use neo4j_sandbox::database::Contents;

/// Every so many damages are a sample.
const SAMPLE: usize = 5;

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// Damages after which nothing is read: which store it is and whether it was closed cleanly cannot be trusted.
const REFUSED: [&str; 8] = [
    "header_record_is_not_in_use",
    "header_is_cut",
    "store_version_differs",
    "store_is_missing",
    "marker_is_damaged",
    "active_log_is_missing",
    "active_log_has_half_a_header",
    "log_was_not_recovered",
];

/// Damages of a name: the key of every property that has it is another one then, and a legal one.
const RENAMED: [&str; 2] = ["name_is_empty", "two_keys_share_a_name"];

/// What `run` returns, which runs in a thread, so that a command that never ends is a failure.
fn within_limit<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(run()));
    let done = receiver.recv_timeout(LIMIT);
    done.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn exported(dir: &Path, format: Format) -> Result<(ExportOutcome, Option<Exported>), Error> {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("out");
    let export = Export::new(dir, &out).format(format).lossy(true);
    let outcome = export.run(&Quiet, &Cancel::default())?;
    let read = match format {
        Format::Neo4jAdmin => Some(Exported::from_csv(&out)),
        Format::Jsonl => Some(Exported::from_jsonl(&out)),
        Format::Cypher => None,
    };
    Ok((outcome, read))
}

/// What differs, and by how much.
fn changed(before: &Contents, after: &Contents) -> BTreeSet<(StoreFile, u64)> {
    fn differing<T: PartialEq>(one: &BTreeMap<u64, T>, other: &BTreeMap<u64, T>) -> Vec<u64> {
        let ids: BTreeSet<u64> = one.keys().chain(other.keys()).copied().collect();
        ids.into_iter().filter(|id| one.get(id) != other.get(id)).collect()
    }
    let nodes = differing(&before.nodes, &after.nodes).into_iter();
    let edges = differing(&before.relationships, &after.relationships).into_iter();
    let edges = edges.map(|id| (StoreFile::Relationship, id));
    nodes.map(|id| (StoreFile::Node, id)).chain(edges).collect()
}

/// What the outcome blames for its damage.
fn blamed(outcome: &ExportOutcome) -> BTreeSet<(StoreFile, u64)> {
    let listed = outcome.damage.listed.iter();
    assert_eq!(listed.len() as u64, outcome.damage.total, "more than are listed");
    let of = listed.filter_map(|damage| match damage.entity {
        Entity::Node(id) => Some((StoreFile::Node, id)),
        Entity::Relationship(id) => Some((StoreFile::Relationship, id)),
        Entity::Graph => None,
    });
    of.collect()
}

#[test]
fn every_damage_costs_what_it_is_in_and_nothing_else() {
    let mut failures = Vec::new();
    let step = if env::var_os("CHECK_ALL").is_some() { 1 } else { SAMPLE };
    for format in [StoreFormat::Legacy, StoreFormat::Current] {
        let whole = Damaged::vector(format);
        let (outcome, contents) = exported(whole.dir(), Format::Jsonl).unwrap();
        assert_eq!(outcome.verdict, ExportVerdict::Complete);
        let before = contents.unwrap().model;
        assert!(before.nodes.len() > 5 && before.relationships.len() > 5);
        for case in CASES.iter().step_by(step) {
            let store = Damaged::vector(format);
            if (case.damage)(&store).is_none() {
                continue;
            }
            let name = format!("{}, {}", case.name, format.version());
            let dir = store.dir().to_owned();
            let all = within_limit(&name, move || {
                let [csv, cypher] = [Format::Neo4jAdmin, Format::Cypher].map(|format| exported(&dir, format).map(drop));
                let stats = Stats::new(&dir).run(&Quiet, &Cancel::default()).map(drop);
                (exported(&dir, Format::Jsonl), [csv, cypher, stats])
            });
            let (a, b) = (whole.dir().to_owned(), store.dir().to_owned());
            let diff = within_limit(&name, move || {
                Diff::new(a, b).run(&Quiet, &Cancel::default(), |_| {}).map(drop)
            });
            let (outcome, contents) = match all.0 {
                Ok((outcome, contents)) => (outcome, contents.unwrap()),
                Err(error) => {
                    let do_all_refuse = all.1.iter().chain([&diff]).all(Result::is_err);
                    if !REFUSED.contains(&case.name) || !do_all_refuse {
                        failures.push(format!("{name}: refused: {error}"));
                    }
                    continue;
                }
            };
            for result in all.1.into_iter().chain([diff]) {
                if let Err(error) = result {
                    failures.push(format!("{name}: only some refused it: {error}"));
                }
            }
            let blamed = blamed(&outcome);
            let record = |store: &Damaged, (kind, id): (StoreFile, u64)| {
                let (size, at) = (whole.size(kind), usize::try_from(id).unwrap());
                let bytes = fs::read(store.path(kind.name())).unwrap_or_default();
                bytes.get(at * size..(at + 1) * size).map(<[u8]>::to_vec)
            };
            let is_touched = |entity: &(StoreFile, u64)| record(&whole, *entity) != record(&store, *entity);
            let silent: Vec<_> = changed(&before, &contents.model)
                .into_iter()
                .filter(|entity| !blamed.contains(entity) && !is_touched(entity))
                .collect();
            if case.name == "value_of_a_property_is_illegal" && blamed.is_empty() {
                failures.push(format!("{name}: not reported"));
            }
            // a value that is one still, or a shorter chain: its owner alone differs
            if silent.len() > 1 && !RENAMED.contains(&case.name) {
                failures.push(format!(
                    "{name}: changed without a word: {silent:?} {:?}",
                    outcome.damage
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
