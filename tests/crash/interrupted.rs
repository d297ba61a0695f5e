//! A backup, a running Neo4j that has moved on since, and the judgement of what an interrupted incremental left behind.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{
    disk_trace::folder_in_memory,
    support::{Contents, Options, Peer, Release, copy_dir},
};
use neo4j_backup_core::{
    DirHandle,
    cancel::Cancel,
    progress::Quiet,
    verify::{VerifyVerdict, verify},
};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// Transactions before the full backup, until the incremental behind it, and until the one that is interrupted.
const LOADS: [u32; 3] = [150, 30, 220];
const DEFAULT_SEED: u64 = 11;

/// The graph's files and the indexes' log, by name.
pub type Stores = BTreeMap<String, Vec<u8>>;

/// What stands at the start of every interrupted run.
pub struct Scene {
    work: TempDir,
    source: Peer,
    /// What the run that nobody stops makes of it.
    expected: Stores,
    old: Contents,
    new: Contents,
}

/// Whether the long form of a test was asked for.
pub fn takes_all() -> bool {
    env::var("CRASH_POINTS").as_deref() == Ok("all")
}

impl Scene {
    /// A backup with a pending index log, and a server that has committed more since, index deletions included.
    pub fn new(release: Release) -> Scene {
        let seed = env::var("CRASH_SEED").map_or(DEFAULT_SEED, |seed| seed.parse().unwrap());
        eprintln!("neo4j {}: CRASH_SEED={seed}", release.name());
        let work = folder_in_memory();
        let dir = |name: &str| work.path().join(name);
        let mut source = Peer::start(release, &dir("source"), &Options::source(release));
        source.load(seed, LOADS[0]);
        assert_success(&run(Command::new(PROGRAM), "-full", &source.uri(), &dir("base")));
        source.load(seed, LOADS[1]);
        assert_success(&run(Command::new(PROGRAM), "-incremental", &source.uri(), &dir("base")));
        source.load(seed, LOADS[2]);
        copy_dir(&dir("base"), &dir("whole"));
        assert_success(&run(
            Command::new(PROGRAM),
            "-incremental",
            &source.uri(),
            &dir("whole"),
        ));
        copy_dir(&dir("base"), &dir("old"));
        let mut scene = Scene {
            expected: stores(&dir("whole")),
            new: source.contents(),
            old: Peer::contents_of(release, &dir("old")),
            source,
            work,
        };
        scene.old.forget_index("temp");
        let whole = Peer::contents_of(release, &scene.dir("whole"));
        assert_eq!(whole.difference(&scene.new), None);
        scene
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A fresh copy of the backup.
    pub fn copy(&self, name: &str) -> PathBuf {
        let copy = self.dir(name);
        remove(&copy);
        copy_dir(&self.dir("base"), &copy);
        copy
    }

    /// Arguments of the run that is interrupted.
    pub fn arguments(&self, target: &Path) -> Vec<String> {
        arguments("-incremental", &self.source.uri(), target)
    }

    /// The next run ends well and leaves the store that no interruption would have left.
    pub fn repaired_by_next_run(&self, dir: &Path) -> Result<(), String> {
        let told = verify(&DirHandle::open(dir).unwrap(), &Quiet, &Cancel::default())
            .map_err(|error| format!("verify: {error}"))?;
        if !matches!(told.verdict, VerifyVerdict::Intact | VerifyVerdict::InterruptedUpdate) {
            return Err(format!(
                "verify does not see an interrupted update: {:#?}",
                told.findings
            ));
        }
        let finished = run(Command::new(PROGRAM), "-incremental", &self.source.uri(), dir);
        if !finished.status.success() {
            return Err(format!("the next run: {}", String::from_utf8_lossy(&finished.stderr)));
        }
        let told = verify(&DirHandle::open(dir).unwrap(), &Quiet, &Cancel::default())
            .map_err(|error| format!("verify: {error}"))?;
        if told.verdict != VerifyVerdict::Intact {
            return Err(format!("verify after the next run: {:#?}", told.findings));
        }
        let found = stores(dir);
        if found == self.expected {
            return Ok(());
        }
        let names = found.keys().chain(self.expected.keys());
        let other: Vec<_> = names
            .filter(|name| found.get(*name) != self.expected.get(*name))
            .collect();
        Err(format!("another store after the next run: {other:?}"))
    }

    /// Neo4j starts from a copy, its graph is the old or the new one, its indexes are not ahead of it, and both are level
    /// with the source after a run on what Neo4j made of it.
    pub fn repaired_by_neo4j(&self, dir: &Path) -> Result<(), String> {
        let release = self.source.release();
        let booted = self.dir("booted");
        remove(&booted);
        copy_dir(dir, &booted);
        let mut found = Peer::contents_of(release, &booted);
        // while it is being deleted it is neither here nor there
        found.forget_index("temp");
        let mut new = self.new.clone();
        new.forget_index("temp");
        let states = [&self.old, &new];
        let graph = states.iter().position(|state| found.graph_difference(state).is_none());
        let index = states.iter().position(|state| found.index_difference(state).is_none());
        match (graph, index) {
            (Some(graph), Some(index)) if index <= graph => {}
            (None, _) => return Err(format!("Neo4j's graph: {:?}", found.graph_difference(&new))),
            (_, None) => return Err(format!("Neo4j's indexes: {:?}", found.index_difference(&self.old))),
            (Some(_), Some(_)) => return Err("the indexes are ahead of the graph".to_owned()),
        }
        let finished = run(Command::new(PROGRAM), "-incremental", &self.source.uri(), &booted);
        if !finished.status.success() {
            let text = String::from_utf8_lossy(&finished.stderr).into_owned();
            return Err(format!("the next run behind Neo4j: {text}"));
        }
        match Peer::contents_of(release, &booted).difference(&self.new) {
            None => Ok(()),
            Some(difference) => Err(format!("after Neo4j and the next run: {difference}")),
        }
    }
}

fn arguments(mode: &str, from: &str, to: &Path) -> Vec<String> {
    let to = to.to_str().unwrap();
    let words = [mode, "-from", from, "-to", to, "-verify=false", "-quiet"];
    words.map(str::to_owned).to_vec()
}

fn run(mut command: Command, mode: &str, from: &str, to: &Path) -> Output {
    command
        .args(arguments(mode, from, to))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_success(finished: &Output) {
    assert!(
        finished.status.success(),
        "{}",
        String::from_utf8_lossy(&finished.stderr)
    );
}

/// The graph's files and the indexes' pending log.
pub fn stores(dir: &Path) -> Stores {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("neostore") || name.contains("logical") || name == "index.db" {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    for name in ["index/lucene.log.1", "index/lucene.log.active", "index/lucene-store.db"] {
        found.insert(name.to_owned(), fs::read(dir.join(name)).unwrap_or_default());
    }
    found
}

pub fn remove(dir: &Path) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
}
