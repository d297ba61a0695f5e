//! Full backups by the built program from a server that plays back what a Neo4j 1.8 sent: what becomes of the target.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::replay::{Answer, FULL, HEAD, Server, Transactions, judge, left_over, sibling};
use crate::support::{Finished, Mounted, our_tool, side_by_side, snapshot, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use neo4j_format::{DirHandle, store::neo4j_lock::Neo4jLock};

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

/// A failure as a 1.8 serializes it.
const FAILURE: &[u8] = include_bytes!("../vectors/1.8-pruned.bin");

fn back_up(server: &Server, target: &Path, options: &[&str]) -> Finished {
    let mut args = vec!["-full", "-from"];
    let uri = server.uri();
    args.extend([uri.as_str(), "-to", target.to_str().unwrap()]);
    args.extend(options);
    our_tool(&args)
}

fn spawn(server: &Server, target: &Path, options: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(["-full", "-from", &server.uri(), "-to"])
        .arg(target)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[track_caller]
fn assert_done(finished: &Finished, target: &Path) {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(judge(target), Ok(()));
    assert!(left_over(target).is_empty(), "{:?}", left_over(target));
}

#[track_caller]
fn assert_refused(finished: &Finished, code: i32, target: &Path) {
    assert_eq!(finished.code, Some(code), "{}{}", finished.stdout, finished.stderr);
    assert!(left_over(target).is_empty(), "{:?}", left_over(target));
}

fn run_id(dir: &Path) -> String {
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("neo4j-backup.json")).unwrap()).unwrap();
    manifest["chain"][0]["run_id"].as_str().unwrap().to_owned()
}

/// A folder for targets, and the target.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("backup");
    (folder, target)
}

#[test]
fn a_backup_is_complete_and_nothing_is_left_beside_it() {
    let (_folder, target) = place();
    assert_done(&back_up(&Server::recorded(), &target, &[]), &target);
    assert!(target.join("nioneo_logical.log.v1").exists());
}

#[test]
fn a_server_without_older_transactions_is_backed_up_as_well() {
    let (_folder, target) = place();
    let server = Server::start(Answer::recorded(), Transactions::None);
    assert_done(&back_up(&server, &target, &[]), &target);
}

#[test]
fn an_existing_backup_is_kept_unless_it_may_be_overwritten() {
    let (_folder, target) = place();
    let server = Server::recorded();
    assert_done(&back_up(&server, &target, &[]), &target);
    let before = snapshot(&target);
    let refused = back_up(&server, &target, &[]);
    assert_refused(&refused, 13, &target);
    assert!(
        refused.stderr.contains("already contains a database"),
        "{}",
        refused.stderr
    );
    assert_eq!(snapshot(&target), before);
}

#[test]
fn overwriting_puts_the_new_backup_in_place_of_the_old_one() {
    let (_folder, target) = place();
    let server = Server::recorded();
    assert_done(&back_up(&server, &target, &[]), &target);
    let before = run_id(&target);
    assert_done(&back_up(&server, &target, &["-overwrite"]), &target);
    assert_ne!(run_id(&target), before);
}

#[test]
fn a_backup_of_another_database_is_never_overwritten() {
    let (_folder, target) = place();
    let server = Server::recorded();
    assert_done(&back_up(&server, &target, &[]), &target);
    let before = snapshot(&target);
    server.change(Answer::recorded(), Transactions::OfAnotherDatabase);
    assert_refused(&back_up(&server, &target, &["-overwrite"]), 13, &target);
    assert_eq!(snapshot(&target), before);
}

#[test]
fn a_backup_that_is_open_as_a_database_is_not_replaced() {
    let (_folder, target) = place();
    let server = Server::recorded();
    assert_done(&back_up(&server, &target, &[]), &target);
    let before = snapshot(&target);
    let open = Neo4jLock::take(&DirHandle::open(&target).unwrap()).unwrap();
    assert_refused(&back_up(&server, &target, &["-overwrite"]), 11, &target);
    assert_eq!(snapshot(&target), before);
    drop(open);
    assert_done(&back_up(&server, &target, &["-overwrite"]), &target);
}

#[test]
fn an_overwrite_that_fails_leaves_the_old_backup() {
    let (_folder, target) = place();
    let server = Server::recorded();
    assert_done(&back_up(&server, &target, &[]), &target);
    let before = snapshot(&target);
    server.change(Answer::Cut(FULL[..FULL.len() / 2].to_vec()), Transactions::Recorded);
    assert_refused(&back_up(&server, &target, &["-overwrite"]), 10, &target);
    assert_eq!(snapshot(&target), before);
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let (_folder, target) = place();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("letter.txt"), "dear").unwrap();
    for options in [&[][..], &["-overwrite"]] {
        assert_refused(&back_up(&Server::recorded(), &target, options), 13, &target);
    }
    assert_eq!(fs::read(target.join("letter.txt")).unwrap(), b"dear");
}

#[test]
fn a_file_at_the_target_is_a_configuration_error() {
    let (_folder, target) = place();
    fs::write(&target, "dear").unwrap();
    assert_refused(&back_up(&Server::recorded(), &target, &[]), 78, &target);
    assert_eq!(fs::read(&target).unwrap(), b"dear");
}

#[test]
fn an_empty_directory_is_taken() {
    let (_folder, target) = place();
    fs::create_dir(&target).unwrap();
    assert_done(&back_up(&Server::recorded(), &target, &[]), &target);
}

#[test]
fn a_missing_parent_is_not_created() {
    let (folder, _) = place();
    let target = folder.path().join("missing/backup");
    assert_refused(&back_up(&Server::recorded(), &target, &[]), 78, &target);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_link_to_a_directory_is_followed_and_stays() {
    let (folder, target) = place();
    let real = folder.path().join("disk");
    fs::create_dir(&real).unwrap();
    symlink(&real, &target).unwrap();
    let done = back_up(&Server::recorded(), &target, &[]);
    assert_done(&done, &real);
    assert!(target.is_symlink());
    assert!(left_over(&target).is_empty());
}

#[test]
fn a_second_run_on_the_same_target_is_refused() {
    let (_folder, target) = place();
    let path = sibling(&target, ".lock");
    let lock = File::create(&path).unwrap();
    lock.lock().unwrap();
    let finished = back_up(&Server::recorded(), &target, &[]);
    assert_eq!(finished.code, Some(11), "{}", finished.stderr);
    assert!(path.exists() && !target.exists());
    drop(lock);
    assert_done(&back_up(&Server::recorded(), &target, &[]), &target);
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let (_folder, target) = place();
    let elsewhere = sibling(&target, ".elsewhere");
    symlink(&elsewhere, sibling(&target, ".lock")).unwrap();
    let finished = back_up(&Server::recorded(), &target, &[]);
    assert_eq!(finished.code, Some(78), "{}", finished.stderr);
    assert!(!elsewhere.exists() && !target.exists());
}

#[test]
fn of_two_runs_at_once_one_is_refused_and_names_the_other() {
    let (_folder, target) = place();
    let server = Server::start(Answer::Stalled(FULL[..20_000].to_vec()), Transactions::Recorded);
    let mut first = spawn(&server, &target, &[]);
    server.wait_until_stalled();
    let second = back_up(&server, &target, &[]);
    assert_eq!(second.code, Some(11), "{}", second.stderr);
    assert!(second.stderr.contains(&first.id().to_string()), "{}", second.stderr);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn what_a_killed_run_left_is_cleared_by_the_next() {
    let (_folder, target) = place();
    let server = Server::start(Answer::Stalled(FULL[..20_000].to_vec()), Transactions::Recorded);
    let mut child = spawn(&server, &target, &[]);
    server.wait_until_stalled();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!target.exists());
    assert_eq!(left_over(&target), [".partial", ".lock"]);
    server.change(Answer::recorded(), Transactions::Recorded);
    assert_done(&back_up(&server, &target, &[]), &target);
}

#[test]
fn staging_names_that_somebody_else_uses_are_left_alone() {
    for suffix in [".partial", ".ready"] {
        let (_folder, target) = place();
        let theirs = sibling(&target, suffix);
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("letter.txt"), "dear").unwrap();
        let finished = back_up(&Server::recorded(), &target, &[]);
        assert_eq!(finished.code, Some(13), "{suffix}: {}", finished.stderr);
        assert_eq!(fs::read(theirs.join("letter.txt")).unwrap(), b"dear");
        assert!(!target.exists());
        assert_eq!(left_over(&target), [suffix]);
    }
}

#[test]
fn a_staging_directory_whose_manifest_was_cut_short_is_cleared() {
    let (_folder, target) = place();
    let partial = sibling(&target, ".partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("neo4j-backup.json"), "{\"sche").unwrap();
    fs::write(partial.join("neostore"), [0; 63]).unwrap();
    assert_done(&back_up(&Server::recorded(), &target, &[]), &target);
}

#[test]
fn a_stream_that_is_cut_anywhere_leaves_nothing_and_the_next_run_succeeds() {
    let step = std::env::var("CUT_STEP").map_or(1500, |text| text.parse().unwrap());
    side_by_side((0..FULL.len()).step_by(step).chain([FULL.len() - 1]), |end| {
        let (_folder, target) = place();
        let server = Server::start(Answer::Cut(FULL[..end].to_vec()), Transactions::Recorded);
        let finished = back_up(&server, &target, &[]);
        assert!(
            matches!(finished.code, Some(10 | 15 | 17)),
            "cut at {end}: {:?} {}",
            finished.code,
            finished.stderr
        );
        assert!(!target.exists(), "cut at {end}");
        assert!(left_over(&target).is_empty(), "cut at {end}: {:?}", left_over(&target));
        server.change(Answer::recorded(), Transactions::Recorded);
        assert_done(&back_up(&server, &target, &[]), &target);
    });
}

#[test]
fn a_failure_of_the_server_is_told_in_its_own_words() {
    // a first chunk of the recorded answer that says that more follow
    const MORE: [u8; 2] = [9, 1];
    let files = &FULL[HEAD..HEAD + 20_000];
    let frame = u32::try_from(MORE.len() + files.len()).unwrap();
    let begun = [&frame.to_be_bytes()[..], &MORE, files].concat();
    for before in [Vec::new(), begun] {
        let (_folder, target) = place();
        let server = Server::start(Answer::Whole([&before, FAILURE].concat()), Transactions::Recorded);
        let finished = back_up(&server, &target, &[]);
        assert_refused(&finished, 16, &target);
        assert!(finished.stderr.contains("No such log version:0"), "{}", finished.stderr);
        assert!(!target.exists(), "after {} bytes", before.len());
    }
}

#[test]
fn signals_end_a_stalled_transfer_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (_folder, target) = place();
        let server = Server::start(Answer::Stalled(FULL[..30_000].to_vec()), Transactions::Recorded);
        let mut child = spawn(&server, &target, &[]);
        server.wait_until_stalled();
        let start = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(!target.exists());
        assert!(left_over(&target).is_empty(), "{:?}", left_over(&target));
    }
}

/// As a machine is that is moved to another host.
#[test]
fn a_run_that_stood_still_finds_what_arrived_meanwhile() {
    const SILENCE: Duration = Duration::from_secs(1);
    let (_folder, target) = place();
    let (first, second) = FULL.split_at(30_000);
    let server = Server::start(Answer::Halting(first.to_vec(), second.to_vec()), Transactions::Recorded);
    let mut child = spawn(&server, &target, &["-silence-timeout", "1s"]);
    server.wait_until_stalled();
    let stalled = Instant::now();
    wait_until(|| stalled.elapsed() > SILENCE / 2);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    server.go_on();
    wait_until(|| stalled.elapsed() > SILENCE * 2);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(judge(&target), Ok(()));
}

#[test]
fn a_mount_point_is_a_configuration_error() {
    let (_folder, target) = place();
    if let Some(_mounted) = Mounted::at(&target, "size=1m") {
        assert_refused(&back_up(&Server::recorded(), &target, &[]), 78, &target);
        assert_done(
            &back_up(&Server::recorded(), &target.join("inside"), &[]),
            &target.join("inside"),
        );
    }
}

#[test]
fn a_full_disk_is_told_apart_and_given_back() {
    let (folder, _) = place();
    let disk = folder.path().join("disk");
    for pages in [1, 2, 3, 8, 20, 35] {
        if let Some(_mounted) = Mounted::at(&disk, &format!("size={}k", pages * 4)) {
            let target = disk.join("backup");
            let finished = back_up(&Server::recorded(), &target, &[]);
            assert_refused(&finished, 18, &target);
            assert!(!target.exists(), "{pages} pages");
        }
    }
}
