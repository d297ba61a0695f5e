//! `verify` on directories that somebody changed: byte by byte at random, and by real Neo4j releases.
//!
//! `VERIFY_SEED` chooses other damage and `VERIFY_DAMAGES` how much of it; `tests/verify_damages` does 10 000.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "panicking is how tests report"
)]

mod damage;

use std::{env, path::Path};

use damage::{Damage, Rng};
use neo4j_backup::{
    cancel::Cancel,
    manifest::files,
    progress::Quiet,
    store::StoreFormat,
    transfer::adopt,
    verify::{Cause, Problem, Verdict, VerifyOutcome, verify},
};
use tempfile::TempDir;

/// Damages of a usual run of the tests, for each store format.
const SAMPLE: u64 = 300;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn verified(dir: &Path) -> VerifyOutcome {
    verify(dir, &Quiet, &Cancel::default()).unwrap()
}

/// A database of random bytes with a manifest.
fn backup(format: StoreFormat, rng: &mut Rng) -> TempDir {
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("db");
    damage::database(&database, format, rng);
    adopt(&database, "run", &Quiet).unwrap();
    assert_eq!(verified(&database).verdict, Verdict::Intact);
    dir
}

#[test]
fn every_damage_to_a_current_store_is_named() {
    every_damage_is_named(StoreFormat::Current);
}

#[test]
fn every_damage_to_a_legacy_store_is_named() {
    every_damage_is_named(StoreFormat::Legacy);
}

fn every_damage_is_named(format: StoreFormat) {
    let seed = number("VERIFY_SEED", 1);
    let count = number("VERIFY_DAMAGES", SAMPLE);
    eprintln!("VERIFY_SEED={seed} VERIFY_DAMAGES={count}");
    let mut rng = Rng(seed);
    let dir = backup(format, &mut rng);
    let dir = dir.path().join("db");
    let files: Vec<(String, u64)> = files::list(&dir)
        .unwrap()
        .into_iter()
        .map(|found| (found.path, found.length.unwrap()))
        .collect();
    for round in 0..count {
        let damage = Damage::random(&mut rng, &files);
        let undo = damage.inflict(&dir);
        let outcome = verify(&dir, &Quiet, &Cancel::default());
        drop(undo);
        match outcome {
            Ok(outcome) => assert_named(&damage, &outcome, round),
            Err(error) => {
                let removed = damage.path() == "neo4j-backup.json" && matches!(damage, Damage::Removal { .. });
                assert!(removed, "round {round}: {damage:?}: {error}");
                assert!(error.to_string().contains("has no manifest"), "{error}");
            }
        }
    }
    assert_eq!(verified(&dir).verdict, Verdict::Intact);
}

/// The damaged file is named with what is wrong and where, and no other is accused.
fn assert_named(damage: &Damage, outcome: &VerifyOutcome, round: u64) {
    let context = || format!("round {round}: {damage:?}: {outcome:#?}");
    assert_eq!(outcome.verdict, Verdict::Damaged, "{}", context());
    let accused: Vec<_> = outcome
        .findings
        .iter()
        .filter(|finding| finding.cause != Cause::Checksums)
        .collect();
    let [finding] = accused[..] else {
        panic!("{}", context())
    };
    assert_eq!(finding.path, damage.path(), "{}", context());
    let is_ledger = damage.path().starts_with("neo4j-backup.");
    let expected = match damage {
        Damage::Flip { .. } => Problem::Damaged,
        Damage::Cut { .. } if damage.path() == "neo4j-backup.json" => Problem::Damaged,
        Damage::Cut { .. } => Problem::Truncated,
        Damage::Removal { .. } => Problem::Missing,
        Damage::Addition { .. } => Problem::Extra,
    };
    assert_eq!(finding.problem, expected, "{}", context());
    if let Damage::Flip { at, .. } | Damage::Cut { length: at, .. } = damage
        && !is_ledger
    {
        assert!(
            finding.ranges.iter().any(|range| (range.start..range.end).contains(at)),
            "{}",
            context()
        );
    }
}
