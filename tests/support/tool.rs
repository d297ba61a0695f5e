//! The backup tools: the original of each release, and ours.

use std::{ffi::OsStr, path::Path, process::Command, time::Duration};

use super::{Finished, Release, process};

const LIMIT: Duration = Duration::from_mins(2);

/// Runs a release's own backup tool, always without its check: it dies on valid transactions in some releases.
pub fn original_tool<A: AsRef<OsStr>>(release: Release, args: &[A]) -> Finished {
    let mut java = release.java();
    java.arg("org.neo4j.backup.BackupTool").args(args);
    if release >= Release::V1_5 {
        java.arg("-verify=false");
    }
    process::run(&mut java, LIMIT)
}

/// Runs the program under test.
pub fn our_tool<A: AsRef<OsStr>>(args: &[A]) -> Finished {
    process::run(
        Command::new(Path::new(env!("CARGO_BIN_EXE_neo4j-backup"))).args(args),
        LIMIT,
    )
}
