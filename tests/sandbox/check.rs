//! The consistency check on healthy stores of random transactions, closed and as a crash leaves them.
//!
//! `SANDBOX_STORES` chooses how many, `SANDBOX_SEED` where the seeds begin; 1 000 take a minute or two of a release build:
//! `SANDBOX_STORES=1000 cargo test --release --test sandbox_check`.
#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{env, path::Path};

use neo4j_backup_core::{
    cancel::Cancel,
    check::{CheckOptions, Severity, check},
};
use neo4j_format::{
    ids::StoreId,
    store::{StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    database::Database,
    generator::{Generator, WorkloadProfile},
};

const TIME: i64 = 1_350_000_000_000;

/// Stores of a usual run of the tests.
const SAMPLE: u64 = 20;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Findings as lines; of errors and lost records alone where Neo4j has to recover the store first.
fn findings(dir: &Path, is_closed: bool) -> Vec<String> {
    let report = check(dir, &CheckOptions::default(), &Cancel::default()).unwrap();
    let counts = |severity| is_closed || severity != Severity::Warning;
    let found = report.findings.iter().filter(|finding| counts(finding.severity()));
    found.map(ToString::to_string).collect()
}

#[test]
fn stores_of_random_transactions_have_no_findings() {
    let (first, count) = (number("SANDBOX_SEED", 1), number("SANDBOX_STORES", SAMPLE));
    eprintln!("SANDBOX_SEED={first} SANDBOX_STORES={count}");
    for seed in first..first + count {
        let format = [StoreFormat::Legacy, StoreFormat::Current][usize::from(seed % 2 == 0)];
        let dir = tempfile::tempdir().unwrap();
        let id = StoreId {
            creation_time: TIME,
            random: seed.cast_signed(),
            store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
        };
        let mut database = Database::create(dir.path(), format, id).unwrap();
        let generator = Generator::new(seed, WorkloadProfile::of(format));
        // few transactions make small stores with many reused ids, many make long chains
        let steps = 20 + i64::try_from(seed % 7).unwrap() * 40;
        for step in 0..steps {
            generator.step(&mut database, TIME + step).unwrap();
        }
        let none = Vec::<String>::new();
        assert_eq!(findings(dir.path(), false), none, "seed {seed}, not closed");
        database.close().unwrap();
        assert_eq!(findings(dir.path(), true), none, "seed {seed}");
    }
}
