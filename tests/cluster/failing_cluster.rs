//! A real cluster whose members and coordinators go away while it is backed up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    self, Cluster, ClusterSettings, Contents, Coordinator, Coordinators, Peer, Relay, Release, ZooKeeper, require_peers,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// Slow enough to do something in the middle of a transfer of some tens of megabytes, of which sockets hold six.
pub(crate) const SLOWLY: [&str; 2] = ["-max-rate", "16m"];

/// Bytes after which something is done.
pub(crate) const MIDDLE: u64 = 4 << 20;

/// For whatever is waited for.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A cluster with some data, and a folder for backups of it.
pub(crate) struct Place {
    release: Release,
    folder: TempDir,
    pub(crate) coordinators: Coordinators,
    pub(crate) relay: Relay,
    pub(crate) cluster: Cluster,
}

impl Place {
    /// The first member is the master, and sees a coordinator through the relay only.
    pub(crate) fn start(release: Release, members: usize) -> Option<Place> {
        if !require_peers(release) || !ZooKeeper::Debian.require() {
            return None;
        }
        let mut folder = TempDir::new().unwrap();
        folder.disable_cleanup(std::env::var_os("HA_KEEP").is_some());
        let coordinators = Coordinators::start(ZooKeeper::Debian, 3, folder.path());
        let relay = Relay::to(coordinators.servers[0].port());
        let settings = ClusterSettings {
            first_looks_at: Some(format!("127.0.0.1:{}", relay.port())),
            // slaves fetch what they were not sent
            more: vec!["ha.pull_interval=200ms".to_owned()],
            ..ClusterSettings::default()
        };
        let cluster = Cluster::start(release, members, &coordinators, folder.path(), &settings);
        let mut place = Place {
            release,
            folder,
            coordinators,
            relay,
            cluster,
        };
        place.fill(0);
        Some(place)
    }

    /// More data through this member, until all that are named have it too.
    pub(crate) fn fill(&mut self, member: usize) {
        self.cluster.members[member].command_as_member("gen 60000 1000");
    }

    pub(crate) fn member(&mut self, id: i64) -> &mut Peer {
        &mut self.cluster.members[usize::try_from(id).unwrap() - 1]
    }

    pub(crate) fn kill(&mut self, id: i64) {
        self.member(id).kill();
    }

    /// Starts a member again that was killed.
    pub(crate) fn restart(&mut self, id: i64) {
        self.cluster.restart(&[usize::try_from(id).unwrap() - 1]);
    }

    pub(crate) fn kill_leader(&mut self) {
        let leads = |server: &Coordinator| server.mode().as_deref() == Some("leader");
        let leader = self.coordinators.servers.iter().position(leads).unwrap();
        self.coordinators.servers[leader].kill();
    }

    /// Those that were killed, and those that were not.
    pub(crate) fn restart_coordinators(&mut self) {
        for server in &mut self.coordinators.servers {
            server.restart();
        }
        for server in &self.coordinators.servers {
            server.wait_until_serving();
        }
    }

    /// Waits until the slaves have all that the master has, by what they register.
    pub(crate) fn wait_until_level(&self) {
        let start = Instant::now();
        loop {
            let shown = support::our_tool(&["members", "-from", &self.coordinators.uri(), "-output", "json"]);
            let shown: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
            let members = shown["result"]["members"].as_array();
            let last = |member: &Value| member["last_transaction"].as_i64();
            if members.is_some_and(|members| {
                members
                    .iter()
                    .all(|one| last(one).is_some() && last(one) == last(&members[0]))
            }) {
                return;
            }
            assert!(start.elapsed() < LIMIT, "{shown:#}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The master, once members have followed it for a while: backups of it neither fail nor go elsewhere. Those bring
    /// `target` up to date.
    pub(crate) fn settled_master(&self, target: &Path) -> i64 {
        let start = Instant::now();
        let mut seen = Vec::new();
        while !matches!(seen.as_slice(), [.., a, b, c] if a == b && b == c) {
            assert!(start.elapsed() < LIMIT, "{seen:?}");
            let report = self.back_up("-incremental", target, &[]);
            match report.code {
                0 if report.served().1 == "master" => seen.push(report.served().0),
                0 | 4 | 12 => seen.clear(),
                _ => report.assert_code(0),
            }
            thread::sleep(Duration::from_secs(1));
        }
        seen[0]
    }

    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins a backup.
    pub(crate) fn begin(&self, mode: &str, target: &Path, options: &[&str]) -> Run {
        let child = Command::new(PROGRAM)
            .args([mode, "-from", &self.coordinators.uri(), "-to"])
            .arg(target)
            .args(["-verify=false", "-output", "json", "-vv"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(target.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        Run {
            child,
            target: target.to_owned(),
        }
    }

    pub(crate) fn back_up(&self, mode: &str, target: &Path, options: &[&str]) -> Report {
        self.begin(mode, target, options).finish()
    }

    /// Boots a copy of the target and compares its contents. What it should have was taken before anything was killed:
    /// a member that changes its role cannot be read.
    pub(crate) fn assert_contents(&mut self, target: &Path, expected: &Contents) {
        self.assert_one_of(target, std::slice::from_ref(expected));
    }

    /// The same where the backup may have ended in any of these states.
    pub(crate) fn assert_one_of(&mut self, target: &Path, states: &[Contents]) {
        let found = Peer::contents_of_copy(self.release, target);
        let differences: Vec<_> = states.iter().map(|expected| found.difference(expected)).collect();
        assert!(differences.contains(&None), "{differences:?}");
    }

    /// A transaction through each member but this one, once there is a master; what the cluster has after each.
    pub(crate) fn commit_through_all_but(&mut self, id: i64) -> Vec<Contents> {
        let others = (1..).zip(&mut self.cluster.members).filter(|(other, _)| *other != id);
        others
            .map(|(_, member)| {
                member.command_as_member("gen 1");
                member.contents_as_member()
            })
            .collect()
    }

    pub(crate) fn release(&self) -> Release {
        self.release
    }
}

/// A backup that goes on.
pub(crate) struct Run {
    child: Child,
    target: PathBuf,
}

impl Run {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.target.with_extension("log")).unwrap()
    }

    /// The member that is being asked.
    pub(crate) fn asked(&self) -> i64 {
        let log = self.log();
        let (_, rest) = log.rsplit_once("member=member ").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until so much has arrived on the disk.
    pub(crate) fn wait_for(&mut self, bytes: u64, place: &Path) {
        let start = Instant::now();
        while size(place) < bytes {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < LIMIT, "{ended:?} {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a full backup is in its middle.
    pub(crate) fn wait_for_the_middle(&mut self) {
        let partial = self.target.with_extension("partial");
        self.wait_for(MIDDLE, &partial);
    }

    pub(crate) fn finish(mut self) -> Report {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        Report {
            code,
            json: serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{}", self.log())),
            log: self.log(),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of a file, or of all files in a directory; 0 if it is not there.
fn size(place: &Path) -> u64 {
    let Ok(found) = fs::metadata(place) else { return 0 };
    if found.is_file() {
        return found.len();
    }
    let entries = fs::read_dir(place).into_iter().flatten().map_while(Result::ok);
    entries.map(|entry| size(&entry.path())).sum()
}

/// What a run reported.
pub(crate) struct Report {
    pub(crate) code: i32,
    pub(crate) json: Value,
    log: String,
}

impl Report {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) {
        assert_eq!(self.code, code, "{:#}\n{}", self.json, self.log);
    }

    /// Number and role of the member that gave the backup.
    pub(crate) fn served(&self) -> (i64, &str) {
        let served = &self.json["members"]["served"];
        (served["id"].as_i64().unwrap(), served["role"].as_str().unwrap())
    }

    /// Who failed before, and after how many bytes.
    pub(crate) fn failed(&self) -> Vec<(&str, u64)> {
        let failed = self.json["members"]["failed"].as_array().unwrap();
        let row = |attempt: &'_ Value| attempt["bytes"].as_u64().unwrap();
        failed
            .iter()
            .map(|attempt| (attempt["member"].as_str().unwrap(), row(attempt)))
            .collect()
    }

    /// From the kill to the first byte of the files or transactions that the next member sent.
    pub(crate) fn first_byte_after(&self, kill: SystemTime) -> Duration {
        let (_, log) = self.log.rsplit_once("attempt failed").unwrap();
        let asked = log.find("asking for a full backup");
        let asked = asked.or_else(|| log.find("asking for transactions")).unwrap();
        let mut lines = log[asked..].lines();
        let at = time_of_day(lines.find(|line| line.contains("the response begins")).unwrap());
        let killed = kill.duration_since(UNIX_EPOCH).unwrap().as_secs_f64() % 86400.0;
        Duration::from_secs_f64((at - killed).rem_euclid(86400.0))
    }
}

/// Seconds of the day in `2026-11-25T11:27:58.732792Z …`.
fn time_of_day(line: &str) -> f64 {
    let time = line.split('T').nth(1).and_then(|rest| rest.split('Z').next()).unwrap();
    let parts: Vec<f64> = time.split(':').map(|part| part.parse().unwrap()).collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

/// The next member's first byte comes within two seconds on a machine that has nothing else to do
/// (`docs/performance.md`); this one may have.
#[track_caller]
pub(crate) fn assert_quick(report: &Report, kill: SystemTime) {
    let took = report.first_byte_after(kill);
    // shown by --nocapture
    let _ = writeln!(
        std::io::stderr(),
        "from the kill to the next member's first byte: {took:?}"
    );
    assert!(took < Duration::from_secs(25), "{took:?}\n{}", report.log);
}
