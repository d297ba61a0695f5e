//! Backups of real clusters through `ha://`, while members and coordinators go away.
//!
//! Starting a cluster is what takes long, so each test tells one story of one cluster.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "panicking is how tests report"
)]

mod support;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use support::{Cluster, ClusterSettings, Contents, Coordinators, Peer, Relay, Release, ZooKeeper, require_peers};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// Slow enough to do something in the middle of a transfer of some tens of megabytes, of which sockets hold six.
const SLOWLY: [&str; 2] = ["-max-rate", "16m"];

/// Bytes after which something is done.
const MIDDLE: u64 = 4 << 20;

/// For whatever is waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// A cluster with some data, and a folder for backups of it.
struct Place {
    folder: TempDir,
    coordinators: Coordinators,
    relay: Relay,
    cluster: Cluster,
}

impl Place {
    /// The first member is the master, and sees a coordinator through the relay only.
    fn start(release: Release, members: usize) -> Option<Place> {
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
            folder,
            coordinators,
            relay,
            cluster,
        };
        place.fill(0);
        Some(place)
    }

    /// More data through this member, until all that are named have it too.
    fn fill(&mut self, member: usize) {
        self.cluster.members[member].command("gen 60000 1000");
    }

    fn member(&mut self, id: i64) -> &mut Peer {
        &mut self.cluster.members[usize::try_from(id).unwrap() - 1]
    }

    fn kill(&mut self, id: i64) {
        self.member(id).kill();
    }

    fn target(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins a backup.
    fn begin(&self, mode: &str, target: &Path, options: &[&str]) -> Run {
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

    fn back_up(&self, mode: &str, target: &Path, options: &[&str]) -> Report {
        self.begin(mode, target, options).finish()
    }

    /// Boots a copy of the target and compares its contents. What it should have was taken before anything was killed:
    /// a member that changes its role cannot be read.
    fn assert_contents(&mut self, target: &Path, expected: &Contents) {
        let copy = target.with_extension("copy");
        support::copy_dir(target, &copy);
        let mut booted = Peer::boot(self.member(1).release(), &copy);
        assert_eq!(booted.contents().difference(expected), None);
        fs::remove_dir_all(copy).unwrap();
    }
}

/// A backup that goes on.
struct Run {
    child: Child,
    target: PathBuf,
}

impl Run {
    fn log(&self) -> String {
        fs::read_to_string(self.target.with_extension("log")).unwrap()
    }

    /// Waits until so much has arrived on the disk.
    fn wait_for(&mut self, bytes: u64, place: &Path) {
        let start = Instant::now();
        while size(place) < bytes {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < LIMIT, "{ended:?} {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a full backup is in its middle.
    fn wait_for_the_middle(&mut self) {
        let partial = self.target.with_extension("partial");
        self.wait_for(MIDDLE, &partial);
    }

    fn finish(mut self) -> Report {
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
struct Report {
    code: i32,
    json: Value,
    log: String,
}

impl Report {
    #[track_caller]
    fn assert_code(&self, code: i32) {
        assert_eq!(self.code, code, "{:#}\n{}", self.json, self.log);
    }

    /// Number and role of the member that gave the backup.
    fn served(&self) -> (i64, &str) {
        let served = &self.json["members"]["served"];
        (served["id"].as_i64().unwrap(), served["role"].as_str().unwrap())
    }

    /// Who failed before, and after how many bytes.
    fn failed(&self) -> Vec<(&str, u64)> {
        let failed = self.json["members"]["failed"].as_array().unwrap();
        let row = |attempt: &'_ Value| attempt["bytes"].as_u64().unwrap();
        failed
            .iter()
            .map(|attempt| (attempt["member"].as_str().unwrap(), row(attempt)))
            .collect()
    }

    /// From the kill to the first byte of the files or transactions that the next member sent.
    fn first_byte_after(&self, kill: SystemTime) -> Duration {
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
fn assert_quick(report: &Report, kill: SystemTime) {
    let took = report.first_byte_after(kill);
    // shown by --nocapture
    let _ = writeln!(
        std::io::stderr(),
        "from the kill to the next member's first byte: {took:?}"
    );
    assert!(took < Duration::from_secs(15), "{took:?}\n{}", report.log);
}

#[test]
fn a_cluster_of_1_8_is_backed_up_whoever_goes_away() {
    let Some(mut place) = Place::start(Release::V1_8, 4) else {
        return;
    };
    let base = each_preference_asks_its_member(&mut place);
    a_backup_goes_on_without_coordinators(&mut place);
    a_source_that_loses_the_master_role_is_told(&mut place);
    let contents = the_next_member_takes_over_an_incremental_backup(&mut place, &base);
    the_next_member_takes_over_a_full_backup(&mut place, &contents);
}

/// Returns a backup that is level with the cluster.
fn each_preference_asks_its_member(place: &mut Place) -> PathBuf {
    let target = place.target("preferences");
    for (mode, options, served) in [
        ("-full", &[][..], Some((1, "master"))),
        ("-incremental", &["-ha-prefer", "master"], Some((1, "master"))),
        ("-incremental", &["-ha-prefer", "any"], None),
        (
            "-incremental",
            &["-ha-member", "3", "-cluster", "neo4j.ha"],
            Some((3, "slave")),
        ),
        ("-auto", &["-ha-prefer", "slave"], None),
    ] {
        let report = place.back_up(mode, &target, options);
        report.assert_code(0);
        assert!(
            served.is_none_or(|served| served == report.served()),
            "{options:?}: {:#}",
            report.json
        );
    }
    let expected = place.member(1).contents();
    place.assert_contents(&target, &expected);
    target
}

fn a_backup_goes_on_without_coordinators(place: &mut Place) {
    let target = place.target("without-coordinators");
    let mut run = place.begin("-full", &target, &SLOWLY);
    run.wait_for_the_middle();
    for server in &mut place.coordinators.servers {
        server.kill();
    }
    let report = run.finish();
    report.assert_code(0);
    assert_eq!(report.served(), (1, "master"));
    let warnings = report.json["warnings"].to_string();
    assert!(
        warnings.contains("whether the source is still the master cannot be seen"),
        "{warnings}"
    );
    let report = place.back_up("-incremental", &target, &[]);
    report.assert_code(12);
    for server in &mut place.coordinators.servers {
        server.restart();
    }
    for server in &place.coordinators.servers {
        server.wait_until_serving();
    }
}

/// The master is cut off from the coordinators while it sends: the others elect a new one, and the old one goes on
/// serving (`docs/formats/zookeeper-discovery.md` §6.3).
fn a_source_that_loses_the_master_role_is_told(place: &mut Place) {
    let target = place.target("demoted");
    // longer than the others need to elect
    let mut run = place.begin("-full", &target, &["-max-rate", "2m"]);
    run.wait_for_the_middle();
    place.relay.cut();
    let report = run.finish();
    report.assert_code(4);
    assert_eq!(report.served(), (1, "master"));
    assert_eq!(report.json["result"]["verdict"], "source-demoted");
    place.kill(1);
    place.relay.mend();
}

/// The member that is being asked.
fn asked(run: &Run) -> i64 {
    let log = run.log();
    let (_, rest) = log.rsplit_once("member=member ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// The master, once members have followed it for a while: backups of it neither fail nor go elsewhere.
fn settled_master(place: &Place, target: &Path) -> i64 {
    let start = Instant::now();
    let mut seen = Vec::new();
    while !matches!(seen.as_slice(), [.., a, b, c] if a == b && b == c) {
        assert!(start.elapsed() < LIMIT, "{seen:?}");
        let report = place.back_up("-incremental", target, &[]);
        match report.code {
            0 if report.served().1 == "master" => seen.push(report.served().0),
            0 | 4 | 12 => seen.clear(),
            _ => report.assert_code(0),
        }
        thread::sleep(Duration::from_secs(1));
    }
    seen[0]
}

/// Returns what all members have then.
fn the_next_member_takes_over_an_incremental_backup(place: &mut Place, target: &Path) -> Contents {
    let master = settled_master(place, target);
    place.fill(usize::try_from(master).unwrap() - 1);
    let contents = place.member(master).contents();

    let mut run = place.begin("-incremental", target, &SLOWLY);
    run.wait_for(MIDDLE, &target.join("neo4j-backup.received"));
    assert_eq!(asked(&run), master);
    place.kill(master);
    let killed = SystemTime::now();
    let report = run.finish();
    report.assert_code(0);
    assert_ne!(report.served().0, master, "{:#}", report.json);
    assert_eq!(report.json["result"]["history"], "proven");
    assert_quick(&report, killed);
    place.assert_contents(target, &contents);
    contents
}

fn the_next_member_takes_over_a_full_backup(place: &mut Place, contents: &Contents) {
    let target = place.target("full");
    let mut run = place.begin("-full", &target, &SLOWLY);
    run.wait_for_the_middle();
    let first = asked(&run);
    place.kill(first);
    let killed = SystemTime::now();
    let report = run.finish();
    report.assert_code(0);
    assert_ne!(report.served().0, first, "{:#}", report.json);
    let failed = report.failed();
    assert!(failed.iter().any(|(_, bytes)| *bytes >= MIDDLE), "{failed:?}");
    assert_quick(&report, killed);
    place.assert_contents(&target, contents);
}
