//! A sandbox cluster is a source like a real one, for our tool and for the original ones, while it is written to; and it
//! fails as it is told to. What a backup has to hold is computed from its source's transactions.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{
    Finished, Peer, Release, as_seen_by, incremental_source::Source, original_tool, our_tool, require_peers,
};
use tempfile::TempDir;

use neo4j_format::{
    DirHandle,
    ids::{DataSource, MemberId, TxId},
    log::{Buffer, Layout, LogFormat, SlotReader},
    store::{Header, LuceneStore, lucene_store},
};
use neo4j_sandbox::{Cluster, Generation, MemberState, Plan, Status, database::Contents};

const LIMIT: Duration = Duration::from_secs(30);
const MEMBERS: [MemberId; 3] = [MemberId(1), MemberId(2), MemberId(3)];

async fn cluster(work: &TempDir, generation: Generation) -> Cluster {
    let plan = Plan {
        generation,
        transactions: 200,
        rate: 300,
        session_timeout: Duration::from_millis(300),
        ..Plan::new(&work.path().join("cluster"))
    };
    Cluster::start(plan).await.unwrap()
}

fn status(cluster: &Cluster, id: MemberId) -> Status {
    cluster.status().into_iter().find(|member| member.id == id).unwrap()
}

fn single(cluster: &Cluster, id: MemberId) -> String {
    format!("single://{}", status(cluster, id).backup)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a member has gone on by some transactions.
async fn progress(cluster: &Cluster, id: MemberId) {
    let from = status(cluster, id).last;
    until(&format!("member {id} goes on"), || {
        status(cluster, id).last.0 > from.0 + 5
    })
    .await;
}

fn ours(mode: &str, uri: &str, to: &Path) -> Finished {
    tokio::task::block_in_place(|| our_tool(&[mode, "-from", uri, "-to", to.to_str().unwrap(), "-verify=false"]))
}

/// The last transactions that a directory holds.
fn last_of(dir: &Path) -> (TxId, TxId) {
    let header = Header::open(&DirHandle::open(dir).unwrap()).unwrap();
    let layout = Layout {
        format: LogFormat::from(header.format().unwrap()),
        source: DataSource::Lucene,
    };
    let stored = fs::read(dir.join(lucene_store::PATH)).unwrap();
    let stored = LuceneStore::decode(&stored).unwrap().last_tx;
    let pending = File::open(dir.join("index/lucene.log.1")).ok().and_then(|log| {
        let mut buffer = Buffer::new();
        SlotReader::open(&log, layout, &mut buffer)
            .unwrap()
            .finish()
            .unwrap()
            .last_tx
    });
    (header.last_transaction().unwrap(), pending.unwrap_or(stored))
}

#[track_caller]
fn assert_equals_source(cluster: &Cluster, source: MemberId, dir: &Path) -> TxId {
    let (graph, lucene) = last_of(dir);
    let expected = cluster.contents_at(source, graph, lucene).unwrap();
    let found = Contents::read(dir).unwrap();
    assert!(
        found == expected,
        "{} differs from its source at {graph}, {lucene}",
        dir.display()
    );
    graph
}

async fn backups_under_writes_equal_their_source(generation: Generation) {
    let work = TempDir::new().unwrap();
    let cluster = cluster(&work, generation).await;
    for id in MEMBERS {
        let dir = work.path().join(format!("of-{id}"));
        progress(&cluster, id).await;
        let finished = ours("-full", &single(&cluster, id), &dir);
        assert!(finished.success(), "{finished:#?}");
        let full = assert_equals_source(&cluster, id, &dir);
        progress(&cluster, id).await;
        // from another member than before: they have one history
        let next = MEMBERS[usize::try_from(id.0).unwrap() % MEMBERS.len()];
        until("the next member is not behind", || status(&cluster, next).last > full).await;
        let finished = ours("-incremental", &single(&cluster, next), &dir);
        assert!(finished.success(), "{finished:#?}");
        assert!(assert_equals_source(&cluster, next, &dir) > full);
    }
    cluster.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_a_1_3_cluster_under_writes_equal_their_source() {
    backups_under_writes_equal_their_source(Generation::Neo4j13).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_a_1_4_cluster_under_writes_equal_their_source() {
    backups_under_writes_equal_their_source(Generation::Neo4j14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_a_1_8_cluster_under_writes_equal_their_source() {
    backups_under_writes_equal_their_source(Generation::Neo4j18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_takes_the_role_of_a_killed_master_and_the_old_one_follows_it() {
    let work = TempDir::new().unwrap();
    let mut cluster = cluster(&work, Generation::Neo4j18).await;
    assert_eq!(cluster.master(), Some(MemberId(1)));
    cluster.kill(MemberId(1)).await.unwrap();
    assert_eq!(cluster.master(), None, "its session has not expired");
    assert_eq!(status(&cluster, MemberId(1)).state, MemberState::Down);
    until("a slave is master", || cluster.master().is_some()).await;
    let new = cluster.master().unwrap();
    assert_ne!(new, MemberId(1));
    progress(&cluster, new).await;
    // by now the new master has gone past what the old one may have committed alone
    until("the new master is ahead", || {
        status(&cluster, new).last > status(&cluster, MemberId(1)).last
    })
    .await;
    cluster.restart(MemberId(1)).await.unwrap();
    progress(&cluster, MemberId(1)).await;
    assert_eq!(cluster.master(), Some(new));
    cluster.set_rate(0);
    let last = |id| status(&cluster, id).last;
    until("all are level", || MEMBERS.iter().all(|id| last(*id) == last(new))).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let graph = last(new);
    let contents = |id| cluster.contents_at(id, graph, TxId::BASE).unwrap();
    assert!(contents(MemberId(1)) == contents(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_master_with_a_higher_transaction_takes_its_role_back_and_branches_the_others_off() {
    let work = TempDir::new().unwrap();
    let mut cluster = cluster(&work, Generation::Neo4j16).await;
    for slave in [MemberId(2), MemberId(3)] {
        cluster.lag(slave, 1_000_000).unwrap();
    }
    progress(&cluster, MemberId(1)).await;
    let behind = status(&cluster, MemberId(2)).last;
    until("the master is ahead", || {
        status(&cluster, MemberId(1)).last.0 > behind.0 + 200
    })
    .await;
    cluster.set_rate(20);
    cluster.kill(MemberId(1)).await.unwrap();
    until("a slave is master", || cluster.master().is_some()).await;
    let interim = cluster.master().unwrap();
    progress(&cluster, interim).await;
    let branched = work.path().join("branched");
    assert!(ours("-full", &single(&cluster, interim), &branched).success());

    for slave in [MemberId(2), MemberId(3)] {
        cluster.lag(slave, 0).unwrap();
    }
    cluster.restart(MemberId(1)).await.unwrap();
    assert_eq!(cluster.master(), Some(MemberId(1)));
    progress(&cluster, interim).await;
    // what the interim master committed is lost, and a backup of it belongs to no member any more
    let finished = ours("-incremental", &single(&cluster, MemberId(1)), &branched);
    assert_eq!(finished.code, Some(13), "{finished:#?}");
    // nor is it continued by a slave that has not been branched off yet
    let finished = ours("-incremental", &cluster.uri(), &branched);
    assert_eq!(finished.code, Some(13), "{finished:#?}");
    let dir = work.path().join("of-the-others");
    assert!(ours("-full", &single(&cluster, interim), &dir).success());
    assert_equals_source(&cluster, MemberId(1), &dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_member_is_silent_until_it_is_resumed() {
    let work = TempDir::new().unwrap();
    let cluster = cluster(&work, Generation::Neo4j18).await;
    cluster.stall(MemberId(1)).unwrap();
    assert_eq!(status(&cluster, MemberId(1)).state, MemberState::Stalled);
    let dir = work.path().join("backup");
    let uri = single(&cluster, MemberId(1));
    let finished = tokio::task::block_in_place(|| {
        our_tool(&[
            "-full",
            "-from",
            &uri,
            "-to",
            dir.to_str().unwrap(),
            "-silence-timeout=1s",
        ])
    });
    assert!(!finished.success() && !dir.exists(), "{finished:#?}");
    until("another master", || {
        cluster.master().is_some_and(|master| master != MemberId(1))
    })
    .await;
    cluster.resume(MemberId(1)).unwrap();
    progress(&cluster, MemberId(1)).await;
    assert!(ours("-full", &uri, &dir).success());
    assert_equals_source(&cluster, MemberId(1), &dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_of_a_whole_cluster_is_planned_and_waits_until_its_members_are_gone() {
    let work = TempDir::new().unwrap();
    let mut cluster = cluster(&work, Generation::Neo4j18).await;
    let (backup, data) = (work.path().join("backup"), work.path().join("graph.db"));
    assert!(ours("-full", &cluster.uri(), &backup).success());
    let uri = cluster.uri();
    let restore = |from: &Path, options: &[&str]| {
        let (from, to) = (from.to_str().unwrap(), data.to_str().unwrap());
        let named = [
            "restore",
            "-from",
            from,
            "-to",
            to,
            "-cluster-of",
            &uri,
            "-output",
            "json",
        ];
        tokio::task::block_in_place(|| our_tool(&[&named[..], options].concat()))
    };
    let result = |finished: &Finished| {
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        serde_json::from_str::<serde_json::Value>(&finished.stdout).unwrap()["result"].take()
    };

    let planned = result(&restore(&backup, &["-dry-run"]));
    let members = planned["cluster"]["members"].as_array().unwrap();
    let roles: Vec<_> = members.iter().map(|member| member["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["master", "slave", "slave"], "the master is started first");
    assert!(!data.exists());

    let refused = restore(&backup, &[]);
    assert_eq!(refused.code, Some(11), "{refused:#?}");
    for word in [
        "has registered members: 1, 2, 3",
        "-allow-registered-members",
        "stop member 1 (master",
        "neo4j-backup restore -from",
        "the first becomes the master",
    ] {
        assert!(refused.stderr.contains(word), "no {word:?} in {}", refused.stderr);
    }
    assert!(!data.exists());

    result(&restore(&backup, &["-allow-registered-members"]));
    assert!(data.join("neostore").exists());
    fs::remove_dir_all(&data).unwrap();

    for id in MEMBERS {
        cluster.stop(id).await.unwrap();
    }
    let restored = result(&restore(&backup, &[]));
    assert_eq!(restored["cluster"]["members"].as_array().unwrap().len(), 0);
    assert!(data.join("neostore").exists());

    // a backup of something else is not for this cluster
    fs::remove_dir_all(&data).unwrap();
    let (other, source) = (work.path().join("other"), Source::recorded());
    assert!(ours("-full", &source.uri(), &other).success());
    let refused = restore(&other, &["-dry-run"]);
    assert_eq!(refused.code, Some(13), "{refused:#?}");
    assert!(refused.stderr.contains("holds the database"), "{}", refused.stderr);
    cluster.shut_down().await.unwrap();
}

/// Stores of 1.8 are what 1.9 has too.
fn generation_of(release: Release) -> Generation {
    match release {
        Release::V1_9_9 => Generation::Neo4j18,
        _ => Generation::of_release(release.name()).unwrap(),
    }
}

/// The tool of the release itself, from one member and, up to 1.8, through the coordinators; what it leaves is booted.
async fn the_original_tool_backs_up(release: Release) {
    if !require_peers(release) {
        return;
    }
    let work = TempDir::new().unwrap();
    let cluster = cluster(&work, generation_of(release)).await;
    // each transaction of an index is sent again with every backup, and the originals apply few in a second
    cluster.set_rate(30);
    let take = |mode: &str, uri: &str, to: &Path| {
        let finished =
            tokio::task::block_in_place(|| original_tool(release, &[mode, "-from", uri, "-to", to.to_str().unwrap()]));
        assert!(finished.success(), "{} {mode} {uri}: {finished:#?}", release.name());
    };
    let mut ways = vec![("single", single(&cluster, MemberId(2)))];
    // 1.9 finds its cluster without coordinators
    if release < Release::V1_9_9 {
        ways.insert(0, ("ha", cluster.uri()));
    }
    for (name, uri) in ways {
        let dir = work.path().join(name);
        take("-full", &uri, &dir);
        progress(&cluster, MemberId(2)).await;
        take("-incremental", &uri, &dir);
        let (graph, lucene) = last_of(&dir);
        until("member 1 has it too", || status(&cluster, MemberId(1)).last >= graph).await;
        let model = cluster.contents_at(MemberId(1), graph, lucene).unwrap();
        let seen = tokio::task::block_in_place(|| Peer::contents_of_copy(release, &dir));
        let model = as_seen_by(release, &model);
        // 1.3 does not write down how far its indexes are
        let difference = match release {
            Release::V1_3 => model.graph_difference(&seen),
            _ => model.difference(&seen),
        };
        if let Some(difference) = difference {
            panic!("{} over {name}, at {graph}, {lucene}:\n{difference}", release.name());
        }
        // ours goes on from what the original left
        progress(&cluster, MemberId(2)).await;
        let finished = ours("-incremental", &single(&cluster, MemberId(2)), &dir);
        assert!(finished.success(), "{finished:#?}");
    }
    // the tools of 1.8 write to the coordinators; they have to be left as they were
    cluster.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_of_1_4_2_backs_up_from_a_sandbox() {
    the_original_tool_backs_up(Release::V1_4_2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_of_1_8_backs_up_from_a_sandbox() {
    the_original_tool_backs_up(Release::V1_8).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "other releases; tests/run full"]
async fn the_tool_of_1_3_backs_up_from_a_sandbox() {
    the_original_tool_backs_up(Release::V1_3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "other releases; tests/run full"]
async fn the_tool_of_1_5_backs_up_from_a_sandbox() {
    the_original_tool_backs_up(Release::V1_5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "other releases; tests/run full"]
async fn the_tool_of_1_6_1_backs_up_from_a_sandbox() {
    the_original_tool_backs_up(Release::V1_6_1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "other releases; tests/run full"]
async fn the_tool_of_1_7_2_backs_up_from_a_sandbox() {
    the_original_tool_backs_up(Release::V1_7_2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "other releases; tests/run full"]
async fn the_tool_of_1_9_9_backs_up_from_a_sandbox() {
    the_original_tool_backs_up(Release::V1_9_9).await;
}
