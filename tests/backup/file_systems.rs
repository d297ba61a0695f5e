//! Backups on file systems as they are: FUSE, overlays, mount points, full and read-only ones, and rights that are missing.
//!
//! Most of it needs root and the Debian packages `bindfs`, `sshfs`, `openssh-server` and `e2fsprogs`; what this machine
//! lacks is skipped loudly.

#![expect(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use crate::support::grown_source::{GrownSource, Scene, verified};
use crate::support::replay::{Answer, Server, Transactions, sibling};
use crate::support::{Finished, Mounted, as_user, has_program, our_tool, run_limited, snapshot, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");
/// A user that owns nothing.
const OTHER: u32 = 12_345;

/// The text of the error and the hint.
#[track_caller]
fn refused(finished: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for part in parts {
        assert!(finished.stderr.contains(part), "no {part:?} in {finished:?}");
    }
}

/// A full backup, three incremental ones, one that replaces it, and a verification after each.
#[track_caller]
fn lives(scene: &mut Scene, target: &Path) {
    let full = scene.source.back_up("-full", target, &[]);
    assert!(full.success(), "{full:?}");
    assert_eq!(verified(target), Some(0));
    for _ in 0..3 {
        scene.source.grow();
        let taken = scene.source.back_up("-incremental", target, &[]);
        assert!(taken.success(), "{taken:?}");
        assert_eq!(verified(target), Some(0));
    }
    let replaced = scene.source.back_up("-full", target, &["-overwrite"]);
    assert!(replaced.success(), "{replaced:?}");
    assert_eq!(verified(target), Some(0));
    let left: BTreeSet<_> = fs::read_dir(target.parent().unwrap())
        .unwrap()
        .map(|found| found.unwrap().path())
        .collect();
    let expected = BTreeSet::from([target.to_owned(), sibling(target, ".journal")]);
    assert_eq!(left, expected, "siblings are left");
    let paths = snapshot(target).into_keys();
    let hidden = paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn backups_live_on_tmpfs() {
    let mut scene = Scene::new();
    let dir = scene.work.path().join("tmpfs");
    if let Some(_mounted) = Mounted::at(&dir, "size=64m") {
        lives(&mut scene, &dir.join("b"));
    }
}

#[test]
fn backups_live_on_bindfs() {
    let mut scene = Scene::new();
    let (below, dir) = (scene.work.path().join("below"), scene.work.path().join("bindfs"));
    fs::create_dir(&below).unwrap();
    if let Some(_mounted) = Mounted::by(Command::new("bindfs").arg(&below).arg(&dir), &dir, "bindfs") {
        lives(&mut scene, &dir.join("b"));
    }
}

#[test]
fn backups_live_on_sshfs() {
    let mut scene = Scene::new();
    let (below, dir) = (scene.work.path().join("below"), scene.work.path().join("sshfs"));
    fs::create_dir(&below).unwrap();
    let server = Path::new("/usr/lib/openssh/sftp-server");
    if !server.exists() {
        crate::support::skip("openssh-sftp-server");
        return;
    }
    // the server is started by sshfs and speaks on its standard input and output: no daemon, no keys
    let mut sshfs = Command::new("sshfs");
    sshfs.arg(format!("localhost:{}", below.display())).arg(&dir);
    let script = scene.work.path().join("ssh");
    fs::write(&script, format!("#!/bin/sh\nexec {}\n", server.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    sshfs.arg("-o").arg(format!("ssh_command={}", script.display()));
    if let Some(_mounted) = Mounted::by(&mut sshfs, &dir, "sshfs") {
        lives(&mut scene, &dir.join("b"));
    }
}

#[test]
fn backups_live_in_the_upper_layer_of_an_overlay_and_one_of_the_lower_layer_is_never_half_replaced() {
    let mut scene = Scene::new();
    let path = |name: &str| scene.work.path().join(name);
    let (layers, dir) = (path("layers"), path("overlay"));
    // overlayfs takes no upper layer on another overlay
    let Some(_below) = Mounted::at(&layers, "size=128m") else {
        return;
    };
    for layer in ["lower", "upper", "work"] {
        fs::create_dir(layers.join(layer)).unwrap();
    }
    scene.copy_to(&layers.join("lower/old"));
    let options = format!(
        "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work,redirect_dir=off",
        layers.display()
    );
    let mut mount = Command::new("mount");
    mount.args(["-t", "overlay", "-o", &options, "overlay"]).arg(&dir);
    let Some(_mounted) = Mounted::by(&mut mount, &dir, "overlayfs") else {
        return;
    };
    let old = dir.join("old");
    let before = snapshot(&old);
    let replaced = scene.source.back_up("-full", &old, &["-overwrite", "-output", "json"]);
    refused(&replaced, 78, &["cannot rename this directory", "overlayfs"]);
    let report: Value = serde_json::from_str(&replaced.stdout).unwrap();
    assert_eq!(report["phases"]["receiving"], Value::Null, "{report:#}");
    assert_eq!(snapshot(&old), before);
    assert_eq!(
        fs::read_dir(&dir).unwrap().count(),
        2,
        "siblings but the journal are left"
    );
    let taken = scene.source.back_up("-incremental", &old, &[]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(verified(&old), Some(0));
    fs::remove_dir_all(&old).unwrap();
    fs::remove_file(sibling(&old, ".journal")).unwrap();
    lives(&mut scene, &dir.join("b"));
}

#[test]
fn a_full_ext4_ends_a_backup_with_18_and_keeps_the_old_one() {
    let scene = Scene::new();
    let dir = scene.work.path().join("ext4");
    let Some(_mounted) = Mounted::ext4(&dir, 8 << 20) else {
        return;
    };
    let target = dir.join("b");
    scene.copy_to(&target);
    let before = snapshot(&target);
    // a byte is kept free
    let filler = fs::File::create(dir.join("filler")).unwrap();
    let mut length = 64 << 20;
    while length > 512 {
        match rustix::fs::fallocate(
            &filler,
            rustix::fs::FallocateFlags::empty(),
            filler.metadata().unwrap().len(),
            length,
        ) {
            Ok(()) => {}
            Err(_) => length /= 2,
        }
    }
    for (mode, options) in [("-full", &["-overwrite"][..]), ("-incremental", &[]), ("-auto", &[])] {
        let full = scene.source.back_up(mode, &target, options);
        refused(&full, 18, &["hint: free some space"]);
        assert_eq!(verified(&target), Some(0), "{mode}");
    }
    assert_eq!(snapshot(&target), before);
    drop(filler);
    fs::remove_file(dir.join("filler")).unwrap();
    let taken = scene.source.back_up("-incremental", &target, &[]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(verified(&target), Some(0));
}

#[test]
fn a_read_only_file_system_is_said_before_anything_is_received_and_can_be_verified() {
    let scene = Scene::new();
    let dir = scene.work.path().join("tmpfs");
    let Some(_mounted) = Mounted::at(&dir, "size=64m") else {
        return;
    };
    let target = dir.join("b");
    scene.copy_to(&target);
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&dir)
        .status()
        .unwrap();
    assert!(remounted.success());
    for mode in ["-full", "-incremental"] {
        let run = scene.source.back_up(mode, &target, &["-overwrite"]);
        refused(
            &run,
            78,
            &["cannot create files in it (Read-only file system", "beside the target"],
        );
    }
    assert_eq!(verified(&target), Some(0));
}

#[test]
fn a_mount_point_is_brought_up_to_date_and_a_full_backup_is_pointed_into_it() {
    let scene = Scene::new();
    let dir = scene.work.path().join("mounted");
    let Some(_mounted) = Mounted::at(&dir, "size=64m") else {
        return;
    };
    let hint = format!("such as {}/backup", dir.display());
    for options in [&[][..], &["-overwrite"]] {
        let full = scene.source.back_up("-full", &dir, options);
        refused(&full, 78, &["is a mount point", &hint]);
    }
    for entry in fs::read_dir(&scene.backup).unwrap() {
        let entry = entry.unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(entry.path())
            .arg(&dir)
            .status()
            .unwrap();
        assert!(copied.success());
    }
    let taken = scene.source.back_up("-incremental", &dir, &[]);
    assert!(taken.success(), "{taken:?}");
    assert_eq!(verified(&dir), Some(0));
    let full = scene.source.back_up("-full", &dir, &["-overwrite"]);
    refused(&full, 78, &["is a mount point", &hint]);
    assert_eq!(verified(&dir), Some(0));
    // a name that only looks like one
    let below = dir.join("below");
    fs::create_dir(&below).unwrap();
    let named = scene.work.path().join("source/../new/../mounted/below");
    fs::create_dir(scene.work.path().join("new")).unwrap();
    let full = scene.source.back_up("-full", &named, &[]);
    assert!(full.success(), "{full:?}");
    assert_eq!(verified(&below), Some(0));
    let through = scene.source.back_up("-incremental", &below.join("index/.."), &[]);
    assert!(through.success(), "{through:?}");
}

/// A work directory in which another user may look around.
fn open_work() -> TempDir {
    let work = TempDir::new().unwrap();
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).unwrap();
    work
}

#[test]
fn a_missing_right_is_77_with_path_user_and_mode_and_never_damage() {
    let scene = Scene::within(open_work());
    let Some(run) = as_user(OTHER) else {
        return;
    };
    let target = scene.work.path().join("b");
    scene.copy_to(&target);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let store = target.join("neostore.nodestore.db");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    for path in [&target, &target.join("index")] {
        mode(path, 0o755);
    }
    for path in snapshot(&target).keys() {
        mode(path, 0o644);
    }
    let verify = |dir: &Path| run(&["verify", &text(dir)]);
    assert!(verify(&target).success(), "{:?}", verify(&target));
    mode(&store, 0o600);
    let said = format!(
        "this process runs as uid {OTHER}, {} has mode 0600, owner 0:0",
        store.display()
    );
    refused(&verify(&target), 77, &[&said]);
    refused(&run(&["check", &text(&target)]), 77, &[&said]);
    mode(&store, 0o644);
    mode(&target.join("neo4j-backup.sums"), 0o600);
    refused(&verify(&target), 77, &["neo4j-backup.sums"]);
    mode(&target.join("neo4j-backup.sums"), 0o644);
    mode(&target, 0o700);
    for command in ["verify", "inspect", "check"] {
        refused(&run(&[command, &text(&target)]), 77, &["Permission denied"]);
    }
    mode(&target, 0o755);

    // beside it, nothing can be created
    let uri = scene.source.uri();
    for mode in ["-full", "-incremental"] {
        let refusal = run(&[mode, "-from", &uri, "-to", &text(&target), "-overwrite"]);
        let parts = ["cannot create files in it (Permission denied", "beside the target"];
        refused(&refusal, 78, &parts);
    }
    // in it, nothing can be changed
    let (shared, inner) = (scene.work.path().join("shared"), scene.work.path().join("shared/b"));
    fs::create_dir(&shared).unwrap();
    mode(&shared, 0o777);
    fs::rename(&target, &inner).unwrap();
    let before = snapshot(&inner);
    let refusal = run(&["-incremental", "-from", &uri, "-to", &text(&inner), "-output", "json"]);
    refused(&refusal, 77, &["Permission denied", "mode 0"]);
    let report: Value = serde_json::from_str(&refusal.stdout).unwrap();
    assert_eq!(
        (&report["exit_code"], &report["error"]["kind"]),
        (&77.into(), &"permission-denied".into())
    );
    assert_eq!(snapshot(&inner), before);
}

#[test]
fn root_without_the_right_to_give_files_away_takes_backups_with_a_warning() {
    let mut scene = Scene::within(open_work());
    let parent = scene.work.path().join("parent");
    fs::create_dir(&parent).unwrap();
    if chown(&parent, Some(OTHER), Some(OTHER)).is_err() || !has_program("capsh") {
        crate::support::skip("root and capsh");
        return;
    }
    let target = parent.join("b");
    let mut run = |mode: &str, options: &str| {
        scene.source.grow();
        let command = format!(
            "exec {PROGRAM} {mode} -from {} -to {} {options}",
            scene.source.uri(),
            target.display()
        );
        let mut capsh = Command::new("capsh");
        capsh.args(["--drop=cap_chown,cap_fowner", "--", "-c", &command]);
        run_limited(&mut capsh)
    };
    // root cannot give the backup to the owner of the parent directory, who can rename it
    let allowed = "-allow-shared-directory";
    for (mode, options) in [
        ("-full", String::new()),
        ("-incremental", allowed.to_owned()),
        ("-full", format!("-overwrite {allowed}")),
    ] {
        let taken = run(mode, &options);
        assert!(taken.success(), "{taken:?}");
        assert_eq!(verified(&target), Some(0));
        if options.is_empty() {
            assert!(
                taken.stderr.contains(&format!("group {OTHER} cannot be set")),
                "{taken:?}"
            );
        }
    }
    assert_eq!(fs::metadata(&target).unwrap().uid(), 0);
}

/// Runs the program below limits of the shell.
fn limited(limits: &str, arguments: &[&str]) -> Finished {
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("{limits}; exec \"$@\""), "bash", PROGRAM])
        .args(arguments);
    run_limited(&mut shell)
}

/// Whether there is a report of an end that is no panic.
#[track_caller]
fn reported(finished: &Finished, what: &str) -> i32 {
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{what}: {finished:?}"));
    let code = finished.code.unwrap_or_else(|| panic!("{what}: {finished:?}"));
    assert!(code != 101 && report["exit_code"] == code, "{what}: {finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{what}: {finished:?}");
    code
}

#[test]
fn a_limit_on_the_size_of_files_is_18_with_a_report() {
    let scene = Scene::new();
    let target = scene.work.path().join("b");
    let (uri, path) = (scene.source.uri(), target.to_str().unwrap());
    let full = ["-full", "-from", &uri, "-to", path, "-output", "json"];
    for kibibytes in [0, 1, 2, 4] {
        let ended = limited(&format!("ulimit -f {kibibytes}"), &full);
        assert_eq!(reported(&ended, &format!("{kibibytes} KiB")), 18, "{ended:?}");
        assert!(!target.exists());
    }
    assert!(our_tool(&full).success());
}

#[test]
fn a_limit_on_open_files_is_no_disk_error_no_damage_and_no_panic() {
    let scene = Scene::new();
    let target = scene.work.path().join("b");
    scene.copy_to(&target);
    let before = snapshot(&target);
    let (uri, path) = (scene.source.uri(), target.to_str().unwrap());
    let mut succeeded = 0;
    for count in 3..28 {
        for arguments in [&["verify", path][..], &["-incremental", "-from", &uri, "-to", path]] {
            let ended = limited(
                &format!("ulimit -n {count}"),
                &[arguments, &["-output", "json"]].concat(),
            );
            // too few for the program to be loaded at all
            if ended.stderr.contains("error while loading shared libraries") {
                continue;
            }
            let code = reported(&ended, &format!("{count} files, {arguments:?}"));
            let is_limit = matches!(code, 1 | 10) && ended.stderr.contains("os error 24");
            let is_checked = code == 2;
            assert!(code == 0 || is_limit || is_checked, "{count} files: {ended:?}");
            succeeded += usize::from(code == 0);
        }
        if snapshot(&target) != before {
            assert!(matches!(verified(&target), Some(0 | 21)), "{count} files");
            fs::remove_dir_all(&target).unwrap();
            scene.copy_to(&target);
        }
    }
    assert!(succeeded > 4, "{succeeded}");
}

#[test]
fn a_limit_on_threads_is_an_error_with_a_report_and_no_panic() {
    let scene = Scene::within(open_work());
    let Some(run) = as_user(OTHER) else {
        return;
    };
    let parent = scene.work.path().join("parent");
    fs::create_dir(&parent).unwrap();
    chown(&parent, Some(OTHER), Some(OTHER)).unwrap();
    let target = parent.join("b");
    let (uri, path) = (
        scene.source.uri().replace("127.0.0.1", "localhost"),
        target.to_str().unwrap(),
    );
    drop(run);
    let (mut refusals, mut taken) = (0, 0);
    for count in 1..16 {
        for arguments in [
            &["-full", "-from", &uri, "-to", path, "-overwrite"][..],
            &["verify", path],
        ] {
            let mut setpriv = Command::new("prlimit");
            setpriv.arg(format!("--nproc={count}"));
            setpriv.args([
                "setpriv",
                &format!("--reuid={OTHER}"),
                &format!("--regid={OTHER}"),
                "--clear-groups",
            ]);
            // root's rights would lift the limit
            setpriv.args(["--inh-caps=-all", "--bounding-set=-all", PROGRAM]);
            setpriv.args(arguments).args(["-output", "json"]);
            let ended = run_limited(&mut setpriv);
            let code = reported(&ended, &format!("{count} threads, {arguments:?}"));
            match code {
                0 => taken += 1,
                // a name that cannot be looked up is one of an unreachable server; nothing is there to be verified yet
                1 | 10 | 13 => refusals += 1,
                _ => panic!("{count} threads: {ended:?}"),
            }
        }
    }
    assert!(refusals > 0 && taken > 0, "{refusals} refused, {taken} taken");
    assert_eq!(verified(&target), Some(0));
}

#[test]
fn readers_say_that_a_first_backup_is_running_or_was_interrupted() {
    let server = Server::recorded();
    let whole = crate::support::replay::FULL;
    let half = whole.get(..20_000).unwrap().to_vec();
    server.change(Answer::Stalled(half), Transactions::Recorded);
    let work = TempDir::new().unwrap();
    let target = work.path().join("b");
    let path = target.to_str().unwrap();
    let mut run = Command::new(PROGRAM)
        .args(["-full", "-from", &server.uri(), "-to", path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    server.wait_until_stalled();
    wait_until(|| work.path().join("b.partial/neo4j-backup.json").exists());
    let running = format!("a first backup is running (pid {} on ", run.id());
    for command in ["verify", "inspect"] {
        refused(&our_tool(&[command, path]), 11, &[&running]);
    }
    run.kill().unwrap();
    run.wait().unwrap();
    for command in ["verify", "inspect"] {
        refused(
            &our_tool(&[command, path]),
            14,
            &["the first backup was interrupted", "run the full backup again"],
        );
    }
    server.change(Answer::recorded(), Transactions::Recorded);
    assert!(our_tool(&["-full", "-from", &server.uri(), "-to", path]).success());
    assert_eq!(verified(&target), Some(0));
}

#[test]
fn a_check_says_that_the_database_is_open_and_refuses_what_is_no_database() {
    let work = TempDir::new().unwrap();
    let database = work.path().join("source");
    let source = GrownSource::new(database.clone(), 7);
    let path = database.to_str().unwrap();
    assert!(!our_tool(&["check", path]).stderr.contains("has the database open"));
    // as Neo4j holds it: a lock that belongs to a process
    let mut holder = Command::new("python3")
        .args(["-c", "import fcntl,sys,time\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB)\nprint(1,flush=True)\nsys.stdin.read()"])
        .arg(database.join("neostore"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    let checked = our_tool(&["check", path]);
    let said = format!("warning: process {} has the database open", holder.id());
    assert!(checked.success() && checked.stderr.contains(&said), "{checked:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(source);
    refused(
        &our_tool(&["check", work.path().to_str().unwrap()]),
        13,
        &["does not contain a database"],
    );
}

#[test]
fn what_may_be_replaced_is_judged_before_a_full_backup_is_announced() {
    let scene = Scene::new();
    let stranger = GrownSource::new(scene.work.path().join("stranger"), 8);
    let target = scene.work.path().join("b");
    scene.copy_to(&target);
    let before = snapshot(&target);
    for (mode, options) in [("-auto", &[][..]), ("-incremental", &["-fallback-full"])] {
        let refusal = stranger.back_up(mode, &target, options);
        refused(&refusal, 13, &["holds a backup of database"]);
        assert!(!refusal.stderr.contains("is taken instead"), "{refusal:?}");
        assert_eq!(snapshot(&target), before);
    }
    // damaged, and not to be replaced
    let store = target.join("neostore.nodestore.db");
    let mut bytes = fs::read(&store).unwrap();
    *bytes.get_mut(4).unwrap() ^= 1;
    fs::write(&store, bytes).unwrap();
    fs::create_dir(scene.work.path().join("b.partial")).unwrap();
    fs::write(scene.work.path().join("b.partial/other"), "").unwrap();
    let but_the_journal = || {
        let mut files = snapshot(scene.work.path());
        assert!(files.remove(&sibling(&target, ".journal")).is_some());
        files
    };
    let before = but_the_journal();
    let refusal = scene.source.back_up("-auto", &target, &[]);
    assert!(
        !refusal.success() && !refusal.stderr.contains("is taken instead"),
        "{refusal:?}"
    );
    assert_eq!(but_the_journal(), before);
}

#[test]
fn auto_replaces_a_damaged_backup_by_a_full_one_by_itself() {
    let scene = Scene::new();
    let target = scene.work.path().join("b");
    scene.copy_to(&target);
    let store = target.join("neostore.nodestore.db");
    let mut bytes = fs::read(&store).unwrap();
    *bytes.get_mut(4).unwrap() ^= 1;
    fs::write(&store, bytes).unwrap();
    let taken = scene.source.back_up("-auto", &target, &["-output", "json"]);
    assert!(
        taken.success() && taken.stderr.contains("a full backup is taken instead"),
        "{taken:?}"
    );
    let report: Value = serde_json::from_str(&taken.stdout).unwrap();
    assert_eq!(report["result"]["mode"], "full");
    assert_eq!(verified(&target), Some(0));
}

#[test]
fn a_file_that_has_the_name_of_a_replaced_backup_disturbs_no_run() {
    let mut scene = Scene::new();
    let target = scene.work.path().join("b");
    let other = scene.work.path().join("b.replaced");
    fs::write(&other, "of somebody else").unwrap();
    for (mode, options) in [("-full", &[][..]), ("-incremental", &[]), ("-full", &["-overwrite"])] {
        let taken = scene.source.back_up(mode, &target, options);
        assert!(taken.success(), "{taken:?}");
        scene.source.grow();
    }
    assert_eq!(fs::read_to_string(&other).unwrap(), "of somebody else");
}
