//! Backups of a real cluster in containers, by the tool in its own, while networks are cut that loopback cannot cut.
//!
//! Making the images and starting a cluster is what takes long, so one test tells the story of one cluster.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Containers, Contents, Finished, Peer, Release, require_peers};
use serde_json::Value;
use tempfile::TempDir;

/// For whatever is waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// Bytes a second: the transfer of some four megabytes takes longer than members need to elect a new master.
const SLOWLY: &str = "200k";

/// The same for a transfer that has a middle.
const GENTLY: &str = "600k";

struct Place {
    folder: TempDir,
    containers: Containers,
}

/// What a run of the tool said.
struct Report {
    code: i32,
    json: Value,
    log: String,
}

impl Report {
    fn new(code: Option<i32>, stdout: &str, log: String) -> Report {
        Report {
            code: code.unwrap_or_else(|| panic!("it did not end: {log}")),
            json: serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{log}")),
            log,
        }
    }

    #[track_caller]
    fn assert_code(&self, code: i32) {
        assert_eq!(self.code, code, "{:#}\n{}", self.json, self.log);
        assert_eq!(self.json["exit_code"], code);
    }

    /// Number and role of the member that gave the backup.
    fn served(&self) -> (i64, &str) {
        let served = &self.json["members"]["served"];
        (served["id"].as_i64().unwrap(), served["role"].as_str().unwrap())
    }
}

impl Place {
    fn start() -> Option<Place> {
        if !require_peers(Release::V1_8) {
            return None;
        }
        Some(Place {
            containers: Containers::up()?,
            folder: TempDir::new().unwrap(),
        })
    }

    fn back_up(&self, mode: &str, to: &str, options: &[&str]) -> Report {
        let fixed = [mode, "-to", to, "-output", "json", "-vv"];
        let Finished {
            code, stdout, stderr, ..
        } = self.containers.run_job(&[&fixed, options].concat());
        Report::new(code, &stdout, stderr)
    }

    /// Begins a full backup at a rate that leaves time, and returns when it is in the middle of the files.
    fn begin_slowly(&self, to: &str, options: &[&str]) -> Run {
        let log = self.folder.path().join("log");
        let fixed = ["-full", "-to", to, "-output", "json", "-vv"];
        let child = self
            .containers
            .job(&[&fixed, options].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let run = Run { child, log };
        wait_until("the transfer begins", || {
            let log = run.log();
            let asked = log.find("asking for a full backup")?;
            log[asked..].contains("the response begins").then_some(())
        });
        // the middle
        thread::sleep(Duration::from_secs(2));
        run
    }

    /// What `members` shows.
    fn members(&self, from: &str) -> Report {
        let run = self.containers.run_job(&["members", "-from", from, "-output", "json"]);
        Report::new(run.code, &run.stdout, run.stderr)
    }

    /// The master, once a second has passed in which backups of it neither failed nor went elsewhere.
    fn settled_master(&self, base: &str) -> i64 {
        let mut before = None;
        wait_until("a master that stays", || {
            let report = self.back_up("-incremental", base, &["-verify=false"]);
            let now = match report.code {
                0 if report.served().1 == "master" => Some(report.served().0),
                0 | 4 | 12 => None,
                _ => panic!("{}: {:#}\n{}", report.code, report.json, report.log),
            };
            let master = now.filter(|_| now == before);
            before = now;
            master
        })
    }

    /// Boots what is in the volume and compares its contents.
    fn assert_contents(&self, backup: &str, expected: &Contents) {
        let copy = self.folder.path().join("copy");
        self.containers.fetch(backup, &copy);
        let mut booted = Peer::boot(Release::V1_8, &copy);
        assert_eq!(booted.contents().difference(expected), None);
        drop(booted);
        fs::remove_dir_all(copy).unwrap();
    }

    fn contents(&self, member: i64) -> Contents {
        self.containers.contents(member, self.folder.path())
    }
}

/// A backup that goes on.
struct Run {
    child: Child,
    log: PathBuf,
}

impl Run {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn finish(mut self) -> Report {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        Report::new(code, &stdout, self.log())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again until there is an answer.
#[track_caller]
fn wait_until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "waited for: {what}");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "builds images; tests/run full"]
fn a_cluster_in_containers_is_backed_up_while_its_networks_are_cut() {
    let Some(place) = Place::start() else { return };
    full_and_incremental_backups_boot(&place);
    a_master_that_its_coordinators_lost_is_told_and_left(&place);
    a_slave_goes_on_where_the_master_is_cut_off_in_the_middle(&place);
    a_coordinator_without_the_others_is_passed_over(&place);
}

fn full_and_incremental_backups_boot(place: &Place) {
    place.containers.tell(1, "gen 8000 1000");
    let report = place.back_up("-full", "/backup/neo4j", &[]);
    report.assert_code(0);
    assert_eq!(report.served(), (1, "master"));

    place.containers.tell(1, "load 1 5");
    let report = place.back_up("-incremental", "/backup/neo4j", &[]);
    report.assert_code(0);
    assert_eq!(report.served(), (1, "master"));
    assert_eq!(report.json["result"]["history"], "proven");
    place.assert_contents("/backup/neo4j", &place.contents(1));
}

/// The others elect a new master, and the old one goes on serving and committing
/// (`docs/formats/zookeeper-discovery.md` §6.3).
fn a_master_that_its_coordinators_lost_is_told_and_left(place: &Place) {
    let run = place.begin_slowly("/backup/demoted", &["-max-rate", SLOWLY, "-verify=false"]);
    place.containers.cut("coordination", "member1");
    let report = run.finish();
    report.assert_code(4);
    assert_eq!(report.served(), (1, "master"));
    assert_eq!(report.json["result"]["verdict"], "source-demoted");

    let elected = place.settled_master("/backup/neo4j");
    assert_ne!(elected, 1);
    // two masters, each with transactions that the other one lacks
    place.containers.tell(1, "gen 2 2");
    place.containers.tell(elected, "load 2 3");
    let old = ["-from", "single://neo4j1", "-verify=false"];
    place.back_up("-incremental", "/backup/demoted", &old).assert_code(0);
    place.assert_contents("/backup/demoted", &place.contents(1));
    let report = place.back_up("-incremental", "/backup/demoted", &[]);
    report.assert_code(13);
    let error = report.json["error"].to_string();
    assert!(error.contains("branched"), "{error}");

    // what was taken before they parted goes on with the new one
    let report = place.back_up("-incremental", "/backup/neo4j", &[]);
    report.assert_code(0);
    assert_eq!(report.served(), (elected, "master"));
    place.assert_contents("/backup/neo4j", &place.contents(elected));
}

fn a_slave_goes_on_where_the_master_is_cut_off_in_the_middle(place: &Place) {
    let master = place.settled_master("/backup/neo4j");
    let contents = place.contents(master);
    let options = ["-max-rate", GENTLY, "-silence-timeout", "3s", "-verify=false"];
    let run = place.begin_slowly("/backup/cut", &options);
    let member = format!("member{master}");
    place.containers.cut("data", &member);
    let report = run.finish();
    report.assert_code(0);
    assert_ne!(report.served().0, master);
    let failed = report.json["members"]["failed"].as_array().unwrap();
    let bytes = |attempt: &'_ Value| attempt["bytes"].as_u64().unwrap();
    assert!(failed.iter().any(|attempt| bytes(attempt) > 256 << 10), "{failed:#?}");
    place.assert_contents("/backup/cut", &contents);
    place.containers.mend("data", &member, &format!("neo4j{master}"));
}

fn a_coordinator_without_the_others_is_passed_over(place: &Place) {
    place.containers.cut("quorum", "zookeeper1");
    let alone = wait_until("zookeeper1 notices", || {
        let report = place.members("ha://zookeeper1:2181");
        (report.code != 0).then_some(report)
    });
    alone.assert_code(12);
    // a master whose session was with that one may have lost its role
    let master = place.settled_master("/backup/cut");
    place.containers.tell(master, "gen 4 2");
    let report = place.back_up("-incremental", "/backup/cut", &[]);
    report.assert_code(0);
    place.assert_contents("/backup/cut", &place.contents(master));
}
