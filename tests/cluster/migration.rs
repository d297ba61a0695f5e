//! The migration of a real cluster to a current Neo4j, as docs/migration.md has it.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use crate::support::{
    Cluster, ClusterSettings, Coordinators, Release, ZooKeeper,
    imported::{Lines, assert_same, neo4j_admin, normalised, path_with, read},
    importer, require_peers, run_to_end,
};
use tempfile::TempDir;

const DOCUMENT: &str = include_str!("../../docs/migration.md");

/// Nodes of the load, besides the reference node.
const NODES: usize = 300;

/// The blocks of this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("\n```{language}\n");
    let behind = DOCUMENT.split(begin.as_str()).skip(1);
    behind.map(|text| text.split("\n```").next().unwrap()).collect()
}

/// A dump by 1.8 in the words of a reader of 5.26, when every node has the label `Node`.
fn as_imported(dump: &str) -> Lines {
    let mut lines = Lines::new();
    for line in dump.lines() {
        let text = match line.split_once(' ').unwrap() {
            ("N", _) => format!("{} [Node]", line.rsplit_once(" <- ").unwrap().0),
            ("R", rest) => format!("R {}", rest.split_once(' ').unwrap().1),
            _ => continue,
        };
        *lines.entry(normalised(&text)).or_default() += 1;
    }
    lines
}

#[test]
#[ignore = "a cluster and Neo4j 5.26; tests/run full"]
fn a_cluster_of_1_8_moves_to_5_26_as_the_document_says() {
    let Some(jars) = importer() else { return };
    if !require_peers(Release::V1_8) {
        return;
    }
    let work = TempDir::new().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Shipped, 3, work.path());
    let settings = ClusterSettings::default();
    let mut cluster = Cluster::start(Release::V1_8, 2, &coordinators, work.path(), &settings);
    let dump = work.path().join("dump");
    cluster.members[0].command(&format!("gen {NODES} 50"));
    cluster.members[0].command(&format!("dump {}", dump.display()));

    let home = work.path().join("home");
    let bin = neo4j_admin(work.path(), &home, &jars);
    symlink(env!("CARGO_BIN_EXE_neo4j-backup"), bin.join("neo4j-backup")).unwrap();
    fs::create_dir(work.path().join("backup")).unwrap();
    let commands = blocks("sh");
    assert_eq!(commands.len(), 2, "the backup and the import");
    for block in commands {
        let script = block
            .replace("/mnt", work.path().to_str().unwrap())
            .replace("ha://zoo1:2181,zoo2:2181,zoo3:2181", &coordinators.uri());
        let mut shell = Command::new("sh");
        shell.args(["-exc", &script]).env("PATH", path_with(&bin));
        let finished = run_to_end(&mut shell, Duration::from_mins(10));
        assert!(finished.success(), "{finished:?}");
    }

    let statements = work.path().join("statements");
    fs::write(&statements, blocks("cypher").concat()).unwrap();
    let mut found = read(work.path(), &home, &jars, Some(&statements));
    let counts: Lines = found.extract_if(.., |line, _| line.starts_with("Q ")).collect();
    let expected = [
        format!("Q {{count(n)=Long:{}}}", NODES + 1),
        format!("Q {{count(r)=Long:{NODES}}}"),
    ];
    assert_same(&counts, &expected.map(|line| (line, 1)).into());
    let seen = as_imported(&fs::read_to_string(dump).unwrap());
    assert_eq!(seen.len(), 2 * NODES + 1);
    assert_same(&found, &seen);
}
