//! The consistency check on damaged directories of both formats: findings or an error, never a panic, in little memory
//! the same as in much.
#![no_main]

#[path = "../directory/mod.rs"]
mod directory;

use std::sync::{LazyLock, Mutex};

use directory::Directories;
use libfuzzer_sys::fuzz_target;

use neo4j_backup_core::{
    cancel::Cancel,
    check::{CheckOptions, Memory, check},
};

static DIRECTORIES: LazyLock<Mutex<Directories>> = LazyLock::new(|| Mutex::new(Directories::new(|_| {})));

fuzz_target!(|input: &[u8]| {
    let mut directories = DIRECTORIES.lock().unwrap();
    let Some(directory) = directories.damaged(input) else {
        return;
    };
    let found = [Memory::default(), Memory::new(0)].map(|memory| {
        let options = CheckOptions {
            memory,
            limit: 10_000,
            ..CheckOptions::default()
        };
        check(directory.path(), &options, &Cancel::default()).map_err(|error| error.to_string())
    });
    assert_eq!(found[0], found[1]);
    if let [Ok(report), _] = found {
        assert!(report.findings.iter().all(|finding| !finding.to_string().is_empty()));
        serde_json::to_string(&report).unwrap();
    }
});
