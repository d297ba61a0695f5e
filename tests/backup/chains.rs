//! Chains of incremental backups of a real server under random load, two side by side: one of ours in which every third
//! link is taken by the original tool, and one of the original tool in which every third link is ours. After each link
//! both are booted by their release and compared with a replay of the load up to the transaction they hold. In between
//! the server rotates its logs and is restarted.
//!
//! `CHAIN_LINKS` is how long the chains are, `CHAIN_SEED` chooses the load; `tests/run full chains` takes long ones.
//! `CHAIN_TOOL=original` lets the original take every link: a control that tells our faults from those of the releases.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{Contents, Finished, Options, Peer, Release, original_tool, our_tool, require_peers};
use tempfile::TempDir;

const DEFAULT_SEED: u64 = 3;
/// Two links of one tool and one of the other.
const DEFAULT_LINKS: u32 = 3;
/// Transactions before the first backup.
const BEFORE: u32 = 120;
/// Transactions between two links while nothing is backed up.
const BETWEEN: u32 = 40;
/// Transactions a second while a link is taken.
const RATE: u32 = 100;
/// Every so many links the server rotates its logs, or is restarted.
const ROTATED: u32 = 4;
const RESTARTED: u32 = 7;

macro_rules! for_each_release {
    ($($(#[$ignored:meta])? $name:ident: $release:ident),* $(,)?) => {$(
        #[test]
        $(#[$ignored])?
        fn $name() {
            every_link_equals_its_source(Release::$release);
        }
    )*};
}

for_each_release! {
    #[ignore = "another release; tests/run full"]
    chains_of_1_3_equal_their_source: V1_3,
    chains_of_1_4_2_equal_their_source: V1_4_2,
    #[ignore = "another release; tests/run full"]
    chains_of_1_5_equal_their_source: V1_5,
    #[ignore = "another release; tests/run full"]
    chains_of_1_6_1_equal_their_source: V1_6_1,
    #[ignore = "another release; tests/run full"]
    chains_of_1_7_2_equal_their_source: V1_7_2,
    #[ignore = "another release; tests/run full"]
    chains_of_1_8_equal_their_source: V1_8,
    #[ignore = "another release; tests/run full"]
    chains_of_1_9_9_equal_their_source: V1_9_9,
}

fn setting<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Ours,
    Original,
}

impl Tool {
    /// The one that takes every third link.
    fn other(self) -> Tool {
        match self {
            Tool::Ours => Tool::Original,
            Tool::Original => Tool::under_test(),
        }
    }

    fn under_test() -> Tool {
        if env::var("CHAIN_TOOL").as_deref() == Ok("original") {
            Tool::Original
        } else {
            Tool::Ours
        }
    }
}

/// A backup and who mostly takes it.
struct Chain {
    dir: PathBuf,
    mostly: Tool,
    taken_by: Tool,
    /// Whether the original of 1.8 had its turn: it leaves the entries of an index that was deleted (§10.3).
    stale: bool,
}

fn every_link_equals_its_source(release: Release) {
    if !require_peers(release) {
        return;
    }
    let (seed, links) = (
        setting("CHAIN_SEED", DEFAULT_SEED),
        setting("CHAIN_LINKS", DEFAULT_LINKS),
    );
    eprintln!("neo4j {}: CHAIN_SEED={seed} CHAIN_LINKS={links}", release.name());
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    let mut source = Peer::start(release, &dir("source"), &Options::source(release));
    let mut last = source.load(seed, BEFORE);
    let mut chains = [(Tool::under_test(), "ours"), (Tool::Original, "original")].map(|(mostly, name)| Chain {
        dir: dir(name),
        mostly,
        taken_by: mostly,
        stale: false,
    });
    let mut replay = Replay::new(release, seed, work.path());
    for chain in &mut chains {
        backup(chain.mostly, "-full", &source, &chain.dir);
        chain.stale |= chain.mostly == Tool::Original && release == Release::V1_8;
    }
    let mut sum = Duration::ZERO;
    for link in 1..=links {
        // 1.3 looks for old transactions for minutes after a restart
        if link % RESTARTED == 0 && release != Release::V1_3 {
            source.quit();
            source = Peer::start(release, &dir("source"), &Options::source(release));
            replay.restarts.push(last);
        }
        if link % ROTATED == 0 {
            backup(Tool::Ours, "-full", &source, &dir("rotating"));
            fs::remove_dir_all(dir("rotating")).unwrap();
        }
        source.load(seed, BETWEEN);
        for chain in &mut chains {
            let tool = if link % 3 == 0 {
                chain.mostly.other()
            } else {
                chain.mostly
            };
            source.start_load(seed, RATE);
            let (tool, finished) = continue_chain(tool, &source, chain);
            last = source.stop_load();
            if tool == Tool::Ours {
                sum += finished.took;
                assert_history(&finished, release, chain, link);
            }
            chain.taken_by = tool;
            chain.stale |= tool == Tool::Original && release == Release::V1_8;
            let found = Peer::contents_of_copy(release, &chain.dir);
            replay.compare(&found, chain, link);
        }
    }
    eprintln!(
        "neo4j {}: {links} links, ours took {:.1} s",
        release.name(),
        sum.as_secs_f64()
    );
}

fn backup(tool: Tool, mode: &str, source: &Peer, to: &Path) -> Finished {
    let finished = run(tool, mode, source, to);
    assert!(
        finished.success(),
        "{tool:?} {mode} of {} to {}: {finished:#?}",
        source.release().name(),
        to.display()
    );
    finished
}

fn run(tool: Tool, mode: &str, source: &Peer, to: &Path) -> Finished {
    let (from, to) = (source.uri(), to.to_str().unwrap());
    let args = [mode, "-from", &from, "-to", to];
    match tool {
        Tool::Ours => our_tool(&[&args[..], &["-verify=false", "-output=json"]].concat()),
        Tool::Original => original_tool(source.release(), &args),
    }
}

/// The next link, and who took it.
///
/// The original of 1.3 does not write down which index transactions it applied, so its next link asks for them again:
/// more and more, until the server needs longer than the 20 seconds which that tool waits. It applies them again, too,
/// and dies where one of them adds to an index that a later one deleted. Ours then has to go on from what it left.
fn continue_chain(tool: Tool, source: &Peer, chain: &Chain) -> (Tool, Finished) {
    if source.release() != Release::V1_3 || (tool, chain.taken_by) != (Tool::Original, Tool::Original) {
        return (tool, backup(tool, "-incremental", source, &chain.dir));
    }
    let finished = run(tool, "-incremental", source, &chain.dir);
    let applied_twice = finished.stderr.contains("IndexTypeCache.getIndexType");
    let asked_for_too_much = finished.stdout.contains("BlockingReadTimeoutException");
    if applied_twice || asked_for_too_much {
        eprintln!("neo4j 1.3: the original broke its own chain, which ours continues: {finished:?}");
        return (Tool::Ours, backup(Tool::Ours, "-incremental", source, &chain.dir));
    }
    assert!(finished.success(), "{finished:#?}");
    (tool, finished)
}

/// From 1.4 on each link of ours proves that it continues the same history, whoever took the one before.
fn assert_history(finished: &Finished, release: Release, chain: &Chain, link: u32) {
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let history = report["result"]["history"].as_str();
    if chain.taken_by == Tool::Ours && link > 1 && release != Release::V1_3 {
        assert_eq!(history, Some("proven"), "{}", finished.stdout);
    } else {
        eprintln!(
            "neo4j {}, {} {link}: history {history:?} behind a link by {:?}",
            release.name(),
            chain.dir.file_name().unwrap().display(),
            chain.taken_by
        );
    }
}

/// The load in a fresh database, which goes on from link to link.
struct Replay {
    release: Release,
    seed: u64,
    work: PathBuf,
    peer: Option<Peer>,
    reached: u64,
    /// Behind which transactions the source was restarted: from there on it hands out ids again that it had freed.
    restarts: Vec<u64>,
    /// Fresh databases so far.
    rounds: u32,
}

impl Replay {
    fn new(release: Release, seed: u64, work: &Path) -> Replay {
        Replay {
            release,
            seed,
            work: work.to_owned(),
            peer: Some(Peer::start(release, &work.join("replay"), &Options::replay(release))),
            reached: 0,
            restarts: Vec::new(),
            rounds: 0,
        }
    }

    fn at(&mut self, last: u64) -> Contents {
        if last < self.reached {
            // a database cannot go back
            self.rounds += 1;
            self.start();
            self.reached = 0;
        }
        let reached = self.reached;
        let passed = self.restarts.iter().filter(|restart| (reached..last).contains(restart));
        for restart in passed.copied().collect::<Vec<_>>() {
            let seed = self.seed;
            self.peer().replay(seed, restart);
            self.peer.take().unwrap().quit();
            self.start();
        }
        let seed = self.seed;
        self.peer().replay(seed, last);
        self.reached = last;
        self.peer().contents()
    }

    fn peer(&mut self) -> &mut Peer {
        self.peer.as_mut().unwrap()
    }

    fn start(&mut self) {
        let dir = match self.rounds {
            0 => self.work.join("replay"),
            rounds => self.work.join(format!("replay-{rounds}")),
        };
        self.peer = Some(Peer::start(self.release, &dir, &Options::replay(self.release)));
    }

    fn compare(&mut self, found: &Contents, chain: &Chain, link: u32) {
        let first = found.seq.min(found.index_seq);
        let early = self.at(first);
        let late = self.at(found.seq.max(found.index_seq));
        let (graph, index) = if found.seq == first {
            (early, late)
        } else {
            (late, early)
        };
        assert_eq!((graph.seq, index.index_seq), (found.seq, found.index_seq));
        let (mut found, mut index) = (found.clone(), index);
        if chain.stale {
            found.forget_index("temp");
            index.forget_index("temp");
        }
        let difference = found
            .graph_difference(&graph)
            .or_else(|| found.index_difference(&index));
        if let Some(difference) = difference {
            panic!(
                "neo4j {}, seed {}, {} link {link}, taken by {:?}, at transaction {}:\n{difference}",
                self.release.name(),
                self.seed,
                chain.dir.display(),
                chain.taken_by,
                found.seq
            );
        }
    }
}
