//! The library as somebody else's program uses it: from plain threads, and from inside a runtime.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{path::Path, thread, time::Duration};

use neo4j_backup_core::{
    Backup, Cancel, ClusterOptions, ErrorKind, Mode, Serve, adopt, check, check::CheckOptions, inspect, members,
    progress::Quiet, source::uri::Source, verify, verify::VerifyVerdict,
};
use neo4j_format::ids::MemberId;
use neo4j_sandbox::{Cluster, Plan};
use tempfile::TempDir;

#[allow(unreachable_pub, reason = "the documentation includes it as well")]
#[path = "../../crates/core/examples/common/database.rs"]
mod common;

#[allow(dead_code, reason = "its main")]
#[path = "../../crates/core/examples/nightly.rs"]
mod nightly;

async fn cluster(work: &TempDir) -> Cluster {
    let plan = Plan {
        transactions: 100,
        rate: 100,
        session_timeout: Duration::from_millis(300),
        ..Plan::new(&work.path().join("cluster"))
    };
    Cluster::start(plan).await.unwrap()
}

/// Runs on a thread that knows of no runtime.
async fn plain<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(work);
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    thread.join().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nightly_example_backs_up_a_cluster_whatever_happens_to_it() {
    let work = TempDir::new().unwrap();
    let mut cluster = cluster(&work).await;
    let (uri, target) = (cluster.uri(), work.path().join("backup"));
    let nightly = || {
        let (uri, target) = (uri.clone(), target.clone());
        plain(move || nightly::nightly(&uri, &target).map_err(|error| error.to_string()))
    };
    assert!(nightly().await.unwrap().starts_with("Full backup of "));
    assert!(nightly().await.unwrap().starts_with("Incremental backup of "));

    // an incremental backup cannot continue a store that is cut: a full one takes its place
    let store = target.join("neostore.nodestore.db");
    std::fs::File::options()
        .write(true)
        .open(store)
        .unwrap()
        .set_len(3)
        .unwrap();
    assert!(nightly().await.unwrap().starts_with("Full backup of "));

    let master = cluster.master().unwrap();
    cluster.kill(master).await.unwrap();
    let report = nightly().await.unwrap();
    assert!(report.starts_with("Incremental backup of "), "{report}");
    assert!(report.contains(&format!("member {master}")), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_names_who_served_and_who_was_skipped() {
    let work = TempDir::new().unwrap();
    let cluster = cluster(&work).await;
    let source = Source::parse(&cluster.uri()).unwrap();
    let options = ClusterOptions {
        member: Some(MemberId(2)),
        ..ClusterOptions::default()
    };
    let found = {
        let (source, options) = (source.clone(), options.clone());
        plain(move || members(&source, &options, &Cancel::default()))
            .await
            .unwrap()
    };
    assert_eq!(found.cluster.members.len(), 3);
    assert_eq!(
        found
            .ranking
            .candidates
            .iter()
            .map(|found| found.id)
            .collect::<Vec<_>>(),
        [MemberId(2)]
    );

    let backup = Backup::new(source, work.path().join("backup")).cluster(options);
    // inside the runtime of the caller
    let outcome = tokio::task::block_in_place(|| backup.run(&Quiet, &Cancel::default())).unwrap();
    let asked = outcome.members.unwrap();
    assert_eq!(asked.served.unwrap().id, MemberId(2));
    assert_eq!(
        asked.skipped.iter().map(|member| member.id).collect::<Vec<_>>(),
        [MemberId(1), MemberId(3)]
    );

    let failure = tokio::task::block_in_place(|| backup.run(&Quiet, &Cancel::default())).unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::NotOurs);
    let late = backup.time_limit(Duration::ZERO).mode(Mode::Incremental);
    let failure = tokio::task::block_in_place(|| late.run(&Quiet, &Cancel::default())).unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::TimeLimit);
}

fn full(source: Source, target: &Path) {
    Backup::new(source, target).run(&Quiet, &Cancel::default()).unwrap();
}

#[test]
fn a_backup_is_served_copied_and_judged_on_a_plain_thread() {
    let work = common::database();
    let database = work.path().join("database");

    let cancel = Cancel::default();
    let server = Serve::new(&database).listen("127.0.0.1", 0..=0).start().unwrap();
    let copy = work.path().join("copy");
    full(server.source(), &copy);
    assert!(check(&copy, &CheckOptions::default(), &cancel).unwrap().is_consistent());
    assert_eq!(inspect(&copy).unwrap().chain.len(), 1);
    assert_eq!(verify(&copy, &Quiet, &cancel).unwrap().verdict, VerifyVerdict::Intact);

    assert_eq!(
        verify(&database, &Quiet, &cancel).unwrap_err().kind(),
        ErrorKind::Failed
    );
    adopt(&database, &Quiet, &cancel).unwrap();
    assert_eq!(
        verify(&database, &Quiet, &cancel).unwrap().verdict,
        VerifyVerdict::Intact
    );

    let end = Cancel::default();
    end.cancel(ErrorKind::Terminated);
    server.run(&end).unwrap();
}
