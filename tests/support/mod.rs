//! Real Neo4j servers for the tests: starting and driving them, running their own backup tool, comparing contents.
//!
//! `tests/peers/fetch` lays the releases and the compiled driver into `.peers` (or `NEO4J_PEERS_DIR`).
//! Everything here panics when something is wrong, as a test would.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

mod cluster;
mod containers;
mod contents;
pub mod coordinator_double;
mod coordinators;
mod exported;
mod faulty;
pub mod grown_source;
pub mod imported;
pub mod incremental_source;
pub mod interop;
mod model;
mod mounted;
pub mod nodes;
mod peer;
mod process;
mod questions;
mod relay;
pub mod replay;
mod serve;
mod tool;

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

pub use cluster::{Cluster, Settings as ClusterSettings};
pub use containers::Containers;
pub use contents::Contents;
pub use coordinators::{Coordinator, Coordinators, WithoutQuorum, ZooKeeper, free_port, free_ports};
pub use exported::{Exported, as_cypher, as_imported};
pub use faulty::{BlackHole, Fault, Faulty};
pub use model::{as_seen_by, ascii, dump_of, properties};
pub use mounted::Mounted;
pub use peer::{Backup, Options, Peer};
pub use process::{Finished, run as run_to_end};
pub(crate) use questions::{asked_of, questions};
pub use relay::Relay;
pub use serve::Serving;
pub use tool::{as_user, checker_1_9_9, has_program, original_tool, our_tool, our_tool_as, run_limited};

/// A release of the original that tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    V1_3,
    V1_4_2,
    V1_5,
    V1_6_1,
    V1_7_2,
    V1_8,
    V1_9_9,
}

impl Release {
    pub const ALL: [Self; 7] = [
        Self::V1_3,
        Self::V1_4_2,
        Self::V1_5,
        Self::V1_6_1,
        Self::V1_7_2,
        Self::V1_8,
        Self::V1_9_9,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::V1_3 => "1.3",
            Self::V1_4_2 => "1.4.2",
            Self::V1_5 => "1.5",
            Self::V1_6_1 => "1.6.1",
            Self::V1_7_2 => "1.7.2",
            Self::V1_8 => "1.8",
            Self::V1_9_9 => "1.9.9",
        }
    }

    /// 1.7.2 answers every full backup with a failure once an index written in the same run was deleted.
    pub fn survives_index_deletion(self) -> bool {
        self != Self::V1_7_2
    }

    /// `java` with this release's class path and small limits, ready for a main class and its arguments.
    pub fn java(self) -> Command {
        let home = peers_dir().join(self.name());
        let mut java = Command::new("java");
        java.args([
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
        ]);
        for package in ["java.nio", "sun.nio.ch", "jdk.internal.ref", "java.lang"] {
            java.arg("--add-opens").arg(format!("java.base/{package}=ALL-UNNAMED"));
        }
        java.arg("-cp").arg(format!("{0}/classes:{0}/lib/*", home.display()));
        java
    }
}

/// The folder of the releases.
pub fn peers_dir() -> PathBuf {
    match env::var_os("NEO4J_PEERS_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers"),
    }
}

/// Whether real servers of this release can run here. Says loudly what is missing; under `CI=true` that is a failure.
#[must_use]
pub fn require_peers(release: Release) -> bool {
    let java = Command::new("java")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let missing = if !java.is_ok_and(|status| status.success()) {
        "java".to_owned()
    } else if !peers_dir().join(release.name()).join("classes/Peer.class").exists() {
        format!("Neo4j {} (run tests/peers/fetch)", release.name())
    } else {
        return true;
    };
    skip(&missing);
    false
}

/// The folder of the importer of Neo4j 5.26, if it is there and Java 17 too.
pub fn importer() -> Option<PathBuf> {
    let folder = peers_dir().join("5.26");
    if folder.join("classes/Read.class").exists() {
        return Some(folder);
    }
    skip("Neo4j 5.26 (run tests/peers/fetch)");
    None
}

/// Says loudly that a test does not run; a failure under `CI=true`.
pub fn skip(missing: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "missing: {missing}");
    // Past the capture of test output, so that it shows for passing tests too.
    let name = thread::current().name().unwrap_or("test").to_owned();
    let _ = io::Write::write_all(
        &mut io::stderr(),
        format!("SKIPPED {name}: missing {missing}\n").as_bytes(),
    );
}

/// Does it for each of them, several at a time: for what is mostly waiting, such as the pauses between tries.
pub fn side_by_side<T: Send>(items: impl IntoIterator<Item = T, IntoIter: Send>, each: impl Fn(T) + Sync) {
    const AT_ONCE: usize = 16;
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(item) = next() {
                    each(item);
                }
            });
        }
    });
}

/// Waits for what comes soon, in a minute at most.
#[track_caller]
pub fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_mins(1), "waited for too long");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a store file is there: the server has listed its files and sends them.
pub fn has_a_store(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with("neostore"))
}

/// Every file below `dir` with its bytes.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// Copies a directory and its contents.
pub fn copy_dir(from: &Path, to: &Path) {
    recreate(from, to, &|from, to| {
        fs::copy(from, to).unwrap();
    });
}

/// Creates a directory whose files are hard links to those of another one, as `cp -al` does.
pub fn link_dir(from: &Path, to: &Path) {
    recreate(from, to, &|from, to| fs::hard_link(from, to).unwrap());
}

fn recreate(from: &Path, to: &Path, file: &dyn Fn(&Path, &Path)) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            recreate(&entry.path(), &target, file);
        } else {
            file(&entry.path(), &target);
        }
    }
}
