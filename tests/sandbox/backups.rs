//! What a user may count on, on a cluster of the sandbox and without Java: chains of incremental backups, `-auto`, logs
//! that are gone, members that die, hang or lag, and whom `-ha-prefer` asks. Each backup is compared with what the
//! member it came from held at the transaction that the manifest names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use neo4j_backup_core::{DirHandle, manifest::Manifest};
use neo4j_format::ids::{DataSource, MemberId, TxId};
use neo4j_sandbox::{Cluster, Plan, Status, coordinator::Condition, database::Contents};

const LIMIT: Duration = Duration::from_secs(30);
const MASTER: MemberId = MemberId(1);
const SLAVES: [MemberId; 2] = [MemberId(2), MemberId(3)];

/// So slow that a backup is still under way when it is looked at, and how much of it has gone out by then.
const SLOW: u64 = 64 * 1024;
const BEGUN: u64 = 24 * 1024;

/// A cluster and the backups that are taken of it.
struct Place {
    work: TempDir,
    cluster: Cluster,
}

impl Place {
    async fn of(change: impl FnOnce(&mut Plan)) -> Place {
        let work = TempDir::new().unwrap();
        let mut plan = Plan {
            transactions: 200,
            rate: 300,
            session_timeout: Duration::from_millis(300),
            ..Plan::new(&work.path().join("cluster"))
        };
        change(&mut plan);
        let cluster = Cluster::start(plan).await.unwrap();
        Place { work, cluster }
    }

    async fn new() -> Place {
        Place::of(|_| ()).await
    }

    fn target(&self) -> PathBuf {
        self.work.path().join("backup")
    }

    fn status(&self, id: MemberId) -> Status {
        let status = self.cluster.status();
        status.into_iter().find(|member| member.id == id).unwrap()
    }

    fn single(&self, id: MemberId) -> String {
        format!("single://{}", self.status(id).backup)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Place) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < LIMIT, "{what}: {:#?}", self.cluster.status());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until a member has this transaction.
    async fn has(&self, id: MemberId, transaction: i64) {
        let what = format!("member {id} has transaction {transaction}");
        self.until(&what, |place| place.status(id).last.0 >= transaction).await;
    }

    fn begin(&self, mode: &str, uri: &str, options: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
            .args([mode, "-from", uri, "-to"])
            .arg(self.target())
            .args(["-output", "json"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn take(&self, mode: &str, uri: &str, options: &[&str]) -> Report {
        Report::of(self.begin(mode, uri, options))
    }

    /// A backup over `ha://` from the master, which dies in the middle of it.
    async fn take_while_the_master_dies(&mut self, mode: &str) -> Report {
        self.cluster.slow(MASTER, SLOW).unwrap();
        let before = self.status(MASTER).sent;
        let backup = self.begin(mode, &self.cluster.uri(), &[]);
        self.until("the backup has begun", |place| {
            place.status(MASTER).sent > before + BEGUN
        })
        .await;
        self.cluster.kill(MASTER).await.unwrap();
        Report::of(backup)
    }

    /// Compares the backup with what this member held; gives its last transaction.
    #[track_caller]
    fn assert_equals(&self, id: MemberId) -> i64 {
        let manifest = Manifest::read(&DirHandle::open(self.target()).unwrap())
            .unwrap()
            .unwrap();
        let last = |source| manifest.last_transaction(source).map_or(TxId::BASE, |(last, _)| last);
        let (graph, lucene) = (last(DataSource::Graph), last(DataSource::Lucene));
        let held = self.cluster.contents_at(id, graph, lucene).unwrap();
        let found = Contents::read(&self.target()).unwrap();
        assert!(
            found == held,
            "the backup is not what member {id} held at {graph}, {lucene}"
        );
        graph.0
    }
}

/// What a run said about itself.
struct Report {
    code: Option<i32>,
    json: Value,
    log: String,
}

impl Report {
    fn of(run: Child) -> Report {
        let finished = tokio::task::block_in_place(|| run.wait_with_output().unwrap());
        let log = String::from_utf8_lossy(&finished.stderr).into_owned();
        Report {
            code: finished.status.code(),
            json: serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {log}")),
            log,
        }
    }

    #[track_caller]
    fn ends_with(self, code: i32) -> Report {
        assert_eq!(self.code, Some(code), "{:#}\n{}", self.json, self.log);
        self
    }

    #[track_caller]
    fn says(&self, word: &str) {
        assert!(self.log.contains(word), "{word} is not said in: {}", self.log);
    }

    fn mode(&self) -> &str {
        self.json["result"]["mode"].as_str().unwrap()
    }

    fn served(&self) -> (MemberId, &str) {
        let served = &self.json["members"]["served"];
        let id = i32::try_from(served["id"].as_i64().unwrap()).unwrap();
        (MemberId(id), served["role"].as_str().unwrap())
    }

    /// The first attempt ended while the response was arriving.
    #[track_caller]
    fn assert_failed_in_the_middle(&self) {
        let first = &self.json["members"]["failed"][0];
        let cause = first["cause"].as_str().unwrap();
        assert_eq!(first["member"], "member 1 (master)");
        let (before, _) = cause.split_once(" bytes into the response").unwrap();
        let into: u64 = before.rsplit(' ').next().unwrap().parse().unwrap();
        // but for the framing, and names and numbers of files and transactions
        let bytes = first["bytes"].as_u64().unwrap();
        assert!(into / 2 < bytes && bytes < into, "{bytes}: {cause}");
    }
}

/// The files of a directory with what is in them, but for the manifest, which tells of every run.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.file_name().unwrap() != "neo4j-backup.json" {
            files.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_of_a_chain_from_changing_members_equals_its_source() {
    let place = Place::new().await;
    place.take("-full", &place.single(MASTER), &[]).ends_with(0);
    let mut last = place.assert_equals(MASTER);
    for link in 1..=8 {
        let id = MemberId(link % 3 + 1);
        place.has(id, last + 15).await;
        let report = place.take("-incremental", &place.single(id), &[]).ends_with(0);
        assert_eq!(report.mode(), "incremental");
        let now = place.assert_equals(id);
        assert!(now >= last + 15, "link {link}: {now} after {last}");
        last = now;
    }
    let manifest = Manifest::read(&DirHandle::open(place.target()).unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(manifest.chain.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_without_news_changes_no_file_of_the_database() {
    let place = Place::of(|plan| plan.rate = 0).await;
    let uri = place.single(MASTER);
    place.take("-full", &uri, &[]).ends_with(0);
    let before = files(&place.target());
    place.take("-incremental", &uri, &[]).ends_with(0);
    assert!(files(&place.target()) == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_takes_a_full_backup_first_and_incrementals_from_then_on() {
    let place = Place::new().await;
    let uri = place.cluster.uri();
    let first = place.take("-auto", &uri, &[]).ends_with(0);
    assert_eq!(first.mode(), "full");
    let last = place.assert_equals(first.served().0);
    place.has(MASTER, last + 10).await;
    let second = place.take("-auto", &uri, &[]).ends_with(0);
    assert_eq!(second.mode(), "incremental");
    assert!(place.assert_equals(second.served().0) >= last + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_gone_call_for_a_full_backup_which_may_be_taken_instead() {
    let mut place = Place::of(|plan| plan.members = 1).await;
    place.take("-full", &place.single(MASTER), &[]).ends_with(0);
    let last = place.assert_equals(MASTER);
    place.has(MASTER, last + 20).await;
    // a server that keeps no logs: what was committed so far is in its store alone
    place.cluster.stop(MASTER).await.unwrap();
    let mut removed = 0;
    for (path, _) in files(&place.status(MASTER).dir) {
        if path.to_string_lossy().contains("nioneo_logical.log.v") {
            fs::remove_file(path).unwrap();
            removed += 1;
        }
    }
    assert!(removed > 0, "there was no log to remove");
    place.cluster.restart(MASTER).await.unwrap();
    let uri = place.single(MASTER);
    let before = files(&place.target());
    let refused = place.take("-incremental", &uri, &[]).ends_with(14);
    refused.says("full backup");
    assert!(
        files(&place.target()) == before,
        "a refused run leaves the backup as it was"
    );

    place.cluster.set_rate(0);
    let full = place.take("-incremental", &uri, &["-fallback-full"]).ends_with(0);
    assert_eq!(full.mode(), "full");
    let manifest = Manifest::read(&DirHandle::open(place.target()).unwrap())
        .unwrap()
        .unwrap();
    let (graph, _) = manifest.last_transaction(DataSource::Graph).unwrap();
    assert!(graph.0 >= last + 20);
    place.cluster.stop(MASTER).await.unwrap();
    // its logs do not tell any more what it held; its store does
    assert!(Contents::read(&place.target()).unwrap() == Contents::read(&place.status(MASTER).dir).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_not_continued_from_another_cluster() {
    let (place, other) = (Place::new().await, Place::of(|plan| plan.seed = 2).await);
    place.take("-full", &place.cluster.uri(), &[]).ends_with(0);
    let before = files(&place.target());
    place.take("-incremental", &other.cluster.uri(), &[]).ends_with(13);
    place.take("-full", &other.cluster.uri(), &["-overwrite"]).ends_with(13);
    assert!(files(&place.target()) == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_takes_over_a_full_backup_when_the_master_is_killed_in_the_middle() {
    let mut place = Place::new().await;
    let report = place.take_while_the_master_dies("-full").await.ends_with(0);
    let (served, role) = report.served();
    assert!(served != MASTER && role == "slave", "{:#}", report.json);
    report.assert_failed_in_the_middle();
    place.assert_equals(served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_takes_over_an_incremental_when_the_master_is_killed_in_the_middle() {
    let mut place = Place::new().await;
    place.take("-full", &place.cluster.uri(), &[]).ends_with(0);
    let last = place.assert_equals(MASTER);
    for id in [MASTER, SLAVES[0], SLAVES[1]] {
        place.has(id, last + 400).await;
    }
    let report = place.take_while_the_master_dies("-incremental").await.ends_with(0);
    let (served, _) = report.served();
    assert_ne!(served, MASTER);
    report.assert_failed_in_the_middle();
    assert!(place.assert_equals(served) >= last + 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_preference_asks_whom_it_names_first() {
    let place = Place::new().await;
    for (preference, role) in [("master", "master"), ("slave", "slave")] {
        let options = ["-overwrite", "-ha-prefer", preference];
        let report = place.take("-full", &place.cluster.uri(), &options).ends_with(0);
        assert_eq!(report.served().1, role);
        place.assert_equals(report.served().0);
    }
    let options = ["-overwrite", "-ha-prefer", "any"];
    let report = place.take("-full", &place.cluster.uri(), &options).ends_with(0);
    place.assert_equals(report.served().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_lags_behind_the_backup_is_passed_over() {
    let place = Place::new().await;
    for slave in SLAVES {
        place.cluster.lag(slave, 1_000_000).unwrap();
    }
    let behind = SLAVES.map(|id| place.status(id).last.0).into_iter().max().unwrap();
    place.has(MASTER, behind + 50).await;
    place.take("-full", &place.single(MASTER), &[]).ends_with(0);
    let last = place.assert_equals(MASTER);
    assert!(last > behind);
    let refused = place.take("-incremental", &place.single(SLAVES[0]), &[]).ends_with(13);
    refused.says("behind");
    place.has(MASTER, last + 10).await;
    let options = ["-ha-prefer", "slave"];
    let report = place.take("-incremental", &place.cluster.uri(), &options).ends_with(0);
    assert_eq!(report.served(), (MASTER, "master"));
    assert!(place.assert_equals(MASTER) >= last + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_costs_its_time_limit_and_no_more() {
    let place = Place::new().await;
    place.cluster.stall(MASTER).unwrap();
    let start = Instant::now();
    let options = ["-silence-timeout", "1s"];
    let report = place.take("-full", &place.cluster.uri(), &options).ends_with(0);
    assert_ne!(report.served().0, MASTER);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    place.assert_equals(report.served().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coordinator_that_serves_is_enough() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut place = Place::of(|plan| plan.coordinators = vec![any; 3]).await;
    let uri = place.cluster.uri();
    place.cluster.set_coordinator(1, Condition::Down).await.unwrap();
    place.cluster.set_coordinator(2, Condition::Silent).await.unwrap();
    let report = place.take("-full", &uri, &[]).ends_with(0);
    assert_eq!(report.served(), (MASTER, "master"));
    place.assert_equals(MASTER);
    place
        .cluster
        .set_coordinator(2, Condition::WithoutQuorum)
        .await
        .unwrap();
    place.cluster.set_coordinator(3, Condition::Down).await.unwrap();
    let refused = place.take("-incremental", &uri, &[]).ends_with(12);
    for (address, _) in place.cluster.coordinators() {
        refused.says(&address.to_string());
    }
}
