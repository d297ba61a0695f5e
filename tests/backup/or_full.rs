//! When an incremental backup is asked for and a full one is needed: `-auto` and `-fallback-full`, by the built program
//! from a source whose transactions are made up.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{fs, path::Path};

use crate::support::incremental_source::Source;
use crate::support::{Finished, our_tool, snapshot};
use serde_json::Value;
use tempfile::TempDir;

use neo4j_format::{
    ids::DataSource,
    log::encode::Command,
    store::record::{Node, RecordId},
};

fn run(source: &Source, mode: &str, target: &Path, options: &[&str]) -> Finished {
    let (uri, target) = (source.uri(), target.to_str().unwrap());
    our_tool(&[&[mode, "-from", &uri, "-to", target, "-output=json"], options].concat())
}

#[track_caller]
fn mode_taken(finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    report.pointer("/result/mode").unwrap().clone()
}

fn create_node(source: &Source, id: u64) {
    let node = Node {
        first_relationship: None,
        first_property: None,
    };
    source.commit(&[Command::Node(RecordId(id), Some(node))]);
}

#[test]
fn auto_takes_a_full_backup_into_nothing_and_into_an_empty_directory_and_says_so() {
    let (source, folder) = (Source::recorded(), TempDir::new().unwrap());
    let (absent, empty) = (folder.path().join("absent"), folder.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    for target in [absent, empty] {
        assert_eq!(mode_taken(&run(&source, "-auto", &target, &[])), "full");
        assert_eq!(mode_taken(&run(&source, "-auto", &target, &[])), "incremental");
    }
}

#[test]
fn the_old_backup_stays_until_the_full_one_that_replaces_it_is_complete() {
    let (source, folder) = (Source::recorded(), TempDir::new().unwrap());
    let target = folder.path().join("backup");
    assert_eq!(mode_taken(&run(&source, "-full", &target, &[])), "full");
    create_node(&source, 70);
    assert_eq!(mode_taken(&run(&source, "-incremental", &target, &[])), "incremental");
    let before = snapshot(&target);
    // the source's history branches off, so that the backup cannot be continued
    source.forget(DataSource::Graph, 1);
    create_node(&source, 80);
    create_node(&source, 81);
    for cut in [5_000, 20_000, 46_000] {
        source.damage(move |bytes| bytes.truncate(cut));
        let finished = run(&source, "-incremental", &target, &["-fallback-full"]);
        assert!(
            matches!(finished.code, Some(10 | 15)),
            "cut at {cut}: {}",
            finished.stderr
        );
        assert!(before == snapshot(&target), "cut at {cut}");
    }
    source.honest();
    assert_eq!(
        mode_taken(&run(&source, "-incremental", &target, &["-fallback-full"])),
        "full"
    );
    assert!(before != snapshot(&target));
}
