//! Exports of sandbox databases hold what the generator says, in every format; damage costs nothing but itself.
//!
//! `SANDBOX_STORES` chooses how many, `SANDBOX_SEED` where the seeds begin.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use neo4j_backup_core::{
    Cancel, ErrorKind, Export,
    export::{ExportVerdict, Format, Labels, LossKind},
    progress::Quiet,
};
use neo4j_format::{
    ids::StoreId,
    store::{StoreFile, StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    database::{Contents, Database, Edge},
    generator::{Generator, WorkloadProfile},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

use crate::support::{Exported, as_imported, copy_dir};

const TIME: i64 = 1_350_000_000_000;

/// Stores of a usual run of the tests.
const SAMPLE: u64 = 10;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A closed database, and what it holds.
fn database(dir: &Path, seed: u64, steps: i64) -> Contents {
    let format = [StoreFormat::Legacy, StoreFormat::Current][usize::from(seed.is_multiple_of(2))];
    let id = StoreId {
        creation_time: TIME,
        random: seed.cast_signed(),
        store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
    };
    let mut database = Database::create(dir, format, id).unwrap();
    let profile = WorkloadProfile {
        graph_properties: format == StoreFormat::Current,
        ..WorkloadProfile::of(format)
    };
    let generator = Generator::new(seed, profile);
    for step in 0..steps {
        generator.step(&mut database, TIME + step).unwrap();
    }
    let contents = database.contents().unwrap();
    database.close().unwrap();
    contents
}

/// A directory with a database, and one for exports beside it.
fn work(seed: u64, steps: i64) -> (TempDir, PathBuf, PathBuf, Contents) {
    let work = tempfile::tempdir().unwrap();
    let (dir, out) = (work.path().join("database"), work.path().join("out"));
    fs::create_dir(&dir).unwrap();
    let contents = database(&dir, seed, steps);
    (work, dir, out, contents)
}

fn edges(contents: &Contents) -> Vec<&Edge> {
    contents.relationships.values().collect()
}

#[test]
fn every_format_holds_what_the_generator_made() {
    let (first, count) = (number("SANDBOX_SEED", 1), number("SANDBOX_STORES", SAMPLE));
    eprintln!("SANDBOX_SEED={first} SANDBOX_STORES={count}");
    for seed in first..first + count {
        let steps = 20 + i64::try_from(seed % 7).unwrap() * 40;
        let (_work, dir, out, contents) = work(seed, steps);
        let lines = Export::new(&dir, &out)
            .format(Format::Jsonl)
            .compress(seed.is_multiple_of(3));
        let outcome = lines.run(&Quiet, &Cancel::default()).unwrap();
        assert_eq!(outcome.verdict, ExportVerdict::Complete, "seed {seed}");
        assert_eq!(outcome.nodes, contents.nodes.len() as u64);
        assert_eq!(outcome.relationships, contents.relationships.len() as u64);
        let found = Exported::from_jsonl(&out).model;
        assert_eq!(found.nodes, contents.nodes, "seed {seed}");
        assert_eq!(found.relationships, contents.relationships, "seed {seed}");
        assert_eq!(found.graph, contents.graph, "seed {seed}");
        fs::remove_dir_all(&out).unwrap();

        let (imported, losses) = as_imported(&contents);
        let csv = Export::new(&dir, &out).compress(seed.is_multiple_of(5)).threads(3);
        let outcome = csv.clone().lossy(true).run(&Quiet, &Cancel::default()).unwrap();
        assert_eq!(outcome.losses.total, losses, "seed {seed}");
        assert_eq!(outcome.verdict, ExportVerdict::Complete);
        let found = Exported::from_csv(&out).model;
        assert_eq!(found.nodes, imported.nodes, "seed {seed}");
        let sorted = |contents: &Contents| {
            let mut all: Vec<String> = edges(contents).iter().map(|edge| format!("{edge:?}")).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(&found), sorted(&imported), "seed {seed}");
        fs::remove_dir_all(&out).unwrap();

        let strict = csv.run(&Quiet, &Cancel::default()).unwrap();
        assert_eq!(strict.verdict == ExportVerdict::NotHeld, losses > 0, "seed {seed}");
        assert_eq!(out.exists(), losses == 0, "seed {seed}");
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let (_work, dir, out, _) = work(4, 400);
    let exported = |threads| {
        let export = Export::new(&dir, &out).lossy(true).threads(threads);
        let outcome = export.run(&Quiet, &Cancel::default()).unwrap();
        let bytes: Vec<(String, Vec<u8>)> = outcome
            .files
            .iter()
            .map(|file| (file.name.clone(), fs::read(out.join(&file.name)).unwrap()))
            .collect();
        fs::remove_dir_all(&out).unwrap();
        bytes
    };
    let one = exported(1);
    assert!(one.iter().any(|(name, _)| name == "import.sh"));
    assert!(
        one.iter().any(|(name, _)| name == "nodes-2.csv"),
        "keys of several types"
    );
    assert!(one == exported(4));
}

#[test]
fn labels_come_from_a_name_or_a_property() {
    let (_work, dir, out, contents) = work(2, 200);
    let run = |labels| {
        let export = Export::new(&dir, &out).format(Format::Jsonl).labels(labels).lossy(true);
        let outcome = export.run(&Quiet, &Cancel::default()).unwrap();
        let labels = Exported::from_jsonl(&out).labels;
        fs::remove_dir_all(&out).unwrap();
        (outcome, labels)
    };
    let (_, labels) = run(Labels::Name("Per`son".into()));
    assert!(labels.values().all(|labels| labels == &["Per`son"]));
    let key = contents.nodes.values().find_map(|all| all.keys().next()).unwrap();
    let (outcome, labels) = run(Labels::Key(key.clone()));
    let mut wrong = 0;
    for (id, properties) in &contents.nodes {
        use neo4j_sandbox::value::Value;
        let expected = match properties.get(key) {
            Some(Value::Text(text)) if !text.is_empty() => vec![text.clone()],
            Some(Value::Texts(texts)) if texts.iter().all(|text| !text.is_empty()) => texts.clone(),
            None => Vec::new(),
            Some(_) => {
                wrong += 1;
                Vec::new()
            }
        };
        assert_eq!(labels[id], expected, "node {id}");
    }
    assert_eq!(outcome.losses.kinds.get(&LossKind::Label).copied().unwrap_or(0), wrong);
    assert_eq!(
        outcome.unlabelled,
        labels.values().filter(|labels| labels.is_empty()).count() as u64
    );
}

#[test]
fn a_damaged_record_costs_its_owner_and_nobody_else() {
    let seed = number("SANDBOX_SEED", 6);
    let mut rng = StdRng::seed_from_u64(seed);
    let (work, dir, out, contents) = work(seed, 300);
    let damaged = work.path().join("damaged");
    let mut reported = 0;
    for _ in 0..number("SANDBOX_STORES", 40) {
        copy_dir(&dir, &damaged);
        let kinds = [StoreFile::Property, StoreFile::String, StoreFile::Array];
        let kind = kinds[rng.random_range(0..kinds.len())];
        let path = damaged.join(kind.name());
        let mut bytes = fs::read(&path).unwrap();
        // behind the header block of dynamic stores, before the trailer
        let place = rng.random_range(128..bytes.len() - 40);
        let bit = 1 << rng.random_range(0..8);
        bytes[place] ^= bit;
        fs::write(&path, bytes).unwrap();
        let export = Export::new(&damaged, &out).format(Format::Jsonl);
        let outcome = export.run(&Quiet, &Cancel::default()).unwrap();
        let at = format!("seed {seed}: bit {bit} of byte {place} of {}", kind.name());
        let found = Exported::from_jsonl(&out).model;
        assert_eq!(found.nodes.len(), contents.nodes.len(), "{at}");
        assert_eq!(found.relationships.len(), contents.relationships.len(), "{at}");
        let nodes = found.nodes.iter().filter(|(id, all)| contents.nodes[id] != **all);
        let edges = found.relationships.iter();
        let edges = edges.filter(|(id, edge)| contents.relationships[id] != **edge);
        let changed = nodes.count() + edges.count() + usize::from(found.graph != contents.graph);
        assert!(changed <= 1, "{at}: {changed} changed");
        assert_eq!(
            outcome.verdict == ExportVerdict::Damaged,
            outcome.damage.total > 0,
            "{at}"
        );
        fs::remove_dir_all(&out).unwrap();
        if outcome.damage.total > 0 {
            reported += 1;
            let strict = export.strict(true).run(&Quiet, &Cancel::default()).unwrap_err();
            assert_eq!(strict.kind(), ErrorKind::Unexportable, "{at}");
            assert!(!out.exists(), "{at}");
        }
        fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(reported > 0);
}

#[test]
fn a_relationship_of_a_missing_node_is_left_out_and_reported() {
    let (_work, dir, out, contents) = work(2, 300);
    let (id, edge) = contents.relationships.iter().next().unwrap();
    let path = dir.join(StoreFile::Node.name());
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(edge.start).unwrap() * 9] &= !1;
    fs::write(&path, bytes).unwrap();
    let outcome = Export::new(&dir, &out)
        .format(Format::Jsonl)
        .run(&Quiet, &Cancel::default())
        .unwrap();
    assert_eq!(outcome.verdict.exit_code(), 3);
    let found = Exported::from_jsonl(&out).model;
    assert!(!found.relationships.contains_key(id));
    let lost = contents.relationships.len() - found.relationships.len();
    assert_eq!(outcome.damage.total, lost as u64);
    let listed = fs::read_to_string(out.join("damage.jsonl")).unwrap();
    assert_eq!(listed.lines().count(), lost);
}

#[test]
fn nothing_is_replaced_and_only_databases_at_rest_are_read() {
    let (work, dir, out, _) = work(2, 50);
    let run = |dir: &Path, out: &Path| Export::new(dir, out).lossy(true).run(&Quiet, &Cancel::default());
    fs::write(&out, "mine").unwrap();
    assert_eq!(run(&dir, &out).unwrap_err().kind(), ErrorKind::NotOurs);
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    fs::remove_file(&out).unwrap();
    assert_eq!(run(work.path(), &out).unwrap_err().kind(), ErrorKind::NotOurs);
    let missing = work.path().join("missing");
    assert_eq!(run(&missing, &out).unwrap_err().kind(), ErrorKind::NotOurs);
    let cancel = Cancel::default();
    cancel.cancel(ErrorKind::Interrupted);
    let stopped = Export::new(&dir, &out).run(&Quiet, &cancel).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    // a database that a crash left
    fs::write(dir.join("nioneo_logical.log.active"), [0, 0x31, 0, 0]).unwrap();
    assert_eq!(run(&dir, &out).unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1);
}
