//! Whatever happens to the journal, the run ends as it would have ended without one.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::path::Path;

use crate::disk_trace::{journal_calls, require_strace, run_with_fault};
use crate::support::grown_source::{Scene, verified};
use neo4j_backup_core::journal::Journal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_neo4j-backup");

const TRACED: &str = "openat,write,fsync,ftruncate,flock,fchown,fchmod";

fn runs(target: &Path) -> usize {
    Journal::of(target).unwrap().entries().unwrap().len()
}

#[test]
fn errors_of_the_journal_change_no_exit_code_and_a_kill_harms_no_backup() {
    if !require_strace("journal") {
        return;
    }
    let scene = Scene::new();
    let uri = scene.source.uri();
    let arguments = [
        "-incremental",
        "-from",
        &uri,
        "-to",
        scene.backup.to_str().unwrap(),
        "-verify=false",
    ];
    // what comes afterwards has nothing to do, and does the same each time
    assert!(scene.source.back_up("-incremental", &scene.backup, &[]).success());
    let calls = journal_calls(TRACED, PROGRAM, &arguments, scene.work.path());
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    assert!(
        names.contains(&"openat") && names.contains(&"write") && names.contains(&"flock"),
        "{names:?}"
    );
    for call in &calls {
        for error in ["EIO", "EROFS"] {
            let before = runs(&scene.backup);
            let run = run_with_fault(PROGRAM, &arguments, scene.work.path(), call, &format!("error={error}"));
            let stderr = String::from_utf8_lossy(&run.stderr);
            assert!(run.status.success(), "{call:?} {error}: {stderr}");
            assert!(
                stderr.contains("this run was not recorded"),
                "{call:?} {error}: {stderr}"
            );
            assert_eq!(runs(&scene.backup), before, "{call:?} {error}");
        }
        run_with_fault(PROGRAM, &arguments, scene.work.path(), call, "signal=KILL");
        assert_eq!(verified(&scene.backup), Some(0), "{call:?}");
        let before = runs(&scene.backup);
        assert!(scene.source.back_up("-incremental", &scene.backup, &[]).success());
        assert_eq!(runs(&scene.backup), before + 1);
    }
}
