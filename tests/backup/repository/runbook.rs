//! What the runbook promises of a repository, on a real server: the state of a time, a lost disk, a graph of which half
//! was deleted; and a drill with a server.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::Scene;
use crate::support::{
    Contents, Options, Peer, Release,
    interop::{Stage, seed},
};

/// A server that is backed up into a repository, and what it held before something went wrong.
struct Server {
    stage: Stage,
    scene: Scene,
    peer: Peer,
}

impl Server {
    fn start() -> Option<Server> {
        let stage = Stage::of(Release::V1_8)?;
        let scene = Scene::new();
        let mut peer = stage.source_that_keeps_its_indexes();
        peer.load(seed(), 60);
        scene.backs_up("-full", &peer.uri(), "backup");
        Some(Server { stage, scene, peer })
    }

    fn backs_up(&self) {
        self.scene.backs_up("-incremental", &self.peer.uri(), "backup");
    }

    /// Milliseconds since 1970 of a moment between what was committed before this call and what is committed after it.
    fn now() -> u128 {
        thread::sleep(Duration::from_millis(20));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        thread::sleep(Duration::from_millis(20));
        now.as_millis()
    }

    /// What a server finds that is started on a restored directory.
    fn boots(&self, dir: &Path) -> Contents {
        let mut booted = Peer::boot(self.stage.release(), dir);
        let found = booted.contents();
        booted.quit();
        found
    }

    #[track_caller]
    fn is_restored(&self, name: &str, options: &[&str], expected: &Contents) -> Value {
        let result = self.scene.restores(name, options);
        let found = self.boots(&self.scene.dir(name));
        assert_eq!(expected.difference(&found), None, "{options:?}: {result}");
        result
    }
}

/// A time as `date` writes it.
fn date(milliseconds: u128, options: &[&str]) -> String {
    let time = format!("@{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    let output = Command::new("date").args(["-d", &time]).args(options).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn rfc_3339(milliseconds: u128) -> String {
    date(milliseconds, &["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"])
}

/// A word as a shell reads it.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"))
}

#[test]
#[ignore = "starts several servers; tests/run full"]
fn the_state_of_yesterday_14_03_is_restored() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.peer.load(seed(), 30);
    let (expected, wanted) = (server.peer.contents(), Server::now());
    server.peer.load(seed(), 30);
    server.backs_up();
    // RFC 3339, as the log of an application has it
    let result = server.is_restored("instant", &["-at", &rfc_3339(wanted)], &expected);
    assert!(result["moment"].is_string(), "{result}");
    // whole seconds in local time, as people say it
    let (later, quiet) = (server.peer.contents(), Server::now());
    let second = quiet / 1000 * 1000 + 1000;
    while Server::now() <= second {}
    server.peer.load(seed(), 10);
    server.backs_up();
    let local = date(second, &["+%Y-%m-%d %H:%M:%S"]);
    server.is_restored("local", &["-at", &local], &later);
}

#[test]
#[ignore = "starts several servers; tests/run full"]
fn a_server_whose_disk_died_goes_on_from_the_newest_generation() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.peer.load(seed(), 40);
    server.backs_up();
    let expected = server.peer.contents();
    let data: PathBuf = server.peer.dir().to_owned();
    server.peer.kill();
    fs::remove_dir_all(&data).unwrap();
    let to = data.to_str().unwrap();
    server.scene.succeeds(&["restore", "-to", to]);
    // it serves again, and is backed up into a new directory of the same repository
    let mut restored = Peer::start(server.stage.release(), &data, &Options::source(server.stage.release()));
    assert_eq!(expected.difference(&restored.contents()), None);
    restored.load(seed() + 1, 10);
    server.scene.backs_up("-full", &restored.uri(), "backup-after");
    restored.quit();
    assert_eq!(server.scene.generations().len(), 3);
}

#[test]
#[ignore = "starts several servers; tests/run full"]
fn half_the_graph_that_was_deleted_at_noon_is_found_in_a_restore_beside_the_database() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.peer.load(seed(), 30);
    let (before, noon) = (server.peer.contents(), Server::now());
    server.peer.command("halve");
    server.peer.command("gen 5");
    server.backs_up();
    let after = server.peer.contents();
    assert!(before.difference(&after).is_some());
    server.is_restored("before", &["-at", &rfc_3339(noon)], &before);
    // the server has not noticed
    assert_eq!(after.difference(&server.peer.contents()), None);
    // and by the number of the transaction that deleted
    let last = server.scene.generations().last().unwrap()["last"].as_i64().unwrap();
    let result = server.scene.restores("last", &["-at-tx", &last.to_string()]);
    assert_eq!(result["last_transactions"][0]["id"], last);
}

#[test]
#[ignore = "starts several servers; tests/run full"]
fn a_drill_starts_a_server_and_asks_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let scratch = server.scene.dir("scratch");
    fs::create_dir(&scratch).unwrap();
    let java = server.stage.release().java();
    let words = [java.get_program()].into_iter().chain(java.get_args());
    let java: Vec<String> = words.map(quoted).collect();
    // the driver reads commands until its input ends: what it dumps is the answer
    let start = format!(
        "(echo dump \"$NEO4J_BACKUP_DRILL_DATA/../dump\"; while :; do sleep 1; done) | \
         {} Peer \"$NEO4J_BACKUP_DRILL_DATA\" release={}",
        java.join(" "),
        server.stage.release().name()
    );
    let probe = "test -s \"$NEO4J_BACKUP_DRILL_DATA/../dump\"";
    let drill = |start: &str, code| {
        let scratch = scratch.to_str().unwrap();
        let arguments = ["drill", "-scratch", scratch, "-start", start, "-probe", probe];
        server.scene.ends(&arguments, code)
    };
    let (report, _) = drill(&start, 0);
    assert_eq!(report["result"]["recorded"], true, "{report}");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    assert!(server.scene.generations()[0]["verified"].is_i64());
    // a server that does not start is no proof
    let (_, stderr) = drill(&format!("{} Peer no_such_setting", java.join(" ")), 1);
    assert!(stderr.contains("the server ended before it answered"), "{stderr}");
}
