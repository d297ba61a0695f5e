//! The `sandbox` command as a user has it: what it prints can be typed, the prompt does what is typed, and it ends
//! without a trace unless told to keep everything.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::our_tool;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use neo4j_sandbox::database::Contents;

/// The last words of what it prints at its start.
const READY: &str = "Ctrl-C ends it.";

/// A running sandbox; killed when dropped.
struct Sandbox {
    /// Its temporary files.
    folder: TempDir,
    child: Child,
    prompt: ChildStdin,
    lines: BufReader<ChildStdout>,
    /// What it said at its start.
    said: String,
}

impl Sandbox {
    fn start(options: &[&str]) -> Sandbox {
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
            .args(["sandbox", "-transactions", "50", "-rate", "100"])
            .args(options)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("errors")).unwrap())
            .spawn()
            .unwrap();
        let (prompt, lines) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut sandbox = Sandbox {
            folder,
            child,
            prompt,
            lines: BufReader::new(lines),
            said: String::new(),
        };
        while !sandbox.said.contains(READY) {
            let line = sandbox.line();
            sandbox.said.push_str(&line);
        }
        sandbox
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(
            self.lines.read_line(&mut line).unwrap(),
            0,
            "it ended: {}",
            self.errors()
        );
        line
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("errors")).unwrap()
    }

    fn uri(&self) -> &str {
        let uri = self.said.split_whitespace().find(|word| word.starts_with("ha://"));
        uri.unwrap()
    }

    /// Types a line that is answered with the state of a cluster of three on one coordinator; gives that.
    #[track_caller]
    fn typed(&mut self, order: &str) -> String {
        writeln!(self.prompt, "{order}").unwrap();
        (0..4).map(|_| self.line()).collect()
    }

    /// Asks for the state until it is as wanted.
    #[track_caller]
    fn until(&mut self, holds: impl Fn(&str) -> bool) {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.typed("status");
            if holds(&status) {
                return;
            }
            assert!(Instant::now() < limit, "{status}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; the exit code, and the names of what is left of its temporary files.
    fn ended(mut self) -> (Option<i32>, Vec<PathBuf>) {
        let code = self.child.wait().unwrap().code();
        let left = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let left = left.filter(|path| !path.ends_with("errors")).collect();
        (code, left)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a member is described by both words.
fn is(status: &str, member: u32, words: [&str; 2]) -> bool {
    let name = format!("member {member} ");
    let line = status.lines().find(|line| line.starts_with(&name)).unwrap();
    words.iter().all(|word| line.contains(word))
}

#[test]
fn the_commands_that_it_prints_work_as_they_are() {
    let sandbox = Sandbox::start(&[]);
    let target = sandbox.folder.path().join("copy");
    let commands: Vec<_> = sandbox
        .said
        .lines()
        .filter(|line| line.starts_with("  neo4j-backup "))
        .collect();
    assert_eq!(commands.len(), 3, "{}", sandbox.said);
    for command in commands {
        let command = command.replace("/tmp/sandbox-backup", target.to_str().unwrap());
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let finished = our_tool(&words);
        assert!(finished.success(), "{command}: {finished:#?}");
    }
    assert!(!Contents::read(&target).unwrap().nodes.is_empty());
}

#[test]
fn what_is_typed_happens_and_what_is_not_understood_is_said() {
    let mut sandbox = Sandbox::start(&[]);
    sandbox.until(|status| is(status, 1, ["master", "running"]));
    assert!(is(&sandbox.typed("kill 1"), 1, ["", "down"]));
    sandbox.until(|status| (2..=3).any(|member| is(status, member, ["master", "running"])));
    let members = our_tool(&["members", "-from", sandbox.uri(), "-output", "json"]);
    assert!(members.success(), "{members:#?}");
    assert!(is(&sandbox.typed("restart 1"), 1, ["", "running"]));
    assert!(is(&sandbox.typed("stall 2"), 2, ["", "stalled"]));
    assert!(is(&sandbox.typed("resume 2"), 2, ["", "running"]));
    assert!(sandbox.typed("coordinator 1 down").contains("coordinator 1  down"));
    let members = our_tool(&["members", "-from", sandbox.uri()]);
    assert_eq!(members.code, Some(12), "{members:#?}");
    assert!(sandbox.typed("coordinator 1 serve").contains("coordinator 1  serving"));

    writeln!(sandbox.prompt, "jump 1\nkill\nkill 9\nhelp").unwrap();
    while !sandbox.line().starts_with("quit") {}
    let errors = sandbox.errors();
    for complaint in [
        "\"jump\" is not known",
        "kill: the number of a member is expected",
        "there is no member 9",
    ] {
        assert!(errors.contains(complaint), "{complaint} is not in {errors}");
    }
    writeln!(sandbox.prompt, "quit").unwrap();
    assert_eq!(sandbox.ended(), (Some(0), vec![]));
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::start(&["-members", "1"]);
        sandbox.signal(signal);
        assert_eq!(sandbox.ended(), (Some(0), vec![]), "{signal:?}");
    }
}

#[test]
fn databases_that_are_kept_are_closed_cleanly_and_served_again() {
    for (release, format) in [("1.4.2", "v0.9.9"), ("1.8", "v0.A.0")] {
        let work = TempDir::new().unwrap();
        let kept = work.path().join("kept");
        let options = ["-keep", kept.to_str().unwrap(), "-release", release, "-seed", "3"];
        let mut sandbox = Sandbox::start(&options);
        writeln!(sandbox.prompt, "quit").unwrap();
        assert_eq!(sandbox.ended(), (Some(0), vec![]));
        for member in 1..=3 {
            let dir = kept.join(format!("member-{member}"));
            assert!(!Contents::read(&dir).unwrap().nodes.is_empty());
            let checked = our_tool(&[Path::new("check"), &dir]);
            assert!(checked.success(), "{release}, {member}: {checked:#?}");
            let serving = crate::support::Serving::start(&dir);
            assert_eq!(serving.said["result"]["store_format"], format);
        }
    }
}

#[test]
fn what_it_cannot_be_is_refused() {
    for options in [
        ["-release", "2.0"],
        ["-members", "0"],
        ["-members", "17"],
        ["-coordinators", "x"],
        ["-rate", "-1"],
        ["-seed", "x"],
    ] {
        let finished = our_tool(&[&["sandbox"][..], &options].concat());
        assert_eq!(finished.code, Some(64), "{options:?}: {finished:#?}");
    }
}
