//! A sandbox database that grows: what was backed up of it, and a service of what it has since.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Finished, Serving, copy_dir, our_tool};
use neo4j_format::{
    ids::StoreId,
    store::{StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    database::Database,
    generator::{Generator, WorkloadProfile},
};

const TIME: i64 = 1_350_000_000_000;

/// Transactions that it has at first, and that each step adds.
const STEP: i64 = 40;

/// The database and its service.
pub struct GrownSource {
    dir: PathBuf,
    generator: Generator,
    transactions: i64,
    serving: Option<Serving>,
}

impl GrownSource {
    /// A database in `dir`, which does not exist, and its service; `seed` makes it another one.
    pub fn new(dir: PathBuf, seed: u64) -> GrownSource {
        fs::create_dir(&dir).unwrap();
        let id = StoreId {
            creation_time: TIME,
            random: seed.cast_signed(),
            store_version: Some(CURRENT_VERSION),
        };
        Database::create(&dir, StoreFormat::Current, id)
            .unwrap()
            .close()
            .unwrap();
        let mut source = GrownSource {
            dir,
            generator: Generator::new(seed, WorkloadProfile::of(StoreFormat::Current)),
            transactions: 0,
            serving: None,
        };
        source.grow();
        source
    }

    /// Commits more. The address changes.
    pub fn grow(&mut self) {
        self.serving = None;
        let mut database = Database::open(&self.dir).unwrap();
        for step in self.transactions..self.transactions + STEP {
            self.generator.step(&mut database, TIME + step).unwrap();
        }
        self.transactions += STEP;
        database.close().unwrap();
        self.serving = Some(Serving::start(&self.dir));
    }

    pub fn uri(&self) -> String {
        self.serving.as_ref().unwrap().uri()
    }

    /// A backup of it.
    #[track_caller]
    pub fn back_up(&self, mode: &str, target: &Path, options: &[&str]) -> Finished {
        let (uri, target) = (self.uri(), target.to_str().unwrap());
        our_tool(&[&[mode, "-from", &uri, "-to", target], options].concat())
    }
}

/// Code of `verify`.
pub fn verified(target: &Path) -> Option<i32> {
    our_tool(&["verify", target.to_str().unwrap(), "-quiet"]).code
}

/// A source, and a backup of it that lacks its last transactions.
pub struct Scene {
    pub work: TempDir,
    pub source: GrownSource,
    pub backup: PathBuf,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::within(TempDir::new().unwrap())
    }

    pub fn within(work: TempDir) -> Scene {
        let backup = work.path().join("first");
        let mut source = GrownSource::new(work.path().join("source"), 7);
        let full = source.back_up("-full", &backup, &[]);
        assert!(full.success(), "{full:?}");
        source.grow();
        Scene { work, source, backup }
    }

    /// A copy of the backup at `target`.
    pub fn copy_to(&self, target: &Path) {
        copy_dir(&self.backup, target);
    }
}
