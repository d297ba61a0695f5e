//! A real cluster of 1.8 under a write load loses members and coordinators all the time, while one backup follows the
//! other. Run by `tests/storm`; every failure of a backup has to have its reason among the faults.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write, stderr},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use support::{Cluster, ClusterSettings, Coordinators, Peer, Release, ZooKeeper, our_tool, require_peers};
use tempfile::TempDir;

const RELEASE: Release = Release::V1_8;
const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// Seconds between two faults.
const PAUSE: Range<u64> = 3..12;
/// Seconds that something stays dead.
const DEAD: Range<u64> = 2..15;
/// How long a fault has effects: a session of a dead member ends after five seconds, and the slaves of 1.8 may stall
/// for ten more before they follow a new master (`docs/formats/zookeeper-discovery.md` §5).
const AFTERMATH: Duration = Duration::from_secs(20);
/// Transactions a second of each member.
const RATE: u32 = 8;

/// What happened to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    MemberKilled(usize),
    MemberBack(usize),
    MemberDidNotStart(usize),
    CoordinatorKilled(usize),
    CoordinatorBack(usize),
}

enum MemberState {
    Alive,
    Dead { until: Instant },
    Starting(JoinHandle<Peer>),
}

struct Storm {
    random: StdRng,
    coordinators: Coordinators,
    cluster: Cluster,
    members: Vec<MemberState>,
    dead_coordinators: BTreeMap<usize, Instant>,
    next: Instant,
    faults: Vec<(Instant, Fault)>,
}

impl Storm {
    fn start(seed: u64, folder: &Path) -> Storm {
        let coordinators = Coordinators::start(ZooKeeper::Debian, 3, folder);
        let settings = ClusterSettings {
            more: vec!["ha.pull_interval=500ms".to_owned()],
            ..ClusterSettings::default()
        };
        let mut cluster = Cluster::start(RELEASE, 3, &coordinators, folder, &settings);
        cluster.members[0].command("gen 20000 1000");
        for member in &mut cluster.members {
            member.command(&format!("start-ledger {RATE}"));
        }
        Storm {
            random: StdRng::seed_from_u64(seed),
            coordinators,
            cluster,
            members: (0..3).map(|_| MemberState::Alive).collect(),
            dead_coordinators: BTreeMap::new(),
            next: Instant::now(),
            faults: Vec::new(),
        }
    }

    fn happened(&mut self, fault: Fault) {
        say(&format!("    {fault:?}"));
        self.faults.push((Instant::now(), fault));
    }

    fn seconds(&mut self, range: Range<u64>) -> Duration {
        Duration::from_secs(self.random.random_range(range))
    }

    /// Does what is due now.
    fn blow(&mut self) {
        let now = Instant::now();
        for index in 0..self.members.len() {
            self.bring_back(index, now);
        }
        let due: Vec<usize> = self
            .dead_coordinators
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(i, _)| *i)
            .collect();
        for index in due {
            self.dead_coordinators.remove(&index);
            self.coordinators.servers[index].restart();
            self.happened(Fault::CoordinatorBack(index + 1));
        }
        if now >= self.next {
            self.kill_something();
            let pause = self.seconds(PAUSE);
            self.next = now + pause;
        }
    }

    fn bring_back(&mut self, index: usize, now: Instant) {
        match &self.members[index] {
            MemberState::Dead { until } if *until <= now => {
                let start = self.cluster.starter();
                self.members[index] = MemberState::Starting(thread::spawn(move || start(index)));
            }
            MemberState::Starting(starting) if starting.is_finished() => {
                let dead = MemberState::Dead { until: now };
                let MemberState::Starting(starting) = std::mem::replace(&mut self.members[index], dead) else {
                    return;
                };
                let started = starting.join().ok().and_then(|mut member| {
                    let wrote = catch_unwind(AssertUnwindSafe(|| member.command(&format!("start-ledger {RATE}"))));
                    wrote.ok().map(|_| member)
                });
                match started {
                    Some(member) => {
                        self.cluster.members[index] = member;
                        self.members[index] = MemberState::Alive;
                        self.happened(Fault::MemberBack(index + 1));
                    }
                    None => self.happened(Fault::MemberDidNotStart(index + 1)),
                }
            }
            _ => {}
        }
    }

    fn kill_something(&mut self) {
        let alive: Vec<usize> = (0..3)
            .filter(|index| matches!(self.members[*index], MemberState::Alive))
            .collect();
        let now = Instant::now();
        if self.random.random_range(0..3) > 0 {
            if alive.len() > 1 {
                let index = alive[self.random.random_range(0..alive.len())];
                self.cluster.members[index].kill();
                let dead = self.seconds(DEAD);
                self.members[index] = MemberState::Dead { until: now + dead };
                self.happened(Fault::MemberKilled(index + 1));
            }
        } else {
            let index = self.random.random_range(0..3);
            if !self.dead_coordinators.contains_key(&index) && self.dead_coordinators.len() < 2 {
                self.coordinators.servers[index].kill();
                let dead = self.seconds(DEAD);
                self.dead_coordinators.insert(index, now + dead);
                self.happened(Fault::CoordinatorKilled(index + 1));
            }
        }
    }

    /// Faults from a while before `since` on.
    fn faults_around(&self, since: Instant) -> Vec<Fault> {
        let recent = self.faults.iter().filter(|(at, _)| *at + AFTERMATH >= since);
        recent.map(|(_, fault)| *fault).collect()
    }

    fn master_may_have_changed(&self, since: Instant) -> bool {
        self.faults_around(since)
            .iter()
            .any(|fault| !matches!(fault, Fault::CoordinatorBack(_)))
    }
}

/// A backup that has ended.
struct Ended {
    code: i32,
    json: Value,
    begun: Instant,
}

/// Takes a backup while the storm goes on.
fn back_up(storm: &mut Storm, mode: &str, target: &Path, options: &[&str]) -> Ended {
    let begun = Instant::now();
    let mut child = Command::new(PROGRAM)
        .args([mode, "-from", &storm.coordinators.uri(), "-to"])
        .arg(target)
        .args(["-verify=false", "-output", "json", "-timeout", "3m"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let code = wait(storm, &mut child);
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ended {
        code,
        json: serde_json::from_str(&stdout).unwrap(),
        begun,
    }
}

fn wait(storm: &mut Storm, child: &mut Child) -> i32 {
    loop {
        storm.blow();
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Boots a copy of what is at the target; the ledger has to balance in the graph, and every byte has to be what the manifest says.
fn judge(target: &Path) -> Result<String, String> {
    let verified = our_tool(&["verify", target.to_str().unwrap()]);
    if !verified.success() {
        return Err(format!("verify: {:?} {}", verified.code, verified.stderr));
    }
    let copy = target.with_extension("copy");
    let _ = fs::remove_dir_all(&copy);
    support::copy_dir(target, &copy);
    let balance = catch_unwind(|| {
        let mut booted = Peer::boot(RELEASE, &copy);
        let balance = booted.command("balance");
        booted.quit();
        balance
    });
    let balance = balance.map_err(|_| "the copy does not boot or balance, see above".to_owned())?;
    // full backups of each member lack some after kills, most likely as the member does; not compared with it, so only told
    let (pairs, behind) = balance.split_once(' ').unwrap();
    Ok(format!(
        "{pairs} pairs, the oldest without an index entry is the {behind}th last booking"
    ))
}

/// Why a failed backup could not succeed, if there was a reason.
fn reason(storm: &Storm, ended: &Ended, last_success: Option<Instant>) -> Option<&'static str> {
    let message = ended.json["error"]["message"].as_str().unwrap_or_default();
    let around = storm.faults_around(ended.begun);
    let coordinators = around
        .iter()
        .any(|fault| matches!(fault, Fault::CoordinatorKilled(_) | Fault::CoordinatorBack(_)));
    match ended.code {
        12 if message.contains("coordinator") && coordinators => Some("no quorum"),
        12 if storm.master_may_have_changed(ended.begun) => Some("members down"),
        // a member that copied its store has no older logs
        13 | 14 if last_success.is_some_and(|since| storm.master_may_have_changed(since)) => Some("transactions lost"),
        _ => None,
    }
}

fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[derive(Default)]
struct Counts {
    outcomes: BTreeMap<String, u32>,
    takeovers: u32,
    failed_attempts: usize,
    wrong: Vec<String>,
}

impl Counts {
    fn count(&mut self, outcome: &str) {
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
}

#[test]
#[ignore = "takes half an hour: tests/storm"]
fn every_backup_in_a_storm_succeeds_or_has_a_reason_not_to() {
    if !require_peers(RELEASE) || !ZooKeeper::Debian.require() {
        return;
    }
    let (seed, minutes) = (number("STORM_SEED", 1), number("STORM_MINUTES", 30));
    say(&format!("STORM_SEED={seed} STORM_MINUTES={minutes}"));
    let folder = TempDir::new().unwrap();
    let mut storm = Storm::start(seed, folder.path());
    let mut choices = StdRng::seed_from_u64(seed ^ 1);
    let (target, mut counts) = (folder.path().join("backup"), Counts::default());
    let (end, mut last_success) = (Instant::now() + Duration::from_mins(minutes), None);
    let mut branched = false;
    while Instant::now() < end {
        let full = last_success.is_none() || branched || choices.random_range(0..4) == 0;
        let prefer = ["master", "slave", "any"][choices.random_range(0..3)];
        let mode = if full { "-full" } else { "-incremental" };
        let ended = back_up(&mut storm, mode, &target, &["-overwrite", "-ha-prefer", prefer]);
        let failed = ended.json["members"]["failed"].as_array().map_or(0, Vec::len);
        counts.failed_attempts += failed;
        let took = ended.begun.elapsed().as_secs_f64();
        let verdict = match ended.code {
            0 | 4 => {
                last_success = Some(Instant::now());
                branched = false;
                counts.takeovers += u32::from(failed > 0);
                "good"
            }
            code => {
                branched = matches!(code, 13 | 14);
                reason(&storm, &ended, last_success).unwrap_or("NO REASON")
            }
        };
        let line = format!("{mode} {prefer}: exit {}, {verdict}", ended.code);
        say(&format!(
            "{line} ({took:.1} s, {failed} failed attempts) {}",
            ended.json["error"]["message"]
        ));
        counts.count(&format!("{mode} exit {} {verdict}", ended.code));
        if verdict == "NO REASON" {
            counts.wrong.push(format!(
                "{line}: {:#}\n{:?}",
                ended.json,
                storm.faults_around(ended.begun)
            ));
        }
        if last_success.is_some() {
            match judge(&target) {
                Ok(pairs) => say(&format!("    boots and balances: {pairs}")),
                Err(error) => counts.wrong.push(format!("{line}: {error}")),
            }
        }
        let pause = Instant::now() + Duration::from_secs(choices.random_range(0..5));
        while Instant::now() < pause {
            storm.blow();
            thread::sleep(Duration::from_millis(50));
        }
    }
    report(&storm, &counts, folder.path());
    assert!(counts.wrong.is_empty(), "{}", counts.wrong.join("\n"));
}

fn report(storm: &Storm, counts: &Counts, folder: &Path) {
    for (outcome, times) in &counts.outcomes {
        say(&format!("{times:>5} {outcome}"));
    }
    let killed = |member: bool| {
        let is = |fault: &Fault| match fault {
            Fault::MemberKilled(_) => member,
            Fault::CoordinatorKilled(_) => !member,
            _ => false,
        };
        storm.faults.iter().filter(|(_, fault)| is(fault)).count()
    };
    say(&format!(
        "{} kills of members, {} of coordinators; {} attempts failed, {} backups by a member that was not the first; {}",
        killed(true),
        killed(false),
        counts.failed_attempts,
        counts.takeovers,
        PathBuf::from(folder).display()
    ));
}
