//! The cluster of `docker/compose.yml`: its images, its members, and the backup job, on networks that can be cut.
//!
//! Where no engine runs, one is started for the test, with its images below `target` and its socket in a folder that
//! goes away; it is ended with the test.

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Contents, Finished, peer, process, skip};

/// For the images, which are made from packages the first time.
const BUILD: Duration = Duration::from_mins(15);

/// For everything else.
const LIMIT: Duration = Duration::from_mins(2);

/// Before the names of images, so that those of `docker/build` stay what they are.
const IMAGES: &str = "neo4j-backup-test";

/// A container engine.
#[derive(Debug)]
struct Engine {
    /// `None`: it was there.
    ours: Option<(Child, TempDir)>,
}

/// A cluster in containers; gone when dropped.
#[derive(Debug)]
pub struct Containers {
    engine: Engine,
    /// Before the names of containers, networks and volumes.
    project: String,
    members: Vec<Member>,
}

/// One member, driven through the commands of `tests/peers/Peer.java`.
#[derive(Debug)]
struct Member {
    container: String,
    logs: Child,
    answers: mpsc::Receiver<String>,
}

impl Engine {
    /// The engine that runs, or one of ours; `None`, said loudly, where that cannot be.
    fn find() -> Option<Engine> {
        let there = Engine { ours: None };
        if let Some(missing) = ["docker", "docker-compose"]
            .into_iter()
            .find(|program| !installed(program))
        {
            skip(missing);
            return None;
        }
        if there.answers() {
            return Some(there);
        }
        if !installed("dockerd") || !rustix::process::geteuid().is_root() {
            skip("a container engine, or dockerd and root to start one");
            return None;
        }
        Some(Engine::start())
    }

    fn start() -> Engine {
        let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("containers");
        fs::create_dir_all(&images).unwrap();
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        // it ends with this thread, even if that is killed, and its mounts end with it
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "unshare", "--mount", "dockerd", "--host"])
            .arg(format!("unix://{}", socket(&folder).display()))
            .arg("--data-root")
            .arg(&images)
            .arg("--exec-root")
            .arg(folder.path().join("exec"))
            .arg("--pidfile")
            .arg(folder.path().join("pid"))
            // each network of the cluster has its own
            .args(["--bridge", "none"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut engine = Engine {
            ours: Some((child, folder)),
        };
        let start = Instant::now();
        while !engine.answers() {
            let ended = engine.ours.as_mut().and_then(|(child, _)| child.try_wait().unwrap());
            assert!(
                ended.is_none() && start.elapsed() < LIMIT,
                "no engine: {ended:?}\n{}",
                fs::read_to_string(log).unwrap()
            );
            thread::sleep(Duration::from_millis(100));
        }
        // what a killed run left
        succeed(
            engine
                .command("docker")
                .args(["system", "prune", "--volumes", "--force"]),
            LIMIT,
        );
        engine
    }

    fn answers(&self) -> bool {
        process::run(self.command("docker").arg("info"), LIMIT).success()
    }

    /// A program that talks to this engine.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("IMAGES", IMAGES);
        if let Some((_, folder)) = &self.ours {
            command.env("DOCKER_HOST", format!("unix://{}", socket(folder).display()));
        }
        command
    }

    /// Makes the images, which takes minutes the first time; `false`, said loudly, where that cannot be.
    fn build(&self) -> bool {
        let base = process::run(
            self.command("docker").args(["image", "inspect", "neo4j-backup/base"]),
            LIMIT,
        );
        let can_be_made = installed("debootstrap") && rustix::process::geteuid().is_root();
        if !base.success() && !can_be_made {
            skip("debootstrap, and root to run it");
            return false;
        }
        succeed(
            self.command(repository().join("docker/build")).env("PROFILE", "dev"),
            BUILD,
        );
        true
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some((child, _)) = &mut self.ours else { return };
        // it ends its own children only if it is asked to end
        let asked =
            rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
        let start = Instant::now();
        while asked.is_ok() && matches!(child.try_wait(), Ok(None)) && start.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(50));
        }
        process::end(child);
    }
}

impl Containers {
    /// Makes the images and starts three coordinators and three members; `None`, said loudly, where that cannot be.
    pub fn up() -> Option<Containers> {
        let engine = Engine::find()?;
        if !engine.build() {
            return None;
        }
        let mut containers = Containers {
            engine,
            project: format!("neo4j-backup-test-{}", std::process::id()),
            members: Vec::new(),
        };
        succeed(containers.compose(&["up", "-d"]), LIMIT);
        for id in 1..=3 {
            let container = containers.container(&format!("member{id}"));
            let mut logs = containers.docker(&["logs", "--follow", &container]);
            let mut logs = logs.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let member = Member {
                container,
                answers: peer::answers(logs.stdout.take().unwrap()),
                logs,
            };
            assert_eq!(member.answer("start"), "READY");
            containers.members.push(member);
        }
        Some(containers)
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut docker = self.engine.command("docker");
        docker.args(args);
        docker
    }

    fn compose(&self, args: &[&str]) -> Command {
        let mut compose = self.engine.command("docker-compose");
        let file = repository().join("docker/compose.yml");
        compose.arg("-f").arg(file).args(["-p", &self.project]).args(args);
        compose
    }

    fn container(&self, service: &str) -> String {
        succeed(self.compose(&["ps", "-q", service]), LIMIT).trim().to_owned()
    }

    /// Takes a service off a network.
    pub fn cut(&self, network: &str, service: &str) {
        let network = format!("{}_{network}", self.project);
        succeed(
            self.docker(&["network", "disconnect", &network, &self.container(service)]),
            LIMIT,
        );
    }

    /// Puts it back, under the name that others know it by in that network.
    pub fn mend(&self, network: &str, service: &str, name: &str) {
        let network = format!("{}_{network}", self.project);
        let container = self.container(service);
        succeed(
            self.docker(&["network", "connect", "--alias", name, &network, &container]),
            LIMIT,
        );
    }

    /// The tool, in its container.
    pub fn job(&self, args: &[&str]) -> Command {
        let mut job = self.compose(&["run", "--rm", "-T", "backup"]);
        job.args(args);
        job
    }

    /// Runs it to its end.
    pub fn run_job(&self, args: &[&str]) -> Finished {
        process::run(&mut self.job(args), LIMIT)
    }

    /// Sends a command to a member, returns the words that follow `OK <command>`.
    pub fn tell(&self, member: i64, command: &str) -> String {
        let container = &self.member(member).container;
        let mut shell = self.docker(&["exec", "-i", container, "sh", "-c", "cat >/tmp/commands"]);
        let mut shell = shell.stdin(Stdio::piped()).spawn().unwrap();
        writeln!(shell.stdin.take().unwrap(), "{command}").unwrap();
        assert!(shell.wait().unwrap().success());
        let answer = self.member(member).answer(command);
        let words = answer.strip_prefix("OK ");
        words
            .unwrap_or_else(|| panic!("member {member}: {command}: {answer}"))
            .to_owned()
    }

    /// All that a reader of a member can see now.
    pub fn contents(&self, member: i64, folder: &Path) -> Contents {
        self.tell(member, "dump /tmp/dump");
        let dump = folder.join("dump");
        let from = format!("{}:/tmp/dump", self.member(member).container);
        succeed(self.docker(&["cp", &from]).arg(&dump), LIMIT);
        Contents::parse(&fs::read_to_string(dump).unwrap())
    }

    /// Copies a backup out of the volume of backups.
    pub fn fetch(&self, backup: &str, to: &Path) {
        let volume = format!("{}_backup:/backup", self.project);
        let image = format!("{IMAGES}/neo4j-backup");
        let created = succeed(self.docker(&["create", "-v", &volume, &image]), LIMIT);
        let container = created.trim();
        succeed(self.docker(&["cp", &format!("{container}:{backup}")]).arg(to), LIMIT);
        succeed(self.docker(&["rm", container]), LIMIT);
    }

    fn member(&self, id: i64) -> &Member {
        &self.members[usize::try_from(id).unwrap() - 1]
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for member in &mut self.members {
            process::end(&mut member.logs);
        }
        process::run(
            &mut self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "0"]),
            LIMIT,
        );
    }
}

impl Member {
    fn answer(&self, to: &str) -> String {
        self.answers
            .recv_timeout(LIMIT)
            .unwrap_or_else(|error| panic!("{to}: no answer ({error})"))
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("socket")
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs a program that has to succeed; returns what it printed.
#[track_caller]
fn succeed(command: impl std::borrow::BorrowMut<Command>, limit: Duration) -> String {
    let mut command = command;
    let finished = process::run(command.borrow_mut(), limit);
    assert!(finished.success(), "{:?}: {finished:#?}", command.borrow());
    finished.stdout
}
