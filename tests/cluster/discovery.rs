//! Finding real clusters through real coordinators.
//!
//! A sample runs by default. `tests/run full clusters` runs every release on both versions of `ZooKeeper`, and
//! `CLUSTER_ZNODES=DIR` writes what each cluster's coordinators hold to DIR (`tests/vectors/znodes`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may end the test")]

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Cluster, ClusterSettings, Coordinator, Coordinators, Options, Peer, Release, WithoutQuorum, ZooKeeper,
    coordinator_double::{self, Conduct, Tree},
    copy_dir, free_port, nodes, our_tool, require_peers,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use neo4j_backup_core::{
    Error, ErrorKind,
    cancel::Cancel,
    source::{
        discovery::{
            Answer, Answers, Cluster as Found, Last, Layout, Master, MemberCriteria, Patience, Preference, Ranking,
            Registration, Role, Search, ask_members, discover, rank,
        },
        uri::Source,
    },
};
use neo4j_format::ids::{MemberId, TxId};

fn search(uri: &str, cluster: Option<&str>) -> Search {
    match Source::parse(uri).unwrap() {
        Source::Ha { coordinators, chroot } => Search {
            coordinators,
            chroot,
            cluster: cluster.map(str::to_owned),
            timeout: Duration::from_secs(20),
        },
        Source::Single { .. } => panic!("{uri} names no coordinators"),
    }
}

fn look(uri: &str, cluster: Option<&str>, wanted: &MemberCriteria) -> Result<(Found, Answers, Ranking), Error> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cancel = Cancel::default();
        let found = discover(&search(uri, cluster), &cancel).await?;
        let answers = ask_members(&found, wanted, Patience::Everybody, &cancel).await?;
        let ranking = rank(&found, &answers, wanted);
        Ok((found, answers, ranking))
    })
}

/// As a backup sees it.
fn backup_order(uri: &str, wanted: &MemberCriteria) -> Ranking {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let looking =
        async { neo4j_backup_core::source::discovery::look(&search(uri, None), wanted, &Cancel::default()).await };
    runtime.block_on(looking).unwrap().1
}

/// Tries until it is so, for a minute at most: what a cluster says of itself lags behind what it does.
#[track_caller]
fn eventually<E: std::fmt::Debug>(what: &str, attempt: impl Fn() -> Result<(), E>) {
    let begin = Instant::now();
    while let Err(seen) = attempt() {
        assert!(
            begin.elapsed() < Duration::from_mins(1),
            "never: {what}; last seen: {seen:?}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// Whether this release on this version is tested now, and can be.
fn is_wanted(release: Release, version: ZooKeeper, sampled: bool) -> bool {
    let all = env::var("CLUSTER_TESTS").is_ok_and(|tests| tests == "clusters");
    (sampled || all) && require_peers(release) && version.require()
}

fn layout(release: Release) -> Layout {
    match release {
        Release::V1_3 => Layout::V1_3,
        Release::V1_8 => Layout::V1_8,
        _ => Layout::V1_4,
    }
}

/// The last transaction that a full backup from this member has.
fn last_in_a_backup(uri: &str, dir: &Path) -> i64 {
    let _ = fs::remove_dir_all(dir);
    let to = dir.to_str().unwrap();
    let done = our_tool(&["-full", "-from", uri, "-to", to, "-verify=false", "-output", "json"]);
    assert!(done.success(), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    report["result"]["last_transactions"]["nioneodb"].as_i64().unwrap()
}

/// A cluster is found with all that can be known of it, and still so when its master has died.
fn a_cluster_is_found(release: Release, version: ZooKeeper, coordinators: usize, members: usize) {
    let dir = tempfile::tempdir().unwrap();
    let coordinators = Coordinators::start(version, coordinators, dir.path());
    let mut cluster = Cluster::start(release, members, &coordinators, dir.path(), &ClusterSettings::default());
    cluster.members[0].command_as_member("gen 40 2");
    if let Ok(into) = env::var("CLUSTER_ZNODES") {
        let text = nodes::dump(coordinators.servers[0].port());
        fs::write(Path::new(&into).join(format!("{}.txt", release.name())), text).unwrap();
    }

    let (found, answers, ranking) = look(&coordinators.uri(), None, &MemberCriteria::default()).unwrap();
    assert_eq!(found.master, Master::Announced(MemberId(1)));
    assert_eq!(found.members.len(), members);
    let is_named = release >= Release::V1_6_1;
    assert_eq!(found.name.as_deref(), is_named.then_some("neo4j.ha"));
    let last = last_in_a_backup(&cluster.members[0].uri(), &dir.path().join("backup"));
    for (found, member) in found.members.iter().zip(&cluster.members) {
        assert_eq!(
            (found.layout, found.registration),
            (layout(release), Registration::Complete)
        );
        assert_eq!(found.service().unwrap().port, Some(member.port()));
        let Some(Answer::Alive { store_id, last, .. }) = answers.get(&found.id) else {
            panic!("{:?}", answers.get(&found.id));
        };
        assert!(store_id.is_some(), "every release tells whose copy it serves");
        assert_eq!(last.is_some(), release == Release::V1_8, "the others register it");
    }
    // up to 1.7 the master registers its last transaction after the commit
    eventually("the master's last transaction is known", || {
        let (found, answers, _) = look(&coordinators.uri(), None, &MemberCriteria::default()).unwrap();
        let known = match (&found.members[0].last, &answers[&MemberId(1)]) {
            (Last::Live(last), _) => Some(*last),
            (_, Answer::Alive { last, .. }) => *last,
            _ => None,
        };
        if known == Some(TxId(last)) { Ok(()) } else { Err(known) }
    });
    assert_eq!(ranking.candidates[0].id, MemberId(1));
    assert_eq!(ranking.candidates.len(), members);
    if version == ZooKeeper::Shipped {
        // which listens at every address; members register what they have applied at any time, so both looks are repeated
        let uri = format!("ha://[::1]:{}", coordinators.servers[0].port());
        eventually("both addresses lead to the same cluster", || {
            let [one, other] =
                [&uri, &coordinators.uri()].map(|uri| look(uri, None, &MemberCriteria::default()).unwrap().0);
            if one == other {
                Ok(())
            } else {
                Err(format!("{one:?} {other:?}"))
            }
        });
    }

    // a slave of 1.4 - 1.7 that neither pulled nor wrote is far behind, and one of 1.8 is level
    let slave = MemberCriteria {
        preference: Preference::Slave,
        max_lag: 10,
        ..MemberCriteria::default()
    };
    eventually("the right member is first", || {
        let ranking = backup_order(&coordinators.uri(), &slave);
        let first = &ranking.candidates[0];
        let expected = if release == Release::V1_8 {
            Role::Slave
        } else {
            Role::Master
        };
        if (first.role, first.last) != (expected, Some(TxId(last))) {
            return Err(ranking);
        }
        if release != Release::V1_8 {
            let reason = ranking.passed_over.first().map(|one| one.reason.to_string());
            if !reason.is_some_and(|reason| reason.ends_with("more than 10 behind")) {
                return Err(ranking);
            }
        }
        Ok(())
    });

    let shown = our_tool(&["members", "-from", &coordinators.uri(), "-output", "json"]);
    assert!(shown.success(), "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let rows = &shown["result"]["members"];
    assert_eq!(shown["result"]["would_serve"][0], 1, "{rows:#}");
    assert_eq!(rows[0]["last_transaction"], last);
    assert_eq!(rows[1]["reachable"], true);

    drop(cluster.members.remove(0));
    // the others may be electing; the dead one's registration lasts as long as its session does
    eventually("the others are found", || {
        let (found, _, ranking) =
            look(&coordinators.uri(), None, &MemberCriteria::default()).map_err(|error| format!("{error}"))?;
        assert!(ranking.candidates.iter().all(|candidate| candidate.id != MemberId(1)));
        let is_explained = match ranking.passed_over.as_slice() {
            [dead] => dead.id == MemberId(1) && dead.reason.to_string().contains("cannot connect"),
            [] => found.members.len() == members - 1,
            _ => false,
        };
        if ranking.candidates.len() == members - 1 && is_explained {
            Ok(())
        } else {
            Err(format!("{found:?} {ranking:?}"))
        }
    });
}

#[test]
fn clusters_of_1_8_are_found() {
    if is_wanted(Release::V1_8, ZooKeeper::Debian, true) {
        a_cluster_is_found(Release::V1_8, ZooKeeper::Debian, 3, 3);
    }
    if is_wanted(Release::V1_8, ZooKeeper::Shipped, false) {
        a_cluster_is_found(Release::V1_8, ZooKeeper::Shipped, 1, 3);
    }
}

#[test]
#[ignore = "another release; tests/run full"]
fn clusters_of_1_6_1_are_found() {
    if is_wanted(Release::V1_6_1, ZooKeeper::Debian, true) {
        a_cluster_is_found(Release::V1_6_1, ZooKeeper::Debian, 1, 3);
    }
    if is_wanted(Release::V1_6_1, ZooKeeper::Shipped, false) {
        a_cluster_is_found(Release::V1_6_1, ZooKeeper::Shipped, 3, 3);
    }
}

#[test]
fn clusters_of_1_4_2_are_found() {
    if is_wanted(Release::V1_4_2, ZooKeeper::Shipped, true) {
        a_cluster_is_found(Release::V1_4_2, ZooKeeper::Shipped, 3, 3);
    }
    if is_wanted(Release::V1_4_2, ZooKeeper::Debian, false) {
        a_cluster_is_found(Release::V1_4_2, ZooKeeper::Debian, 3, 3);
    }
}

#[test]
#[ignore = "other releases; tests/run full"]
fn clusters_of_the_other_releases_are_found() {
    for release in [Release::V1_3, Release::V1_5, Release::V1_7_2] {
        for version in [ZooKeeper::Shipped, ZooKeeper::Debian] {
            if is_wanted(release, version, version == ZooKeeper::Debian) {
                a_cluster_is_found(release, version, 1, 2);
            }
        }
    }
}

/// Up to 1.4.2 it registers below a root of its own, and the old one stays (`docs/formats/zookeeper-discovery.md` §3.1).
#[test]
fn a_cluster_that_goes_on_with_another_database_is_found_beside_the_old_root() {
    for release in [Release::V1_3, Release::V1_4_2] {
        if !is_wanted(release, ZooKeeper::Debian, release == Release::V1_4_2) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let coordinators = Coordinators::start(ZooKeeper::Debian, 1, dir.path());
        let mut cluster = Cluster::start(release, 1, &coordinators, dir.path(), &ClusterSettings::default());
        let start = cluster.starter();
        let old = last_in_a_backup(&coordinators.uri(), &dir.path().join("old"));
        let member = cluster.members[0].dir().to_owned();
        cluster.members.remove(0).quit();

        let mut other = Peer::start(release, &dir.path().join("other"), &Options::source(release));
        other.load(1, 30);
        other.quit();
        fs::remove_dir_all(&member).unwrap();
        copy_dir(&dir.path().join("other"), &member);
        let _member = start(0);
        let new = last_in_a_backup(&coordinators.uri(), &dir.path().join("new"));
        assert!(new > old && new >= 30, "{release:?}: {old} and {new}");
    }
}

/// A master whose backup service is off, which is registered up to 1.6 only (`docs/formats/zookeeper-discovery.md` §3.4): the
/// slave serves. Then both leave, and the cluster is there without members.
fn those_that_cannot_serve_are_told(release: Release) {
    let dir = tempfile::tempdir().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Debian, 1, dir.path());
    let settings = ClusterSettings {
        first_without_backup: true,
        // which 1.7 and 1.8 register nevertheless
        more: vec![format!("online_backup_port={}", free_port())],
        ..ClusterSettings::default()
    };
    let mut cluster = Cluster::start(release, 2, &coordinators, dir.path(), &settings);
    let uri = coordinators.uri();
    let (found, _, ranking) = look(&uri, None, &MemberCriteria::default()).unwrap();
    assert_eq!(found.master, Master::Announced(MemberId(1)));
    let serves: Vec<MemberId> = ranking.candidates.iter().map(|one| one.id).collect();
    assert_eq!(serves, [MemberId(2)], "{release:?}");
    let reason = ranking.passed_over[0].reason.to_string();
    let expected = if release < Release::V1_7_2 {
        "its backup service is off"
    } else {
        "cannot connect"
    };
    assert!(reason.contains(expected), "{release:?}: {reason}");
    let full = last_in_a_backup(&uri, &dir.path().join("full"));
    assert_eq!(
        full,
        last_in_a_backup(&cluster.members[1].uri(), &dir.path().join("same"))
    );

    for member in cluster.members.drain(..).rev() {
        member.quit();
    }
    let to = dir.path().join("none");
    let none = our_tool(&["-full", "-from", &uri, "-to", to.to_str().unwrap()]);
    assert_eq!(none.code, Some(12), "{release:?}: {none:?}");
    assert!(
        none.stderr.contains("exists, but no member is registered"),
        "{release:?}: {none:?}"
    );
    assert!(!to.exists());
}

#[test]
fn members_that_serve_no_backup_and_a_cluster_without_members_are_told() {
    for release in Release::ALL {
        let sampled = release == Release::V1_8;
        if release != Release::V1_9_9 && is_wanted(release, ZooKeeper::Debian, sampled) {
            those_that_cannot_serve_are_told(release);
        }
    }
}

/// Two clusters of different releases and one that is asked for by its wrong name.
#[test]
#[ignore = "another release; tests/run full"]
fn clusters_on_the_same_coordinators_are_told_apart() {
    if !is_wanted(Release::V1_6_1, ZooKeeper::Debian, true) || !require_peers(Release::V1_8) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut coordinators = Coordinators::start(ZooKeeper::Debian, 3, dir.path());
    let clusters = [(Release::V1_6_1, "alpha"), (Release::V1_8, "beta")].map(|(release, name)| {
        let settings = ClusterSettings {
            name: Some(name.into()),
            ..ClusterSettings::default()
        };
        Cluster::start(release, 1, &coordinators, &dir.path().join(name), &settings)
    });
    let uri = coordinators.uri();
    for (name, cluster) in ["alpha", "beta"].into_iter().zip(&clusters) {
        let (_, _, ranking) = look(&uri, Some(name), &MemberCriteria::default()).unwrap();
        let ports: Vec<u16> = ranking.candidates.iter().map(|one| one.at.port).collect();
        assert_eq!(ports, [cluster.members[0].port()], "{name}");
    }
    for name in [Some("gamma"), None] {
        let error = look(&uri, name, &MemberCriteria::default()).unwrap_err().to_string();
        assert!(
            error.contains("alpha (1 member)") && error.contains("beta (1 member)"),
            "{error}"
        );
    }

    // the leader is killed: the other two go on; a second one is killed: no quorum
    let leads = |server: &Coordinator| server.mode().as_deref() == Some("leader");
    let leader = coordinators.servers.iter().position(leads).unwrap();
    coordinators.servers[leader].kill();
    let begin = Instant::now();
    while let Err(error) = look(&uri, Some("alpha"), &MemberCriteria::default()) {
        assert_eq!(error.kind(), ErrorKind::NoZooKeeper);
        assert!(begin.elapsed() < Duration::from_secs(30), "{error}");
    }
    coordinators.servers[(leader + 1) % 3].kill();
    let begin = Instant::now();
    loop {
        let error = look(&uri, Some("alpha"), &MemberCriteria::default())
            .map(|_| ())
            .unwrap_err()
            .to_string();
        if error.starts_with("the coordinators have no quorum") {
            assert_eq!(error.to_lowercase().matches("connection refused").count(), 2, "{error}");
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{error}");
    }
}

/// The original tool waits as well.
#[test]
fn a_zookeeper_that_pauses_is_asked_again() {
    if !ZooKeeper::Debian.require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Debian, 1, dir.path());
    let uri = coordinators.uri();
    let begin = Instant::now();
    let error = look(&uri, None, &MemberCriteria::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownCluster, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());

    let pid = Pid::from_raw(i32::try_from(coordinators.servers[0].pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let paused = thread::spawn(move || {
        thread::sleep(Duration::from_secs(6));
        kill_process(pid, Signal::CONT).unwrap();
    });
    let error = look(&uri, None, &MemberCriteria::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownCluster, "{error}");
    paused.join().unwrap();
}

#[test]
fn a_node_that_may_not_be_read_is_named_each_time() {
    if !ZooKeeper::Debian.require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Debian, 1, dir.path());
    let port = coordinators.servers[0].port();
    let mut name = 1_340_000_000_000_i64.to_be_bytes().to_vec();
    name.extend((-7_i64).to_be_bytes());
    nodes::create(port, "/neo4j.ha", &name, 31);
    nodes::create(port, "/1340000000000_-7", &[], 31);
    nodes::create(port, "/1340000000000_-7/ha-servers", &[], 6);
    for _ in 0..12 {
        let error = look(&coordinators.uri(), None, &MemberCriteria::default())
            .map(|_| ())
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (
                ErrorKind::NotAuthorized,
                "not authorized to read /1340000000000_-7/ha-servers"
            )
        );
    }
}

/// A server that has lost the others and is allowed to show what it remembers is not believed: whoever it lists may be
/// long dead. It is named as what it is, and the next host is tried.
#[test]
fn a_coordinator_that_runs_read_only_is_passed_over() {
    if !ZooKeeper::Debian.require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let read_only = WithoutQuorum::ServesReadOnly;
    let mut lonely = Coordinators::start_as(ZooKeeper::Debian, read_only, 3, &dir.path().join("lonely"));
    for server in &mut lonely.servers[..2] {
        server.kill();
    }
    let last = &lonely.servers[2];
    let begin = Instant::now();
    while last.mode().as_deref() != Some("read-only") {
        assert!(begin.elapsed() < Duration::from_mins(1), "{:?}", last.mode());
        thread::sleep(Duration::from_millis(50));
    }
    let begin = Instant::now();
    let alone = look(&format!("ha://{}", last.host()), None, &MemberCriteria::default());
    let text = alone.map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        text,
        format!(
            "the coordinators have no quorum: {}: runs read-only, since it has no quorum with the other coordinators",
            last.host()
        )
    );
    // it may find the others again
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    // beside one that serves it is that one's answer: it knows no cluster
    let good = coordinator_double::start(Conduct::Serves, Tree::new());
    let uri = format!("ha://{},127.0.0.1:{good}", last.host());
    let text = look(&uri, None, &MemberCriteria::default())
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("no cluster neo4j.ha is known"), "{text}");
}
