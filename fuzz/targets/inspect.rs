//! `inspect` on damaged directories of both formats: told as far as it goes, whatever is damaged or missing.
#![no_main]

#[path = "../directory/mod.rs"]
mod directory;

use std::sync::{LazyLock, Mutex};

use directory::Directories;
use libfuzzer_sys::fuzz_target;

use neo4j_backup_core::{adopt::adopt, cancel::Cancel, inspect::inspect, progress::Quiet};

/// With a manifest, which `inspect` reads as well.
static DIRECTORIES: LazyLock<Mutex<Directories>> = LazyLock::new(|| {
    Mutex::new(Directories::new(|dir| {
        adopt(dir, &Quiet, &Cancel::default()).unwrap();
    }))
});

fuzz_target!(|input: &[u8]| {
    let mut directories = DIRECTORIES.lock().unwrap();
    let Some(directory) = directories.damaged(input) else {
        return;
    };
    if let Ok(found) = inspect(directory.path()) {
        assert_eq!(found.stores.len(), 10);
        serde_json::to_string(&found).unwrap();
    }
});
