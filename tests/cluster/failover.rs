//! Backups of real clusters through `ha://`, while members and coordinators go away.
//!
//! Starting a cluster is what takes long, so each test tells one story of one cluster. Small clusters of the releases
//! between are left to `tests/run full clusters`.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::failing_cluster::{MIDDLE, Place, SLOWLY, assert_quick};
use crate::support::{Contents, Release, our_tool};
use serde_json::Value;

#[test]
fn a_cluster_of_1_8_is_backed_up_whoever_goes_away() {
    let Some(mut place) = Place::start(Release::V1_8, 4) else {
        return;
    };
    let base = each_preference_asks_its_member(&mut place);
    a_history_is_the_same_whoever_committed_and_whoever_sends_it(&mut place, &base);
    a_backup_goes_on_without_coordinators(&mut place);
    a_backup_begins_while_coordinators_elect(&mut place);
    a_source_that_loses_the_master_role_is_told(&mut place);
    let (contents, _) = the_next_member_takes_over_an_incremental_backup(&mut place, &base);
    the_next_member_takes_over_a_full_backup(&mut place, &contents, &[]);
}

#[test]
#[ignore = "another release; tests/run full"]
fn a_cluster_of_1_6_1_is_backed_up_whoever_goes_away() {
    a_cluster_of_three_is_backed_up_whoever_goes_away(Release::V1_6_1);
}

#[test]
fn a_cluster_of_1_4_2_is_backed_up_whoever_goes_away() {
    a_cluster_of_three_is_backed_up_whoever_goes_away(Release::V1_4_2);
}

/// Whoever was killed comes back, since the next story needs two that are left.
fn a_cluster_of_three_is_backed_up_whoever_goes_away(release: Release) {
    let Some(mut place) = Place::start(release, 3) else {
        return;
    };
    let base = the_master_is_asked_for_what_slaves_may_hide(&mut place);
    a_history_is_the_same_whoever_committed_and_whoever_sends_it(&mut place, &base);
    a_backup_goes_on_without_coordinators(&mut place);
    a_backup_begins_while_coordinators_elect(&mut place);
    let (contents, killed) = the_next_member_takes_over_an_incremental_backup(&mut place, &base);
    place.restart(killed);
    place.settled_master(&base);
    let killed = the_next_member_takes_over_a_full_backup(&mut place, &contents, &["-ha-prefer", "slave"]);
    place.restart(killed);
    place.settled_master(&base);
    the_next_member_takes_over_a_full_backup(&mut place, &contents, &[]);
}

#[test]
#[ignore = "takes a minute; tests/run full"]
fn clusters_of_two_are_backed_up_though_the_master_dies() {
    for release in [Release::V1_3, Release::V1_5, Release::V1_7_2] {
        let Some(mut place) = Place::start(release, 2) else {
            return;
        };
        both_members_are_shown(&place);
        let base = the_master_is_asked_for_what_slaves_may_hide(&mut place);
        place.fill(0);
        let report = place.back_up("-incremental", &base, &[]);
        report.assert_code(0);
        assert_eq!(report.served(), (1, "master"));
        a_history_is_the_same_whoever_committed_and_whoever_sends_it(&mut place, &base);
        a_backup_brings_a_member_back(&mut place, &base);
        let contents = place.member(1).contents_as_member();
        place.assert_contents(&base, &contents);
        place.wait_until_level();
        the_next_member_takes_over_a_full_backup(&mut place, &contents, &[]);
    }
}

/// Clusters of two show the same of the other releases.
#[test]
#[ignore = "takes half a minute; tests/run full"]
fn a_member_that_lost_its_disk_comes_back_with_a_backup() {
    for release in [Release::V1_4_2, Release::V1_6_1, Release::V1_8] {
        let Some(mut place) = Place::start(release, 2) else {
            return;
        };
        let base = place.target("base");
        place.back_up("-full", &base, &[]).assert_code(0);
        a_backup_brings_a_member_back(&mut place, &base);
    }
}

/// Up to 1.7 too there are two acting masters then (`docs/formats/zookeeper-discovery.md` §6.3): the slaves, which pull, elect
/// another one, and the old one goes on serving.
#[test]
#[ignore = "takes a minute; tests/run full"]
fn a_master_of_1_4_2_or_1_6_1_that_is_cut_off_is_told() {
    for release in [Release::V1_4_2, Release::V1_6_1] {
        if let Some(mut place) = Place::start(release, 3) {
            a_source_that_loses_the_master_role_is_told(&mut place);
        }
    }
}

fn both_members_are_shown(place: &Place) {
    let shown = our_tool(&["members", "-from", &place.coordinators.uri(), "-output", "json"]);
    assert!(shown.success(), "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let members = shown["result"]["members"].as_array().unwrap();
    let seen: Vec<_> = members
        .iter()
        .map(|member| {
            (
                member["id"].as_i64(),
                member["role"].as_str(),
                member["reachable"].as_bool(),
            )
        })
        .collect();
    let expected = [("master", 1), ("slave", 2)].map(|(role, id)| (Some(id), Some(role), Some(true)));
    assert_eq!(seen, expected, "{shown:#}");
    assert_eq!(shown["result"]["would_serve"][0], 1);
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
    let expected = place.member(1).contents_as_member();
    place.assert_contents(&target, &expected);
    target
}

/// Up to 1.7 slaves do not send what they pulled last, so an incremental backup is the master's affair whatever is
/// preferred. Returns a backup that is level with the cluster.
fn the_master_is_asked_for_what_slaves_may_hide(place: &mut Place) -> PathBuf {
    place.wait_until_level();
    let expected = place.member(1).contents_as_member();
    let (target, of_a_slave) = (place.target("preferences"), place.target("of-a-slave"));
    for (mode, target, options, served) in [
        ("-full", &target, &[][..], "master"),
        ("-incremental", &target, &["-ha-prefer", "slave"], "master"),
        ("-full", &of_a_slave, &["-ha-prefer", "slave"], "slave"),
        ("-full", &of_a_slave, &["-ha-member", "2", "-overwrite"], "slave"),
        // of equal ones a slave, which has less to do
        ("-full", &of_a_slave, &["-ha-prefer", "any", "-overwrite"], "slave"),
        ("-incremental", &of_a_slave, &["-ha-prefer", "any"], "master"),
    ] {
        let report = place.back_up(mode, target, options);
        report.assert_code(0);
        assert_eq!(report.served().1, served, "{mode} {options:?}: {:#}", report.json);
    }
    place.assert_contents(&target, &expected);
    place.assert_contents(&of_a_slave, &expected);
    target
}

/// A slave keeps another commit time of what was committed through it than all others do
/// (`docs/formats/transaction-log.md` §7): it is the same history.
fn a_history_is_the_same_whoever_committed_and_whoever_sends_it(place: &mut Place, target: &Path) {
    let slave = &["-ha-member", "2"][..];
    for who_sends in [[&[][..], slave, &[]], [slave, &[], slave]] {
        place.member(2).load(9, 5);
        for options in who_sends {
            let report = place.back_up("-incremental", target, options);
            report.assert_code(0);
            // 1.3 is not asked for what the backup already has
            let history = if place.release() == Release::V1_3 {
                "not-proven"
            } else {
                "proven"
            };
            assert_eq!(report.json["result"]["history"], history);
        }
    }
}

/// A member that lost its disk starts on a backup and fetches what is missing, where it would copy the master's store.
/// Leaves the backup level with the cluster.
fn a_backup_brings_a_member_back(place: &mut Place, target: &Path) {
    let last = i64::try_from(place.cluster.members.len()).unwrap();
    place.kill(last);
    let dir = place.member(last).dir().to_owned();
    fs::remove_dir_all(&dir).unwrap();
    crate::support::copy_dir(target, &dir);
    place.member(1).command_as_member("gen 10 1");
    place.restart(last);
    place.wait_until_level();
    let expected = place.member(1).contents_as_member();
    assert_eq!(place.member(last).contents_as_member().difference(&expected), None);
    assert!(dir.join("neo4j-backup.json").exists(), "it copied the master's store");
    place.back_up("-incremental", target, &[]).assert_code(0);
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
        warnings.contains("could not verify that the source is still the master"),
        "{warnings}"
    );
    let report = place.back_up("-incremental", &target, &[]);
    report.assert_code(12);
    place.restart_coordinators();
}

/// The leader of the coordinators dies just before a backup begins, and the next one in its middle.
fn a_backup_begins_while_coordinators_elect(place: &mut Place) {
    let target = place.target("election");
    place.kill_leader();
    let mut run = place.begin("-full", &target, &SLOWLY);
    run.wait_for_the_middle();
    place.restart_coordinators();
    place.kill_leader();
    let report = run.finish();
    report.assert_code(0);
    assert_eq!(report.served(), (1, "master"));
    assert_eq!(report.failed(), []);
    place.restart_coordinators();
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

/// Returns what all members have then, and who was killed.
fn the_next_member_takes_over_an_incremental_backup(place: &mut Place, target: &Path) -> (Contents, i64) {
    let master = place.settled_master(target);
    place.fill(usize::try_from(master).unwrap() - 1);
    place.wait_until_level();
    let mut states = vec![place.member(master).contents_as_member()];

    let mut run = place.begin("-incremental", target, &SLOWLY);
    run.wait_for(MIDDLE, &target.join("neo4j-backup.received"));
    assert_eq!(run.asked(), master);
    place.kill(master);
    let killed = SystemTime::now();
    if place.release() < Release::V1_8 {
        // until then they cannot send what they pulled
        states.extend(place.commit_through_all_but(master));
    }
    let report = run.finish();
    report.assert_code(0);
    assert_ne!(report.served().0, master, "{:#}", report.json);
    assert_eq!(report.json["result"]["history"], "proven");
    assert_quick(&report, killed);
    place.assert_one_of(target, &states);
    (states.pop().unwrap(), master)
}

/// Returns who was killed.
fn the_next_member_takes_over_a_full_backup(place: &mut Place, contents: &Contents, options: &[&str]) -> i64 {
    let target = place.target("full");
    let mut run = place.begin("-full", &target, &[&SLOWLY, options, &["-overwrite"]].concat());
    run.wait_for_the_middle();
    let first = run.asked();
    place.kill(first);
    let killed = SystemTime::now();
    let report = run.finish();
    report.assert_code(0);
    assert_ne!(report.served().0, first, "{:#}", report.json);
    let failed = report.failed();
    assert!(failed.iter().any(|(_, bytes)| *bytes >= MIDDLE), "{failed:?}");
    assert_quick(&report, killed);
    place.assert_contents(&target, contents);
    first
}
