//! `inspect` on real directories of several releases, and on damaged ones; `tests/run full verify` does more of both.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::path::Path;

use crate::damage::Damage;
use crate::support::{Options, Peer, Release, copy_dir, original_tool, our_tool, require_peers};
use serde_json::{Value, json};
use tempfile::TempDir;

use neo4j_backup_core::inspect::inspect;
use neo4j_format::store::StoreFormat;

/// Damages done to a directory before it is inspected.
const AT_ONCE: u64 = 4;

#[test]
fn a_damaged_current_store_is_inspected_as_far_as_it_goes() {
    damage_is_survived(StoreFormat::Current);
}

#[test]
fn a_damaged_legacy_store_is_inspected_as_far_as_it_goes() {
    damage_is_survived(StoreFormat::Legacy);
}

fn damage_is_survived(format: StoreFormat) {
    let (mut rng, count) = crate::damage::chosen();
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("db");
    crate::damage::database(&dir, format, &mut rng);
    let healthy = inspect(&dir).unwrap();
    assert_eq!(healthy.store_format, Some(format.version()));
    assert!(healthy.first_start.refused.is_empty(), "{healthy:#?}");
    for round in 0..count {
        let mut undo = Vec::new();
        for _ in 0..=rng.below(AT_ONCE) {
            let files = crate::damage::files_of(&dir);
            let damage = Damage::random(&mut rng, &files);
            if !dir.join(damage.path()).exists() || !matches!(damage, Damage::Addition { .. }) {
                undo.push(damage.inflict(&dir));
            }
        }
        let found = inspect(&dir).unwrap();
        assert_eq!(found.stores.len(), 10, "round {round}");
        for (store, before) in found.stores.iter().zip(&healthy.stores) {
            let told = store.bytes.is_some() || !found.first_start.refused.is_empty();
            assert!(
                told,
                "round {round}: {} is missing, was {before:?}: {found:#?}",
                store.name
            );
        }
        // the last damage first, since two may have hit one file
        while undo.pop().is_some() {}
    }
    let after = inspect(&dir).unwrap();
    assert_eq!(format!("{after:?}"), format!("{healthy:?}"));
}

macro_rules! for_each_release {
    ($($(#[$attribute:meta])* $name:ident: $release:ident),* $(,)?) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            real_directories_are_told(Release::$release);
        }
    )*};
}

for_each_release! {
    directories_of_1_3_are_told: V1_3,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_4_2_are_told: V1_4_2,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_5_are_told: V1_5,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_6_1_are_told: V1_6_1,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_7_2_are_told: V1_7_2,
    #[ignore = "other releases; tests/run full"]
    directories_of_1_8_are_told: V1_8,
    directories_of_1_9_9_are_told: V1_9_9,
}

fn told(dir: &Path) -> Value {
    let finished = our_tool(&["inspect", dir.to_str().unwrap(), "-output=json"]);
    assert!(finished.success(), "{finished:#?}");
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    report["result"].clone()
}

fn real_directories_are_told(release: Release) {
    if !require_peers(release) {
        return;
    }
    let work = TempDir::new().unwrap();
    let dir = |name: &str| work.path().join(name);
    let mut source = Peer::start(release, &dir("source"), &Options::source(release));
    source.load(7, 250);
    let uri = source.uri();
    let take = |mode: &str| {
        let to = dir("backup");
        let finished = our_tool(&[mode, "-from", &uri, "-to", to.to_str().unwrap(), "-verify=false"]);
        assert!(finished.success(), "{finished:#?}");
    };

    let running = told(source.dir());
    assert_eq!(
        (&running["kind"], &running["in_use"]),
        (&json!("database"), &json!(true))
    );
    assert_eq!(running["opened"], Value::Null);
    take("-full");
    let full = told(&dir("backup"));
    assert_is_a_backup(&full, release);
    assert_eq!(full["store_id"], running["store_id"]);
    assert_eq!(full["last_transactions"], running["last_transactions"], "{running:#}");
    assert_eq!(names_of_indexes(&full), names_of_indexes(&running));
    assert_eq!(full["chain"].as_array().unwrap().len(), 1);

    source.load(7, 50);
    take("-incremental");
    let newer = told(&dir("backup"));
    assert_is_a_backup(&newer, release);
    assert_eq!(newer["chain"].as_array().unwrap().len(), 2);
    let graph = &newer["last_transactions"][0];
    assert!(graph["id"].as_i64() > full["last_transactions"][0]["id"].as_i64());
    assert_eq!(graph["committed"].is_null(), is_legacy(release), "{newer:#}");
    let logs = &newer["logs"][0];
    let first = full["last_transactions"][0]["id"].as_i64().unwrap() + i64::from(logs["archived"] == 1);
    assert_eq!(logs["transactions"], json!([first, graph["id"]]), "{newer:#}");
    assert!(newer["logs"][1]["pending_bytes"].as_u64() > Some(0), "{newer:#}");

    let original = dir("original");
    let finished = original_tool(release, &["-full", "-from", &uri, "-to", original.to_str().unwrap()]);
    assert!(finished.success(), "{finished:#?}");
    let original = told(&original);
    assert_eq!(original["kind"], "database");
    assert_eq!(original["last_transactions"][0]["id"], graph["id"]);
    assert_eq!(original["problems"], json!([]));
    assert_eq!(original["first_start"]["work"], json!([]), "{original:#}");

    copy_dir(&dir("backup"), &dir("opened"));
    Peer::boot(release, &dir("opened")).quit();
    let opened = told(&dir("opened"));
    assert_eq!(opened["opened"], "closed", "{opened:#}");
    assert_eq!(opened["first_start"]["work"], json!([]), "{opened:#}");
    assert_eq!(opened["last_transactions"][0]["id"], graph["id"]);

    source.load(7, 20);
    let live = told(source.dir());
    drop(source);
    let killed = told(&dir("source"));
    assert_eq!(killed["in_use"], json!(false));
    assert_eq!(killed["last_transactions"], live["last_transactions"]);
    assert!(killed["last_transactions"][0]["id"].as_i64() > graph["id"].as_i64());
    let work: Vec<&str> = killed["first_start"]["work"]
        .as_array()
        .unwrap()
        .iter()
        .map(|work| work.as_str().unwrap())
        .collect();
    assert!(work.iter().any(|work| work.contains("of nioneodb from")), "{work:?}");
    assert!(work.iter().any(|work| work.contains("all ten")), "{work:?}");
}

fn is_legacy(release: Release) -> bool {
    release <= Release::V1_4_2
}

fn assert_is_a_backup(found: &Value, release: Release) {
    assert_eq!(
        (&found["kind"], &found["state"]),
        (&json!("backup"), &json!("complete"))
    );
    assert_eq!((&found["opened"], &found["in_use"]), (&json!("no"), &json!(false)));
    let format = if is_legacy(release) { "v0.9.9" } else { "v0.A.0" };
    assert_eq!(found["store_format"], format);
    assert_eq!(found["problems"], json!([]), "{found:#}");
    assert_eq!(found["first_start"]["refused"], json!([]), "{found:#}");
    for store in found["stores"].as_array().unwrap() {
        assert_eq!(
            (&store["seal"], &store["id_file"]),
            (&json!("closed"), &json!("clean")),
            "{store}"
        );
    }
}

fn names_of_indexes(found: &Value) -> Vec<String> {
    let indexes = found["indexes"].as_array().unwrap();
    indexes
        .iter()
        .map(|index| format!("{} {}", index["kind"], index["name"]))
        .collect()
}
