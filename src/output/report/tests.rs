//! How runs end, as text and as JSON.

use std::{num::NonZeroU64, time::Duration};

use serde_json::json;

use super::*;
use crate::args::{
    cluster::{ClusterArgs, ClusterRequest},
    request::{Existing, Fallback, History, Verify},
};
use neo4j_backup_core::{ErrorKind, source::uri::Source};
use neo4j_format::ids::{DataSource, StoreId, TxId};

fn request(mode: Mode) -> BackupRequest {
    BackupRequest {
        mode,
        source: Source::parse("db").unwrap(),
        cluster: ClusterRequest::from_args(&ClusterArgs::default()).unwrap(),
        from: "single://db".into(),
        target: "/b".into(),
        verify: Verify::On,
        existing: Existing::Refuse,
        fallback: Fallback::Stop,
        history: History::Reported,
        keep: None,
        timeout: None,
        silence_timeout: None,
        max_rate: NonZeroU64::new(1),
        max_growth: None,
    }
}

fn outcome() -> BackupOutcome {
    BackupOutcome {
        mode: TakenMode::Incremental,
        member: "db:6362".into(),
        dialect: "D18".into(),
        releases: "Neo4j 1.8".into(),
        target: "/b".into(),
        store_id: StoreId {
            creation_time: 1_352_000_000_000,
            random: -7,
            store_version: None,
        },
        last_transactions: [(DataSource::Graph, TxId(12)), (DataSource::Lucene, TxId(3))].into(),
        files: 34,
        bytes: 3 << 20,
        transactions: 10,
        behind_master: Some(2),
        history: HistoryProof::NotProven,
        pending_index_log_bytes: 2048,
        history_log_bytes: 0,
        check: None,
        verdict: Verdict::Good,
    }
}

fn record() -> Record {
    Record {
        total: Duration::from_micros(1_234_567),
        phases: [("receiving", Duration::from_secs(1))].into(),
        warnings: vec!["slow".into()],
    }
}

fn report(request: &BackupRequest, result: Result<BackupOutcome, Error>) -> Report<'_> {
    Report {
        request,
        record: record(),
        done: result.into(),
    }
}

#[test]
fn a_good_backup_is_one_object() {
    let request = request(Mode::Auto);
    let json = to_line(&report(&request, Ok(outcome())).json());
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap(),
        json!({
            "schema_version": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "exit_code": 0,
            "mode": "auto",
            "source": "single://db",
            "target": "/b",
            "result": {
                "mode": "incremental",
                "member": "db:6362",
                "dialect": "D18",
                "releases": "Neo4j 1.8",
                "target": "/b",
                "store_id": "13ac97ad000-fffffffffffffff9",
                "last_transactions": {"nioneodb": 12, "lucene-index": 3},
                "files": 34,
                "bytes": 3_145_728,
                "transactions": 10,
                "behind_master": 2,
                "history": "not-proven",
                "check": null,
                "pending_index_log_bytes": 2048,
                "history_log_bytes": 0,
                "verdict": "good",
            },
            "members": null,
            "seconds": {"receiving": 1.0, "total": 1.235},
            "warnings": ["slow"],
            "error": null,
        })
    );
}

#[test]
fn a_good_backup_is_a_few_lines_that_end_with_done() {
    let request = request(Mode::Full);
    let text = report(&request, Ok(outcome())).text(&outcome());
    let expected = [
        "  mode      incremental",
        "  member    db:6362, Neo4j 1.8 (D18)",
        "  store id  13ac97ad000-fffffffffffffff9",
        "  received  34 files, 10 transactions, 3.00 MiB",
        "  last      nioneodb 12, lucene-index 3",
        "  behind    2 transactions of the master",
        "  history   not proven",
        "  index log 2.00 KiB wait for the server's first start",
        "  seconds   1.23 (receiving 1.00)",
        "  target    /b",
        "Done",
        "",
    ];
    assert_eq!(text, expected.join("\n"));
}

#[test]
fn the_first_line_is_the_one_of_the_original() {
    let line = |mode| start_line(&request(mode));
    assert_eq!(line(Mode::Full), "Performing full backup from 'single://db'\n");
    assert_eq!(
        line(Mode::Incremental),
        "Performing incremental backup from 'single://db'\n"
    );
    assert_eq!(line(Mode::Auto), "Performing backup from 'single://db'\n");
}

#[derive(Debug, thiserror::Error)]
#[error("db:6362 closed\nthe connection")]
struct Outer(#[source] std::io::Error);

#[test]
fn an_error_shows_causes_and_hint_one_line_each() {
    let cause = std::io::Error::other("reset\u{1b}[2J");
    let error = Error::new(ErrorKind::Unreachable, Outer(cause)).with_hint("try again");
    assert_eq!(
        error_text(&error, None),
        "error: db:6362 closed the connection\n  caused by: reset[2J\nhint: try again\n"
    );
    let json = serde_json::to_value(JsonError::new(&error)).unwrap();
    assert_eq!(
        json,
        json!({
            "kind": "unreachable",
            "message": "db:6362 closed the connection",
            "causes": ["reset[2J"],
            "hint": "try again",
        })
    );
}

#[test]
fn a_verdict_below_good_has_its_own_exit_code_and_a_warning() {
    let request = request(Mode::Full);
    for (verdict, code) in [
        (Verdict::Good, 0),
        (Verdict::NotChecked, 2),
        (Verdict::Inconsistent, 3),
        (Verdict::IndexesMissing, 3),
        (Verdict::SourceDemoted, 4),
    ] {
        let report = report(&request, Ok(BackupOutcome { verdict, ..outcome() }));
        assert_eq!(report.exit_code(), code);
        assert_eq!(verdict_warning(verdict).is_none(), verdict == Verdict::Good);
    }
}
