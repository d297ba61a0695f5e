//! A cluster of 1.8 whose members and coordinators are killed or paused at random, and come back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Write, stderr},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    ledger::{Balance, answer, number},
    support::{Cluster, ClusterSettings, Coordinators, Peer, Release, ZooKeeper},
};

pub(crate) const RELEASE: Release = Release::V1_8;
/// Seconds between two faults.
const PAUSE: Range<u64> = 3..12;
/// Seconds that something stays dead.
const DEAD: Range<u64> = 2..15;
/// Seconds that something is paused, as by a garbage collection or a virtual machine that moves.
const PAUSED: Range<u64> = 1..16;
/// How long a fault has effects: a session of a dead member ends after five seconds, and the slaves of 1.8 may stall
/// for ten more before they follow a new master (`docs/formats/zookeeper-discovery.md` §5).
const AFTERMATH: Duration = Duration::from_secs(20);
/// For everything to come back and level out in the end.
const CALM: Duration = Duration::from_mins(6);
/// A member of 1.8 that slept longer than its session may never follow the master again; after so long, the cluster is
/// restarted, as an operator would.
const LEFT_BEHIND: Duration = Duration::from_mins(1);
/// Transactions a second of each member.
const RATE: u32 = 8;

/// What happened to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    MemberKilled(usize),
    MemberBack(usize),
    MemberDidNotStart(usize),
    MemberPaused(usize),
    MemberResumed(usize),
    CoordinatorKilled(usize),
    CoordinatorBack(usize),
    CoordinatorPaused(usize),
    CoordinatorResumed(usize),
}

enum MemberState {
    Alive,
    Dead { until: Instant },
    Paused { until: Instant },
    Starting(JoinHandle<Peer>),
}

pub(crate) struct Storm {
    random: StdRng,
    pub(crate) coordinators: Coordinators,
    pub(crate) cluster: Cluster,
    members: Vec<MemberState>,
    dead_coordinators: BTreeMap<usize, Instant>,
    paused_coordinators: BTreeMap<usize, Instant>,
    /// When the next fault comes; never, once it is calm.
    next: Option<Instant>,
    pub(crate) faults: Vec<(Instant, Fault)>,
    /// Pairs that were seen to be lacking in a member's index and in a copy.
    pub(crate) lost: BTreeSet<String>,
}

/// What the indexes of members lack.
pub(crate) struct Lacking {
    /// The pairs that one of those lacks that could be asked.
    pub(crate) pairs: BTreeSet<String>,
    /// Entries of pairs that were struck, in the one that has the most.
    pub(crate) stale: u64,
    /// Whether all could be asked.
    pub(crate) everybody: bool,
}

impl Storm {
    pub(crate) fn start(seed: u64, folder: &Path) -> Storm {
        let coordinators = Coordinators::start(ZooKeeper::Debian, 3, folder);
        let settings = ClusterSettings {
            more: vec!["ha.pull_interval=500ms".to_owned()],
            ..ClusterSettings::default()
        };
        let mut cluster = Cluster::start(RELEASE, 3, &coordinators, folder, &settings);
        cluster.members[0].command_as_member("gen 20000 1000");
        for member in &mut cluster.members {
            member.command(&format!("start-ledger {RATE}"));
        }
        Storm {
            random: StdRng::seed_from_u64(seed),
            coordinators,
            cluster,
            members: (0..3).map(|_| MemberState::Alive).collect(),
            dead_coordinators: BTreeMap::new(),
            paused_coordinators: BTreeMap::new(),
            next: Some(Instant::now()),
            faults: Vec::new(),
            lost: BTreeSet::new(),
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
    pub(crate) fn blow(&mut self) {
        let now = Instant::now();
        for index in 0..self.members.len() {
            self.bring_back(index, now);
        }
        for (index, _) in self
            .dead_coordinators
            .extract_if(.., |_, until| *until <= now)
            .collect::<Vec<_>>()
        {
            self.coordinators.servers[index].restart();
            self.happened(Fault::CoordinatorBack(index + 1));
        }
        for (index, _) in self
            .paused_coordinators
            .extract_if(.., |_, until| *until <= now)
            .collect::<Vec<_>>()
        {
            signal(self.coordinators.servers[index].pid(), Signal::CONT);
            self.happened(Fault::CoordinatorResumed(index + 1));
        }
        if self.next.is_some_and(|next| now >= next) {
            if self.random.random() {
                self.kill_something();
            } else {
                self.pause_something();
            }
            let pause = self.seconds(PAUSE);
            self.next = Some(now + pause);
        }
    }

    fn bring_back(&mut self, index: usize, now: Instant) {
        match &self.members[index] {
            MemberState::Dead { until } if *until <= now => {
                let start = self.cluster.starter();
                self.members[index] = MemberState::Starting(thread::spawn(move || start(index)));
            }
            MemberState::Paused { until } if *until <= now => {
                signal(self.cluster.members[index].pid(), Signal::CONT);
                self.members[index] = MemberState::Alive;
                self.happened(Fault::MemberResumed(index + 1));
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
                if let Some(member) = started {
                    self.cluster.members[index] = member;
                    self.members[index] = MemberState::Alive;
                    self.happened(Fault::MemberBack(index + 1));
                } else {
                    self.happened(Fault::MemberDidNotStart(index + 1));
                    // as an operator would, and only while others have the data: killed while it copied the master's
                    // store, it has half of one and cannot start any more
                    if self.next.is_none() {
                        fs::remove_dir_all(self.cluster.members[index].dir()).unwrap();
                    }
                }
            }
            _ => {}
        }
    }

    /// A member that is not the last one alive.
    fn some_member(&mut self) -> Option<usize> {
        let alive: Vec<usize> = (0..3)
            .filter(|index| matches!(self.members[*index], MemberState::Alive))
            .collect();
        (alive.len() > 1).then(|| alive[self.random.random_range(0..alive.len())])
    }

    /// A coordinator that is not the last one alive.
    fn some_coordinator(&mut self) -> Option<usize> {
        let index = self.random.random_range(0..3);
        let gone = [&self.dead_coordinators, &self.paused_coordinators];
        let is_last = gone.iter().map(|gone| gone.len()).sum::<usize>() >= 2;
        (!is_last && gone.iter().all(|gone| !gone.contains_key(&index))).then_some(index)
    }

    fn pause_something(&mut self) {
        let now = Instant::now();
        if self.random.random_range(0..3) > 0 {
            if let Some(index) = self.some_member() {
                signal(self.cluster.members[index].pid(), Signal::STOP);
                let until = now + self.seconds(PAUSED);
                self.members[index] = MemberState::Paused { until };
                self.happened(Fault::MemberPaused(index + 1));
            }
        } else if let Some(index) = self.some_coordinator() {
            signal(self.coordinators.servers[index].pid(), Signal::STOP);
            let until = now + self.seconds(PAUSED);
            self.paused_coordinators.insert(index, until);
            self.happened(Fault::CoordinatorPaused(index + 1));
        }
    }

    fn kill_something(&mut self) {
        let now = Instant::now();
        if self.random.random_range(0..3) > 0 {
            if let Some(index) = self.some_member() {
                self.cluster.members[index].kill();
                let dead = self.seconds(DEAD);
                self.members[index] = MemberState::Dead { until: now + dead };
                self.happened(Fault::MemberKilled(index + 1));
            }
        } else if let Some(index) = self.some_coordinator() {
            self.coordinators.servers[index].kill();
            let dead = self.seconds(DEAD);
            self.dead_coordinators.insert(index, now + dead);
            self.happened(Fault::CoordinatorKilled(index + 1));
        }
    }

    /// What the members answer that are alive and can.
    fn answers(&mut self, command: &str) -> Vec<String> {
        let alive = self.members.iter().zip(&mut self.cluster.members);
        let alive = alive.filter(|(state, _)| matches!(state, MemberState::Alive));
        alive.filter_map(|(_, member)| answer(member, command)).collect()
    }

    /// How many bookings have been made, by the member that knows of the most.
    pub(crate) fn bookings(&mut self) -> u64 {
        let names = self.answers("last-booking");
        names.iter().filter_map(|name| number(name)).max().unwrap_or(0)
    }

    /// Whether a member's index lacks what a backup's has: it may lose a transaction that its graph has
    /// (`docs/formats/transaction-log.md` §10.4), and give its number to another one.
    pub(crate) fn index_has_lost(&mut self, backup: &Balance) -> bool {
        let lacking = self.lacking();
        let is_older = |name: &String| number(name).is_some_and(|number| number <= backup.bookings);
        lacking.stale > backup.stale || lacking.pairs.difference(&backup.unindexed).any(is_older)
    }

    /// Whether a booking that was made is unknown to a member now, or to all that there are.
    pub(crate) fn has_lost(&mut self, booking: &str) -> bool {
        let answers = self.answers(&format!("has-made {booking}"));
        answers.is_empty() || answers.iter().any(|answer| answer != "true")
    }

    pub(crate) fn lacking(&mut self) -> Lacking {
        let answers = self.answers("unindexed");
        let names = answers.iter().flat_map(|answer| answer.split(' ').skip(1));
        let stale = answers
            .iter()
            .filter_map(|answer| answer.split(' ').next()?.parse().ok());
        Lacking {
            pairs: names.map(str::to_owned).collect(),
            stale: stale.max().unwrap_or(0),
            everybody: answers.len() == self.members.len(),
        }
    }

    /// Brings back all that is dead or paused.
    pub(crate) fn calm(&mut self) -> Result<(), String> {
        self.next = None;
        let begun = Instant::now();
        let is_alive = |member: &MemberState| matches!(member, MemberState::Alive);
        while !(self.members.iter().all(is_alive)
            && self.dead_coordinators.is_empty()
            && self.paused_coordinators.is_empty())
        {
            if begun.elapsed() > CALM {
                return Err(format!("not everybody comes back: {:?}", self.faults.last()));
            }
            self.blow();
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What each member has, once their graphs are equal and nothing changes any more: the index part of a transaction comes
    /// to a slave after its graph part.
    pub(crate) fn settled(&mut self) -> Result<Vec<Balance>, String> {
        let mut begun = Instant::now();
        let mut is_restarted = false;
        let mut before = Vec::new();
        loop {
            let balances: Vec<_> = self.cluster.members.iter_mut().map(Balance::of).collect();
            let graphs: BTreeSet<_> = balances.iter().flatten().map(|one| (one.pairs, one.bookings)).collect();
            if graphs.len() == 1 && balances.iter().all(Option::is_some) && balances == before {
                return Ok(balances.into_iter().flatten().collect());
            }
            if begun.elapsed() > CALM {
                return Err(format!("members never agree: {balances:?}"));
            }
            if begun.elapsed() > LEFT_BEHIND && !is_restarted {
                self.restart(&balances);
                (begun, is_restarted) = (Instant::now(), true);
            }
            before = balances;
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Restarts all members, and first the one with the most bookings, which becomes the master.
    fn restart(&mut self, balances: &[Option<Balance>]) {
        let mut order: Vec<usize> = (0..balances.len()).collect();
        order.sort_by_key(|index| Reverse(balances[*index].as_ref().map(|balance| balance.bookings)));
        say(&format!("    restarted, the members in this order: {order:?}"));
        for member in &mut self.cluster.members {
            member.kill();
        }
        self.cluster.restart(&order);
    }

    /// Faults from a while before `since` on.
    pub(crate) fn faults_around(&self, since: Instant) -> Vec<Fault> {
        let recent = self.faults.iter().filter(|(at, _)| *at + AFTERMATH >= since);
        recent.map(|(_, fault)| *fault).collect()
    }

    pub(crate) fn master_may_have_changed(&self, since: Instant) -> bool {
        self.faults_around(since)
            .iter()
            .any(|fault| !matches!(fault, Fault::CoordinatorBack(_) | Fault::CoordinatorResumed(_)))
    }
}

pub(crate) fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
