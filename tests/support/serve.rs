//! Our own `serve` as a child process.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::process;

/// A running service; killed when dropped.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it said at its start.
    pub said: serde_json::Value,
    errors: PathBuf,
    _folder: TempDir,
}

impl Serving {
    /// Serves `dir` on a free port.
    pub fn start(dir: &Path) -> Self {
        Self::with(dir, &[])
    }

    /// The same with more options.
    pub fn with(dir: &Path, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let errors = folder.path().join("stderr");
        let mut child = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
            .args(["serve", "-listen", "127.0.0.1:0", "-output", "json", "-db"])
            .arg(dir)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let serving = Self {
            child,
            stdout,
            said,
            errors,
            _folder: folder,
        };
        assert!(serving.said["result"]["address"].is_string(), "{line}{}", serving.log());
        serving
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.said["result"]["address"].as_str().unwrap()
    }

    pub fn uri(&self) -> String {
        format!("single://{}", self.address())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Waits until the log has a line with this text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(text) {
            assert!(Instant::now() < limit, "no {text:?} in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for its end; exit code and the rest of its standard output.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (code, rest)
    }

    /// Bytes of memory that it has now, and its open descriptors.
    pub fn resources(&self) -> (u64, usize) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count();
        (kib * 1024, descriptors)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}
