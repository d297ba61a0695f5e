//! How runs end, as text and as JSON.

use std::time::Duration;

use serde_json::json;

use super::{
    backup::{seconds, verdict_warning},
    *,
};
use neo4j_backup_core::{
    Backup, BackupOutcome, ErrorKind,
    manifest::BackupKind,
    outcome::{HistoryProof, Verdict},
    source::uri::Source,
};
use neo4j_format::ids::{DataSource, StoreId, TxId};

fn request(mode: Mode) -> BackupRequest {
    BackupRequest {
        mode,
        from: "single://db".into(),
        target: "/b".into(),
        backup: Backup::new(Source::parse("db").unwrap(), "/b"),
    }
}

fn outcome() -> BackupOutcome {
    let store_id = StoreId {
        creation_time: 1_352_000_000_000,
        random: -7,
        store_version: None,
    };
    let mut outcome = BackupOutcome::new(BackupKind::Incremental, "/b".into(), store_id);
    outcome.member = "db:6362".into();
    outcome.dialect = "D18".into();
    outcome.releases = "Neo4j 1.8".into();
    outcome.last_transactions = [(DataSource::Graph, TxId(12)), (DataSource::Lucene, TxId(3))].into();
    outcome.files = 34;
    outcome.bytes = 3 << 20;
    outcome.stored_bytes = 1 << 20;
    outcome.transactions = 10;
    outcome.behind_master = Some(2);
    outcome.history = HistoryProof::NotProven;
    outcome.pending_index_log_bytes = 2048;
    outcome
}

fn record() -> RunRecord {
    RunRecord {
        started: 1_349_857_200_123,
        total: Duration::from_micros(1_234_567),
        phases: [("receiving", Duration::from_secs(1))].into(),
        warnings: vec!["slow".into()],
    }
}

fn report(request: &BackupRequest, result: Result<BackupOutcome, Error>) -> Report<'_, BackupOutcome> {
    Report {
        request,
        record: record(),
        result: result.map_err(BackupFailure::from),
    }
}

#[test]
fn a_good_backup_is_one_object() {
    let request = request(Mode::Auto);
    let json = to_line(&report(&request, Ok(outcome())).json());
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap(),
        json!({
            "schema_version": 2,
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
                "stored_bytes": 1_048_576,
                "transactions": 10,
                "behind_master": 2,
                "history": "not-proven",
                "check": null,
                "pending_index_log_bytes": 2048,
                "history_log_bytes": 0,
                "verdict": "good",
                "archive": null,
                "forgotten": 0,
            },
            "members": null,
            "started": "2012-10-10T08:20:00.123Z",
            "finished": "2012-10-10T08:20:01.357Z",
            "duration_seconds": 1.235,
            "seconds": {"receiving": 1.0, "total": 1.235},
            "warnings": ["slow"],
            "error": null,
        })
    );
}

#[test]
fn a_good_backup_is_a_few_lines_that_end_with_done() {
    let request = request(Mode::Full);
    let text = report(&request, Ok(outcome())).text();
    let expected = [
        "  mode      incremental",
        "  member    db:6362, Neo4j 1.8 (D18)",
        "  store id  13ac97ad000-fffffffffffffff9",
        "  received  34 files, 10 transactions, 3.00 MiB",
        "  stored    1.00 MiB",
        "  last      nioneodb 12, lucene-index 3",
        "  behind    2 transactions behind the master",
        "  history   not verified: nothing to compare with",
        "  pending   2.00 KiB, applied at the first start of Neo4j",
        "  seconds   1.23 (receiving 1.00)",
        "  target    /b",
        "Done",
        "",
    ];
    assert_eq!(text, expected.join("\n"));
}

#[test]
fn the_first_line_is_the_one_of_the_original() {
    let line = |mode| start_line(&request(mode), false);
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
        let mut outcome = outcome();
        outcome.verdict = verdict;
        let report = report(&request, Ok(outcome));
        assert_eq!(report.exit_code(), code);
        assert_eq!(verdict_warning(verdict).is_none(), verdict == Verdict::Good);
    }
}

#[test]
fn a_cause_that_repeats_the_error_is_left_out() {
    #[derive(Debug, thiserror::Error)]
    #[error("db:6362: {0}")]
    struct Repeating(#[source] std::io::Error);

    let error = Error::new(
        ErrorKind::Server,
        Repeating(std::io::Error::other("java.lang.Exception: no")),
    );
    assert_eq!(error_text(&error, None), "error: db:6362: java.lang.Exception: no\n");
}

#[test]
fn a_full_backup_explains_why_more_arrived_than_it_holds() {
    let request = request(Mode::Full);
    let mut outcome = outcome();
    outcome.mode = BackupKind::Full;
    outcome.files = 1;
    let text = report(&request, Ok(outcome)).text();
    assert!(
        text.contains("  received  1 file, 10 transactions, 3.00 MiB\n"),
        "{text}"
    );
    assert!(
        text.contains("  stored    1.00 MiB, without the unused space of store files\n"),
        "{text}"
    );
}

#[test]
fn seconds_of_which_nothing_shows_are_left_out() {
    let request = request(Mode::Full);
    let mut report = report(&request, Ok(outcome()));
    report.record.total = Duration::from_millis(4);
    assert_eq!(seconds(&report.record), None);
    report.record.total = Duration::from_millis(6);
    report.record.phases = [
        ("receiving", Duration::from_millis(2)),
        ("sealing", Duration::from_millis(5)),
    ]
    .into();
    assert_eq!(seconds(&report.record).as_deref(), Some("0.01 (sealing 0.01)"));
}
