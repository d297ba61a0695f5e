//! Every system call of a run on its target × every error that it can give × what the run does: the exit code is the one
//! of the table below, the target is the old or the new backup, and the same command run again succeeds.
//!
//! Takes a sample; `CRASH_POINTS=all` (`tests/run full crash`) takes every call, in an order that is spread over all of
//! them, and says how far it is. Needs `strace`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::disk_trace::{Call, Effect, calls_of, folder_in_memory, require_strace, run_with_fault};
use crate::interrupted::takes_all;
use crate::support::{copy_dir, grown_source::Scene, link_dir, replay::left_over};
use neo4j_backup_core::{cancel::Cancel, progress::Quiet, verify, verify::VerifyVerdict};

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// What is asked for, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Run {
    /// A full backup into nothing.
    Full,
    /// An incremental one.
    Incremental,
    /// A full one that replaces an older one.
    Overwrite,
    /// An incremental one beside a complete backup that an interrupted run left.
    Recovery,
    /// An incremental one of a backup that shares its files with a generation beside it.
    Linked,
}

const RUNS: [Run; 5] = [Run::Full, Run::Incremental, Run::Overwrite, Run::Recovery, Run::Linked];

/// The generation beside a backup.
const GENERATION: &str = "generation";

const OK: i32 = 0;
const LIMIT: i32 = 1;
const IN_USE: i32 = 11;
const NOT_OURS: i32 = 13;
const FULL_NEEDED: i32 = 14;
const NO_SPACE: i32 = 18;
const DISK: i32 = 19;
const DENIED: i32 = 77;
const CONFIGURATION: i32 = 78;

/// Calls, an error of them, and the exit codes that a run may end with. Several, since some calls only try or clear away:
/// a run whose call failed there goes on, and ends with 0.
const TABLE: &[(&str, &str, &[i32])] = &[
    // opening and creating
    ("openat mkdir mkdirat", "EACCES", &[DENIED, CONFIGURATION, OK]),
    ("openat mkdir mkdirat", "EROFS", &[DISK, CONFIGURATION, OK]),
    ("openat mkdir mkdirat", "ENOSPC EDQUOT", &[NO_SPACE, OK]),
    ("openat mkdir mkdirat", "EIO ESTALE", &[DISK, OK]),
    ("openat mkdir mkdirat", "ENOMEM", &[LIMIT, OK]),
    ("openat", "EMFILE ENFILE", &[LIMIT, OK]),
    ("openat mkdir mkdirat", "ENAMETOOLONG", &[CONFIGURATION, OK]),
    // as if a link stood there: a manifest that is one is no manifest of ours, nor is a sibling without one
    (
        "openat mkdir mkdirat",
        "ELOOP",
        &[CONFIGURATION, NOT_OURS, FULL_NEEDED, OK],
    ),
    // content
    ("write pwrite64", "ENOSPC EDQUOT EFBIG", &[NO_SPACE]),
    ("write pwrite64", "EIO ESTALE", &[DISK]),
    ("read pread64 getdents64", "EIO ESTALE", &[DISK, OK]),
    ("read pread64", "ENOMEM", &[LIMIT, OK]),
    ("ftruncate", "ENOSPC EFBIG", &[NO_SPACE]),
    ("ftruncate", "EIO", &[DISK]),
    ("lseek", "EIO", &[DISK]),
    ("copy_file_range", "ENOSYS EXDEV EOPNOTSUPP EINVAL EPERM", &[OK]),
    ("copy_file_range", "ENOSPC", &[NO_SPACE]),
    ("fallocate", "EOPNOTSUPP ENOSYS", &[OK]),
    // durability
    ("fsync fdatasync", "EIO", &[DISK]),
    ("fsync fdatasync", "ENOSPC EDQUOT", &[NO_SPACE]),
    // names
    ("rename renameat renameat2", "ENOSPC EDQUOT", &[NO_SPACE]),
    ("rename renameat renameat2", "EIO", &[DISK]),
    ("rename renameat renameat2", "EROFS", &[DISK]),
    ("rename renameat", "EACCES", &[DENIED]),
    ("renameat2", "EINVAL ENOSYS EXDEV EOPNOTSUPP EPERM", &[OK]),
    ("rename renameat renameat2", "EBUSY", &[IN_USE]),
    ("link linkat", "EPERM EMLINK EOPNOTSUPP", &[OK]),
    ("unlink unlinkat rmdir", "EIO", &[DISK, OK]),
    ("unlink unlinkat rmdir", "EROFS", &[DISK, OK]),
    ("unlink unlinkat rmdir", "EACCES EPERM", &[DENIED, OK]),
    ("unlink unlinkat rmdir", "EBUSY", &[IN_USE, OK]),
    // modes, owners, locks
    ("chmod fchmod fchmodat", "EPERM EOPNOTSUPP ENOSYS", &[OK]),
    ("chown lchown fchown fchownat", "EPERM EINVAL EOPNOTSUPP ENOSYS", &[OK]),
    ("flock", "ENOLCK ENOSYS EOPNOTSUPP", &[CONFIGURATION]),
    ("flock", "EAGAIN", &[IN_USE]),
    ("fcntl", "ENOLCK ENOSYS EOPNOTSUPP", &[CONFIGURATION, OK]),
    ("fcntl", "EAGAIN", &[IN_USE, OK]),
    // looking
    ("statx", "ENOSYS", &[OK]),
    ("statx newfstatat", "EACCES EPERM", &[DENIED, OK]),
    ("statx newfstatat", "EIO", &[DISK, OK]),
    ("statx newfstatat", "ENOMEM", &[LIMIT, OK]),
    ("statfs", "EIO", &[DISK]),
];

/// A directory whose file system cannot sync directories: one warning.
const DIRECTORY_SYNC: (&str, &[i32]) = ("EINVAL", &[OK]);

/// The files on which `fcntl` takes locks.
const LOCKED: [&str; 3] = ["neostore", "lock", "store_lock"];

/// After so many cases the test says how far it is.
const PROGRESS: usize = 500;

/// A call that is hit by an error.
struct Case {
    run: Run,
    call: Call,
    errno: &'static str,
    codes: &'static [i32],
}

/// What every run begins with.
struct Stage {
    scene: Scene,
    /// Folders that are copied for each run.
    folders: BTreeMap<Run, PathBuf>,
}

impl Stage {
    fn new() -> Stage {
        let scene = Scene::within(folder_in_memory());
        let mut stage = Stage {
            scene,
            folders: BTreeMap::new(),
        };
        for run in RUNS {
            let folder = stage.scene.work.path().join(format!("{run:?}"));
            fs::create_dir(&folder).unwrap();
            if run != Run::Full {
                stage.scene.copy_to(&folder.join("b"));
            }
            stage.folders.insert(run, folder);
        }
        // interrupted when it was complete
        let folder = stage.folders[&Run::Recovery].clone();
        let arguments = stage.arguments(Run::Overwrite, &folder);
        let tried = stage.fresh(Run::Overwrite);
        let calls = calls_of(
            "renameat2",
            PROGRAM,
            &stage.arguments(Run::Overwrite, tried.path()),
            tried.path(),
        );
        let is_last = |call: &&Call| matches!(&call.effect, Effect::Rename { to } if to == Path::new("b"));
        let last = calls.iter().find(is_last).unwrap();
        run_with_fault(PROGRAM, &arguments, &folder, last, "signal=KILL");
        assert!(folder.join("b.ready/neo4j-backup.json").exists() && folder.join("b.lock").exists());
        stage
    }

    /// A copy of what the run begins with.
    fn fresh(&self, run: Run) -> TempDir {
        let folder = folder_in_memory();
        copy_dir(&self.folders[&run], folder.path());
        if run == Run::Linked {
            link_dir(&folder.path().join("b"), &folder.path().join(GENERATION));
        }
        folder
    }

    fn arguments(&self, run: Run, folder: &Path) -> Vec<String> {
        let mode = match run {
            Run::Full | Run::Overwrite => "-full",
            Run::Incremental | Run::Recovery | Run::Linked => "-incremental",
        };
        let (uri, target) = (self.scene.source.uri(), folder.join("b"));
        let mut words = vec![
            mode,
            "-from",
            &uri,
            "-to",
            target.to_str().unwrap(),
            "-output=json",
            "-verify=false",
        ];
        if run == Run::Overwrite {
            words.push("-overwrite");
        }
        words.into_iter().map(str::to_owned).collect()
    }

    /// Every call of this run that can fail, with each error.
    fn cases(&self, run: Run) -> Vec<Case> {
        let names: Vec<&str> = TABLE.iter().flat_map(|(calls, ..)| calls.split(' ')).collect();
        let folder = self.fresh(run);
        let calls = calls_of(
            &names.join(","),
            PROGRAM,
            &self.arguments(run, folder.path()),
            folder.path(),
        );
        let points: BTreeMap<_, _> = calls
            .into_iter()
            .map(|call| ((call.name.clone(), call.path.clone(), call.number), call))
            .collect();
        let mut cases = Vec::new();
        // what a file system lacks it lacks from the first call on
        let starts = |call: &Call| call.name != "copy_file_range" || call.number == 1;
        let locks = |call: &Call| call.name != "fcntl" || LOCKED.iter().any(|name| call.path.ends_with(name));
        for call in points.into_values().filter(|call| starts(call) && locks(call)) {
            let mut add = |errno, codes| {
                cases.push(Case {
                    run,
                    call: call.clone(),
                    errno,
                    codes,
                });
            };
            let of_call = TABLE
                .iter()
                .filter(|(calls, ..)| calls.split(' ').any(|name| name == call.name));
            for (_, errnos, codes) in of_call {
                errnos.split(' ').for_each(|errno| add(errno, codes));
            }
            let now = call.path.to_string_lossy().replace("b.partial", "b");
            if call.name == "fsync" && folder.path().join(now).is_dir() {
                add(DIRECTORY_SYNC.0, DIRECTORY_SYNC.1);
            }
        }
        cases
    }

    /// What is wrong after the error, and after the run that follows.
    fn try_case(&self, case: &Case) -> Result<i32, String> {
        let folder = self.fresh(case.run);
        let target = folder.path().join("b");
        let arguments = self.arguments(case.run, folder.path());
        let fault = format!("error={}", case.errno);
        let hit = run_with_fault(PROGRAM, &arguments, folder.path(), &case.call, &fault);
        let code = hit
            .status
            .code()
            .ok_or_else(|| format!("ended by a signal: {}", shown(&hit)))?;
        let report: Value = serde_json::from_slice(&hit.stdout).map_err(|_| format!("no report: {}", shown(&hit)))?;
        if report["exit_code"] != code {
            return Err(format!("exit code {code} and {}", report["exit_code"]));
        }
        if !case.codes.contains(&code) {
            return Err(format!("exit code {code}: {}", shown(&hit)));
        }
        if target.exists() {
            is_whole(&target, code).map_err(|error| format!("after {code}: {error}"))?;
        } else if case.run != Run::Full || code == 0 {
            return Err(format!("after {code}: there is no backup"));
        }
        if case.run == Run::Full && code == 0 {
            return Ok(code);
        }
        let again = Command::new(PROGRAM)
            .args(&arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !again.status.success() {
            return Err(format!("the next run after {code}: {}", shown(&again)));
        }
        is_whole(&target, 0).map_err(|error| format!("after the next run: {error}"))?;
        if case.run == Run::Linked {
            is_whole(&folder.path().join(GENERATION), 0).map_err(|error| format!("the generation: {error}"))?;
        }
        match left_over(&target) {
            left if left.is_empty() => Ok(code),
            left => Err(format!("after the next run: {left:?} left")),
        }
    }
}

fn shown(output: &Output) -> String {
    format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}

/// A backup without damage; one of a run that succeeded, with no update left to be finished.
fn is_whole(target: &Path, code: i32) -> Result<(), String> {
    let found = verify(target, &Quiet, &Cancel::default()).map_err(|error| format!("verify: {error}"))?;
    match found.verdict {
        VerifyVerdict::Intact => Ok(()),
        VerifyVerdict::InterruptedUpdate if code != 0 => Ok(()),
        verdict => Err(format!("{verdict:?}: {:?}", found.findings)),
    }
}

/// The same cases in an order in which those that have begun at any time are from everywhere among them.
fn spread(cases: Vec<Case>) -> Vec<Case> {
    let mut numbered: Vec<_> = cases.into_iter().enumerate().collect();
    // multiples of the golden ratio
    numbered.sort_by_key(|(number, _)| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    numbered.into_iter().map(|(_, case)| case).collect()
}

/// One call of each name and error, not always the first.
fn sample(cases: Vec<Case>) -> Vec<Case> {
    let mut groups: BTreeMap<_, Vec<Case>> = BTreeMap::new();
    for case in cases {
        groups
            .entry((case.call.name.clone(), case.errno, case.run))
            .or_default()
            .push(case);
    }
    let pick = |(number, mut group): (usize, Vec<Case>)| {
        let chosen = number * 7 % group.len();
        group.swap_remove(chosen)
    };
    // of each name and error, two or three of the five runs
    groups.into_values().enumerate().step_by(2).map(pick).collect()
}

#[test]
fn every_error_of_every_call_ends_with_its_code_and_leaves_a_whole_backup() {
    if !require_strace("fault matrix") {
        return;
    }
    let stage = Stage::new();
    let cases: Vec<Case> = RUNS.into_iter().flat_map(|run| stage.cases(run)).collect();
    let all = cases.len();
    assert!(all > 1000, "{all} cases");
    let cases = if takes_all() { spread(cases) } else { sample(cases) };
    let (begin, next) = (Instant::now(), AtomicUsize::new(0));
    let work = || {
        let mut wrong = Vec::new();
        let mut codes: BTreeMap<i32, usize> = BTreeMap::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(number) else {
                return (wrong, codes);
            };
            if number > 0 && number % PROGRESS == 0 {
                eprintln!(
                    "{number} of {} cases after {} s",
                    cases.len(),
                    begin.elapsed().as_secs()
                );
            }
            match stage.try_case(case) {
                Ok(code) => *codes.entry(code).or_default() += 1,
                Err(error) => {
                    let Call { name, path, number, .. } = &case.call;
                    let (run, errno) = (case.run, case.errno);
                    let text = format!("{run:?}: {errno} at {name} {number} {}: {error}", path.display());
                    eprintln!("{text}");
                    wrong.push(text);
                }
            }
        }
    };
    let (mut wrong, mut codes) = (Vec::new(), BTreeMap::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (more, counted) = worker.join().unwrap();
            wrong.extend(more);
            for (code, count) in counted {
                *codes.entry(code).or_insert(0) += count;
            }
        }
    });
    wrong.sort();
    eprintln!(
        "{} of {all} cases, exit codes {codes:?}, {} wrong",
        cases.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs with these faults wherever they are met.
fn run_with(faults: &[String], arguments: &[String]) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    for fault in faults {
        strace.arg("-e").arg(format!("inject={fault}"));
    }
    strace
        .arg(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Kernels and file systems that lack a function altogether: every run succeeds without it, with one warning where
/// something is lost by that.
#[test]
fn every_run_succeeds_where_a_function_is_missing() {
    if !require_strace("missing functions") {
        return;
    }
    let stage = Stage::new();
    let mut lacking = vec![("statx", "ENOSYS", None), ("copy_file_range", "ENOSYS", None)];
    for errno in ["EINVAL", "ENOSYS", "EXDEV", "EOPNOTSUPP", "EPERM"] {
        lacking.push((
            "renameat2",
            errno,
            Some((&[Run::Overwrite][..], "cannot exchange two directories")),
        ));
    }
    for errno in ["EPERM", "EOPNOTSUPP"] {
        lacking.push((
            "chmod,fchmod,fchmodat",
            errno,
            Some((&[Run::Overwrite], "cannot be set")),
        ));
    }
    for (calls, errno, warned) in lacking {
        for run in RUNS {
            let folder = stage.fresh(run);
            let target = folder.path().join("b");
            let faults = [format!("{calls}:error={errno}")];
            let hit = run_with(&faults, &stage.arguments(run, folder.path()));
            let what = format!("{run:?}: {errno} at {calls}: {}", shown(&hit));
            assert!(hit.status.success(), "{what}");
            assert_eq!(is_whole(&target, 0), Ok(()), "{what}");
            assert!(left_over(&target).is_empty(), "{what}");
            if let Some((runs, text)) = warned
                && runs.contains(&run)
            {
                assert_eq!(String::from_utf8_lossy(&hit.stderr).matches(text).count(), 1, "{what}");
            }
        }
    }
}

/// As CIFS does.
#[test]
fn a_file_system_that_cannot_sync_directories_is_one_warning() {
    if !require_strace("syncs of directories") {
        return;
    }
    let stage = Stage::new();
    for run in RUNS {
        let folder = stage.fresh(run);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        for directory in ["", "b", "b.partial"] {
            strace
                .arg("-P")
                .arg(folder.path().join(directory).components().collect::<PathBuf>());
        }
        strace.args(["-e", "trace=fsync", "-e", "inject=fsync:error=EINVAL"]);
        let hit = strace
            .arg(PROGRAM)
            .args(stage.arguments(run, folder.path()))
            .output()
            .unwrap();
        let what = format!("{run:?}: {}", shown(&hit));
        assert!(hit.status.success(), "{what}");
        let warnings = String::from_utf8_lossy(&hit.stderr)
            .matches("cannot sync directories")
            .count();
        assert_eq!(warnings, 1, "{what}");
        assert_eq!(is_whole(&folder.path().join("b"), 0), Ok(()), "{what}");
    }
}

/// Without an exchange the new backup takes the place of the old one in two renames: whichever the run is killed at, and
/// before or after it, the next run ends well, and until then a whole backup is in the folder.
#[test]
fn a_kill_between_two_renames_loses_nothing() {
    if !require_strace("two renames") {
        return;
    }
    let stage = Stage::new();
    let mut kills = 0;
    for next in [Run::Incremental, Run::Overwrite] {
        for when in 1.. {
            let folder = stage.fresh(Run::Overwrite);
            let target = folder.path().join("b");
            let faults = [
                "renameat2:error=EXDEV".to_owned(),
                format!("rename,renameat:signal=KILL:when={when}"),
            ];
            let hit = run_with(&faults, &stage.arguments(Run::Overwrite, folder.path()));
            if hit.status.success() {
                break;
            }
            assert_eq!(hit.status.code(), None, "{}", shown(&hit));
            kills += 1;
            let names = ["b", "b.ready", "b.replaced"].map(|name| folder.path().join(name));
            assert!(names.iter().any(|dir| is_whole(dir, 0).is_ok()), "kill {when}");
            let again = run_with(&faults[..1], &stage.arguments(next, folder.path()));
            assert!(again.status.success(), "{next:?} after kill {when}: {}", shown(&again));
            assert_eq!(is_whole(&target, 0), Ok(()), "kill {when}");
            assert!(left_over(&target).is_empty(), "kill {when}: {:?}", left_over(&target));
        }
    }
    assert!(kills >= 6, "{kills} kills");
}

/// A backup that cannot be put in place is no reason not to bring the old one up to date.
#[test]
fn a_waiting_backup_that_cannot_be_renamed_never_blocks_an_incremental_one() {
    if !require_strace("a waiting backup") {
        return;
    }
    let stage = Stage::new();
    let folder = stage.fresh(Run::Recovery);
    let target = folder.path().join("b");
    let arguments = stage.arguments(Run::Recovery, folder.path());
    let faults = ["renameat2:error=EXDEV", "rename,renameat:error=EXDEV:when=1"].map(str::to_owned);
    let taken = run_with(&faults, &arguments);
    assert!(taken.status.success(), "{}", shown(&taken));
    let text = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(text.contains("is waiting and cannot be put in place"), "{text}");
    assert_eq!(is_whole(&target, 0), Ok(()));
    assert!(folder.path().join("b.ready").exists());
}
