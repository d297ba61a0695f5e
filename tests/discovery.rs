//! Finding real clusters through real coordinators.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may end the test")]

mod support;

use neo4j_backup::{
    cancel::Cancel,
    discovery::{Cluster as Found, Layout, Master, Registration, Search, discover},
    ids::MemberId,
    uri::Source,
};
use support::{Cluster, ClusterSettings, Coordinators, Release, ZooKeeper, require_peers};

fn search(uri: &str) -> Search {
    match Source::parse(uri).unwrap() {
        Source::Ha { coordinators, chroot } => Search {
            coordinators,
            chroot,
            cluster: None,
        },
        Source::Single { .. } => panic!("{uri} names no coordinators"),
    }
}

fn found(uri: &str) -> Result<Found, neo4j_backup::Error> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(discover(&search(uri), &Cancel::default()))
}

#[test]
fn a_cluster_of_1_8_is_found_on_three_coordinators() {
    if !require_peers(Release::V1_8) || !ZooKeeper::Debian.require() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Debian, 3, dir.path());
    let cluster = Cluster::start(Release::V1_8, 2, &coordinators, dir.path(), &ClusterSettings::default());
    let found = found(&coordinators.uri()).unwrap();
    assert_eq!(found.master, Master::Announced(MemberId(1)));
    for (found, member) in found.members.iter().zip(&cluster.members) {
        assert_eq!(
            (found.layout, found.registration),
            (Layout::V1_8, Registration::Complete)
        );
        assert_eq!(found.service().unwrap().port, Some(member.port()));
    }
    assert_eq!(found.members.len(), 2);
}
