//! Real clusters of 1.8 whose registrations mislead: an address that leads to another database, members whose backup
//! service is off, members that have died.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may end the test")]

use std::path::Path;

use crate::support::{
    Cluster, ClusterSettings, Coordinators, Options, Peer, Release, ZooKeeper, nodes, our_tool, require_peers,
};
use serde_json::Value;
use tempfile::TempDir;

const RELEASE: Release = Release::V1_8;

fn run(uri: &str, to: &Path, options: &[&str]) -> (Option<i32>, Value, String) {
    let arguments = ["-from", uri, "-to", to.to_str().unwrap(), "-output", "json"];
    let done = our_tool(&[options, &arguments].concat());
    (done.code, serde_json::from_str(&done.stdout).unwrap(), done.stderr)
}

/// Path and data of the node in which a member registers its backup port.
fn registration(coordinators: &Coordinators, member: u32) -> (String, Vec<u8>) {
    let all = nodes::dump(coordinators.servers[0].port());
    let end = format!("/ha-servers/{member}");
    let line = all.lines().find(|line| line.split(' ').next().unwrap().ends_with(&end));
    let mut words = line.unwrap_or_else(|| panic!("{all}")).split(' ');
    let (path, data) = (words.next().unwrap().to_owned(), words.next_back().unwrap());
    let bytes = (0..data.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&data[at..at + 2], 16));
    (path, bytes.collect::<Result<_, _>>().unwrap())
}

/// An edited registration, a translated address: whoever is there knows nothing of the history of this database.
#[test]
#[ignore = "starts a cluster; tests/run full"]
fn a_stranger_at_the_registered_address_of_a_master_condemns_no_slave() {
    if !require_peers(RELEASE) || !ZooKeeper::Debian.require() {
        return;
    }
    let work = TempDir::new().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Debian, 1, work.path());
    let settings = ClusterSettings {
        more: vec!["ha.pull_interval=500ms".to_owned()],
        ..ClusterSettings::default()
    };
    let mut cluster = Cluster::start(RELEASE, 2, &coordinators, work.path(), &settings);
    // through the slave, so that it has everything
    cluster.members[1].load(4, 40);
    let mut stranger = Peer::start(RELEASE, &work.path().join("other"), &Options::source(RELEASE));
    stranger.load(5, 60);

    let (path, mut data) = registration(&coordinators, 1);
    data[..4].copy_from_slice(&i32::from(stranger.port()).to_be_bytes());
    nodes::set(coordinators.servers[0].port(), &path, &data);

    let backup = work.path().join("backup");
    for mode in ["-full", "-incremental"] {
        let (code, report, _) = run(&coordinators.uri(), &backup, &[mode, "-ha-member=2"]);
        assert_eq!(code, Some(0), "{report:#}");
        assert_eq!(report["members"]["served"]["id"], 2, "{report:#}");
        let warnings = report["warnings"].to_string();
        assert!(
            warnings.contains("could not verify that the master has it too")
                && warnings.contains("serves another database"),
            "{warnings}"
        );
        // without a choice it does not take the stranger's database either
        let any = work.path().join(format!("any{mode}"));
        let (code, report, _) = run(&coordinators.uri(), &any, &["-full"]);
        assert_eq!(code, Some(0), "{report:#}");
        assert_eq!(report["members"]["served"]["id"], 2, "{report:#}");
        cluster.members[1].load(4, 20);
    }
    let before_last_load = Peer::contents_of_copy(RELEASE, &backup);
    assert_eq!(before_last_load.seq, 60);
}

#[test]
#[ignore = "starts a cluster; tests/run full"]
fn a_cluster_whose_backup_service_is_off_and_one_whose_members_died_are_told() {
    if !require_peers(RELEASE) || !ZooKeeper::Debian.require() {
        return;
    }
    for is_off in [true, false] {
        let work = TempDir::new().unwrap();
        let coordinators = Coordinators::start(ZooKeeper::Debian, 1, work.path());
        let settings = ClusterSettings {
            without_backup: is_off,
            ..ClusterSettings::default()
        };
        let mut cluster = Cluster::start(RELEASE, 2, &coordinators, work.path(), &settings);
        if !is_off {
            // a dead member stays registered until its session ends
            for member in &mut cluster.members {
                member.kill();
            }
        }
        let backup = work.path().join("backup");
        let (code, report, stderr) = run(&coordinators.uri(), &backup, &["-full"]);
        assert_eq!(code, Some(12), "{report:#}");
        let hint = report["error"]["hint"].as_str().unwrap();
        let names_the_service = hint.starts_with("no member offers the backup service: is online_backup_enabled");
        assert!(names_the_service || !is_off, "{hint}");
        let warnings = report["warnings"].as_array().unwrap();
        let of = |member: u32| {
            let begin = format!("member {member} ");
            let of_member = warnings
                .iter()
                .filter_map(Value::as_str)
                .filter(|text| text.starts_with(&begin));
            of_member.collect::<Vec<_>>()
        };
        for member in [1, 2] {
            let counted = of(member)
                .iter()
                .filter(|text| text.contains("(×") && text.ends_with(" s)"))
                .count();
            assert!(counted >= 1, "{warnings:#?}");
            // one for each cause, however often it was tried
            let causes = of(member).len();
            assert!(causes <= 3, "{warnings:#?}");
        }
        assert!(stderr.lines().count() < 40, "{stderr}");
        assert!(!backup.exists());
    }
}
