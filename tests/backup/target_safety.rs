//! A backup that was damaged since it was taken is never certified by an incremental one: one byte of it is changed, and
//! the run refuses it, or leaves damage that `verify` still finds.
//!
//! `DAMAGES` is how many bytes are tried, `DAMAGE_SEED` chooses them: `DAMAGES=10000 cargo test --test backup target_safety::`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::support::{Finished, Serving, copy_dir, link_dir, our_tool, side_by_side, snapshot};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use neo4j_format::{
    ids::StoreId,
    store::{StoreFormat, header::CURRENT_VERSION},
};
use neo4j_sandbox::{
    database::Database,
    generator::{Generator, WorkloadProfile},
};

const TIME: i64 = 1_350_000_000_000;
/// Transactions in the full backup, and since.
const BEFORE: i64 = 3000;
const SINCE: i64 = 60;
/// Bytes of a usual run of the tests.
const SAMPLE: u64 = 40;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

pub(crate) fn run(mode: &str, uri: &str, target: &Path, options: &[&str]) -> Finished {
    let target = target.to_str().unwrap();
    our_tool(&[&[mode, "-from", uri, "-to", target, "-quiet"], options].concat())
}

pub(crate) fn verify(target: &Path) -> Option<i32> {
    our_tool(&["verify", target.to_str().unwrap(), "-quiet"]).code
}

/// A source that has more than the backup of it.
pub(crate) struct Scene {
    pub(crate) work: TempDir,
    pub(crate) source: Serving,
    pub(crate) backup: PathBuf,
}

impl Scene {
    pub(crate) fn new(format: StoreFormat) -> Scene {
        Scene::of(format, 7)
    }

    fn of(format: StoreFormat, seed: u64) -> Scene {
        let work = TempDir::new().unwrap();
        let (dir, backup) = (work.path().join("source"), work.path().join("backup"));
        fs::create_dir(&dir).unwrap();
        let id = StoreId {
            creation_time: TIME,
            random: seed.cast_signed(),
            store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
        };
        let generator = Generator::new(seed, WorkloadProfile::of(format));
        let mut database = Database::create(&dir, format, id).unwrap();
        for step in 0..BEFORE {
            generator.step(&mut database, TIME + step).unwrap();
        }
        database.close().unwrap();
        let source = Serving::start(&dir);
        let full = run("-full", &source.uri(), &backup, &[]);
        assert!(full.success(), "{full:?}");
        drop(source);
        let mut database = Database::open(&dir).unwrap();
        for step in BEFORE..BEFORE + SINCE {
            generator.step(&mut database, TIME + step).unwrap();
        }
        database.close().unwrap();
        let source = Serving::start(&dir);
        Scene { work, source, backup }
    }

    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let copy = self.work.path().join(name);
        copy_dir(&self.backup, &copy);
        copy
    }
}

/// Changes one byte of a backup; small files are hit as often as large ones.
fn damage(dir: &Path, random: &mut StdRng) -> (PathBuf, usize) {
    let files: Vec<_> = snapshot(dir)
        .into_iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    let (path, mut bytes) = files[random.random_range(..files.len())].clone();
    let at = random.random_range(..bytes.len());
    bytes[at] ^= random.random_range(1..=255_u8);
    fs::write(dir.join(&path), bytes).unwrap();
    (path, at)
}

#[test]
fn a_changed_byte_is_never_certified() {
    let (seed, count) = (number("DAMAGE_SEED", 1), number("DAMAGES", SAMPLE));
    eprintln!("DAMAGE_SEED={seed} DAMAGES={count}");
    let scene = Scene::new(StoreFormat::Current);
    let whole = scene.copy("whole");
    let taken = run("-incremental", &scene.source.uri(), &whole, &[]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(verify(&whole), Some(0));
    let certified = Mutex::new(Vec::new());
    side_by_side(0..count, |number| {
        let mut random = StdRng::seed_from_u64(seed << 32 | number);
        let copy = scene.copy(&format!("copy-{number}"));
        let (path, at) = damage(&copy, &mut random);
        let before = snapshot(&copy);
        let done = run("-incremental", &scene.source.uri(), &copy, &["-verify=false"]);
        if done.code == Some(0) && verify(&copy) == Some(0) {
            certified.lock().unwrap().push(format!("{} at {at}", path.display()));
        }
        if done.code == Some(14) {
            assert_eq!(snapshot(&copy), before, "{}: refused, and changed", path.display());
        }
        fs::remove_dir_all(&copy).unwrap();
    });
    let certified = certified.into_inner().unwrap();
    assert!(certified.is_empty(), "{} of {count}: {certified:#?}", certified.len());
}

#[test]
fn damage_in_what_is_going_to_change_is_named_and_a_full_backup_is_the_way_on() {
    let scene = Scene::new(StoreFormat::Current);
    let copy = scene.copy("damaged");
    let store = copy.join("neostore.nodestore.db");
    let mut bytes = fs::read(&store).unwrap();
    bytes[4] ^= 1;
    fs::write(&store, bytes).unwrap();
    let refused = run("-incremental", &scene.source.uri(), &copy, &[]);
    assert_eq!(refused.code, Some(14), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("neostore.nodestore.db: checksum mismatch at 0.."),
        "{refused:?}"
    );
    assert_eq!(verify(&copy), Some(20));
    let taken = run("-incremental", &scene.source.uri(), &copy, &["-fallback-full"]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(verify(&copy), Some(0));
}

#[test]
fn a_generation_that_shares_its_files_with_the_backup_stays_as_it_was() {
    let scene = Scene::new(StoreFormat::Current);
    for (changed, kept) in [("backup", "generation-1"), ("generation-2", "backup-2")] {
        let backup = scene.copy(&format!("copy-{changed}"));
        let work = scene.work.path();
        let (changed, kept) = (
            work.join(format!("{changed}-linked")),
            work.join(format!("{kept}-linked")),
        );
        fs::rename(&backup, &kept).unwrap();
        link_dir(&kept, &changed);
        let before = snapshot(&kept);
        let taken = run("-incremental", &scene.source.uri(), &changed, &[]);
        assert!(taken.success(), "{taken:?}");
        assert_eq!(snapshot(&kept), before);
        assert_eq!((verify(&kept), verify(&changed)), (Some(0), Some(0)));
        let taken = run("-incremental", &scene.source.uri(), &kept, &[]);
        assert!(taken.success(), "{taken:?}");
        assert_eq!((verify(&kept), verify(&changed)), (Some(0), Some(0)));
    }
}

#[test]
fn a_waiting_backup_of_another_database_or_an_older_state_never_replaces_the_one_in_place() {
    let scene = Scene::new(StoreFormat::Current);
    let stranger = Scene::of(StoreFormat::Current, 8);
    let newer = scene.copy("newer");
    assert!(run("-incremental", &scene.source.uri(), &newer, &[]).success());
    for (in_place, waiting) in [(&scene.backup, &stranger.backup), (&newer, &scene.backup)] {
        let work = TempDir::new().unwrap();
        let (target, ready) = (work.path().join("b"), work.path().join("b.ready"));
        copy_dir(in_place, &target);
        copy_dir(waiting, &ready);
        let (before, planted) = (snapshot(&target), snapshot(&ready));
        let refused = run("-full", &scene.source.uri(), &target, &["-overwrite"]);
        assert_eq!(refused.code, Some(78), "{refused:?}");
        assert_eq!((snapshot(&target), snapshot(&ready)), (before, planted.clone()));
        let taken = run("-incremental", &scene.source.uri(), &target, &[]);
        assert!(taken.success() && taken.stderr.contains("is left alone"), "{taken:?}");
        assert_eq!(snapshot(&ready), planted);
        assert_eq!(verify(&target), Some(0));
    }
}

#[test]
fn siblings_that_no_run_made_are_refused_and_stay_as_they_are() {
    let scene = Scene::new(StoreFormat::Current);
    let work = TempDir::new().unwrap();
    let target = work.path().join("b");
    let state = || {
        let mut found = snapshot(work.path());
        found.remove(&work.path().join("b.journal"));
        found
    };
    let refuses = |what: &str| {
        let before = state();
        let refused = run("-full", &scene.source.uri(), &target, &[]);
        assert_eq!(refused.code, Some(78), "{what}: {refused:?}");
        assert_eq!(state(), before, "{what}");
    };
    copy_dir(&scene.backup, &work.path().join("b.partial"));
    refuses("a complete backup");
    fs::remove_dir_all(work.path().join("b.partial")).unwrap();
    fs::write(work.path().join("b.lock"), "# generated by somebody else").unwrap();
    refuses("a text");
    fs::write(work.path().join("b.lock"), "").unwrap();
    fs::hard_link(work.path().join("b.lock"), work.path().join("other")).unwrap();
    refuses("a file with two names");
}

#[test]
fn a_log_that_a_crash_left_is_replayed_before_new_transactions_arrive() {
    let work = TempDir::new().unwrap();
    let (dir, base) = (work.path().join("source"), work.path().join("base"));
    fs::create_dir(&dir).unwrap();
    let id = StoreId {
        creation_time: TIME,
        random: 7,
        store_version: Some(CURRENT_VERSION),
    };
    let generator = Generator::new(7, WorkloadProfile::of(StoreFormat::Current));
    let mut database = Database::create(&dir, StoreFormat::Current, id).unwrap();
    for step in 0..BEFORE {
        generator.step(&mut database, TIME + step).unwrap();
    }
    copy_dir(&dir, &base);
    for step in BEFORE..BEFORE + SINCE {
        generator.step(&mut database, TIME + step).unwrap();
    }
    database.close().unwrap();
    let source = Serving::start(&dir);
    let adopted = our_tool(&["verify", "-adopt", base.to_str().unwrap()]);
    assert_eq!(adopted.code, Some(0), "{adopted:?}");
    let damaged = work.path().join("damaged");
    copy_dir(&base, &damaged);

    let taken = run("-incremental", &source.uri(), &base, &[]);
    assert!(taken.success() && taken.stderr.contains("left pending"), "{taken:?}");
    assert_eq!(verify(&base), Some(0));

    let store = damaged.join("neostore.propertystore.db.strings");
    let mut bytes = fs::read(&store).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&store, bytes).unwrap();
    let before = snapshot(&damaged);
    let refused = run("-incremental", &source.uri(), &damaged, &[]);
    assert_eq!(refused.code, Some(14), "{refused:?}");
    assert_eq!(snapshot(&damaged), before);
}
