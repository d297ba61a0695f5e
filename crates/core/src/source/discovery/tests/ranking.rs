//! Who is asked, in which order, and who is not.

use std::time::Duration;

use proptest::prelude::*;

use super::{member, number, server, worked_example};
use crate::{
    ErrorKind,
    source::{
        discovery::{
            Answer, Answers, Base, Cluster, Dead, MemberCriteria, Preference, Ranking, Reading, Reason, Role,
            cluster::Node, rank, znodes::RootName,
        },
        uri::HostPort,
    },
};
use neo4j_format::{
    ids::{MemberId, StoreId, TxId},
    wire::Dialect,
};

const ROOT: RootName = RootName {
    creation_time: 1_340_000_000_000,
    random: -7,
};
const STORE: StoreId = StoreId {
    creation_time: 1_340_000_000_000,
    random: -7,
    store_version: None,
};

fn silent(cause: &str) -> Answer {
    Answer::Dead(Dead {
        cause: cause.to_owned(),
        is_refused: false,
    })
}

fn assemble(reading: &Reading) -> Cluster {
    Cluster::assemble(Some("neo4j.ha".into()), ROOT, None, reading)
}

fn wanted(preference: Preference) -> MemberCriteria {
    MemberCriteria {
        preference,
        ..MemberCriteria::default()
    }
}

fn order(ranking: &Ranking) -> Vec<i32> {
    ranking.candidates.iter().map(|candidate| candidate.id.0).collect()
}

fn reasons(ranking: &Ranking) -> Vec<(i32, Reason)> {
    let passed_over = ranking.passed_over.iter();
    passed_over.map(|member| (member.id.0, member.reason.clone())).collect()
}

fn alive(id: i32, last: Option<i64>, took: u64) -> (MemberId, Answer) {
    let answer = Answer::Alive {
        at: HostPort {
            host: format!("10.0.0.{id}"),
            port: 6362,
        },
        dialect: Dialect::D18,
        store_id: None,
        last: last.map(TxId),
        took: Duration::from_millis(took),
    };
    (MemberId(id), answer)
}

/// Five members: 4 leads, 1 and 2 are level with it, 3 lags by 10 and 5 by 2000.
fn five() -> Reading {
    let lasts = [5000, 5000, 4990, 5000, 3000];
    let id = |index: usize| index + 1;
    Reading {
        members: lasts
            .iter()
            .enumerate()
            .map(|(index, last)| member(&format!("{}_000000010{}", id(index), 9 - index), *last, 4))
            .collect(),
        servers: (0..5)
            .map(|index| server(&id(index).to_string(), &format!("10.0.0.{}:6361", id(index)), 6362))
            .collect(),
        rebound: Some(number(4, 20)),
        ..Reading::default()
    }
}

#[test]
fn the_worked_example_comes_out_as_documented() {
    let cluster = assemble(&worked_example());
    let master = rank(&cluster, &Answers::new(), &wanted(Preference::Master));
    assert_eq!(order(&master), [2, 1]);
    assert_eq!(reasons(&master), [(3, Reason::BackupOff)]);
    assert_eq!(master.candidates[0].at.to_string(), "10.0.0.2:6372");
    assert_eq!(master.candidates[0].role, Role::Master);
    let slave = rank(&cluster, &Answers::new(), &wanted(Preference::Slave));
    assert_eq!(order(&slave), [1, 2]);
}

#[test]
fn every_preference_has_its_order() {
    let cluster = assemble(&five());
    let order_of = |preference| order(&rank(&cluster, &Answers::new(), &wanted(preference)));
    assert_eq!(order_of(Preference::Master), [4, 2, 1, 3, 5], "2 registered before 1");
    assert_eq!(order_of(Preference::Slave), [2, 1, 3, 4]);
    assert_eq!(order_of(Preference::Any), [2, 1, 4, 3]);
    let slave = rank(&cluster, &Answers::new(), &wanted(Preference::Slave));
    let lags = Reason::Lags {
        last: TxId(3000),
        highest: TxId(5000),
        max_lag: 1000,
    };
    assert_eq!(reasons(&slave), [(5, lags)]);
}

#[test]
fn any_takes_the_quickest_of_equal_members() {
    let cluster = assemble(&five());
    let answers = Answers::from([alive(1, None, 3), alive(2, None, 9), alive(4, None, 1)]);
    assert_eq!(order(&rank(&cluster, &answers, &wanted(Preference::Any))), [1, 2, 4, 3]);
    assert_eq!(
        order(&rank(&cluster, &answers, &wanted(Preference::Slave))),
        [2, 1, 3, 4]
    );
}

fn serving(id: i32, store: StoreId) -> (MemberId, Answer) {
    let (id, mut answer) = alive(id, None, 1);
    if let Answer::Alive { store_id, .. } = &mut answer {
        *store_id = Some(store);
    }
    (id, answer)
}

#[test]
fn a_member_that_serves_another_database_is_not_asked() {
    let cluster = assemble(&five());
    let other = StoreId { random: 8, ..STORE };
    let upgraded = StoreId {
        store_version: Some(1),
        ..STORE
    };
    let answers = Answers::from([serving(4, other), serving(1, upgraded), serving(2, other)]);
    let ranking = rank(&cluster, &answers, &wanted(Preference::Any));
    assert_eq!((order(&ranking), ranking.database), (vec![1, 3], Some(STORE)));
    let reason = |found, expected| Reason::OtherStore { found, expected };
    assert_eq!(
        reasons(&ranking)[..2],
        [(2, reason(other, STORE)), (4, reason(other, STORE))]
    );
}

/// Emptied members of 1.3 go on below the old root with a database of their own.
#[test]
fn in_1_3_the_master_says_whose_database_it_is() {
    let mut reading = five();
    for member in &mut reading.members {
        member.data.truncate(8);
    }
    let cluster = assemble(&reading);
    let other = StoreId { random: 8, ..STORE };
    for (answers, database, expected) in [
        (Answers::new(), None, [4, 2, 1, 3, 5].as_slice()),
        (Answers::from([serving(1, other)]), None, &[4, 2, 1, 3, 5]),
        (Answers::from([serving(4, other)]), Some(other), &[4, 2, 1, 3, 5]),
        (
            Answers::from([serving(4, other), serving(1, STORE)]),
            Some(other),
            &[4, 2, 3, 5],
        ),
    ] {
        let ranking = rank(&cluster, &answers, &wanted(Preference::Master));
        assert_eq!((order(&ranking).as_slice(), ranking.database), (expected, database));
    }
}

#[test]
fn slaves_of_1_8_do_not_say_how_far_they_are() {
    let mut reading = five();
    reading.marks_of_1_8 = (1..=5).map(|id| id.to_string()).collect();
    let cluster = assemble(&reading);
    let order_of = |answers: &Answers, preference| order(&rank(&cluster, answers, &wanted(preference)));
    let nothing = Answers::new();
    assert_eq!(
        order_of(&nothing, Preference::Master),
        [4, 5, 3, 2, 1],
        "by registration"
    );
    assert_eq!(order_of(&nothing, Preference::Slave), [5, 3, 2, 1, 4]);
    assert_eq!(
        order_of(&nothing, Preference::Any),
        [4, 5, 3, 2, 1],
        "nobody has more than the master"
    );
    let measured = Answers::from([alive(1, Some(70), 1), alive(3, Some(71), 1), alive(4, Some(71), 1)]);
    assert_eq!(order_of(&measured, Preference::Slave), [3, 1, 5, 2, 4]);
}

#[test]
fn slaves_of_which_nothing_is_known_come_behind_the_master() {
    let mut reading = five();
    for node in &mut reading.members[..2] {
        node.data.clear();
    }
    let cluster = assemble(&reading);
    let slave = rank(&cluster, &Answers::new(), &wanted(Preference::Slave));
    assert_eq!(order(&slave), [3, 4, 2, 1]);
    let any = rank(&cluster, &Answers::new(), &wanted(Preference::Any));
    assert_eq!(order(&any), [4, 3, 2, 1]);
}

#[test]
fn an_increment_is_asked_of_the_master_first_where_slaves_hide_what_they_pulled() {
    let incremental = MemberCriteria {
        base: Some(Base {
            store_id: STORE,
            last: TxId(4995),
        }),
        ..wanted(Preference::Slave)
    };
    let ranking = rank(&assemble(&five()), &Answers::new(), &incremental);
    assert_eq!(order(&ranking), [4, 2, 1]);
    let behind = |last| Reason::Behind {
        last: TxId(last),
        base: TxId(4995),
    };
    assert_eq!(reasons(&ranking), [(3, behind(4990)), (5, behind(3000))]);
}

#[test]
fn members_that_just_register_come_last_whatever_they_have() {
    let mut reading = five();
    reading.members.remove(3);
    reading.members[0].owner = 1;
    let cluster = assemble(&reading);
    let ranking = rank(&cluster, &Answers::new(), &wanted(Preference::Master));
    assert_eq!(order(&ranking), [2, 3, 5, 4, 1]);
    let settled: Vec<bool> = ranking.candidates.iter().map(|one| one.settled).collect();
    assert_eq!(settled, [true, true, true, false, false]);
}

#[test]
fn every_member_passed_over_has_its_reason() {
    let mut reading = five();
    reading.servers[0] = server("1", "10.0.0.1:6361", 70000);
    reading.servers[1] = server("2", "no port", 6362);
    reading.servers.remove(2);
    let cluster = assemble(&reading);
    let mut answers = Answers::from([(MemberId(4), silent("connection refused")), alive(5, None, 1)]);
    if let Some(Answer::Alive { store_id, .. }) = answers.get_mut(&MemberId(5)) {
        *store_id = Some(StoreId { random: 8, ..STORE });
    }
    let ranking = rank(&cluster, &answers, &MemberCriteria::default());
    assert!(ranking.candidates.is_empty());
    let texts: Vec<String> = ranking.passed_over.iter().map(|one| one.reason.to_string()).collect();
    assert_eq!(
        texts,
        [
            "its registration is not understood: 70000 is not a port",
            "its registration is not understood: \"no port\" is not HOST:PORT",
            "it is leaving or has not registered its address yet",
            "connection refused",
            "it serves another database: store id 137fe395800-0000000000000008, the cluster's is 137fe395800-fffffffffffffff9",
        ]
    );
    let error = ranking.require_candidates(&cluster, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoMember);
    assert!(
        error
            .to_string()
            .starts_with("no member of cluster neo4j.ha can give the backup: member 1 (slave): its registration"),
        "{error}"
    );
    assert!(error.to_string().contains("; member 4 (master): connection refused; "));
}

#[test]
fn one_member_can_be_asked_for() {
    let only = MemberCriteria {
        member: Some(MemberId(3)),
        ..MemberCriteria::default()
    };
    let ranking = rank(&assemble(&five()), &Answers::new(), &only);
    assert_eq!(order(&ranking), [3]);
    assert!(ranking.passed_over.iter().all(|one| one.reason == Reason::NotWanted));
}

#[test]
fn ends_without_candidates_are_distinct() {
    let kind_and_text = |reading: &Reading, base: Option<Base>| {
        let cluster = assemble(reading);
        let wanted = MemberCriteria {
            base,
            ..MemberCriteria::default()
        };
        let ranking = rank(&cluster, &Answers::new(), &wanted);
        let error = ranking.require_candidates(&cluster, base).unwrap_err();
        (error.kind(), error.to_string())
    };
    assert_eq!(
        kind_and_text(&Reading::default(), None),
        (
            ErrorKind::NoMember,
            "cluster neo4j.ha exists, but no member is registered".into()
        )
    );
    let ahead = Base {
        store_id: STORE,
        last: TxId(6000),
    };
    assert_eq!(kind_and_text(&five(), Some(ahead)).0, ErrorKind::NotOurs);
    let other = Base {
        store_id: StoreId { random: 9, ..STORE },
        last: TxId(1),
    };
    assert_eq!(
        kind_and_text(&five(), Some(other)),
        (
            ErrorKind::NotOurs,
            "the backup is of another database: its store id is 137fe395800-0000000000000009, cluster neo4j.ha has \
             137fe395800-fffffffffffffff9"
                .into()
        )
    );
    let cluster = assemble(&five());
    let ranking = rank(&cluster, &Answers::new(), &MemberCriteria::default());
    assert!(ranking.require_candidates(&cluster, None).is_ok());
}

prop_compose! {
    /// Nodes as they could be found, most of them almost right.
    fn node(names: &'static str)(
        name in names,
        data in prop_oneof![
            any::<Vec<u8>>(),
            (-3..50_i64, -2..9_i32).prop_map(|(last, master)| member("1_1", last, master).data),
            (0..9_i32, -1..70_000_i32).prop_map(|(host, port)| server("1", &format!("10.0.0.{host}:1"), port).data),
            (-7..9_i32).prop_map(|value| value.to_be_bytes().to_vec()),
        ],
        version in 0..3_i32,
        changed: i64,
        owner in 0..3_i64,
    ) -> Node {
        Node { name, data, version, changed, owner }
    }
}

prop_compose! {
    fn reading()(
        members in prop::collection::vec(node("[0-9]_[0-9]{1,2}|\\PC{0,4}"), 0..8),
        servers in prop::collection::vec(node("[0-9]|\\PC{0,4}"), 0..8),
        marks_of_1_8 in prop::collection::vec("[0-9]", 0..4),
        notify in prop::option::of(node("n")),
        rebound in prop::option::of(node("r")),
        flush in prop::option::of(node("f")),
    ) -> Reading {
        Reading { members, servers, marks_of_1_8, notify, rebound, flush }
    }
}

fn preference() -> impl Strategy<Value = Preference> {
    prop::sample::select(Preference::ALL.map(|(_, preference)| preference).to_vec())
}

proptest! {
    #[test]
    fn every_registered_member_is_a_candidate_or_passed_over_once(
        reading in reading(),
        preference in preference(),
        base in prop::option::of(0..60_i64),
        max_lag in 0..20_u64,
        dead in prop::collection::btree_set(0..10_i32, 0..4),
    ) {
        let cluster = assemble(&reading);
        let answers: Answers = dead.iter().map(|id| (MemberId(*id), silent("x"))).collect();
        let wanted = MemberCriteria {
            preference,
            member: None,
            max_lag,
            base: base.map(|last| Base { store_id: STORE, last: TxId(last) }),
        };
        let ranking = rank(&cluster, &answers, &wanted);
        let mut seen: Vec<i32> = order(&ranking);
        seen.extend(reasons(&ranking).iter().map(|(id, _)| id));
        seen.sort_unstable();
        let registered: Vec<i32> = cluster.members.iter().map(|member| member.id.0).collect();
        prop_assert_eq!(seen, registered);
        for candidate in &ranking.candidates {
            prop_assert!(candidate.at.port != 0 && !dead.contains(&candidate.id.0));
            if let (Some(base), Some(last)) = (base, candidate.last) {
                prop_assert!(last.0 >= base);
            }
        }
        if preference == Preference::Master && let Some(id) = cluster.master.id()
            && ranking.candidates.iter().any(|one| one.id == id && one.settled)
        {
            prop_assert_eq!(ranking.candidates[0].id, id);
        }
        prop_assert_eq!(
            ranking.require_candidates(&cluster, wanted.base).is_ok(),
            !ranking.candidates.is_empty()
        );
    }

    #[test]
    fn the_order_of_the_nodes_makes_no_difference(reading in reading(), preference in preference()) {
        // of two nodes of one name, which coordinators never have, the later wins
        let mut reading = reading;
        reading.servers.sort_by(|one, other| one.name.cmp(&other.name));
        reading.servers.dedup_by(|one, other| one.name == other.name);
        reading.members.sort_by(|one, other| one.name.cmp(&other.name));
        reading.members.dedup_by(|one, other| {
            let sequence = |node: &Node| crate::source::discovery::znodes::MemberName::parse(&node.name);
            one.name == other.name || (sequence(one).is_some() && sequence(one) == sequence(other))
        });
        if let (Some(one), Some(other)) = (&reading.notify, &reading.rebound) {
            prop_assume!(one.changed != other.changed);
        }
        let mut turned = reading.clone();
        turned.members.reverse();
        turned.servers.reverse();
        turned.marks_of_1_8.reverse();
        prop_assert_eq!(&assemble(&reading).members.len(), &assemble(&turned).members.len());
        let ranked = |reading| rank(&assemble(reading), &Answers::new(), &wanted(preference));
        prop_assert_eq!(ranked(&reading), ranked(&turned));
    }
}
