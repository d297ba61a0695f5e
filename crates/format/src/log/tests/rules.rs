//! What a transaction may not be.

use super::sample::{Builder, LUCENE, V1, V2, hex, node, read, transaction};
use crate::log::{LogElement, LogProblem, entry::CommitKind};

fn problem(bytes: &[u8]) -> LogProblem {
    read(bytes, V2, 43, |_| ()).unwrap_err().problem().unwrap()
}

fn with(command: &[u8]) -> LogProblem {
    problem(&transaction(V2, 2, 43, &[command.to_vec()]))
}

#[test]
fn the_commit_must_have_the_announced_id() {
    let error = read(&transaction(V2, 2, 44, &[node(1)]), V2, 43, |_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "transaction 43 of nioneodb: commit entry at byte 89: commits transaction 44, expected 43"
    );
}

#[test]
fn entries_must_stand_in_order() {
    let start = || Builder::new(V2, 2).start();
    let one = CommitKind::OnePhase;
    let cases = [
        (Builder::new(V2, 2).command(&node(1)).done(), LogElement::Command),
        (start().start().done(), LogElement::Start),
        (start().done(), LogElement::Done),
        (start().prepare().command(&node(1)).done(), LogElement::Command),
        (start().commit(43, one).command(&node(1)).done(), LogElement::Command),
        (start().commit(43, one).commit(43, one).done(), LogElement::Commit),
        (start().commit(43, one).prepare().done(), LogElement::Prepare),
    ];
    for (bytes, place) in cases {
        assert_eq!(problem(&bytes), LogProblem::OutOfPlace(place));
    }
}

#[test]
fn a_prepare_and_the_kind_of_commit_do_not_depend_on_each_other() {
    for kind in [CommitKind::OnePhase, CommitKind::TwoPhase] {
        let start = || Builder::new(V2, 2).start().command(&node(1));
        read(&start().commit(43, kind).done(), V2, 43, |_| ()).unwrap();
        read(&start().prepare().commit(43, kind).done(), V2, 43, |_| ()).unwrap();
    }
}

#[test]
fn nothing_may_follow_done() {
    let mut bytes = transaction(V2, 2, 43, &[node(1)]);
    bytes.push(0);
    assert_eq!(problem(&bytes), LogProblem::Trailing);
}

#[test]
fn one_identifier_goes_through_all_entries_but_done() {
    let other = Builder::new(V2, 9).command(&node(1)).bytes;
    let start = Builder::new(V2, 2).start().bytes;
    assert_eq!(
        problem(&[start, other].concat()),
        LogProblem::OtherIdentifier { found: 9, expected: 2 }
    );
    let mut bytes = transaction(V2, 2, 43, &[node(1)]);
    *bytes.last_mut().unwrap() = 9;
    read(&bytes, V2, 43, |_| ()).unwrap();
}

#[test]
fn unknown_entries_and_commands_are_refused() {
    let start = Builder::new(V2, 2).start().bytes;
    assert_eq!(problem(&[&start[..], &[7]].concat()), LogProblem::UnknownEntry(7));
    assert_eq!(problem(&[&start[..], &[0]].concat()), LogProblem::EndOfLog);
    assert_eq!(with(&[7]), LogProblem::UnknownCommand(7));
    assert_eq!(with(&[0]), LogProblem::EndOfLog);
    let error = read(&transaction(V1, 2, 43, &[hex("06 000000000000000C")]), V1, 43, |_| ()).unwrap_err();
    assert_eq!(error.problem(), Some(LogProblem::UnknownCommand(6)));
}

#[test]
fn a_transaction_of_the_other_data_source_is_refused() {
    let error = read(&transaction(V2, 2, 43, &[]), LUCENE, 43, |_| ()).unwrap_err();
    assert_eq!(error.problem(), Some(LogProblem::OtherBranch));
}

#[test]
fn long_global_ids_are_refused() {
    let mut bytes = transaction(V2, 2, 43, &[]);
    for length in [65, 128, 255] {
        bytes[1] = length;
        assert!(matches!(problem(&bytes), LogProblem::Limit { limit: 64, .. }));
    }
}

/// A property command of format 2 with these flags, number of blocks and blocks.
fn property(flags: u8, count: u8, blocks: &[u8]) -> LogProblem {
    with(&[&[2][..], &[0; 8], &[flags], &[0xFF; 24], &[count], blocks, &[0; 4]].concat())
}

#[test]
fn blocks_of_a_property_are_checked() {
    assert_eq!(property(0, 1, &[]), LogProblem::InUse(1));
    assert_eq!(property(1, 0, &[]), LogProblem::InUse(0));
    assert!(matches!(property(1, 5, &[]), LogProblem::Value { value: 5, .. }));
    assert!(matches!(property(4, 1, &[]), LogProblem::Value { value: 4, .. }));
    for size in [0, 7, 12, 40, 255] {
        assert!(matches!(
            property(1, 1, &[size; 60]),
            LogProblem::Value {
                field: "size of a property block",
                ..
            }
        ));
    }
    let blocks = [&[24][..], &[0; 28], &[16], &[0; 20]].concat();
    assert!(matches!(
        property(1, 2, &blocks),
        LogProblem::Limit {
            value: 40,
            limit: 32,
            ..
        }
    ));
}

#[test]
fn ids_and_pointers_are_checked() {
    let cases = [
        "01 FFFFFFFFFFFFFFFF 00",
        "01 0000000800000000 00",
        "01 00000000FFFFFFFF 00",
        "01 8000000000000000 00",
        "01 0000000000000001 02",
        "01 0000000000000001 01 FFFFFFFFFFFFFFFE FFFFFFFFFFFFFFFF",
        "01 0000000000000001 01 0000000800000000 FFFFFFFFFFFFFFFF",
        "01 0000000000000001 01 FFFFFFFFFFFFFFFF 0000001000000000",
        "03 0000000000000001 01 0000000000000001 0000000000000001 00010000",
        "04 00010000 00 FFFFFFFF 00000000",
        "04 00000001 00 FFFFFFFE 00000000",
        "05 FFFFFFFF 00 00000000 FFFFFFFF 00000000",
    ];
    for case in cases {
        assert!(matches!(with(&hex(case)), LogProblem::Value { .. }), "{case}");
    }
}

#[test]
fn dynamic_records_are_checked() {
    let name = |record: &str| with(&hex(&format!("04 00000001 00 FFFFFFFF 00000001 {record}")));
    assert!(matches!(
        name("0000000000000000 00000000 00"),
        LogProblem::Value {
            field: "dynamic record",
            ..
        }
    ));
    assert!(matches!(
        name("0000000000000001 00000009 00"),
        LogProblem::Value { value: 9, .. }
    ));
    assert!(matches!(
        name("0000000000000001 00000000 01 0001000D FFFFFFFFFFFFFFFF"),
        LogProblem::Limit { limit: 65_548, .. }
    ));
    assert!(matches!(
        name("0000000000000001 00000000 01 FFFFFFFF"),
        LogProblem::Value { value: -1, .. }
    ));
    let count = with(&hex("04 00000001 00 FFFFFFFF FFFFFFFF"));
    assert!(matches!(
        count,
        LogProblem::Value {
            field: "number of name blocks",
            value: -1
        }
    ));
    let kind = with(&hex(
        "02 0000000000000004 00 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF 0000000000000001 00 00000001
                          0000000000000011 00000008 00",
    ));
    assert!(matches!(kind, LogProblem::Value { value: 8, .. }));
}

#[test]
fn lengths_of_index_commands_are_limited() {
    let case = |command: &str| {
        let bytes = transaction(LUCENE, 2, 43, &[hex(command)]);
        read(&bytes, LUCENE, 43, |_| ()).unwrap_err().problem().unwrap()
    };
    assert!(matches!(case("01 01 00001001"), LogProblem::Limit { limit: 4096, .. }));
    assert!(matches!(case("04 02 00001001"), LogProblem::Limit { limit: 4096, .. }));
    assert!(matches!(
        case("01 01 00000000 0000000000000001 00010000"),
        LogProblem::Limit { limit: 65_535, .. }
    ));
    assert!(matches!(case("01 01 80000000"), LogProblem::Value { .. }));
    assert!(matches!(
        case("01 03"),
        LogProblem::Value {
            field: "entity type",
            value: 3
        }
    ));
    assert_eq!(case("05 01"), LogProblem::UnknownCommand(5));
    assert!(matches!(
        case("01 01 00000000 0000000000000001 FFFFFFFE"),
        LogProblem::Value { value: -2, .. }
    ));
    assert!(matches!(
        case("01 01 00000000 0000000000000001 FFFFFFFF 06"),
        LogProblem::Value { value: 6, .. }
    ));
    assert!(matches!(
        case("01 01 00000000 0000000000000001 FFFFFFFF 05 00800001"),
        LogProblem::Limit { .. }
    ));
    assert!(matches!(
        case("04 01 00000000 00000041"),
        LogProblem::Limit { limit: 64, .. }
    ));
}
