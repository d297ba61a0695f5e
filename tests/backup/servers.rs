//! What can stand between a backup and its next incremental, with real servers on both sides: other bases than our own
//! backups, copies that somebody opened or wrote to, servers that were restored, upgraded, replaced or lost their logs.
//!
//! One test per question and release; those of 1.8 run always, the others with `--include-ignored`.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use crate::support::{Finished, Options, Peer, Release, copy_dir, our_tool, questions, require_peers, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const SEED: u64 = 5;
const BEFORE: u32 = 60;
const MORE: u32 = 30;

questions! {
    release => Scene::new(release);
    always [of_1_8 = V1_8];
    others [of_1_3 = V1_3, of_1_4_2 = V1_4_2, of_1_5 = V1_5, of_1_6_1 = V1_6_1, of_1_7_2 = V1_7_2, of_1_9_9 = V1_9_9];
    a_cleanly_closed_copy_of_the_source_is_a_base,
    a_backup_that_was_opened_since_is_a_base,
    a_copy_that_was_written_to_is_refused,
    a_database_that_is_open_is_refused_and_one_being_updated_cannot_be_opened,
    a_restored_server_is_behind_or_on_another_branch,
    a_server_that_died_under_load_goes_on,
    a_server_without_the_logs_needs_a_full_backup,
    another_database_is_refused_and_auto_chooses,
    where_nothing_is_new_no_store_file_is_touched,
    a_server_that_pauses_before_its_first_answer_is_waited_for,
}

/// As a collection of garbage or a virtual machine that is moved.
#[expect(clippy::needless_pass_by_value, reason = "every question owns its scene")]
fn a_server_that_pauses_before_its_first_answer_is_waited_for(scene: Scene) {
    let pid = Pid::from_raw(i32::try_from(scene.source.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let impatient = scene.run("-full", "backup", &["-silence-timeout", "1s"]);
    let text = "accepted the connection but sent nothing for 1 s: paused, or not a backup port";
    assert_eq!(impatient.code, Some(17), "{}", impatient.stderr);
    assert!(impatient.stderr.contains(text), "{}", impatient.stderr);
    let (uri, to) = (scene.source.uri(), scene.dir("backup"));
    let finished = thread::scope(|scope| {
        let running = scope.spawn(|| our_tool(&["-full", "-from", &uri, "-to", to.to_str().unwrap()]));
        thread::sleep(Duration::from_secs(8));
        assert!(!running.is_finished());
        kill_process(pid, Signal::CONT).unwrap();
        running.join().unwrap()
    });
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

/// A server with some content.
struct Scene {
    work: TempDir,
    release: Release,
    source: Peer,
}

impl Scene {
    fn new(release: Release) -> Scene {
        let work = TempDir::new().unwrap();
        let mut source = Peer::start(release, &work.path().join("source"), &Options::source(release));
        source.load(SEED, BEFORE);
        Scene { work, release, source }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn run(&self, mode: &str, to: &str, options: &[&str]) -> Finished {
        run(&self.source, mode, &self.dir(to), options)
    }

    #[track_caller]
    fn full(&self, to: &str) {
        let finished = self.run("-full", to, &[]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }

    /// An incremental ends well and leaves what the source has.
    #[track_caller]
    fn level(&mut self, to: &str) -> Value {
        let report = succeeded(&self.run("-incremental", to, &[]));
        self.is_level(to);
        report
    }

    /// The copy has what the source has.
    #[track_caller]
    fn is_level(&mut self, to: &str) {
        let expected = self.source.contents();
        let difference = Peer::contents_of_copy(self.release, &self.dir(to)).difference(&expected);
        assert!(difference.is_none(), "{to}: {}", difference.unwrap_or_default());
    }

    /// An incremental is refused with this code and these words and leaves everything as it was.
    #[track_caller]
    fn refused(&self, to: &str, code: i32, words: &[&str]) {
        let before = snapshot(&self.dir(to));
        let finished = self.run("-incremental", to, &["-silence-timeout=3s"]);
        assert_eq!(finished.code, Some(code), "{}{}", finished.stdout, finished.stderr);
        for word in words {
            assert!(finished.stderr.contains(word), "no {word:?} in {}", finished.stderr);
        }
        assert!(before == snapshot(&self.dir(to)), "something changed");
    }

    /// Stops the server, does something with its directory, and starts it again.
    fn meanwhile(self, act: impl FnOnce(&Path)) -> Scene {
        let Scene { work, release, source } = self;
        let source = source.restarted(&Options::source(release), act);
        Scene { work, release, source }
    }
}

fn run(source: &Peer, mode: &str, to: &Path, options: &[&str]) -> Finished {
    let (from, to) = (source.uri(), to.to_str().unwrap());
    let args = [mode, "-from", &from, "-to", to, "-verify=false", "-output=json"];
    our_tool(&[&args, options].concat())
}

#[track_caller]
fn succeeded(finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// Every file with its bytes and its time.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let with_time = |(path, bytes)| {
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        (path, (bytes, time))
    };
    crate::support::snapshot(dir).into_iter().map(with_time).collect()
}

fn a_cleanly_closed_copy_of_the_source_is_a_base(scene: Scene) {
    let copy = scene.dir("copy");
    let mut scene = scene.meanwhile(|source| copy_dir(source, &copy));
    scene.source.load(SEED, MORE);
    scene.level("copy");
    scene.source.load(SEED, MORE);
    let report = scene.level("copy");
    if scene.release != Release::V1_3 {
        assert_eq!(report["result"]["history"], "proven", "{report}");
    }
}

fn a_backup_that_was_opened_since_is_a_base(mut scene: Scene) {
    scene.full("copy");
    Peer::contents_of(scene.release, &scene.dir("copy"));
    scene.source.load(SEED, MORE);
    scene.level("copy");
    let read_only = Options {
        backup: crate::support::Backup::Off,
        settings: vec!["read_only=true".to_owned()],
    };
    // the driver cannot drive a database that takes no writes in every release; being opened is what matters
    if scene.release == Release::V1_8 {
        Peer::start(scene.release, &scene.dir("copy"), &read_only).quit();
    }
    Peer::contents_of(scene.release, &scene.dir("copy"));
    scene.source.load(SEED, MORE);
    scene.level("copy");
    scene.level("copy");
}

fn a_copy_that_was_written_to_is_refused(mut scene: Scene) {
    scene.full("copy");
    scene.source.load(SEED, MORE);
    scene.level("copy");
    let mut copy = Peer::boot(scene.release, &scene.dir("copy"));
    // other transactions than the source commits
    copy.load(SEED + 1, 5);
    copy.quit();
    // 1.3 keeps nothing that would show whose transactions these are, unless the source does not have them
    scene.refused_unless_1_3("behind");
    scene.source.load(SEED, MORE);
    scene.refused_unless_1_3("transaction");
}

impl Scene {
    #[track_caller]
    fn refused_unless_1_3(&self, word: &str) {
        if self.release != Release::V1_3 {
            self.refused("copy", 13, &[word]);
        }
    }
}

fn a_database_that_is_open_is_refused_and_one_being_updated_cannot_be_opened(mut scene: Scene) {
    scene.full("copy");
    scene.source.load(SEED, MORE);
    let open = Peer::boot(scene.release, &scene.dir("copy"));
    let finished = scene.run("-incremental", "copy", &[]);
    assert_eq!(finished.code, Some(11), "{}", finished.stderr);
    let holder = format!("process {}", open.pid());
    assert!(finished.stderr.contains(&holder), "no {holder} in {}", finished.stderr);
    open.quit();

    // as slow as it can be, so that it is at work while Neo4j tries
    scene.source.load(SEED, 10 * MORE);
    let mut slow = start_slowly(&scene.source, &scene.dir("copy"));
    let inode = fs::metadata(scene.dir("copy").join("neostore")).unwrap().ino();
    wait_until(|| is_locked(inode));
    let refused = Peer::fails_to_start(scene.release, &scene.dir("copy"));
    assert!(refused.to_lowercase().contains("lock"), "{refused}");
    assert!(
        slow.try_wait().unwrap().is_none(),
        "the run ended too early to show anything"
    );
    slow.kill().unwrap();
    slow.wait().unwrap();
    scene.level("copy");
}

fn start_slowly(source: &Peer, to: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args([
            "-incremental",
            "-from",
            &source.uri(),
            "-max-rate=1k",
            "-verify=false",
            "-to",
        ])
        .arg(to)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether an open file description lock is held on this file (`proc(5)`).
fn is_locked(inode: u64) -> bool {
    let suffix = format!(":{inode}");
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("OFDLCK") && line.split_whitespace().any(|word| word.ends_with(&suffix)))
}

fn a_restored_server_is_behind_or_on_another_branch(scene: Scene) {
    let old = scene.dir("old");
    let mut scene = scene.meanwhile(|source| copy_dir(source, &old));
    scene.source.load(SEED, MORE);
    scene.full("copy");
    let source = scene.dir("source");
    let mut scene = scene.meanwhile(|_| {
        fs::remove_dir_all(&source).unwrap();
        copy_dir(&old, &source);
    });
    if scene.release == Release::V1_3 {
        return;
    }
    scene.refused("copy", 13, &["behind", "its last one is"]);
    scene.source.load(SEED + 1, 3 * MORE);
    scene.refused("copy", 13, &["branched history"]);
    let finished = scene.run("-incremental", "copy", &["-fallback-full"]);
    assert_eq!(succeeded(&finished)["result"]["mode"], "full");
    scene.level("copy");
}

/// Its recovery commits, once more or at last, what was under way. Killed between the two writes of a new index, 1.3 –
/// 1.7 have it in `index.db` alone (`tests/index_config.rs`): then another full backup is the right thing to ask for.
fn a_server_that_died_under_load_goes_on(mut scene: Scene) {
    scene.full("copy");
    // once restarted, 1.3 looks for minutes for what it is asked for (`docs/formats/neo4j-1.3.md` §6.3)
    let times = if scene.release == Release::V1_3 { 1 } else { 4 };
    for _ in 0..times {
        scene.source.start_load(SEED, 0);
        succeeded(&scene.run("-incremental", "copy", &[]));
        scene.source.kill();
        scene.source = Peer::start(scene.release, &scene.dir("source"), &Options::source(scene.release));
        let finished = scene.run("-incremental", "copy", &[]);
        if finished.code == Some(14) && finished.stderr.contains("none of them creates it") {
            succeeded(&scene.run("-incremental", "copy", &["-fallback-full"]));
            scene.is_level("copy");
            continue;
        }
        let report = succeeded(&finished);
        scene.is_level("copy");
        if scene.release != Release::V1_3 {
            assert_eq!(report["result"]["history"], "proven", "{report}");
        }
    }
}

fn a_server_without_the_logs_needs_a_full_backup(mut scene: Scene) {
    scene.full("copy");
    for name in ["rotated", "again"] {
        scene.source.load(SEED, MORE);
        scene.full(name);
    }
    let mut removed = 0;
    for folder in ["source", "source/index"] {
        for entry in fs::read_dir(scene.dir(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(".log.v") {
                fs::remove_file(path).unwrap();
                removed += 1;
            }
        }
    }
    assert!(removed > 0, "the server keeps no logs");
    if scene.release == Release::V1_3 {
        // it keeps silent, which may mean that it still searches
        scene.refused("copy", 17, &["take a full backup"]);
        return;
    }
    scene.refused("copy", 14, &["transaction", "of nioneodb", "take a full backup"]);
    let finished = scene.run("-incremental", "copy", &["-fallback-full"]);
    assert_eq!(succeeded(&finished)["result"]["mode"], "full");
    scene.source.load(SEED, MORE);
    scene.level("copy");
}

fn another_database_is_refused_and_auto_chooses(mut scene: Scene) {
    let finished = scene.run("-auto", "copy", &[]);
    assert_eq!(succeeded(&finished)["result"]["mode"], "full");
    scene.source.load(SEED, MORE);
    let finished = scene.run("-auto", "copy", &[]);
    assert_eq!(succeeded(&finished)["result"]["mode"], "incremental");
    let other = Scene::new(scene.release);
    let before = snapshot(&scene.dir("copy"));
    let finished = run(&other.source, "-incremental", &scene.dir("copy"), &["-fallback-full"]);
    assert_eq!(finished.code, Some(13), "{}", finished.stderr);
    assert!(before == snapshot(&scene.dir("copy")));
    scene.level("copy");
    let pruned = scene.run("-incremental", "copy", &["-prune-logs=1kb"]);
    succeeded(&pruned);
    scene.source.load(SEED, MORE);
    let report = scene.level("copy");
    if scene.release != Release::V1_3 {
        assert_eq!(report["result"]["history"], "proven", "{report}");
    }
}

fn where_nothing_is_new_no_store_file_is_touched(mut scene: Scene) {
    scene.full("copy");
    scene.source.load(SEED, MORE);
    scene.level("copy");
    let mut before = snapshot(&scene.dir("copy"));
    let report = succeeded(&scene.run("-incremental", "copy", &[]));
    assert_eq!(report["result"]["transactions"], 0, "{report}");
    let mut after = snapshot(&scene.dir("copy"));
    let manifest = scene.dir("copy").join("neo4j-backup.json");
    assert!(before.remove(&manifest) != after.remove(&manifest));
    assert!(before == after, "more than the manifest changed");
}

/// The files of 1.4 are not those of later releases, which upgrade them on request.
#[test]
fn a_source_that_was_upgraded_needs_a_full_backup() {
    let (old, new) = (Release::V1_4_2, Release::V1_5);
    if !require_peers(old) || !require_peers(new) {
        return;
    }
    let scene = Scene::new(old);
    scene.full("copy");
    let Scene { work, source, .. } = scene;
    source.quit();
    let options = Options::source(new).with("allow_store_upgrade=true");
    let source = Peer::start(new, &work.path().join("source"), &options);
    let mut scene = Scene {
        work,
        release: new,
        source,
    };
    scene.refused("copy", 14, &["upgraded"]);
    let finished = scene.run("-incremental", "copy", &["-fallback-full"]);
    assert_eq!(succeeded(&finished)["result"]["mode"], "full");
    scene.source.load(SEED, MORE);
    scene.level("copy");
}
