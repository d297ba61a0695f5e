//! Whether a report says of an inconsistency where it came from: out of a transaction of the run, or out of files.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::incremental_source::Source;
use crate::support::our_tool;
use serde_json::Value;

use neo4j_format::{
    log::encode::Command,
    store::{
        StoreFile,
        record::{Node, RecordId},
    },
};

/// A relationship that never was.
const NOWHERE: RecordId = RecordId(1 << 20);
/// A node that the recorded backup does not have, and which a transaction creates.
const CREATED: u64 = 70;

fn with_relationship(first: RecordId) -> Node {
    Node {
        first_relationship: Some(first),
        first_property: None,
    }
}

/// Exit code, and the report.
fn run(source: &Source, mode: &str, target: &Path, verify: &str) -> (Option<i32>, Value) {
    let (uri, target) = (source.uri(), target.to_str().unwrap());
    let finished = our_tool(&[mode, "-from", &uri, "-to", target, verify, "-output=json"]);
    (finished.code, serde_json::from_str(&finished.stdout).unwrap())
}

/// Origin of each finding that a node leads to a relationship which is not in use.
fn origins(report: &Value) -> BTreeMap<u64, String> {
    let findings = report["result"]["check"]["findings"].as_array().unwrap();
    let of_nodes = findings
        .iter()
        .filter(|finding| finding["rule"] == "relationshipNotInUse");
    of_nodes
        .map(|finding| {
            let origin = finding["origin"].as_str().unwrap_or("untold");
            (finding["record"].as_u64().unwrap(), origin.to_owned())
        })
        .collect()
}

/// Makes a node of the backup lead nowhere; which one.
fn damage_a_node(target: &Path) -> u64 {
    let path = target.join(StoreFile::Node.name());
    let mut bytes = fs::read(&path).unwrap();
    let records = bytes.chunks_exact_mut(Node::SIZE).enumerate();
    let (id, record) = records
        .filter(|(_, record)| Node::decode(record.as_array().unwrap()).is_some())
        .last()
        .unwrap();
    record.copy_from_slice(&with_relationship(NOWHERE).encode().unwrap());
    fs::write(&path, bytes).unwrap();
    id as u64
}

fn commit(source: &Source) {
    source.commit(&[Command::Node(RecordId(CREATED), Some(with_relationship(NOWHERE)))]);
}

#[test]
fn what_a_transaction_of_an_incremental_brought_is_told_from_what_was_there() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::recorded());
    let target = folder.path().join("backup");
    assert_eq!(run(&source, "-full", &target, "-verify").0, Some(0));
    let damaged = damage_a_node(&target);
    // with its checksums the damaged base would be refused
    for name in ["neo4j-backup.json", "neo4j-backup.sums"] {
        fs::remove_file(target.join(name)).unwrap();
    }
    commit(&source);
    let (code, report) = run(&source, "-incremental", &target, "-verify=full");
    assert_eq!((code, &report["result"]["verdict"]), (Some(3), &"inconsistent".into()));
    let expected = [(damaged, "files".to_owned()), (CREATED, "transactions".to_owned())];
    assert_eq!(origins(&report), BTreeMap::from(expected));
}

#[test]
fn the_usual_check_of_an_incremental_finds_what_its_transaction_brought() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::recorded());
    let target = folder.path().join("backup");
    assert_eq!(run(&source, "-full", &target, "-verify").0, Some(0));
    commit(&source);
    let (code, report) = run(&source, "-incremental", &target, "-verify");
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(origins(&report), BTreeMap::from([(CREATED, "transactions".to_owned())]));
}

/// What of a node, or that it points to, is deleted.
type Deletion = fn(&(u64, Node)) -> Option<Command<'static>>;

/// Each of the others still points to what is gone.
#[test]
fn the_usual_check_of_an_incremental_finds_what_a_deletion_left_behind() {
    type Deletion = fn(&(u64, Node)) -> Option<Command<'static>>;
    let nodes = |target: &Path| {
        let bytes = fs::read(target.join(StoreFile::Node.name())).unwrap();
        let records = bytes.chunks_exact(Node::SIZE).enumerate();
        let found = records.filter_map(|(id, record)| Some((id as u64, Node::decode(record.as_array()?)?)));
        found.collect::<Vec<_>>()
    };
    let deletions: [Deletion; 3] = [
        |(id, node)| node.first_relationship.map(|_| Command::Node(RecordId(*id), None)),
        |(_, node)| node.first_relationship.map(|id| Command::Relationship(id, None)),
        |(_, _)| Some(Command::RelationshipType(RecordId(0), None, &[])),
    ];
    for deletion in deletions {
        let (folder, source) = (tempfile::tempdir().unwrap(), Source::recorded());
        let target = folder.path().join("backup");
        assert_eq!(run(&source, "-full", &target, "-verify").0, Some(0));
        let command = nodes(&target).iter().find_map(deletion).unwrap();
        source.commit(&[command]);
        let (code, report) = run(&source, "-incremental", &target, "-verify");
        assert_eq!(code, Some(3), "{report}");
    }
}

#[test]
fn what_a_transaction_of_a_full_backup_brought_is_told_too() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::recorded());
    let target = folder.path().join("backup");
    commit(&source);
    let (code, report) = run(&source, "-full", &target, "-verify");
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(origins(&report), BTreeMap::from([(CREATED, "transactions".to_owned())]));
}
