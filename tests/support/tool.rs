//! The backup tools: the original of each release, and ours.

use std::{ffi::OsStr, fs, os::unix::process::CommandExt, path::Path, process::Command, time::Duration};

use super::{Finished, Release, process};

const LIMIT: Duration = Duration::from_mins(2);
/// The originals start a database for every incremental backup, and several of them may share two busy cores.
const LIMIT_OF_THE_ORIGINAL: Duration = Duration::from_mins(10);

/// Runs a release's own backup tool, always without its check: it dies on valid transactions in some releases.
pub fn original_tool<A: AsRef<OsStr>>(release: Release, args: &[A]) -> Finished {
    let mut java = release.java();
    java.arg("org.neo4j.backup.BackupTool").args(args);
    if release >= Release::V1_5 {
        java.arg("-verify=false");
    }
    process::run(&mut java, LIMIT_OF_THE_ORIGINAL)
}

/// Runs the program under test.
pub fn our_tool<A: AsRef<OsStr>>(args: &[A]) -> Finished {
    process::run(
        Command::new(Path::new(env!("CARGO_BIN_EXE_neo4j-backup"))).args(args),
        LIMIT,
    )
}

/// Runs the program under test under this umask, as this user and group where they are given.
pub fn our_tool_as<A: AsRef<OsStr>>(umask: u32, user: Option<u32>, args: &[A]) -> Finished {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("umask {umask:03o}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_neo4j-backup"))
        .args(args);
    if let Some(user) = user {
        shell.uid(user).gid(user);
    }
    run_limited(&mut shell)
}

/// Runs a command that starts the program under test.
pub fn run_limited(command: &mut Command) -> Finished {
    process::run(command, LIMIT)
}

/// Whether this machine has a program of that name.
pub fn has_program(name: &str) -> bool {
    let mut which = Command::new("sh");
    which.args(["-c", &format!("command -v {name}")]);
    process::run(&mut which, LIMIT).success()
}

/// The program under test as run by another user; `None`, said loudly, where this process is not root.
pub fn as_user(uid: u32) -> Option<impl Fn(&[&str]) -> Finished> {
    if !rustix::process::geteuid().is_root() || !has_program("setpriv") {
        super::skip("root and setpriv");
        return None;
    }
    Some(move |args: &[&str]| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
        setpriv.arg(env!("CARGO_BIN_EXE_neo4j-backup")).args(args);
        run_limited(&mut setpriv)
    })
}

/// Runs the consistency checker of 1.9.9 on a closed store, which it changes; returns what it reported.
pub fn checker_1_9_9(dir: &Path) -> String {
    let mut java = Release::V1_9_9.java();
    java.arg("org.neo4j.consistency.ConsistencyCheckTool").arg(dir);
    process::run(&mut java, LIMIT);
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let reports = entries.filter(|path| path.extension().is_some_and(|extension| extension == "report"));
    reports.map(|path| fs::read_to_string(path).unwrap()).collect()
}
