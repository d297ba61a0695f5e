//! A sandbox database is a real one: Neo4j boots its directory, closed or as a crash leaves it, and sees what the model
//! says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::path::Path;

use crate::support::{Peer, Release, as_seen_by, copy_dir, require_peers};

use neo4j_format::{
    ids::StoreId,
    store::{StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    database::{Contents, Database},
    generator::{Generator, WorkloadProfile},
};

const TIME: i64 = 1_350_000_000_000;
const STEPS: i64 = 400;

fn format_of(release: Release) -> StoreFormat {
    if release < Release::V1_5 {
        StoreFormat::Legacy
    } else {
        StoreFormat::Current
    }
}

fn taste_of(release: Release) -> WorkloadProfile {
    WorkloadProfile {
        self_relationships: release > Release::V1_3,
        graph_properties: release >= Release::V1_6_1,
        ..WorkloadProfile::of(format_of(release))
    }
}

fn create(dir: &Path, format: StoreFormat) -> Database {
    let id = StoreId {
        creation_time: TIME,
        random: 0x0123_4567_89AB_CDEF,
        store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
    };
    Database::create(dir, format, id).unwrap()
}

fn generate(database: &mut Database, seed: u64, taste: WorkloadProfile, steps: i64) {
    let generator = Generator::new(seed, taste);
    for step in 0..steps {
        generator.step(database, TIME + step).unwrap();
    }
}

/// Boots a directory and says how what is seen differs from the model.
fn difference(release: Release, dir: &Path, model: &Contents) -> Option<String> {
    as_seen_by(release, model).difference(&Peer::contents_of(release, dir))
}

fn a_release_boots_closed_and_crashed_databases(release: Release) {
    if !require_peers(release) {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let (live, crashed) = (work.path().join("live"), work.path().join("crashed"));
    let seed = 7;
    let mut database = create(&live, format_of(release));
    generate(&mut database, seed, taste_of(release), STEPS);
    copy_dir(&live, &crashed);
    let model = database.contents().unwrap();
    database.close().unwrap();
    for dir in [&live, &crashed] {
        if let Some(difference) = difference(release, dir, &model) {
            panic!("seed {seed}, {}:\n{difference}", dir.display());
        }
        // what Neo4j made of it can be read here again
        let after = Contents::read(dir).unwrap();
        assert_eq!(after.nodes, model.nodes);
        assert_eq!(after.relationships, model.relationships);
        assert_eq!(after.graph, model.graph);
    }
}

#[test]
fn neo4j_1_4_2_boots_what_was_made_from_nothing() {
    a_release_boots_closed_and_crashed_databases(Release::V1_4_2);
}

#[test]
fn neo4j_1_8_boots_what_was_made_from_nothing() {
    a_release_boots_closed_and_crashed_databases(Release::V1_8);
}

#[test]
fn neo4j_1_9_9_boots_what_was_made_from_nothing() {
    a_release_boots_closed_and_crashed_databases(Release::V1_9_9);
}

/// The releases that CI leaves out.
#[test]
#[ignore = "other releases; tests/run full"]
fn the_other_releases_boot_what_was_made_from_nothing() {
    for release in [Release::V1_3, Release::V1_5, Release::V1_6_1, Release::V1_7_2] {
        a_release_boots_closed_and_crashed_databases(release);
    }
}
