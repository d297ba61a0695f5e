//! A running Neo4j, driven through the commands that `tests/peers/Peer.java` lists.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Contents, Release, copy_dir, free_port, process};

/// For starting, and for any one command; generous, since many servers may share two cores.
const LIMIT: Duration = Duration::from_mins(5);

/// For a start; members of clusters hang in it at times, and are started again.
const START: Duration = Duration::from_mins(2);

/// For a member of a cluster to become master or to follow another.
const ROLE_CHANGE: Duration = Duration::from_mins(1);

/// Whether the server offers its backup service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backup {
    /// On a free port of 127.0.0.1, see [`Peer::port`].
    On,
    Off,
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    pub backup: Backup,
    /// Arguments of the driver and settings of Neo4j, `key=value`.
    pub settings: Vec<String>,
}

impl Options {
    /// A source of backups, whose load deletes indexes where the release survives it.
    pub fn source(release: Release) -> Self {
        Self {
            backup: Backup::On,
            settings: vec![format!("delete-indexes={}", release.survives_index_deletion())],
        }
    }

    /// The same without a backup service: for the database in which a load is replayed.
    pub fn replay(release: Release) -> Self {
        Self {
            backup: Backup::Off,
            ..Self::source(release)
        }
    }

    #[must_use]
    pub fn with(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }
}

/// A server of ours; killed when dropped.
#[derive(Debug)]
pub struct Peer {
    release: Release,
    dir: PathBuf,
    port: u16,
    child: Child,
    stdin: ChildStdin,
    answers: mpsc::Receiver<String>,
    errors: PathBuf,
}

impl Peer {
    /// Starts a server on `dir` (created if missing) and waits until it answers.
    pub fn start(release: Release, dir: &Path, options: &Options) -> Self {
        fs::create_dir_all(dir).unwrap();
        // ports go to the first who binds them
        let port = free_port();
        let errors = dir.with_extension("stderr");
        let mut java = release.java();
        java.arg("Peer")
            .arg(dir)
            .arg(format!("release={}", release.name()))
            .args(&options.settings);
        if options.backup == Backup::On {
            java.arg(format!("backup.port={port}"));
        }
        java.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap());
        let mut child = java.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let answers = answers(child.stdout.take().unwrap());
        let peer = Self {
            release,
            dir: dir.to_owned(),
            port,
            child,
            stdin,
            answers,
            errors,
        };
        assert_eq!(peer.answer_within(START, "start"), "READY");
        peer
    }

    /// A start that has to fail; gives what the server had to say.
    pub fn fails_to_start(release: Release, dir: &Path) -> String {
        let mut java = release.java();
        java.arg("Peer").arg(dir).arg(format!("release={}", release.name()));
        let finished = process::run(&mut java, LIMIT);
        assert!(!finished.stdout.contains("READY"), "it started: {finished:?}");
        finished.stdout + &finished.stderr
    }

    /// Boots a copy, as a user who restores it would, without a backup service.
    pub fn boot(release: Release, dir: &Path) -> Self {
        Self::start(
            release,
            dir,
            &Options {
                backup: Backup::Off,
                settings: Vec::new(),
            },
        )
    }

    /// Stops it, does something with its directory, and starts it again.
    pub fn restarted(self, options: &Options, act: impl FnOnce(&Path)) -> Self {
        let (release, dir) = (self.release, self.dir.clone());
        self.quit();
        act(&dir);
        Self::start(release, &dir, options)
    }

    /// What a database holds; booting changes its directory.
    pub fn contents_of(release: Release, dir: &Path) -> Contents {
        let mut peer = Self::boot(release, dir);
        let contents = peer.contents();
        peer.quit();
        contents
    }

    /// What a database holds, seen in a copy of its directory.
    pub fn contents_of_copy(release: Release, dir: &Path) -> Contents {
        let work = TempDir::new().unwrap();
        let copy = work.path().join("copy");
        copy_dir(dir, &copy);
        Self::contents_of(release, &copy)
    }

    pub fn release(&self) -> Release {
        self.release
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Port of the backup service.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Source URI of the backup service.
    pub fn uri(&self) -> String {
        format!("single://127.0.0.1:{}", self.port)
    }

    /// Process id, for faults from outside.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command, returns the words that follow `OK <command>`.
    pub fn command(&mut self, line: &str) -> String {
        self.try_command(line).unwrap_or_else(|failed| panic!("{failed}"))
    }

    /// The same for a member of a cluster, which refuses transactions while it changes its role. What it did before it
    /// failed stays done.
    pub fn command_as_member(&mut self, line: &str) -> String {
        let start = Instant::now();
        loop {
            match self.try_command(line) {
                Ok(words) => return words,
                Err(failed) => assert!(start.elapsed() < ROLE_CHANGE, "{failed}"),
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// What it says instead where it fails.
    fn try_command(&mut self, line: &str) -> Result<String, String> {
        writeln!(self.stdin, "{line}").unwrap();
        let answer = self.answer(line);
        let name = line.split(' ').next().unwrap_or_default();
        match answer.strip_prefix("OK ").and_then(|rest| rest.strip_prefix(name)) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(format!(
                "neo4j {}: {line}: {answer}\n{}",
                self.release.name(),
                self.last_errors()
            )),
        }
    }

    /// The next `count` transactions of the random load; returns the number of the last.
    pub fn load(&mut self, seed: u64, count: u32) -> u64 {
        self.command(&format!("load {seed} {count}")).parse().unwrap()
    }

    /// The random load up to and including transaction `last`.
    pub fn replay(&mut self, seed: u64, last: u64) {
        self.command(&format!("replay {seed} {last}"));
    }

    /// What the load leaves at the two moments of `found`: that of its graph and that of its indexes, which differ where
    /// transactions touched indexes alone.
    pub fn replay_as(&mut self, seed: u64, found: &Contents) -> (Contents, Contents) {
        self.replay(seed, found.seq.min(found.index_seq));
        let early = self.contents();
        self.replay(seed, found.seq.max(found.index_seq));
        let late = self.contents();
        if found.seq <= found.index_seq {
            (early, late)
        } else {
            (late, early)
        }
    }

    /// The random load in the background, `rate` transactions a second (0: as fast as it goes).
    pub fn start_load(&mut self, seed: u64, rate: u32) {
        self.command(&format!("start-load {seed} {rate}"));
    }

    /// Ends the background load; returns the number of its last transaction.
    pub fn stop_load(&mut self) -> u64 {
        self.command("stop-load").parse().unwrap()
    }

    /// Ends the background load; false where the server lost hold of an index that the load deleted during a full backup,
    /// and commits nothing any more (`docs/formats/wire-protocol.md` §6.3).
    pub fn survived_load(&mut self) -> bool {
        match self.try_command("stop-load") {
            Ok(_) => true,
            Err(answer) => {
                let all = fs::read_to_string(&self.errors).unwrap();
                assert!(all.contains("/index/lucene/"), "{answer}");
                false
            }
        }
    }

    /// All that a reader of the database can see now.
    pub fn contents(&mut self) -> Contents {
        self.dumped(Self::command)
    }

    /// The same for a member of a cluster, which cannot be read while it changes its role.
    pub fn contents_as_member(&mut self) -> Contents {
        self.dumped(Self::command_as_member)
    }

    fn dumped(&mut self, command: impl FnOnce(&mut Self, &str) -> String) -> Contents {
        let file = self.dir.with_extension("dump");
        command(self, &format!("dump {}", file.display()));
        Contents::parse(&fs::read_to_string(file).unwrap())
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        process::end(&mut self.child);
    }

    /// A clean shutdown.
    pub fn quit(mut self) {
        writeln!(self.stdin, "quit").unwrap();
        assert_eq!(self.answer("quit"), "BYE");
        self.child.wait().unwrap();
    }

    fn answer(&self, to: &str) -> String {
        self.answer_within(LIMIT, to)
    }

    fn answer_within(&self, limit: Duration, to: &str) -> String {
        self.answers.recv_timeout(limit).unwrap_or_else(|error| {
            panic!(
                "neo4j {}: {to}: no answer ({error})\n{}",
                self.release.name(),
                self.last_errors()
            )
        })
    }

    fn last_errors(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

/// The lines that are answers; some releases log to standard output as well.
pub(super) fn answers(stdout: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let is_answer = line == "READY" || line == "BYE" || line.starts_with("OK ") || line.starts_with("ERR ");
            if is_answer && sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
