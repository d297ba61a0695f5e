//! A slave that its cluster has left behind: it holds transactions that the master never had, has not noticed, and goes on
//! serving them (`docs/formats/zookeeper-discovery.md` §6.3). No backup may end there. Our own `serve` plays the members,
//! and once servers of 1.8 do.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{fs, path::Path, process::Command};

use crate::support::{
    Cluster, ClusterSettings, Coordinators, Options, Peer, Release, Serving, ZooKeeper,
    coordinator_double::{Conduct, Tree, start},
    copy_dir, require_peers, snapshot,
};
use serde_json::Value;
use tempfile::TempDir;

use neo4j_backup_core::source::discovery::znodes::{MemberRecord, ServerRecord};
use neo4j_format::{
    ids::StoreId,
    store::{StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    database::{Contents, Database},
    generator::{Generator, WorkloadProfile},
};

const TIME: i64 = 1_350_000_000_000;
const ID: StoreId = StoreId {
    creation_time: TIME,
    random: -7,
    store_version: Some(CURRENT_VERSION),
};
/// What a member of 1.8 registers as its last transaction: nothing.
const NOT_SAID: i64 = -2;

/// A database with the beginning that all have.
fn create(dir: &Path, id: StoreId) {
    let database = Database::create(dir, StoreFormat::Current, id).unwrap();
    database.close().unwrap();
    go_on(dir, 1, 60);
}

/// Lets a database go on by so many transactions.
fn go_on(dir: &Path, seed: u64, transactions: i64) {
    let mut database = Database::open(dir).unwrap();
    let generator = Generator::new(seed, WorkloadProfile::of(StoreFormat::Current));
    for step in 0..transactions {
        generator.step(&mut database, TIME + step).unwrap();
    }
    database.close().unwrap();
}

/// Coordinators of 1.8 that know these members, by number and backup port; the first one is the master.
fn coordinators(members: &[(usize, u16)]) -> String {
    let root = format!("/{}_{}", ID.creation_time, ID.random);
    let mut name = ID.creation_time.to_be_bytes().to_vec();
    name.extend(ID.random.to_be_bytes());
    name.extend(CURRENT_VERSION.to_be_bytes());
    let mut tree = Tree::from([
        ("/neo4j.ha".to_owned(), (name, 0)),
        (format!("{root}/master-rebound"), (1_i32.to_be_bytes().to_vec(), 0)),
    ]);
    for (id, port) in members {
        let session = i64::try_from(*id).unwrap() + 10;
        let server = ServerRecord {
            backup_port: i32::from(*port),
            address: "127.0.0.1:6361".into(),
        };
        let record = MemberRecord {
            last: NOT_SAID,
            master: Some(-2),
        };
        tree.insert(format!("{root}/ha-servers/{id}"), (server.encode().unwrap(), session));
        tree.insert(format!("{root}/compatibility-1.8/{id}"), (Vec::new(), session));
        tree.insert(format!("{root}/{id}_000000000{id}"), (record.encode(), session));
    }
    format!("ha://127.0.0.1:{}", start(Conduct::Serves, tree))
}

fn run(uri: &str, backup: &Path, options: &[&str]) -> (i32, Value) {
    let done = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args(["-from", uri, "-output", "json", "-quiet", "-to"])
        .arg(backup)
        .args(options)
        .output()
        .unwrap();
    (
        done.status.code().unwrap(),
        serde_json::from_slice(&done.stdout).unwrap(),
    )
}

/// Member 1 is the master; member 2 has the same beginning and an end of its own; member 3 has less than the master, and
/// nothing else.
struct Place {
    work: TempDir,
    members: Vec<Serving>,
}

impl Place {
    fn new() -> Place {
        let work = TempDir::new().unwrap();
        let dir = |name: &str| work.path().join(name);
        create(&dir("base"), ID);
        for (member, seed, transactions) in [("1", 1, 40), ("2", 2, 20), ("3", 1, 10)] {
            copy_dir(&dir("base"), &dir(member));
            go_on(&dir(member), seed, transactions);
        }
        let members = ["1", "2", "3"].map(|member| Serving::start(&dir(member)));
        Place {
            members: members.into(),
            work,
        }
    }

    fn coordinators(&self, members: &[usize]) -> String {
        let port = |id: &usize| {
            self.members[id - 1]
                .address()
                .rsplit_once(':')
                .unwrap()
                .1
                .parse()
                .unwrap()
        };
        let members: Vec<_> = members.iter().map(|id| (*id, port(id))).collect();
        coordinators(&members)
    }

    fn run(&self, uri: &str, options: &[&str]) -> (i32, Value) {
        run(uri, &self.work.path().join("backup"), options)
    }

    /// Whether the backup holds what this member does.
    fn holds_what_has(&self, member: &str) -> bool {
        let read = |name: &str| Contents::read(&self.work.path().join(name)).unwrap();
        read("backup") == read(member)
    }
}

/// Why member 2 did not give the backup.
#[track_caller]
fn refused(report: &Value) -> &str {
    let failed = report["members"]["failed"].as_array().unwrap();
    let second = failed.iter().find(|attempt| attempt["member"] == "member 2 (slave)");
    let second = second.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(second["kind"], "not-ours");
    second["cause"].as_str().unwrap()
}

#[test]
fn a_full_backup_does_not_end_on_a_history_that_the_master_does_not_have() {
    let place = Place::new();
    // member 2 has more than member 3, so it is asked first
    let uri = place.coordinators(&[1, 2, 3]);
    let (code, report) = place.run(&uri, &["-full", "-ha-prefer", "slave"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["members"]["served"]["id"], 3, "{report:#}");
    let cause = refused(&report);
    assert!(
        cause.contains("discarded history") && cause.contains("at the master"),
        "{cause}"
    );
    assert!(place.holds_what_has("3"));
}

#[test]
fn an_incremental_goes_on_with_who_shares_the_masters_history() {
    let place = Place::new();
    // where both histories are one
    let base = Serving::start(&place.work.path().join("base"));
    let (code, report) = place.run(&base.uri(), &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    let uri = place.coordinators(&[1, 2]);
    let (code, report) = place.run(&uri, &["-incremental", "-ha-prefer", "slave"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["members"]["served"]["id"], 1, "{report:#}");
    let cause = refused(&report);
    assert!(cause.contains("discarded history"), "{cause}");
    assert!(place.holds_what_has("1"));
}

#[test]
fn a_backup_of_a_discarded_history_is_not_continued_by_a_slave_that_still_has_it() {
    let place = Place::new();
    let (code, report) = place.run(&place.members[1].uri(), &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    let backup = place.work.path().join("backup");
    let before = snapshot(&backup);
    for options in [["-ha-prefer", "slave"], ["-ha-member", "2"]] {
        let uri = place.coordinators(&[1, 2]);
        let (code, report) = place.run(&uri, &[&["-incremental"][..], &options].concat());
        assert_eq!(code, 13, "{report:#}");
        assert!(snapshot(&backup) == before);
    }
}

#[test]
fn a_slave_that_nobody_can_confirm_gives_the_backup_and_a_warning() {
    let mut place = Place::new();
    let uri = place.coordinators(&[1, 3]);
    // the master has died, and is still registered
    drop(place.members.remove(0));
    let (code, report) = place.run(&uri, &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["members"]["served"]["id"], 3, "{report:#}");
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("could not verify that the master has it too"),
        "{warnings}"
    );
}

/// An edited registration, a translated address: whoever is there knows nothing of the history of this database.
#[test]
fn a_stranger_at_the_address_of_the_master_condemns_no_slave() {
    let mut place = Place::new();
    let other = place.work.path().join("other");
    create(&other, StoreId { random: -8, ..ID });
    place.members[0] = Serving::start(&other);
    let uri = place.coordinators(&[1, 2]);
    for options in [["-full", "-ha-member=2"], ["-incremental", "-ha-member=2"]] {
        let (code, report) = place.run(&uri, &options);
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(report["members"]["served"]["id"], 2, "{report:#}");
        let warnings = report["warnings"].to_string();
        assert!(
            warnings.contains("could not verify that the master has it too")
                && warnings.contains("serves another database"),
            "{warnings}"
        );
    }
    assert!(place.holds_what_has("2"));
}

/// Where the master cannot continue a backup, a slave does that is not much behind it; how much is told.
#[test]
fn a_slave_may_not_be_far_behind_the_master() {
    let mut place = Place::new();
    let base = Serving::start(&place.work.path().join("base"));
    let (code, report) = place.run(&base.uri(), &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    // the master has lost its logs, as one has that copied its store
    let copied = place.work.path().join("copied");
    let (code, report) = run(&place.members[0].uri(), &copied, &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    let last = |report: &Value| report["result"]["last_transactions"]["nioneodb"].as_i64().unwrap();
    let of_master = last(&report);
    place.members[0] = Serving::start(&copied);
    let (code, report) = run(&place.members[2].uri(), &place.work.path().join("slave"), &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    let lag = of_master - last(&report);
    assert!(lag > 1);

    let (backup, uri) = (place.work.path().join("backup"), place.coordinators(&[1, 3]));
    let before = snapshot(&backup);
    let (code, report) = place.run(&uri, &["-incremental", "-ha-max-lag", &(lag - 1).to_string()]);
    assert_eq!(code, 14, "{report:#}");
    let text = report["error"].to_string();
    assert!(
        text.contains("member 1 (master)") && text.contains("the source has transactions up to"),
        "{text}"
    );
    assert!(snapshot(&backup) == before);

    let (code, report) = place.run(&uri, &["-incremental", "-ha-max-lag", &lag.to_string()]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["members"]["served"]["id"], 3, "{report:#}");
    assert_eq!(report["result"]["behind_master"], lag, "{report:#}");
    assert!(place.holds_what_has("3"));

    // a full backup as well
    let named = ["-full", "-overwrite", "-ha-member", "3", "-ha-max-lag", "1"];
    let (code, report) = place.run(&uri, &named);
    assert_eq!(code, 12, "{report:#}");
    assert!(place.holds_what_has("3"));
}

#[test]
fn a_backup_is_not_replaced_by_one_that_has_less() {
    let place = Place::new();
    let (code, report) = place.run(&place.members[0].uri(), &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    let backup = place.work.path().join("backup");
    let (before, uri) = (snapshot(&backup), place.coordinators(&[1, 3]));
    for (source, options) in [(place.members[2].uri(), &[][..]), (uri.clone(), &["-ha-member", "3"])] {
        let (code, report) = place.run(&source, &[&["-full", "-overwrite"][..], options].concat());
        assert_eq!(code, 13, "{report:#}");
        let text = report["error"].to_string();
        assert!(
            text.contains("is behind the existing backup: its last transaction is "),
            "{text}"
        );
        assert!(snapshot(&backup) == before);
    }
    // who has as much may replace it
    let (code, report) = place.run(&uri, &["-full", "-overwrite", "-ha-prefer", "slave"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["members"]["served"]["id"], 1, "{report:#}");
    assert!(place.holds_what_has("1"));
}

/// Whether its service was asked before, as it is where slaves are preferred, or not.
#[test]
fn a_member_with_another_database_gives_no_backup() {
    let mut place = Place::new();
    let other = place.work.path().join("other");
    create(&other, StoreId { random: -8, ..ID });
    place.members[1] = Serving::start(&other);
    let uri = place.coordinators(&[1, 2]);
    let (code, report) = place.run(&uri, &["-full", "-ha-prefer", "slave"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["members"]["served"]["id"], 1, "{report:#}");
    let reason = report["members"]["passed_over"][0]["reason"].to_string();
    assert!(reason.contains("it serves another database"), "{reason}");

    let (code, report) = place.run(&uri, &["-full", "-overwrite", "-ha-member", "2"]);
    assert_eq!(code, 13, "{report:#}");
    assert!(refused(&report).contains("serves database"));
    assert!(place.holds_what_has("1"));
}

#[test]
fn servers_of_1_8_are_compared_by_their_transactions() {
    if !require_peers(Release::V1_8) {
        return;
    }
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    create(&dir("base"), ID);
    // member 2 has more than the others, of which one is the master and one has what the master has
    let mut members = [("1", 1, 30), ("2", 2, 40), ("3", 1, 30)].map(|(member, seed, transactions)| {
        copy_dir(&dir("base"), &dir(member));
        if seed == 1 {
            go_on(&dir(member), 1, 5);
        }
        let mut peer = Peer::start(Release::V1_8, &dir(member), &Options::source(Release::V1_8));
        if member != "3" {
            peer.load(seed, transactions);
        }
        peer
    });
    let ports: Vec<_> = (1..).zip(&members).map(|(id, member)| (id, member.port())).collect();
    let uri = coordinators(&ports);
    let backup = dir("backup");
    let (code, report) = run(&uri, &backup, &["-full", "-ha-prefer", "slave"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["members"]["served"]["id"], 3, "{report:#}");
    assert!(refused(&report).contains("discarded history"));

    let (code, report) = run(&uri, &backup, &["-incremental"]);
    assert_eq!(code, 0, "{report:#}");
    let (code, report) = run(&uri, &backup, &["-incremental", "-ha-member", "2"]);
    assert_eq!(code, 13, "{report:#}");
    let expected = members[0].contents_as_member();
    let found = Peer::contents_of_copy(Release::V1_8, &backup);
    assert_eq!(found.difference(&expected), None);
}

/// A cluster of 1.6.1 whose members were emptied takes the store id again that its coordinators remember
/// (`docs/formats/zookeeper-discovery.md` §3.1): another database under the old one's id, and in time with more
/// transactions.
#[test]
#[ignore = "another release; tests/run full"]
fn a_wiped_cluster_of_1_6_1_does_not_continue_the_old_ones_backup() {
    a_wiped_cluster_does_not_continue_the_old_ones_backup(Release::V1_6_1, true);
}

/// A cluster of 1.3 goes on where the old one was registered, with an id of its own.
#[test]
#[ignore = "takes half a minute; tests/run full"]
fn a_wiped_cluster_of_1_3_is_another_database() {
    a_wiped_cluster_does_not_continue_the_old_ones_backup(Release::V1_3, false);
}

fn a_wiped_cluster_does_not_continue_the_old_ones_backup(release: Release, takes_the_old_id: bool) {
    if !require_peers(release) || !ZooKeeper::Debian.require() {
        return;
    }
    let work = TempDir::new().unwrap();
    let coordinators = Coordinators::start(ZooKeeper::Debian, 1, work.path());
    let members = work.path().join("members");
    let start = || Cluster::start(release, 1, &coordinators, &members, &ClusterSettings::default());
    let (backup, uri) = (work.path().join("backup"), coordinators.uri());

    let mut old = start();
    old.members[0].load(1, 40);
    let (code, report) = run(&uri, &backup, &["-full"]);
    assert_eq!(code, 0, "{report:#}");
    let old_id = report["result"]["store_id"].clone();
    drop(old);
    fs::remove_dir_all(&members).unwrap();

    let mut wiped = start();
    let before = snapshot(&backup);
    let refused_later = if takes_the_old_id {
        "branched history"
    } else {
        "holds a backup of database"
    };
    for (transactions, told) in [(10, "behind the backup"), (60, refused_later)] {
        wiped.members[0].load(2, transactions);
        let (code, report) = run(&uri, &backup, &["-incremental"]);
        assert_eq!(code, 13, "{release:?} {report:#}");
        assert!(report.to_string().contains(told), "{release:?} {report:#}");
        assert!(snapshot(&backup) == before);
    }
    let backup = work.path().join("of-the-new-one");
    for options in [
        &["-full"][..],
        &["-full", "-overwrite", "-ha-prefer", "any"],
        &["-incremental"],
    ] {
        let (code, report) = run(&uri, &backup, options);
        assert_eq!(code, 0, "{release:?} {report:#}");
        let is_the_old_id = report["result"]["store_id"] == old_id;
        assert_eq!(is_the_old_id, takes_the_old_id, "{release:?} {report:#}");
    }
    let expected = wiped.members[0].contents_as_member();
    let booted = Peer::boot(release, &backup).contents();
    assert_eq!(booted.difference(&expected), None);
}
