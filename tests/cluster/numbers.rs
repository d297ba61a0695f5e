//! What a cluster costs: finding it, losing the member that sends, and memory. Run by `benches/cluster`, which builds a
//! release; prints a Markdown table.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "panicking is how tests report, and a table is what this one is for"
)]

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use crate::failing_cluster::{MIDDLE, Place, SLOWLY};
use crate::support::{
    Release,
    coordinator_double::{self, Conduct, Tree},
};

use neo4j_backup_core::{
    cancel::Cancel,
    source::{
        client::{Member, Settings},
        discovery::{self, MemberCriteria, Search},
        uri::Source,
    },
};

/// Searches that find the cluster, and those that end without.
const FOUND: usize = 21;
const NOT_FOUND: usize = 5;
/// Runs of the program of which the memory is taken.
const RUNS: usize = 7;

fn search(uri: &str) -> Search {
    let Source::Ha { coordinators, chroot } = Source::parse(uri).unwrap() else {
        panic!("{uri} names no coordinators")
    };
    Search {
        coordinators,
        chroot,
        cluster: None,
        timeout: Duration::from_secs(20),
    }
}

/// From the beginning of the search to the first byte that a member sends of a full backup, or to the error; and whether
/// a member was found.
fn first_byte(uri: &str) -> (Duration, bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (search, cancel, begin) = (search(uri), Cancel::default(), Instant::now());
    let looked = runtime.block_on(discovery::look(&search, &MemberCriteria::default(), &cancel));
    let found = match looked {
        Ok((_, ranking)) => {
            let at = &ranking.candidates[0].at;
            let member = Member::find(&at.host, at.port, Settings::default(), cancel);
            let mut incoming = runtime.block_on(member).unwrap().full();
            incoming.next().unwrap();
            true
        }
        Err(error) => {
            assert_eq!(error.kind().exit_code(), 12, "{error}");
            false
        }
    };
    let took = begin.elapsed();
    runtime.shutdown_background();
    (took, found)
}

fn row(what: &str, mut values: Vec<f64>, unit: &str, target: &str) {
    values.sort_unstable_by(f64::total_cmp);
    let (least, median, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    println!(
        "| {what} | {least:.1} | {median:.1} | {most:.1} | {unit} | {} | {target} |",
        values.len()
    );
}

fn milliseconds(times: impl IntoIterator<Item = Duration>) -> Vec<f64> {
    times.into_iter().map(|time| time.as_secs_f64() * 1000.0).collect()
}

fn refusing() -> String {
    format!("127.0.0.1:{}", crate::support::free_ports(1)[0])
}

fn double(conduct: Conduct) -> String {
    format!("127.0.0.1:{}", coordinator_double::start(conduct, Tree::new()))
}

fn searches(good: &str) {
    let nameless = || "no-such-host.invalid".to_owned();
    for (what, host, target) in [
        ("all three serve", None, "150"),
        ("one more in front that refuses", Some(refusing()), "+50"),
        (
            "one more in front that is silent",
            Some(double(Conduct::Silent)),
            "+2000",
        ),
        ("one more in front without a name", Some(nameless()), ""),
        ("one more in front without quorum", Some(double(Conduct::NoQuorum)), ""),
    ] {
        let hosts: Vec<String> = host.into_iter().chain([good.to_owned()]).collect();
        let uri = format!("ha://{}", hosts.join(","));
        let measured = (0..FOUND).map(|_| {
            let (took, found) = first_byte(&uri);
            assert!(found, "{what}");
            took
        });
        row(what, milliseconds(measured), "ms", target);
    }
    let kinds: [(&str, &dyn Fn() -> String); 9] = [
        ("refuse", &refusing),
        ("have no name", &nameless),
        ("are silent", &|| double(Conduct::Silent)),
        ("close at once", &|| double(Conduct::Closes)),
        ("are no coordinators", &|| double(Conduct::Foreign)),
        ("have no quorum", &|| double(Conduct::NoQuorum)),
        ("open no session", &|| double(Conduct::MuteSession)),
        ("close the session", &|| double(Conduct::ClosesSession)),
        ("answer nothing", &|| double(Conduct::MuteReplies)),
    ];
    let mut one_of_each = Vec::new();
    for (kind, host) in kinds {
        let hosts: Vec<String> = (0..3).map(|_| host()).collect();
        one_of_each.push(host());
        all_dead(&format!("three that {kind}"), &hosts);
    }
    all_dead("one of each", &one_of_each);
}

fn all_dead(what: &str, hosts: &[String]) {
    let uri = format!("ha://{}", hosts.join(","));
    let measured = (0..NOT_FOUND).map(|_| {
        let (took, found) = first_byte(&uri);
        assert!(!found, "{what}");
        took
    });
    row(what, milliseconds(measured), "ms", "10000");
}

/// The master dies in the middle of a backup, again and again.
fn takeovers(place: &mut Place, kills: usize) {
    let base = place.target("base");
    place.back_up("-full", &base, &[]).assert_code(0);
    for mode in ["-full", "-incremental"] {
        let mut times = Vec::new();
        for _ in 0..kills {
            let master = place.settled_master(&base);
            let target = if mode == "-full" {
                place.target("full")
            } else {
                base.clone()
            };
            let run = if mode == "-full" {
                let mut run = place.begin(mode, &target, &[&SLOWLY[..], &["-overwrite"]].concat());
                run.wait_for_the_middle();
                run
            } else {
                place.fill(usize::try_from(master).unwrap() - 1);
                place.wait_until_level();
                let mut run = place.begin(mode, &target, &SLOWLY);
                run.wait_for(MIDDLE, &target.join("neo4j-backup.received"));
                run
            };
            assert_eq!(run.asked(), master);
            place.kill(master);
            let killed = SystemTime::now();
            let report = run.finish();
            report.assert_code(0);
            assert_ne!(report.served().0, master);
            times.push(report.first_byte_after(killed));
            place.restart(master);
        }
        let what = format!("master killed in a {} backup", mode.trim_start_matches('-'));
        row(&what, milliseconds(times), "ms", "2000");
    }
}

/// Peak memory of whole full backups.
fn memory(place: &mut Place) {
    let (member, coordinators) = (place.member(1).uri(), place.coordinators.uri());
    let target = place.target("memory");
    let target = target.as_path();
    for (what, uri, options) in [
        ("single://", &member, &[][..]),
        ("ha://", &coordinators, &[]),
        ("ha:// -ha-prefer any", &coordinators, &["-ha-prefer", "any"]),
        ("ha:// -ha-prefer slave", &coordinators, &["-ha-prefer", "slave"]),
    ] {
        let peaks = (0..RUNS).map(|_| peak(uri, target, options) / 1024.0).collect();
        row(&format!("peak memory, {what}"), peaks, "MiB", "single:// + 8");
    }
}

/// KiB.
fn peak(uri: &str, target: &Path, options: &[&str]) -> f64 {
    let _ = fs::remove_dir_all(target);
    let usage = target.with_extension("usage");
    let done = Command::new("/usr/bin/time")
        .args(["-f", "%M", "-o"])
        .arg(&usage)
        .arg(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args(["-full", "-from", uri, "-quiet", "-to"])
        .arg(target)
        .args(options)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(done.success(), "{uri} {options:?}");
    fs::read_to_string(usage).unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "measures: benches/cluster"]
fn numbers() {
    let kills = env::var("CLUSTER_KILLS").map_or(7, |kills| kills.parse().unwrap());
    let mut place = Place::start(Release::V1_8, 3).unwrap();
    println!("| coordinators or backup | min | median | max | | runs | target |\n|---|---|---|---|---|---|---|");
    searches(&place.coordinators.hosts());
    memory(&mut place);
    takeovers(&mut place, kills);
}
