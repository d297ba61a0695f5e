//! Backups of real servers over networks that fail, and runs that are stopped by a signal: each ends soon, with its own
//! exit code, and leaves what was there before, or what the next run finishes without being told about it.
//!
//! 1.8 runs always, the others with `--include-ignored`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "panicking is how tests report")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    BlackHole, Contents, Fault, Faulty, Finished, Options, Peer, Release, has_a_store, our_tool, questions,
    require_peers, snapshot, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const SEED: u64 = 13;
/// Transactions before the full backup, and until the incremental one.
const BEFORE: u32 = 200;
const MORE: u32 = 400;
/// How long a run may take to obey a signal.
const OBEYS: Duration = Duration::from_secs(2);
/// Behind a fault a run may take as long as its limits say, and this much for all else on a busy machine.
const ENDS: Duration = Duration::from_secs(10);
const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

questions! {
    release => &Scene::new(release);
    always [of_1_8 = V1_8];
    others [of_1_4_2 = V1_4_2, of_1_3 = V1_3, of_1_5 = V1_5, of_1_6_1 = V1_6_1, of_1_7_2 = V1_7_2, of_1_9_9 = V1_9_9];
    a_full_backup_over_a_failing_network_leaves_nothing,
    an_incremental_over_a_failing_network_leaves_the_backup_as_it_was,
    a_full_backup_stopped_by_a_signal_leaves_nothing,
    an_incremental_stopped_by_a_signal_is_finished_by_the_next_run,
}

/// A server, a backup of it, and what was committed since.
struct Scene {
    work: TempDir,
    release: Release,
    source: Peer,
    now: Contents,
    /// Options of a run that is to end well.
    plain: &'static [&'static str],
}

impl Scene {
    fn new(release: Release) -> Scene {
        let work = TempDir::new().unwrap();
        // mapped buffers make a server pad its files with megabytes of zeros
        let options = Options::source(release).with("use_memory_mapped_buffers=false");
        let mut source = Peer::start(release, &work.path().join("source"), &options);
        source.load(SEED, BEFORE);
        let base = work.path().join("base");
        // 1.5 leaves the properties of what was changed and deleted by the same transaction, which a check tells
        let plain: &[&str] = if release == Release::V1_5 {
            &["-verify=false"]
        } else {
            &[]
        };
        assert_done(&run("-full", &source.uri(), &base, plain));
        source.load(SEED, MORE);
        let now = source.contents();
        Scene {
            work,
            release,
            source,
            now,
            plain,
        }
    }

    /// A name for a target of its own.
    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.work.path().join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        dir
    }

    /// A copy of the backup.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.dir(name);
        crate::support::copy_dir(&self.work.path().join("base"), &copy);
        copy
    }

    /// Bytes that the server sends for a run of this mode.
    fn answers(&self, mode: &str, target: &Path) -> u64 {
        let counted = Faulty::none(self.source.port());
        assert_done(&run(mode, &counted.uri(), target, self.plain));
        counted.passed()
    }

    /// The plain run that follows ends well and Neo4j finds all that the source has.
    #[track_caller]
    fn finishes(&self, mode: &str, target: &Path) {
        assert_done(&run(mode, &self.source.uri(), target, self.plain));
        let found = Peer::contents_of_copy(self.release, target);
        assert_eq!(self.now.difference(&found), None);
    }
}

/// What a failing network does to an answer of so many bytes, from which of them on, and the exit codes that tell it.
fn faults(whole: u64) -> Vec<(Fault, u64, &'static [i32])> {
    let drip = Fault::Drip(Duration::from_millis(50));
    // Where nothing was ever heard it may be anything, and no backup service. What the old releases do when they lose a
    // race looks like a closed connection, so such a run begins again until the time limit.
    let mut faults: Vec<(_, _, &[i32])> = vec![
        (Fault::Silence, 0, &[15, 17]),
        (drip, 0, &[17]),
        (Fault::Close, 0, &[15, 17]),
        (Fault::Reset, 0, &[15, 17]),
    ];
    for part in [10, 40, 90] {
        let after = whole * part / 100;
        faults.extend::<[(_, _, &[i32]); 4]>([
            // one that answers nothing else either counts as gone
            (Fault::Silence, after, &[10, 17]),
            (drip, after, &[17]),
            (Fault::Close, after, &[10, 17]),
            (Fault::Reset, after, &[10, 17]),
        ]);
    }
    faults
}

fn run(mode: &str, from: &str, to: &Path, options: &[&str]) -> Finished {
    let args = [mode, "-from", from, "-to", to.to_str().unwrap()];
    our_tool(&[&args[..], options].concat())
}

fn start(mode: &str, from: &str, to: &Path, options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args([mode, "-from", from, "-to"])
        .arg(to)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[track_caller]
fn assert_done(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

/// What stands beside a target, of which none but the journal may stay.
fn left_over(target: &Path) -> Vec<String> {
    let name = target.file_name().unwrap().to_str().unwrap();
    let beside = fs::read_dir(target.parent().unwrap()).unwrap();
    let names = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|other| {
            other
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.') && rest != ".journal")
        })
        .collect()
}

/// Limits that pass soon: one for silence, one for a run that is never silent and never done.
const LIMITS: [&str; 3] = ["-silence-timeout=1s", "-timeout=6s", "-verify=false"];

fn a_full_backup_over_a_failing_network_leaves_nothing(scene: &Scene) {
    let whole = scene.answers("-full", &scene.dir("whole"));
    for (fault, after, codes) in faults(whole) {
        let target = scene.dir("full");
        let relay = Faulty::to(scene.source.port(), fault, after);
        let finished = run("-full", &relay.uri(), &target, &LIMITS);
        let told = format!("{fault:?} after {after} of {whole}: {finished:?}");
        assert!(finished.code.is_some_and(|code| codes.contains(&code)), "{told}");
        assert!(finished.took < ENDS, "{told}");
        assert!(!target.exists(), "{told}");
        assert_eq!(left_over(&target), [""; 0], "{told}");
    }
    let hole = BlackHole::new();
    let target = scene.dir("full");
    let finished = run("-full", &hole.uri(), &target, &["-timeout=3s"]);
    assert!(matches!(finished.code, Some(10 | 17)), "{finished:?}");
    assert!(!target.exists() && left_over(&target).is_empty());
    scene.finishes("-full", &target);
}

fn an_incremental_over_a_failing_network_leaves_the_backup_as_it_was(scene: &Scene) {
    let whole = scene.answers("-incremental", &scene.copy("whole"));
    let target = scene.copy("copy");
    let before = snapshot(&target);
    for (fault, after, codes) in faults(whole) {
        let relay = Faulty::to(scene.source.port(), fault, after);
        let finished = run("-incremental", &relay.uri(), &target, &LIMITS);
        let told = format!("{fault:?} after {after} of {whole}: {finished:?}");
        assert!(finished.code.is_some_and(|code| codes.contains(&code)), "{told}");
        assert!(finished.took < ENDS, "{told}");
        assert!(snapshot(&target) == before, "{told}");
        assert_eq!(left_over(&target), [""; 0], "{told}");
    }
    scene.finishes("-incremental", &target);
}

fn a_full_backup_stopped_by_a_signal_leaves_nothing(scene: &Scene) {
    for (signal, code) in SIGNALS {
        // in the middle of the transfer, which the rate makes long
        let target = scene.dir("slow");
        let mut child = start("-full", &scene.source.uri(), &target, &["-max-rate=20k"]);
        let partial = target.with_extension("partial");
        wait_until(|| has_a_store(&partial));
        assert_eq!(stop(&mut child, signal), code);
        assert!(!target.exists(), "{signal:?}");
        assert_eq!(left_over(&target), [""; 0], "{signal:?}");
        // and wherever it happens to be
        for delay in moments() {
            let target = scene.dir("quick");
            let mut child = start("-full", &scene.source.uri(), &target, scene.plain);
            thread::sleep(delay);
            let ended = stop(&mut child, signal);
            assert!(ended == code || ended == 0, "{signal:?} after {delay:?}: {ended}");
            assert_eq!(target.exists(), ended == 0, "{signal:?} after {delay:?}");
            assert_eq!(left_over(&target), [""; 0], "{signal:?} after {delay:?}");
        }
        scene.finishes("-full", &target);
    }
}

fn an_incremental_stopped_by_a_signal_is_finished_by_the_next_run(scene: &Scene) {
    for (signal, code) in SIGNALS {
        let target = scene.copy("slow");
        let before = snapshot(&target);
        let mut child = start("-incremental", &scene.source.uri(), &target, &["-max-rate=20k"]);
        let received = target.join("neo4j-backup.received");
        wait_until(|| received.exists());
        assert_eq!(stop(&mut child, signal), code);
        assert!(snapshot(&target) == before, "{signal:?}");
        assert_eq!(left_over(&target), [""; 0], "{signal:?}");
        let mut ends = BTreeMap::new();
        for delay in moments() {
            let target = scene.copy("quick");
            let mut child = start("-incremental", &scene.source.uri(), &target, scene.plain);
            thread::sleep(delay);
            let ended = stop(&mut child, signal);
            // 2: the backup was finished, its check was not
            assert!([0, 2, code].contains(&ended), "{signal:?} after {delay:?}: {ended}");
            *ends.entry(ended).or_insert(0) += 1;
            assert_done(&run("-incremental", &scene.source.uri(), &target, scene.plain));
        }
        eprintln!("neo4j {}: {signal:?}: exit codes {ends:?}", scene.release.name());
        scene.finishes("-incremental", &target);
        scene.finishes("-incremental", &scene.work.path().join("quick"));
    }
}

/// From before anything was done to after the end of a small run.
fn moments() -> impl Iterator<Item = Duration> {
    [1, 3, 6, 10, 15, 20, 30, 40, 60, 80, 110, 150, 200, 300]
        .into_iter()
        .map(Duration::from_millis)
}

/// Sends a signal; the exit code with which the run obeys. One that has ended before has its own.
#[track_caller]
fn stop(child: &mut Child, signal: Signal) -> i32 {
    let begin = Instant::now();
    // it may have ended meanwhile, and is not reaped before `wait`
    kill_process(Pid::from_child(child), signal).unwrap();
    let ended = child.wait().unwrap();
    let took = begin.elapsed();
    assert!(took < OBEYS, "{signal:?} was obeyed after {took:?}");
    // before the handler is there the signal itself ends the run, which a shell tells by the same number
    ended.code().or(ended.signal().map(|number| 128 + number)).unwrap()
}
