//! A repository in an object store: a real server that speaks the language of S3, whose connection is cut.
//!
//! versitygw, which also refuses wrong secrets; moto where it is missing.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Scene, creates, has_restic, records};
use crate::support::{Relay, free_port, incremental_source::Source, our_tool, skip};

const BUCKET: &str = "backups";
const ID: &str = "operator";
const SECRET: &str = "correct-horse";

/// Bytes that take a while to send.
const LARGE: usize = 96 << 20;

const PATIENCE: Duration = Duration::from_mins(2);

/// An object store of this test; ends with it.
struct ObjectStore {
    child: Child,
    port: u16,
    checks_secrets: bool,
    _dir: TempDir,
}

impl ObjectStore {
    /// `None`, said loudly, where there is no server.
    fn start() -> Option<ObjectStore> {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let go = env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin/versitygw"));
        let versitygw = ["versitygw".into(), go.unwrap_or_default()];
        let versitygw = versitygw.into_iter().find(|name: &PathBuf| answers(name));
        let checks_secrets = versitygw.is_some();
        let mut command = if let Some(versitygw) = versitygw {
            let mut command = Command::new(versitygw);
            fs::create_dir(dir.path().join(BUCKET)).unwrap();
            command
                .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
                .arg(dir.path())
                .envs([("ROOT_ACCESS_KEY", ID), ("ROOT_SECRET_KEY", SECRET)]);
            command
        } else if answers(Path::new("moto_server")) {
            let mut command = Command::new("moto_server");
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        } else {
            skip("versitygw (go install github.com/versity/versitygw/cmd/versitygw@latest) or moto_server");
            return None;
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let store = ObjectStore {
            child,
            port,
            checks_secrets,
            _dir: dir,
        };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "the object store does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        if !checks_secrets {
            store.creates_bucket();
        }
        Some(store)
    }

    fn creates_bucket(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

fn repository(port: u16, folder: &str) -> String {
    format!("s3:http://127.0.0.1:{port}/{BUCKET}/{folder}")
}

fn scene(repository: String) -> Scene {
    let scene = Scene::without_repository(repository)
        .with("AWS_ACCESS_KEY_ID", ID)
        .with("AWS_SECRET_ACCESS_KEY", SECRET);
    scene.succeeds(&["repo", "init"]);
    scene
}

#[test]
fn generations_in_an_object_store_are_those_of_a_directory() {
    let Some(store) = ObjectStore::start() else {
        return;
    };
    for folder in ["", "deep/er"] {
        let scene = scene(repository(store.port, folder));
        scene.ends(&["repo", "init"], 13);
        let source = Source::recorded();
        scene.backs_up("-full", &source.uri(), "backup");
        let mut last = 0;
        for node in 20..23 {
            last = source.commit(&[creates(node)]);
            let taken = scene.backs_up("-incremental", &source.uri(), "backup");
            assert_eq!(taken["archive"]["result"], "new");
        }
        assert_eq!(scene.generations().len(), 4);
        scene.restores("between", &["-at-tx", &(last - 1).to_string()]);
        scene.restores("newest", &[]);
        assert_eq!(records(&scene.dir("newest")), records(&scene.dir("backup")));
        scene.succeeds(&["drill"]);
        scene.succeeds(&["forget", "-keep", "last=1"]);
        assert_eq!(scene.generations().len(), 1);
        scene.restores("after", &[]);
        if has_restic() {
            scene.restic_succeeds(&["check", "--read-data"]);
            // and what restic wrote is read here
            scene.restic_succeeds(&["tag", "--add", "seen-by-restic", "latest"]);
            scene.restores("rewritten", &[]);
        }
    }
}

#[test]
fn what_is_wrong_with_an_object_store_is_said() {
    let Some(store) = ObjectStore::start() else {
        return;
    };
    let nothing = Scene::without_repository(repository(store.port, "nothing"))
        .with("AWS_ACCESS_KEY_ID", ID)
        .with("AWS_SECRET_ACCESS_KEY", SECRET);
    let (_, stderr) = nothing.ends(&["snapshots"], 25);
    assert!(stderr.contains("there is no repository"), "{stderr}");
    let scene = scene(repository(store.port, "something"));
    if store.checks_secrets {
        let stranger = Scene::without_repository(repository(store.port, "something"))
            .with("AWS_ACCESS_KEY_ID", ID)
            .with("AWS_SECRET_ACCESS_KEY", "wrong");
        let (_, stderr) = stranger.ends(&["snapshots"], 77);
        assert!(stderr.contains("credentials"), "{stderr}");
    }
    fs::write(&scene.password, "wrong").unwrap();
    let (_, stderr) = scene.ends(&["snapshots"], 25);
    assert!(stderr.contains("wrong password"), "{stderr}");
}

/// A backup with something large in it, so that archiving takes a while.
fn has_something_large(backup: &Path) {
    let mut state = 1_u64;
    let noise = (0..LARGE / 8).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state ^ (state >> 33)).to_le_bytes()
    });
    fs::write(backup.join("messages.log"), noise.collect::<Vec<_>>()).unwrap();
    fs::remove_file(backup.join("neo4j-backup.json")).unwrap();
    let adopted = our_tool(&["verify", "-adopt", backup.to_str().unwrap()]);
    assert_eq!(adopted.code, Some(0), "{}", adopted.stderr);
}

#[test]
#[ignore = "waits for minutes until it gives up; tests/run full"]
fn a_connection_that_is_cut_in_the_middle_is_made_again_or_the_next_run_goes_on() {
    let Some(store) = ObjectStore::start() else {
        return;
    };
    let relay = Relay::to(store.port);
    let scene = scene(repository(relay.port(), "cut"));
    let source = Source::recorded();
    let backup = scene.dir("backup");
    let from = source.uri();
    let full = our_tool(&["-full", "-from", &from, "-to", backup.to_str().unwrap()]);
    assert_eq!(full.code, Some(0), "{}", full.stderr);
    has_something_large(&backup);
    let incremental = ["-incremental", "-from", &from, "-to", backup.to_str().unwrap()];
    let interrupted = |mends: bool| {
        let mut command = scene.command(&incremental);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (start, before) = (Instant::now(), relay.sent());
        while relay.sent() < before + LARGE as u64 / 8 {
            assert!(start.elapsed() < PATIENCE && child.try_wait().unwrap().is_none());
            thread::sleep(Duration::from_millis(1));
        }
        relay.cut();
        if mends {
            thread::sleep(Duration::from_millis(300));
            relay.mend();
        }
        child.wait().unwrap().code()
    };
    // for good: the backup is good, the repository sound
    assert_eq!(interrupted(false), Some(5));
    let verified = our_tool(&["verify", backup.to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    relay.mend();
    assert_eq!(scene.generations().len(), 0);
    if has_restic() {
        scene.restic_succeeds(&["check", "--read-data"]);
    }
    // for a moment: it goes on
    assert_eq!(interrupted(true), Some(0));
    assert_eq!(scene.generations().len(), 1);
    if has_restic() {
        scene.restic_succeeds(&["check", "--read-data"]);
    }
    // killed
    source.commit(&[creates(20)]);
    has_something_large(&backup);
    let mut child = scene.command(&incremental).stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    let _ = child.kill();
    child.wait().unwrap();
    if has_restic() {
        scene.restic_succeeds(&["check", "--read-data"]);
    }
    scene.backs_up("-incremental", &from, "backup");
    scene.restores("restored", &[]);
    assert_eq!(records(&scene.dir("restored")), records(&backup));
}
