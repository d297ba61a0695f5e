//! `verify` on damaged directories of both formats: intact exactly if every file is as it was.
#![no_main]

#[path = "../directory/mod.rs"]
mod directory;

use std::sync::{LazyLock, Mutex};

use directory::Directories;
use libfuzzer_sys::fuzz_target;

use neo4j_backup_core::{
    DirHandle,
    adopt::adopt,
    cancel::Cancel,
    progress::Quiet,
    verify::{VerifyVerdict, verify},
};

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
    match verify(&DirHandle::open(directory.path()).unwrap(), &Quiet, &Cancel::default()) {
        Ok(found) => {
            assert_eq!(
                found.verdict == VerifyVerdict::Intact,
                !directory.is_changed(),
                "{found:#?}"
            );
            serde_json::to_string(&found).unwrap();
        }
        Err(_) => assert!(directory.is_changed()),
    }
});
