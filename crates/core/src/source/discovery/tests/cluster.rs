//! What nodes mean together.

use super::{member, number, server, worked_example};
use crate::source::discovery::{
    Cluster, Last, Layout, Master, Reading, Registration, Role, cluster::Node, znodes::RootName,
};
use neo4j_format::ids::{MemberId, TxId};

const ROOT: RootName = RootName {
    creation_time: 1_340_000_000_000,
    random: -7,
};

fn assemble(reading: &Reading) -> Cluster {
    Cluster::assemble(Some("neo4j.ha".into()), ROOT, None, reading)
}

fn lasts(cluster: &Cluster) -> Vec<Last> {
    cluster.members.iter().map(|member| member.last.clone()).collect()
}

fn registrations(cluster: &Cluster) -> Vec<(i32, Registration)> {
    let members = cluster.members.iter();
    members.map(|member| (member.id.0, member.registration)).collect()
}

#[test]
fn the_worked_example_is_understood() {
    let cluster = assemble(&worked_example());
    assert_eq!(cluster.master, Master::Announced(MemberId(2)));
    assert_eq!(
        registrations(&cluster),
        [1, 2, 3].map(|id| (id, Registration::Complete))
    );
    assert_eq!(lasts(&cluster), [42, 42, 40].map(|last| Last::Live(TxId(last))));
    assert_eq!(cluster.role(MemberId(1)), Role::Slave);
    assert_eq!(cluster.role(MemberId(2)), Role::Master);
    let service = cluster.members[1].service().unwrap();
    assert_eq!(
        (service.hosts.as_slice(), service.port),
        (&["10.0.0.2".to_owned()][..], Some(6372))
    );
    assert_eq!(cluster.members[2].service().unwrap().port, None);
    assert!(cluster.members.iter().all(|member| member.layout == Layout::V1_4));
}

#[test]
fn eight_bytes_are_1_3() {
    let mut reading = worked_example();
    for node in &mut reading.members {
        node.data.truncate(8);
    }
    let cluster = assemble(&reading);
    assert!(cluster.members.iter().all(|member| member.layout == Layout::V1_3));
    assert_eq!(lasts(&cluster), [42, 42, 40].map(|last| Last::Live(TxId(last))));
}

/// The worked example with 1.8: registered at 42 and never refreshed since, or after a flush.
#[test]
fn members_of_1_8_publish_nothing_unless_a_flush_is_wanted() {
    let mut reading = worked_example();
    reading.marks_of_1_8 = vec!["1".into(), "2".into(), "3".into()];
    reading.members[0].version = 0;
    reading.members[1] = member("2_0000000005", -2, -2);
    for flush in [None, Some(number(-6, 9))] {
        reading.flush = flush;
        let cluster = assemble(&reading);
        assert_eq!(
            lasts(&cluster),
            [Last::Unpublished, Last::Unpublished, Last::Unpublished]
        );
        assert_eq!(cluster.master, Master::Announced(MemberId(2)));
        assert!(cluster.members.iter().all(|member| member.layout == Layout::V1_8));
    }
    reading.flush = Some(number(-1, 9));
    assert_eq!(
        lasts(&assemble(&reading)),
        [Last::Unpublished, Last::Unpublished, Last::Live(TxId(40))],
        "only what was set since it was created, and is not a mark"
    );
}

#[test]
fn the_later_of_two_announcements_counts_and_only_registered_members_do() {
    let master = |notify, rebound| {
        let reading = Reading {
            notify,
            rebound,
            ..worked_example()
        };
        assemble(&reading).master
    };
    let announced = |id| Master::Announced(MemberId(id));
    assert_eq!(
        master(Some(number(3, 30)), Some(number(2, 20))),
        announced(3),
        "elected, role not yet taken"
    );
    assert_eq!(
        master(Some(number(3, 10)), Some(number(2, 20))),
        announced(2),
        "a leftover"
    );
    assert_eq!(
        master(Some(number(7, 30)), Some(number(2, 20))),
        announced(2),
        "7 is gone"
    );
    assert_eq!(
        master(Some(number(1, 10)), Some(number(7, 20))),
        announced(1),
        "7 is gone"
    );
    assert_eq!(master(Some(number(-1, 10)), Some(number(2, 20))), announced(2));
    let garbage = Some(Node {
        data: vec![1; 5],
        changed: 99,
        ..Node::default()
    });
    assert_eq!(master(garbage, Some(number(2, 20))), announced(2));
}

#[test]
fn without_announcement_the_rule_of_the_election_names_the_master() {
    let master = |change: &dyn Fn(&mut Reading)| {
        let mut reading = worked_example();
        reading.rebound = None;
        change(&mut reading);
        assemble(&reading).master
    };
    let elected = |id| Master::Elected(MemberId(id));
    assert_eq!(master(&|_| {}), elected(2), "it committed 42 as master");
    assert_eq!(
        master(&|reading| reading.members[1] = member("2_0000000005", 42, -1)),
        elected(1),
        "it registered first"
    );
    assert_eq!(
        master(&|reading| reading.members[2] = member("3_0000000009", 43, 2)),
        elected(3),
        "it has most"
    );
    assert_eq!(
        master(&|reading| {
            for node in &mut reading.members {
                node.data = member("1_1", -2, -2).data;
            }
        }),
        Master::Unknown
    );
    assert_eq!(master(&|reading| *reading = Reading::default()), Master::Unknown);
}

#[test]
fn registrations_in_parts_are_told_apart() {
    let mut reading = worked_example();
    reading.members.remove(0);
    reading.servers.pop();
    reading.members.push(Node {
        owner: 5,
        ..member("2_0000000011", 44, 2)
    });
    let cluster = assemble(&reading);
    assert_eq!(
        registrations(&cluster),
        [
            (1, Registration::Starting),
            (2, Registration::Moving),
            (3, Registration::Leaving)
        ]
    );
    assert_eq!(
        (cluster.members[1].sequence, &cluster.members[1].last),
        (Some(11), &Last::Live(TxId(44))),
        "the newer of two nodes counts"
    );
    assert_eq!(cluster.members[0].last, Last::Unknown(None));
}

#[test]
fn nodes_that_are_not_understood_cost_their_own_member_only() {
    let mut reading = worked_example();
    reading.members[0].data = vec![7; 1 << 20];
    reading.servers[2].data = vec![0xff; 1 << 20];
    for name in ["x_y", "_", "1_2_3", "master-notify", "99999999999_1"] {
        reading.members.push(Node {
            name: name.into(),
            ..Node::default()
        });
    }
    for name in ["1-jmx", "", "x"] {
        reading.servers.push(Node {
            name: name.into(),
            ..Node::default()
        });
    }
    let cluster = assemble(&reading);
    assert_eq!(cluster.members.len(), 3);
    assert!(matches!(cluster.members[0].last, Last::Unknown(Some(_))));
    assert!(cluster.members[0].service().is_some());
    assert!(matches!(cluster.members[2].server, Some(Err(_))));
    assert_eq!(cluster.members[1], assemble(&worked_example()).members[1]);
}

#[test]
fn a_cluster_without_a_name_is_called_by_its_root() {
    let cluster = Cluster::assemble(None, ROOT, None, &Reading::default());
    assert_eq!(cluster.label(), "1340000000000_-7");
    assert_eq!(assemble(&Reading::default()).label(), "neo4j.ha");
    let server_only = Reading {
        servers: vec![server("4", "h:1", 1)],
        ..Reading::default()
    };
    assert_eq!(assemble(&server_only).member(MemberId(4)).unwrap().sequence, None);
}
