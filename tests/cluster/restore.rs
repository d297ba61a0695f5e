//! The restore of a whole cluster, as the runbook has it.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::fs;

use crate::support::{
    Cluster, ClusterSettings, Coordinators, Peer, Release, ZooKeeper, copy_dir, our_tool, require_peers, wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

#[test]
#[ignore = "takes a minute; tests/run full"]
fn a_cluster_of_1_8_is_restored_as_the_runbook_says() {
    if !require_peers(Release::V1_8) {
        return;
    }
    let work = TempDir::new().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Shipped, 3, work.path());
    let settings = ClusterSettings::default();
    let mut cluster = Cluster::start(Release::V1_8, 3, &coordinators, work.path(), &settings);
    let backup = work.path().join("backup");
    let uri = coordinators.uri();
    let take = |mode: &str| {
        let done = our_tool(&[mode, "-from", &uri, "-to", backup.to_str().unwrap(), "-output=json"]);
        assert!(done.success(), "{}", done.stderr);
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    cluster.members[0].load(3, 60);
    let expected = cluster.members[0].contents_as_member();
    take("-full");
    the_port_for_members_is_told(&uri, &work);

    // what is lost by the restore
    cluster.members[0].load(3, 20);

    // 2: all members are stopped; the ZooKeeper servers go on
    let dirs: Vec<_> = cluster.members.iter().map(|member| member.dir().to_owned()).collect();
    for member in cluster.members.drain(..) {
        member.quit();
    }
    // 3: every member gets a copy of the same backup
    for dir in &dirs {
        fs::rename(dir, dir.with_extension("aside")).unwrap();
        copy_dir(&backup, dir);
    }
    // 4: they are started one after the other
    let start = cluster.starter();
    let mut members: Vec<Peer> = (0..3).map(start).collect();
    for member in &mut members {
        assert_eq!(expected.difference(&member.contents_as_member()), None);
    }
    // 5: it goes on as one cluster
    members[1].load(9, 20);
    let after = members[1].contents_as_member();
    let mut others = members.into_iter();
    let mut master = others.next().unwrap();
    wait_until_level(&mut master, &after);

    // 6: a backup of the restored cluster
    fs::rename(&backup, work.path().join("old")).unwrap();
    let report = take("-full");
    assert_eq!(report["result"]["verdict"], "good");
    let found = Peer::contents_of_copy(Release::V1_8, &backup);
    assert_eq!(after.difference(&found), None);
}

/// `ha.server` in place of the backup port.
fn the_port_for_members_is_told(uri: &str, work: &TempDir) {
    let shown = our_tool(&["members", "-from", uri, "-output", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let address = shown["result"]["members"][0]["address"].as_str().unwrap();
    let wrong = work.path().join("wrong");
    let done = our_tool(&[
        "-full",
        "-from",
        &format!("single://{address}"),
        "-to",
        wrong.to_str().unwrap(),
    ]);
    assert_eq!(done.code, Some(15), "{}", done.stderr);
    assert!(
        done.stderr.contains("this is the HA port of a Neo4j") && done.stderr.contains("usually on port 6362"),
        "{}",
        done.stderr
    );
}

fn wait_until_level(member: &mut Peer, expected: &crate::support::Contents) {
    let member = std::cell::RefCell::new(member);
    wait_until(|| expected.difference(&member.borrow_mut().contents_as_member()).is_none());
}
