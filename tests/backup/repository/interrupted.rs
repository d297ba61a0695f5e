//! What stops a run in the middle: a kill, a full disk, another run. The repository stays sound, and the next run goes on.
//!
//! `KILLS` sets how often a run is killed, `INTEROP_SEED` when.

use std::{
    env,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use neo4j_format::log::encode::Command as GraphCommand;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Scene, creates, has_restic, records};
use crate::support::{Mounted, incremental_source::Source, interop::seed};

const KILLS: u32 = 5;

/// Longest time that a test waits for a condition.
const PATIENCE: Duration = Duration::from_mins(1);

/// A run that is killed.
#[derive(Debug, Clone, Copy)]
enum Action {
    Archive,
    Forget,
    Restore,
}

impl Action {
    const ALL: [Action; 3] = [Action::Archive, Action::Forget, Action::Restore];

    fn start(self, scene: &Scene, source: &Source) -> Child {
        let (uri, backup, data) = (source.uri(), scene.dir("backup"), scene.dir("data/graph.db"));
        let arguments: &[&str] = match self {
            Action::Archive => &["-incremental", "-from", &uri, "-to", backup.to_str().unwrap()],
            Action::Forget => &["forget", "-keep", "last=2"],
            Action::Restore => &["restore", "-replace", "-to", data.to_str().unwrap()],
        };
        let mut command = scene.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    #[track_caller]
    fn succeeds(self, scene: &Scene, source: &Source) {
        let status = self.start(scene, source).wait().unwrap();
        assert!(status.success(), "{self:?}: {status}");
    }
}

/// How many files there are below a directory that is being changed.
fn count(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

fn waits_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Takes in what a restore has to replace.
fn puts_old_database(scene: &Scene) {
    let data = scene.dir("data");
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(data.join("graph.db")).unwrap();
    fs::write(data.join("graph.db/neostore"), "old").unwrap();
}

#[test]
fn runs_that_are_killed_leave_a_sound_repository_and_the_next_goes_on() {
    if !has_restic() {
        return;
    }
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    puts_old_database(&scene);
    let longest = Action::ALL.map(|action| {
        let start = Instant::now();
        action.succeeds(&scene, &source);
        start.elapsed()
    });
    let kills = env::var("KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed());
    let mut interrupted = 0;
    let mut next_node = 100;
    for round in 0..kills {
        let index = random.random_range(0..Action::ALL.len());
        let (action, longest) = (Action::ALL[index], longest[index]);
        let nodes: Vec<GraphCommand<'_>> = (next_node..next_node + 200).map(creates).collect();
        next_node += 200;
        source.commit(&nodes);
        puts_old_database(&scene);
        let before = (count(&scene.repository()), count(&scene.dir("data")));
        let mut child = action.start(&scene, &source);
        // half of them at any time, the others soon after they began to change something
        let mut pause = longest.mul_f64(random.random_range(0.0..1.2));
        let start = Instant::now();
        if round % 2 == 1 {
            while (count(&scene.repository()), count(&scene.dir("data"))) == before
                && child.try_wait().unwrap().is_none()
            {}
            pause = start.elapsed() + Duration::from_micros(random.random_range(0..60_000));
        }
        while start.elapsed() < pause && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_micros(200));
        }
        let _ = child.kill();
        interrupted += u32::from(child.wait().unwrap().code().is_none());
        let when = format!("round {round}, {action:?} after {pause:?}");
        let checked = scene.restic(&["check", "--read-data"]);
        assert!(
            checked.status.success(),
            "{when}: {}{}",
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        );
        let data = scene.dir("data/graph.db");
        if fs::read(data.join("neostore")).unwrap() != b"old" {
            let verified = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
                .arg("verify")
                .arg(&data)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&verified.stdout);
            assert!(verified.status.success(), "{when}: {text}");
        }
        action.succeeds(&scene, &source);
        if round % 8 == 7 || round + 1 == kills {
            Action::Archive.succeeds(&scene, &source);
            Action::Forget.succeeds(&scene, &source);
            puts_old_database(&scene);
            Action::Restore.succeeds(&scene, &source);
            assert_eq!(records(&data), records(&scene.dir("backup")), "{when}");
            let listed: Value = serde_json::from_str(&scene.restic_succeeds(&["snapshots", "--json"])).unwrap();
            let generations = scene.generations();
            assert_eq!(listed.as_array().unwrap().len(), generations.len(), "{when}");
        }
    }
    scene.succeeds(&["forget", "-keep", "last=1"]);
    scene.restic_succeeds(&["check", "--read-data"]);
    assert_eq!(temporary_files(&scene.repository()), 0);
    assert!(kills == 0 || interrupted > 0, "every run ended before its kill");
    println!("{interrupted} of {kills} runs were killed");
}

fn temporary_files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            if path.is_dir() {
                temporary_files(&path)
            } else {
                usize::from(path.to_str().unwrap().contains("-tmp-"))
            }
        })
        .sum()
}

#[test]
fn files_that_a_killed_write_left_are_removed_by_forget() {
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    let name = "0".repeat(64);
    for folder in ["data/00", "index", "snapshots", "keys"] {
        let folder = scene.repository().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}-tmp-")), "half").unwrap();
    }
    scene.succeeds(&["forget", "-keep", "last=1", "-dry-run"]);
    assert_eq!(temporary_files(&scene.repository()), 4);
    scene.succeeds(&["forget", "-keep", "last=1"]);
    assert_eq!(temporary_files(&scene.repository()), 0);
    scene.restores("restored", &[]);
}

/// A prune that does not wait removes what the snapshot of the backup counts on.
#[test]
fn a_prune_waits_for_a_backup_that_is_being_archived() {
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    for node in 20..22 {
        source.commit(&[creates(node)]);
        scene.backs_up("-incremental", &source.uri(), "backup");
    }
    source.commit(&[creates(22)]);
    let lock = File::options()
        .read(true)
        .write(true)
        .open(scene.repository().join("neo4j-backup.lock"))
        .unwrap();
    let mut archiving = Action::Archive.start(&scene, &source);
    waits_until(|| match lock.try_lock() {
        Ok(()) => {
            lock.unlock().unwrap();
            false
        }
        Err(_) => true,
    });
    signal(&archiving, Signal::STOP);
    assert!(lock.try_lock().is_err(), "it was over before it stopped");
    let before = count(&scene.repository());
    let mut forgetting = scene
        .command(&["forget", "-keep", "last=1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // longer than it takes to open the repository
    thread::sleep(Duration::from_secs(3));
    assert!(forgetting.try_wait().unwrap().is_none());
    assert_eq!(count(&scene.repository()), before);
    signal(&archiving, Signal::CONT);
    assert!(archiving.wait().unwrap().success());
    assert!(forgetting.wait().unwrap().success());
    if has_restic() {
        scene.restic_succeeds(&["check", "--read-data"]);
    }
    scene.restores("restored", &[]);
    assert_eq!(records(&scene.dir("restored")), records(&scene.dir("backup")));
}

#[test]
fn a_full_disk_leaves_a_sound_repository_and_the_next_run_goes_on() {
    if !has_restic() {
        return;
    }
    let scene = Scene::new();
    let source = Source::recorded();
    let elsewhere = scene.dir("empty");
    fs::rename(scene.repository(), &elsewhere).unwrap();
    let Some(_mounted) = Mounted::at(&scene.repository(), "size=512k") else {
        return;
    };
    scene.succeeds(&["repo", "init"]);
    scene.backs_up("-full", &source.uri(), "backup");
    let filler = scene.repository().join("filler");
    let fills = |left: usize| {
        let mut size = 512 << 10;
        while fs::write(&filler, vec![7; size]).is_err() {
            size -= 4 << 10;
        }
        fs::write(&filler, vec![7; size.saturating_sub(left)]).unwrap();
    };
    for (round, left) in [0, 16 << 10].into_iter().enumerate() {
        let first = 1000 + 2000 * u64::try_from(round).unwrap();
        let nodes: Vec<GraphCommand<'_>> = (first..first + 2000).map(creates).collect();
        source.commit(&nodes);
        fills(left);
        let backup = scene.dir("backup");
        let incremental = ["-incremental", "-from", &source.uri(), "-to", backup.to_str().unwrap()];
        let output = scene.command(&incremental).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        if left == 0 {
            assert_eq!(output.status.code(), Some(5), "{stderr}");
            assert!(stderr.contains("No space left on device"), "{stderr}");
        }
        // restic wants to write a lock
        scene.restic_succeeds(&["check", "--read-data", "--no-lock"]);
        let verified = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
            .arg("verify")
            .arg(&backup)
            .output()
            .unwrap();
        assert!(verified.status.success(), "the backup itself is good");
        fs::remove_file(&filler).unwrap();
        scene.backs_up("-incremental", &source.uri(), "backup");
        let name = format!("restored-{round}");
        scene.restores(&name, &[]);
        assert_eq!(records(&scene.dir(&name)), records(&backup));
        scene.succeeds(&["forget", "-keep", "last=1"]);
        scene.restic_succeeds(&["check", "--read-data"]);
    }
    // and a restore that does not fit is refused before it writes
    let small = scene.dir("small");
    let Some(_small) = Mounted::at(&small, "size=64k") else {
        return;
    };
    let to = small.join("graph.db");
    scene.ends(&["restore", "-to", to.to_str().unwrap()], 18);
    assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
}
