//! Every rule of the consistency check, broken in small real stores of both formats.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    sync::Mutex,
};

use crate::catalogue::{CASES, Case, store::Damaged};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;

use neo4j_backup_core::{
    ErrorKind,
    cancel::Cancel,
    check::{self, CheckOptions, CheckReport, Finding, Listener, Memory, Rule},
};
use neo4j_format::store::{StoreFile, StoreFormat};

const FORMATS: [StoreFormat; 2] = [StoreFormat::Legacy, StoreFormat::Current];

fn checked(dir: &Path, memory: Memory) -> CheckReport {
    let options = CheckOptions {
        memory,
        limit: 10_000,
        ..CheckOptions::default()
    };
    check::check(dir, &options, &Cancel::default()).unwrap()
}

fn shown(report: &CheckReport) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn undamaged_stores_are_consistent() {
    for format in FORMATS {
        let report = checked(Damaged::vector(format).dir(), Memory::default());
        assert_eq!(shown(&report), Vec::<String>::new());
        assert!(report.records.values().all(|count| *count > 0));
    }
}

#[test]
fn every_damage_is_found_by_its_rule_at_its_record() {
    let mut failures = Vec::new();
    for format in FORMATS {
        for Case { name, damage } in CASES {
            let store = Damaged::vector(format);
            let Some(expected) = damage(&store) else { continue };
            let report = checked(store.dir(), Memory::default());
            let found = report.findings.iter().any(|finding| {
                (finding.rule, &*finding.place.file, finding.place.record)
                    == (expected.rule, &*expected.file, expected.record)
            });
            if !found {
                failures.push(format!(
                    "{name}, {}: {expected:?} in {:#?}",
                    format.version(),
                    shown(&report)
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_rule_is_in_the_catalogue() {
    let mut broken = BTreeSet::new();
    let mut cases = 0;
    for format in FORMATS {
        for case in CASES {
            if let Some(expected) = (case.damage)(&Damaged::vector(format)) {
                broken.insert(expected.rule);
                cases += 1;
            }
        }
    }
    let missing: Vec<&Rule> = Rule::ALL.iter().filter(|rule| !broken.contains(rule)).collect();
    assert_eq!(missing, Vec::<&Rule>::new());
    assert!(cases >= 60, "{cases}");
}

/// The table of `docs/check.md`: the examples are what the damages of the catalogue lead to.
fn table() -> String {
    let mut examples = BTreeMap::new();
    for format in FORMATS {
        for case in CASES {
            let store = Damaged::vector(format);
            let Some(expected) = (case.damage)(&store) else {
                continue;
            };
            let report = checked(store.dir(), Memory::default());
            let finding = report
                .findings
                .iter()
                .find(|finding| finding.rule == expected.rule)
                .unwrap();
            examples
                .entry(expected.rule)
                .or_insert_with(|| format!("{}: {}", finding.place.file, finding.message));
        }
    }
    let mut table = String::new();
    for rule in Rule::ALL {
        let severity = format!("{:?}", rule.severity()).to_lowercase();
        let example = &examples[rule];
        writeln!(table, "| `{rule}` | {severity} | {} | {example} |", rule.meaning()).unwrap();
    }
    table
}

#[test]
fn the_rules_are_documented_with_an_example_each() {
    let page = include_str!("../../docs/check.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let documented = rows.fold(String::new(), |all, row| all + row + "\n");
    let table = table();
    assert!(documented == table, "the table has to be:\n{table}");
}

#[test]
fn little_memory_finds_the_same() {
    for format in FORMATS {
        for case in CASES.iter().step_by(3) {
            let store = Damaged::vector(format);
            if (case.damage)(&store).is_some() {
                let (much, little) = (
                    checked(store.dir(), Memory::default()),
                    checked(store.dir(), Memory::new(0)),
                );
                assert_eq!(shown(&much), shown(&little), "{}", case.name);
            }
        }
    }
}

/// A store whose records come again and again, so that nearly every rule between two records is broken many times, in
/// files of several blocks of a pass.
fn repeated(format: StoreFormat) -> Damaged {
    let store = Damaged::vector(format);
    for kind in StoreFile::ALL {
        if kind == StoreFile::Neostore {
            continue;
        }
        let bytes = store.bytes(kind.name());
        let (records, trailer) = bytes.split_at(bytes.len() - kind.trailer(format).len());
        let times = (520 << 10) / records.len().max(1) + 1;
        fs::write(store.path(kind.name()), [&records.repeat(times), trailer].concat()).unwrap();
    }
    store
}

#[test]
fn any_number_of_threads_finds_the_same() {
    for format in FORMATS {
        let store = repeated(format);
        let reports = [1, 2, 5].map(|threads| {
            let options = CheckOptions {
                threads,
                limit: 50,
                ..CheckOptions::default()
            };
            check::check(store.dir(), &options, &Cancel::default()).unwrap()
        });
        let rules = reports[0].findings.totals().count();
        assert!(
            rules > 15,
            "{rules}: {:?}",
            reports[0].findings.totals().collect::<Vec<_>>()
        );
        for (i, report) in reports.iter().enumerate().skip(1) {
            assert_eq!(shown(report), shown(&reports[0]), "{i}");
            assert_eq!(report, &reports[0], "{i}");
        }
    }
}

/// A store with two damages: in the framing of a file, and between records.
fn twice_damaged() -> Damaged {
    let store = Damaged::vector(StoreFormat::Current);
    for name in ["trailer_is_gone", "block_is_forgotten"] {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        (case.damage)(&store).unwrap();
    }
    store
}

/// The lines that `check -output json` prints, and the exit code.
fn lines(store: &Damaged, options: &[&str]) -> (Vec<Value>, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"));
    command
        .arg("check")
        .arg(store.dir())
        .args(["-output", "json"])
        .args(options);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), output.status.code())
}

#[test]
fn json_has_a_line_for_each_finding_and_a_last_one_with_the_totals() {
    let store = twice_damaged();
    let (lines, code) = lines(&store, &[]);
    let (last, findings) = lines.split_last().unwrap();
    assert_eq!((code, &last["exit_code"]), (Some(3), &Value::from(3)));
    let mut told = BTreeMap::<String, u64>::new();
    for line in findings {
        assert_eq!(line["command"], "check");
        *told
            .entry(line["finding"]["rule"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(last["result"]["rules"], serde_json::to_value(&told).unwrap());
    assert!(told.contains_key("notClosed") && told.contains_key("orphanDynamicRecord"));
    assert_eq!(last["result"]["findings"], Value::Null);
}

#[test]
fn json_has_no_more_lines_than_the_limit_allows() {
    let store = twice_damaged();
    let (all, _) = lines(&store, &[]);
    let (none, code) = lines(&store, &["-limit=0"]);
    assert_eq!((none.len(), code), (1, Some(3)));
    assert_eq!(
        none.last().unwrap()["result"]["rules"],
        all.last().unwrap()["result"]["rules"]
    );
}

#[test]
fn a_check_that_cannot_run_prints_one_line_with_the_error() {
    let store = Damaged::vector(StoreFormat::Current);
    fs::remove_file(store.path("neostore")).unwrap();
    let (lines, code) = lines(&store, &[]);
    assert_eq!((lines.len(), code), (1, Some(13)));
    assert!(lines[0]["error"]["message"].is_string());
}

/// Cancels the check at the first finding.
#[derive(Debug, Default)]
struct Enough {
    cancel: Cancel,
    told: Mutex<Vec<Finding>>,
}

impl Listener for Enough {
    fn found(&self, finding: &Finding) {
        self.told.lock().unwrap().push(finding.clone());
        self.cancel.cancel(ErrorKind::Interrupted);
    }
}

#[test]
fn a_finding_is_told_while_the_check_goes_on() {
    let (store, enough) = (twice_damaged(), Enough::default());
    let options = CheckOptions {
        listener: Some(&enough),
        ..CheckOptions::default()
    };
    check::check(store.dir(), &options, &enough.cancel).unwrap_err();
    let told = enough.told.into_inner().unwrap();
    assert_eq!(
        told.iter().map(|finding| finding.rule).collect::<Vec<_>>(),
        [Rule::NotClosed]
    );
}

/// Bytes of one store file.
#[derive(Debug, Clone)]
enum Change {
    Flip {
        file: usize,
        at: prop::sample::Index,
        with: u8,
    },
    Cut {
        file: usize,
        at: prop::sample::Index,
    },
    Copy {
        file: usize,
        from: prop::sample::Index,
        to: prop::sample::Index,
        length: usize,
    },
    Remove {
        file: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let file = 0..22_usize;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (file.clone(), index(), 1..=255_u8).prop_map(|(file, at, with)| Change::Flip { file, at, with }),
        1 => (file.clone(), index()).prop_map(|(file, at)| Change::Cut { file, at }),
        4 => (file.clone(), index(), index(), 1..200_usize)
            .prop_map(|(file, from, to, length)| Change::Copy { file, from, to, length }),
        1 => file.prop_map(|file| Change::Remove { file }),
    ]
}

fn apply(store: &Damaged, change: &Change) {
    let mut names: Vec<String> = StoreFile::ALL
        .into_iter()
        .flat_map(|kind| [kind.name().to_owned(), kind.id_name()])
        .collect();
    names.extend(["nioneo_logical.log.v0", "index.db"].map(str::to_owned));
    let (Change::Flip { file, .. } | Change::Cut { file, .. } | Change::Copy { file, .. } | Change::Remove { file }) =
        change;
    let name = &names[*file];
    let path = store.path(name);
    let Ok(mut bytes) = fs::read(&path) else { return };
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Flip { at, with, .. } => {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        Change::Cut { at, .. } => bytes.truncate(at.index(bytes.len())),
        Change::Copy { from, to, length, .. } => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let length = (*length).min(bytes.len() - from).min(bytes.len() - to);
            bytes.copy_within(from..from + length, to);
        }
        Change::Remove { .. } => return fs::remove_file(&path).unwrap(),
    }
    fs::write(&path, bytes).unwrap();
}

/// No panic, no hang, and little memory finds what much finds.
#[test]
fn random_damage_is_survived() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let damage = (any::<bool>(), prop::collection::vec(change(), 1..40));
    runner
        .run(&damage, |(is_legacy, changes)| {
            let format = FORMATS[usize::from(!is_legacy)];
            let store = Damaged::vector(format);
            for change in &changes {
                apply(&store, change);
            }
            let options = CheckOptions {
                limit: 10_000,
                ..CheckOptions::default()
            };
            let much = check::check(store.dir(), &options, &Cancel::default());
            let little = CheckOptions {
                memory: Memory::new(0),
                ..options
            };
            let little = check::check(store.dir(), &little, &Cancel::default());
            match (much, little) {
                (Ok(much), Ok(little)) => prop_assert_eq!(shown(&much), shown(&little)),
                (Err(much), Err(little)) => prop_assert_eq!(much.to_string(), little.to_string()),
                (much, little) => prop_assert!(false, "{much:?} and {little:?}"),
            }
            Ok(())
        })
        .unwrap();
}
