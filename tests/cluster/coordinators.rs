//! Every kind of coordinator that one can meet, alone and beside a good one. No real one is needed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may end the test")]

use std::time::{Duration, Instant};

use crate::support::{
    coordinator_double::{Conduct, Tree, start, start_at},
    free_port, our_tool, side_by_side,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use neo4j_backup_core::{
    Error, ErrorKind,
    cancel::Cancel,
    source::{
        discovery::{Cluster, Last, Search, discover, znodes},
        uri::HostPort,
    },
};
use neo4j_format::ids::MemberId;

const ROOT: &str = "/1340000000000_-7";

fn server(address: &str, backup_port: i32) -> Vec<u8> {
    let record = znodes::ServerRecord {
        backup_port,
        address: address.into(),
    };
    record.encode().unwrap()
}

fn cluster_node(creation_time: i64, random: i64) -> Vec<u8> {
    let mut data = creation_time.to_be_bytes().to_vec();
    data.extend(random.to_be_bytes());
    data.extend(0x0030_2e41_2e30_7606_i64.to_be_bytes());
    data
}

/// A cluster of two members of 1.5.1 – 1.7 that anybody can read.
fn tree() -> Tree {
    let member = |last, master| {
        let master = Some(master);
        znodes::MemberRecord { last, master }.encode()
    };
    let nodes = [
        ("/neo4j.ha", cluster_node(1_340_000_000_000, -7), 0),
        ("/zookeeper", Vec::new(), 0),
        ("/1340000000000_-7/1_0000000001", member(42, 2), 11),
        ("/1340000000000_-7/2_0000000004", member(42, 2), 12),
        ("/1340000000000_-7/ha-servers/1", server("10.0.0.1:6361", 6362), 11),
        ("/1340000000000_-7/ha-servers/1-jmx", Vec::new(), 11),
        ("/1340000000000_-7/ha-servers/2", server("10.0.0.2:6361", 6362), 12),
        ("/1340000000000_-7/master-notify", 2_i32.to_be_bytes().to_vec(), 0),
        ("/1340000000000_-7/master-rebound", 2_i32.to_be_bytes().to_vec(), 0),
    ];
    nodes
        .into_iter()
        .map(|(path, data, owner)| (path.to_owned(), (data, owner)))
        .collect()
}

fn local(port: u16) -> HostPort {
    HostPort {
        host: "127.0.0.1".into(),
        port,
    }
}

/// How long those that do not serve are asked again.
const LIMIT: Duration = Duration::from_secs(12);

fn look(
    coordinators: Vec<HostPort>,
    chroot: Option<&str>,
    cluster: Option<&str>,
) -> (Result<Cluster, Error>, Duration) {
    look_for(LIMIT, coordinators, chroot, cluster)
}

fn look_for(
    timeout: Duration,
    coordinators: Vec<HostPort>,
    chroot: Option<&str>,
    cluster: Option<&str>,
) -> (Result<Cluster, Error>, Duration) {
    let search = Search {
        coordinators,
        chroot: chroot.map(str::to_owned),
        cluster: cluster.map(str::to_owned),
        timeout,
    };
    let runtime = Runtime::new().unwrap();
    let begin = Instant::now();
    let found = runtime.block_on(discover(&search, &Cancel::default()));
    let took = begin.elapsed();
    runtime.shutdown_background();
    (found, took)
}

fn refused(coordinators: Vec<HostPort>, chroot: Option<&str>, cluster: Option<&str>) -> String {
    let (found, took) = look(coordinators, chroot, cluster);
    let error = found.unwrap_err();
    assert!(took < LIMIT + Duration::from_secs(4), "{took:?}");
    let kind = match error.kind() {
        ErrorKind::NoZooKeeper => "",
        ErrorKind::UnknownCluster => "unknown: ",
        kind => panic!("{kind:?}: {error}"),
    };
    assert_eq!(error.kind().exit_code(), 12);
    format!("{kind}{error}")
}

/// Everything that goes wrong with a host and how the error begins to tell it, behind its name.
fn troubles() -> Vec<(HostPort, &'static str)> {
    let double = |conduct| local(start(conduct, tree()));
    vec![
        (local(free_port()), "cannot connect to "),
        (
            HostPort {
                host: "no-such-host.invalid".into(),
                port: 2181,
            },
            "the name cannot be resolved: ",
        ),
        (
            double(Conduct::Silent),
            "took the connection and did not answer within 3s",
        ),
        (
            double(Conduct::Closes),
            "", // closed, or reset
        ),
        (
            double(Conduct::Foreign),
            "not a ZooKeeper server: it answers \"HTTP/1.1 400",
        ),
        (double(Conduct::MuteSession), "it opens no session"),
        (
            double(Conduct::ClosesSession),
            "it closed the connection instead of opening a session",
        ),
        (double(Conduct::ExpiredSession), "it refused the session"),
        (double(Conduct::MuteReplies), "it opens no session"),
        (
            double(Conduct::Announces(i32::MAX)),
            "it announces a reply of 2147483647 bytes",
        ),
        (double(Conduct::Announces(-1)), "it announces a reply of -1 bytes"),
        (double(Conduct::WrongXid), "it answers request 2, which is not"),
        (double(Conduct::ShortData), "a reply of 19 bytes is no node's data"),
        (
            double(Conduct::ListOf(i32::MAX)),
            "a reply of 65 bytes is no list of nodes",
        ),
        (double(Conduct::ListOf(-5)), "a reply of 65 bytes is no list of nodes"),
        (double(Conduct::Floods), "it answers request -2, which is not"),
    ]
}

#[test]
fn a_cluster_is_read() {
    let (found, _) = look(vec![local(start(Conduct::Serves, tree()))], None, None);
    let cluster = found.unwrap();
    assert_eq!(cluster.label(), "neo4j.ha");
    assert_eq!(cluster.master.id(), Some(MemberId(2)));
    assert_eq!(cluster.members.len(), 2);
    assert_eq!(cluster.store_id.store_version, Some(0x0030_2e41_2e30_7606));
}

#[test]
fn each_host_is_told_with_its_own_cause() {
    side_by_side(troubles(), |(host, cause)| {
        let text = refused(vec![host.clone()], None, None);
        let told = text.strip_prefix("no coordinator can be used: ").unwrap();
        // a refused connection names its address by itself
        let expected = match cause {
            "cannot connect to " => format!("{cause}{host}: connection refused"),
            _ => format!("{host}: {cause}"),
        };
        assert!(told.starts_with(&expected), "{text}\n{expected}");
    });
}

#[test]
fn all_causes_are_listed_in_the_order_of_the_hosts_within_the_limit() {
    let troubles = troubles();
    let hosts = troubles.iter().map(|(host, _)| host.clone()).collect();
    let text = refused(hosts, None, None);
    let mut rest = text.as_str();
    for (host, _) in troubles {
        let at = rest.find(&format!("{host}: "));
        rest = &rest[at.unwrap_or_else(|| panic!("{host} is not in its place in {text}"))..];
    }
}

#[test]
fn a_good_coordinator_is_used_beside_any_other() {
    let good = start(Conduct::Serves, tree());
    for (host, _) in troubles() {
        let (found, took) = look(vec![host.clone(), local(good)], None, None);
        assert_eq!(found.unwrap().members.len(), 2, "{host}");
        assert!(took < Duration::from_secs(4), "{host}: {took:?}");
    }
}

#[test]
fn a_coordinator_without_quorum_is_told_apart() {
    let hosts = vec![local(free_port()), local(start(Conduct::NoQuorum, tree()))];
    let text = refused(hosts, None, None);
    assert!(
        text.starts_with("the coordinators have no quorum: cannot connect to 127.0.0.1:"),
        "{text}"
    );
    assert!(
        text.ends_with(": runs, but has no quorum with the other coordinators"),
        "{text}"
    );
}

#[test]
fn a_coordinator_is_found_at_an_ipv6_address() {
    let port = start_at("::1", Conduct::Serves, tree());
    let shown = our_tool(&["members", "-from", &format!("ha://[::1]:{port}"), "-output", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    // both are there; nobody serves at their addresses
    let text = shown.to_string();
    assert!(text.contains("10.0.0.1") && text.contains("10.0.0.2"), "{text}");
}

#[test]
fn coordinators_that_elect_are_waited_for() {
    let hosts = vec![local(free_port()), local(start(Conduct::Elects { times: 3 }, tree()))];
    let (found, took) = look(hosts, None, None);
    assert_eq!(found.unwrap().members.len(), 2);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_coordinator_that_is_slow_or_paused_is_waited_for() {
    let limit = Duration::from_secs(20);
    for conduct in [
        Conduct::Slow { milliseconds: 500 },
        // paused: nothing is answered for four seconds
        Conduct::Pauses { seconds: 4 },
    ] {
        let (found, took) = look_for(limit, vec![local(start(conduct, tree()))], None, None);
        assert_eq!(found.unwrap().members.len(), 2, "{conduct:?} after {took:?}");
    }
}

/// An address in front of three servers of which two are dead.
#[test]
fn an_address_that_leads_to_another_coordinator_each_time_is_asked_again() {
    let conduct = Conduct::ClosesFirst { times: 3 };
    let (found, _) = look(vec![local(start(conduct, tree()))], None, None);
    assert_eq!(found.unwrap().members.len(), 2);
}

#[test]
fn a_node_that_may_not_be_read_is_named_whoever_closes_the_connection_first() {
    let coordinator = start(Conduct::Forbids("/ha-servers"), tree());
    for _ in 0..12 {
        let (found, took) = look(vec![local(coordinator)], None, None);
        let error = found.unwrap_err();
        assert_eq!(error.to_string(), format!("not authorized to read {ROOT}/ha-servers"));
        assert_eq!(error.kind(), ErrorKind::NotAuthorized);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn garbage_in_a_node_costs_its_member_only() {
    let mut tree = tree();
    let garbage = (vec![0xab; 1 << 20], 11);
    tree.insert(format!("{ROOT}/1_0000000001"), garbage.clone());
    tree.insert(format!("{ROOT}/x_y"), garbage.clone());
    tree.insert(format!("{ROOT}/ha-servers/1"), garbage.clone());
    tree.insert(format!("{ROOT}/master-notify"), garbage);
    let (found, _) = look(vec![local(start(Conduct::Serves, tree))], None, None);
    let cluster = found.unwrap();
    assert_eq!(cluster.master.id(), Some(MemberId(2)));
    let [bad, good] = cluster.members.as_slice() else {
        panic!("{cluster:?}")
    };
    assert!(matches!(bad.last, Last::Unknown(Some(_))) && bad.service().is_none());
    assert!(matches!(good.last, Last::Live(_)) && good.service().is_some());
}

#[test]
fn clusters_are_told_apart_by_name_and_an_unknown_one_lists_those_that_are_there() {
    let mut tree = tree();
    tree.insert("/beta".into(), (cluster_node(1_350_000_000_000, 5), 0));
    tree.insert("/1350000000000_5/ha-servers".into(), (Vec::new(), 0));
    tree.insert("/broken".into(), (vec![1; 23], 0));
    tree.insert("/lost".into(), (cluster_node(1, 1), 0));
    let hosts = || vec![local(start(Conduct::Serves, tree.clone()))];
    let (found, _) = look(hosts(), None, Some("beta"));
    assert_eq!(found.unwrap().root().to_string(), "1350000000000_5");
    let (found, _) = look(hosts(), None, Some("1340000000000_-7"));
    assert_eq!(found.unwrap().members.len(), 2);
    assert_eq!(
        refused(hosts(), None, Some("gamma")),
        "unknown: no cluster gamma is known to the coordinators: there are neo4j.ha (2 members), beta (0 members)"
    );
    assert_eq!(
        refused(hosts(), None, Some("broken")),
        format!(
            "unknown: cluster broken is damaged, or not yet fully created: 16 or 24 bytes are expected and 23 are there: {}",
            "01".repeat(23)
        )
    );
    assert_eq!(
        refused(hosts(), None, Some("lost")),
        "unknown: cluster lost is damaged, or not yet fully created: it names 1_1, which is not there"
    );
}

/// 1.3 – 1.5.0: the numbers in the named node, where there is one, lead nowhere. What a cluster left behind that went on
/// with another database is not in the way.
#[test]
fn a_cluster_that_no_name_leads_to_is_found_if_it_is_the_only_one_with_members() {
    let mut tree = tree();
    tree.insert("/neo4j.ha".into(), (vec![0; 16], 0));
    let (found, _) = look(vec![local(start(Conduct::Serves, tree.clone()))], None, None);
    let cluster = found.unwrap();
    assert_eq!((cluster.name.as_deref(), cluster.members.len()), (None, 2));
    tree.remove("/neo4j.ha");
    tree.insert("/1350000000000_5/ha-servers".into(), (Vec::new(), 0));
    let (found, _) = look(vec![local(start(Conduct::Serves, tree.clone()))], None, None);
    assert_eq!(found.unwrap().root().to_string(), "1340000000000_-7");
    tree.insert(
        "/1350000000000_5/ha-servers/1".into(),
        (server("10.0.0.1:6361", 6362), 11),
    );
    assert_eq!(
        refused(vec![local(start(Conduct::Serves, tree.clone()))], None, None),
        "unknown: no cluster is named neo4j.ha and more than one could be meant: there are 1340000000000_-7 (2 members), \
         1350000000000_5 (1 member)"
    );
    // nor is there anybody to choose between that has left
    tree.retain(|path, _| !path.contains("/ha-servers/"));
    tree.insert("/1340000000000_-7/ha-servers".into(), (Vec::new(), 0));
    assert_eq!(
        refused(vec![local(start(Conduct::Serves, tree))], None, None),
        "unknown: no cluster is named neo4j.ha and more than one could be meant: there are 1340000000000_-7 (0 members), \
         1350000000000_5 (0 members)"
    );
    assert_eq!(
        refused(vec![local(start(Conduct::Serves, Tree::new()))], None, None),
        "unknown: no cluster neo4j.ha is known to the coordinators: none is there"
    );
}

#[test]
fn a_chroot_is_followed_and_a_missing_one_named() {
    let below: Tree = tree()
        .into_iter()
        .map(|(path, node)| (format!("/apps/neo{path}"), node))
        .collect();
    let host = local(start(Conduct::Serves, below));
    let (found, _) = look(vec![host.clone()], Some("/apps/neo"), None);
    assert_eq!(found.unwrap().members.len(), 2);
    assert_eq!(
        refused(vec![host], Some("/apps/other"), None),
        "unknown: the coordinators have no node /apps/other"
    );
}

#[test]
fn a_cancelled_search_ends_at_once() {
    let runtime = Runtime::new().unwrap();
    let search = Search {
        coordinators: vec![local(start(Conduct::Silent, Tree::new()))],
        chroot: None,
        cluster: None,
        timeout: LIMIT,
    };
    let cancel = Cancel::default();
    cancel.cancel(ErrorKind::Interrupted);
    let begin = Instant::now();
    let error = runtime.block_on(discover(&search, &cancel)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(begin.elapsed() < Duration::from_secs(1));
}

/// The cluster of [`tree`], whose second member has its backup service off and whose first does not listen.
fn nobody_serves() -> (Tree, u16) {
    let mut tree = tree();
    let closed = free_port();
    tree.insert(
        format!("{ROOT}/ha-servers/1"),
        (server("127.0.0.1:6361", i32::from(closed)), 11),
    );
    tree.insert(format!("{ROOT}/ha-servers/2"), (server("10.0.0.2:6361", 0), 12));
    (tree, closed)
}

#[test]
fn members_shows_each_with_what_is_wrong_and_ends_with_12_where_nobody_would_serve() {
    let (tree, closed) = nobody_serves();
    let uri = format!("ha://127.0.0.1:{}", start(Conduct::Serves, tree));
    let shown = our_tool(&["members", "-from", &uri]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(12), ""));
    let expected = [
        "  cluster   neo4j.ha".to_owned(),
        "  store id  137fe395800-fffffffffffffff9".to_owned(),
        "  master    member 2".to_owned(),
        String::new(),
        "  id  role    address         backup           last tx  registered  releases         answers".to_owned(),
        format!("  1   slave   127.0.0.1:6361  127.0.0.1:{closed:<5}  42       complete    Neo4j 1.4 - 1.7  no"),
        "  2   master  10.0.0.2:6361   -                42       complete    Neo4j 1.4 - 1.7  no".to_owned(),
        String::new(),
        format!("  member 1: cannot connect to 127.0.0.1:{closed}: connection refused"),
        "  member 2: its backup service is off (setting enable_online_backup)".to_owned(),
        "Nobody would serve".to_owned(),
        String::new(),
    ];
    assert_eq!(shown.stdout, expected.join("\n"));
}

#[test]
fn members_that_all_refuse_are_counted_and_the_missing_service_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, closed) = nobody_serves();
    let uri = format!("ha://127.0.0.1:{}", start(Conduct::Serves, tree));
    let to = folder.path().join("backup");
    let arguments = ["-full", "-from", &uri, "-to", to.to_str().unwrap(), "-output", "json"];
    let done = our_tool(&arguments);
    assert_eq!(done.code, Some(12), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["error"]["kind"], "no-member");
    let hint = report["error"]["hint"].as_str().unwrap();
    assert!(
        hint.starts_with("no member offers the backup service: is online_backup_enabled"),
        "{hint}"
    );
    let warnings = report["warnings"].as_array().unwrap();
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    let warning = warning.as_str().unwrap();
    let text = format!("member 1 (slave): cannot connect to 127.0.0.1:{closed}: connection refused (×");
    assert!(warning.starts_with(&text) && warning.ends_with(" s)"), "{warning}");
    assert_eq!(done.stderr.matches("connection refused").count(), 3, "{}", done.stderr);
}

/// Names of nodes are not ours.
#[test]
fn nothing_of_a_node_reaches_a_terminal_or_a_log_as_a_command() {
    let mut tree = tree();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}";
    tree.insert(format!("/{hostile}"), (cluster_node(1, 1), 0));
    tree.remove("/neo4j.ha");
    let uri = format!("ha://127.0.0.1:{}", start(Conduct::Serves, tree));
    for output in ["text", "json"] {
        let arguments = [
            "members",
            "-from",
            &uri,
            "-cluster",
            "x\u{1b}\u{9b}",
            "-vvv",
            "-output",
            output,
        ];
        let done = our_tool(&arguments);
        for text in [done.stdout, done.stderr] {
            assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{text:?}");
        }
    }
}

#[test]
fn members_is_one_json_object_on_failure_too() {
    let (tree, _) = nobody_serves();
    let uri = format!("ha://127.0.0.1:{}", start(Conduct::Serves, tree));
    let shown = our_tool(&["members", "-from", &uri, "-output", "json"]);
    let report: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(report["exit_code"], 12);
    assert_eq!(report["result"]["would_serve"], json!([]));
    assert_eq!(report["result"]["master"], 2);
    let member = &report["result"]["members"][1];
    assert_eq!(
        (
            &member["id"],
            &member["role"],
            &member["backup_address"],
            &member["reachable"]
        ),
        (&json!(2), &json!("master"), &Value::Null, &json!(false))
    );

    let shown = our_tool(&["members", "-from", &uri, "-cluster", "gamma", "-output", "json"]);
    assert_eq!(shown.code, Some(12));
    let report: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(report["error"]["kind"], "unknown-cluster");
    assert_eq!(report["error"]["hint"], "choose one by its name (see -cluster)");
    assert!(
        shown.stderr.starts_with("error: no cluster gamma is known"),
        "{}",
        shown.stderr
    );

    let shown = our_tool(&["members", "-from", "single://h"]);
    assert_eq!(shown.code, Some(64), "{}", shown.stderr);
    assert!(shown.stderr.contains("a cluster is expected"), "{}", shown.stderr);
}
