//! Generations by the built program: archived, listed, restored to any transaction, forgotten; and read by restic.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

#[cfg(feature = "cloud")]
mod cloud;
mod interrupted;
mod runbook;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Options, Peer, Release, copy_dir,
    incremental_source::{Source, creates},
    interop::{Stage, seed},
    our_tool, skip,
};

/// Last transaction of the recorded full backup.
const GRAPH: i64 = 5;

/// A program with a repository and its password.
struct Scene {
    folder: TempDir,
    repository: OsString,
    password: PathBuf,
    environment: Vec<(&'static str, &'static str)>,
}

impl Scene {
    /// With a repository in a directory.
    fn new() -> Scene {
        let mut scene = Scene::without_repository("");
        scene.repository = scene.dir("repository").into();
        scene.succeeds(&["repo", "init"]);
        scene
    }

    fn without_repository(repository: impl Into<OsString>) -> Scene {
        let folder = TempDir::new().unwrap();
        let password = folder.path().join("password");
        fs::write(&password, "secret\n").unwrap();
        Scene {
            folder,
            repository: repository.into(),
            password,
            environment: Vec::new(),
        }
    }

    /// With this variable in the environment of the program, and of restic.
    #[cfg(feature = "cloud")]
    fn with(mut self, name: &'static str, value: &'static str) -> Scene {
        self.environment.push((name, value));
        self
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The directory of the repository.
    fn repository(&self) -> PathBuf {
        PathBuf::from(&self.repository)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"));
        command
            .args(arguments)
            .args(["-output", "json", "-repo"])
            .arg(&self.repository)
            .arg("-repo-password-file")
            .arg(&self.password)
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn ends(&self, arguments: &[&str], code: i32) -> (Value, String) {
        let output = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stdout}{stderr}");
        (serde_json::from_str(&stdout).unwrap(), stderr)
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> Value {
        self.ends(arguments, 0).0["result"].take()
    }

    #[track_caller]
    fn backs_up(&self, mode: &str, source: &str, to: &str) -> Value {
        let to = self.dir(to);
        self.succeeds(&[mode, "-from", source, "-to", to.to_str().unwrap()])
    }

    #[track_caller]
    fn restores(&self, to: &str, options: &[&str]) -> Value {
        let to = self.dir(to);
        self.succeeds(&[&["restore", "-to", to.to_str().unwrap()], options].concat())
    }

    fn generations(&self) -> Vec<Value> {
        let mut listed = self.succeeds(&["snapshots"]);
        serde_json::from_value(listed["generations"].take()).unwrap()
    }

    fn restic(&self, arguments: &[&str]) -> Output {
        Command::new("restic")
            .args(arguments)
            .arg("-r")
            .arg(&self.repository)
            .envs(self.environment.iter().copied())
            .arg("--password-file")
            .arg(&self.password)
            .arg("--no-cache")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn restic_succeeds(&self, arguments: &[&str]) -> String {
        let output = self.restic(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }
}

/// Says loudly that restic is missing; an error under `CI=true`.
fn has_restic() -> bool {
    let found = Command::new("restic").arg("version").output().is_ok();
    if !found {
        skip("restic");
    }
    found
}

#[track_caller]
fn assert_intact(dir: &Path) {
    let verified = our_tool(&["verify", dir.to_str().unwrap()]);
    assert!(verified.success(), "{}", verified.stdout);
}

/// The records of a store: every file of the graph but `neostore`, whose log version counts runs.
fn records(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let stores = named.filter(|(name, _)| name.starts_with("neostore."));
    stores.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

#[test]
fn a_backup_becomes_a_generation_that_says_what_it_is() {
    let scene = Scene::new();
    let source = Source::recorded();
    let taken = scene.backs_up("-full", &source.uri(), "backup");
    assert_eq!(taken["archive"]["result"], "new");
    source.commit(&[creates(20)]);
    scene.backs_up("-incremental", &source.uri(), "backup");
    // nothing new is nothing to archive
    let taken = scene.backs_up("-incremental", &source.uri(), "backup");
    assert_eq!(taken["archive"]["result"], "unchanged");
    let generations = scene.generations();
    assert_eq!(generations.len(), 2);
    for (found, (last, mode)) in generations.iter().zip([(GRAPH, "full"), (GRAPH + 1, "incremental")]) {
        assert_eq!(
            (found["last"].as_i64(), found["mode"].as_str()),
            (Some(last), Some(mode)),
            "{found}"
        );
        assert_eq!(found["verdict"], "good");
        assert_eq!(found["source"], source.uri());
    }
    let added = |index: usize| generations[index]["added_bytes"].as_u64().unwrap();
    assert!(added(1) < generations[1]["bytes"].as_u64().unwrap(), "{generations:?}");
}

#[test]
fn a_generation_that_was_not_checked_is_not_called_good() {
    let scene = Scene::new();
    let to = scene.dir("backup");
    let from = Source::recorded();
    let taken = scene.succeeds(&[
        "-full",
        "-verify=false",
        "-from",
        &from.uri(),
        "-to",
        to.to_str().unwrap(),
    ]);
    assert_eq!(taken["archive"]["result"], "new");
    assert_eq!(scene.generations()[0]["verdict"], "not-checked");
}

#[test]
fn restic_lists_checks_and_restores_what_was_archived() {
    if !has_restic() {
        return;
    }
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    source.commit(&[creates(20)]);
    scene.backs_up("-incremental", &source.uri(), "backup");
    let listed: Value = serde_json::from_str(&scene.restic_succeeds(&["snapshots", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    scene.restic_succeeds(&["check", "--read-data"]);
    let to = scene.dir("by-restic");
    scene.restic_succeeds(&["restore", "latest", "--target", to.to_str().unwrap()]);
    assert_intact(&to.join("neo4j"));
    assert_eq!(records(&to.join("neo4j")), records(&scene.dir("backup")));
    // and what restic rewrote is restored here
    scene.restic_succeeds(&["tag", "--add", "seen-by-restic", "latest"]);
    scene.restores("restored", &[]);
    assert_eq!(records(&scene.dir("restored")), records(&scene.dir("backup")));
}

#[test]
fn a_generation_is_exported_as_its_backup_is() {
    let scene = Scene::new();
    let source = Source::recorded();
    let exported = |name: &str, what: &[&str]| {
        let out = scene.dir(name);
        let options = ["export", "-lossy", "-format", "jsonl", "-to", out.to_str().unwrap()];
        let result = scene.succeeds(&[&options, what].concat());
        let files: BTreeMap<String, Vec<u8>> = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        assert!(!scene.dir(&format!("{name}.partial")).exists());
        (result["last_transaction"].as_i64().unwrap(), files)
    };
    scene.backs_up("-full", &source.uri(), "backup");
    let backup = scene.dir("backup");
    let first = exported("first", &[backup.to_str().unwrap()]);
    source.commit(&[creates(20)]);
    scene.backs_up("-incremental", &source.uri(), "backup");
    let second = exported("second", &[backup.to_str().unwrap()]);
    assert!(first.1.contains_key("nodes.jsonl") && first != second);
    let id = scene.generations()[0]["id"].as_str().unwrap().to_owned();
    assert!(exported("generation", &["-snapshot", &id]) == first);
    assert!(exported("newest", &[]) == second);
    let out = scene.dir("none");
    let refused = ["export", "-snapshot", "ffffffff", "-to", out.to_str().unwrap()];
    scene.ends(&refused, 13);
    assert!(!out.exists() && !scene.dir("none.partial").exists());
}

#[test]
fn every_transaction_between_two_generations_is_restored() {
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    let reference = scene.dir("reference");
    copy_dir(&scene.dir("backup"), &reference);
    let mut states = BTreeMap::from([(GRAPH, records(&reference))]);
    for node in 20..29 {
        let last = source.commit(&[creates(node)]);
        let taken = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
            .args([
                "-incremental",
                "-from",
                &source.uri(),
                "-to",
                reference.to_str().unwrap(),
            ])
            .output()
            .unwrap();
        assert!(taken.status.success());
        states.insert(last, records(&reference));
        if node % 3 == 0 {
            scene.backs_up("-incremental", &source.uri(), "backup");
        }
    }
    let newest = scene.generations().last().unwrap()["last"].as_i64().unwrap();
    for (tx, state) in &states {
        let name = format!("at-{tx}");
        if *tx > newest {
            let to = scene.dir(&name);
            let (_, stderr) = scene.ends(&["restore", "-at-tx", &tx.to_string(), "-to", to.to_str().unwrap()], 22);
            assert!(
                stderr.contains(&format!("nearest before: transaction {newest}")),
                "{stderr}"
            );
            continue;
        }
        let result = scene.restores(&name, &["-at-tx", &tx.to_string()]);
        assert_eq!(result["last_transactions"][0]["id"], *tx);
        assert!(records(&scene.dir(&name)) == *state, "transaction {tx}");
        assert_intact(&scene.dir(&name));
    }
}

#[test]
fn a_repository_that_fails_never_harms_the_backup() {
    let scene = Scene::new();
    let source = Source::recorded();
    let backup = scene.dir("backup");
    let full = ["-full", "-from", &source.uri(), "-to", backup.to_str().unwrap()];
    let kept = scene.dir("elsewhere");
    fs::rename(scene.repository(), &kept).unwrap();
    let (report, stderr) = scene.ends(&full, 5);
    assert_eq!(report["result"]["archive"]["result"], "failed", "{report}");
    assert!(stderr.contains("there is no repository"), "{stderr}");
    assert!(!scene.repository().exists());
    fs::rename(&kept, scene.repository()).unwrap();
    // the next run archives it, even if it brings nothing
    let taken = scene.backs_up("-incremental", &source.uri(), "backup");
    assert_eq!(taken["archive"]["result"], "new");
    fs::write(&scene.password, "wrong").unwrap();
    let incremental = ["-incremental", "-from", &source.uri(), "-to", backup.to_str().unwrap()];
    let (_, stderr) = scene.ends(&incremental, 5);
    assert!(stderr.contains("wrong password"), "{stderr}");
    for command in [&["snapshots"][..], &["forget", "-keep", "last=1"]] {
        scene.ends(command, 25);
    }
    let to = scene.dir("restored");
    scene.ends(&["restore", "-to", to.to_str().unwrap()], 25);
    assert!(!to.exists());
}

#[test]
fn a_repository_is_created_only_where_there_is_nothing() {
    let scene = Scene::new();
    scene.ends(&["repo", "init"], 13);
    fs::remove_file(scene.repository().join("config")).unwrap();
    scene.ends(&["repo", "init"], 13);
}

#[test]
fn forgetting_keeps_what_the_policy_and_the_moments_need() {
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    for node in 20..25 {
        source.commit(&[creates(node)]);
        scene.backs_up("-incremental", &source.uri(), "backup");
    }
    assert_eq!(scene.generations().len(), 6);
    let planned = scene.succeeds(&["forget", "-keep", "last=2", "-dry-run"]);
    assert_eq!(scene.generations().len(), 6);
    let done = scene.succeeds(&["forget", "-keep", "last=2"]);
    assert_eq!(planned["generations"], done["generations"]);
    let left = scene.generations();
    assert_eq!(left.len(), 2);
    if has_restic() {
        scene.restic_succeeds(&["check", "--read-data"]);
    }
    let last = left[1]["last"].to_string();
    scene.restores("restored", &["-at-tx", &last]);
    assert_eq!(records(&scene.dir("restored")), records(&scene.dir("backup")));
    source.commit(&[creates(40)]);
    let backup = scene.dir("backup");
    let arguments = [
        "-incremental",
        "-keep",
        "last=1",
        "-from",
        &source.uri(),
        "-to",
        backup.to_str().unwrap(),
    ];
    let taken = scene.succeeds(&arguments);
    assert_eq!(
        (taken["archive"]["result"].as_str(), taken["forgotten"].as_u64()),
        (Some("new"), Some(2))
    );
    assert_eq!(scene.generations().len(), 1);
}

#[test]
fn a_drill_restores_asks_and_is_noted() {
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    let scratch = scene.dir("scratch");
    fs::create_dir(&scratch).unwrap();
    let drill = |options: &[&str], code| {
        let scratch = scratch.to_str().unwrap();
        scene.ends(&[&["drill", "-scratch", scratch], options].concat(), code)
    };
    let (report, _) = drill(
        &["-seed", "7", "-probe", "test -s \"$NEO4J_BACKUP_DRILL_DATA/neostore\""],
        0,
    );
    assert_eq!(report["result"]["recorded"], true);
    let verified = scene.generations()[0]["verified"].as_i64().unwrap();
    drill(&["-probe", "false"], 1);
    // a server that answers once it has started
    let start = "sleep 0.3; touch \"$NEO4J_BACKUP_DRILL_DATA/../started\"; sleep 100";
    let probe = "test -e \"$NEO4J_BACKUP_DRILL_DATA/../started\"";
    drill(&["-start", start, "-probe", probe], 0);
    let (_, stderr) = drill(&["-start", "exit 3", "-probe", "false"], 1);
    assert!(stderr.contains("the server ended before it answered"), "{stderr}");
    drill(&["-start", start], 64);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    let generations = scene.generations();
    assert_eq!(generations.len(), 1);
    assert!(generations[0]["verified"].as_i64().unwrap() > verified);
    if has_restic() {
        scene.restic_succeeds(&["check"]);
    }
}

#[test]
fn damage_in_the_repository_is_found_by_a_restore() {
    let scene = Scene::new();
    let source = Source::recorded();
    scene.backs_up("-full", &source.uri(), "backup");
    let mut packs = Vec::new();
    for folder in fs::read_dir(scene.repository().join("data")).unwrap() {
        let folder = folder.unwrap().path();
        packs.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    for pack in packs {
        let mut bytes = fs::read(&pack).unwrap();
        for byte in &mut bytes {
            *byte ^= 1;
        }
        fs::write(&pack, bytes).unwrap();
    }
    let to = scene.dir("restored");
    let output = scene
        .command(&["restore", "-to", to.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(!to.exists());
    assert_eq!(
        fs::read_dir(scene.folder.path()).unwrap().count(),
        4,
        "repository, password, backup, journal"
    );
}

mod any_moment {
    use super::Release;
    use super::generations_of_a_server_give_any_transaction as ask;

    crate::support::asked_of! {
        [of_1_8 = V1_8]
        [of_1_3 = V1_3, of_1_4_2 = V1_4_2, of_1_5 = V1_5, of_1_6_1 = V1_6_1, of_1_7_2 = V1_7_2, of_1_9_9 = V1_9_9]
    }
}

/// Each transaction of the load notes its number in the graph. So what a restored state has to hold is what the same load
/// leaves in an empty database when it ends with that number. `GENERATIONS` sets how many incremental backups there are,
/// `MOMENTS` how many transactions between them are restored beside the generations themselves.
fn generations_of_a_server_give_any_transaction(release: Release) {
    /// Transactions in a second, while the backups are taken.
    const RATE: u32 = 25;
    let count = |name: &str, default: u32| env::var(name).map_or(default, |text| text.parse().unwrap());
    let Some(stage) = Stage::of(release) else {
        return;
    };
    let scene = Scene::new();
    let mut source = stage.source_that_keeps_its_indexes();
    source.load(seed(), 40);
    scene.backs_up("-full", &source.uri(), "backup");
    source.start_load(seed(), RATE);
    for _ in 0..count("GENERATIONS", 3) {
        let before = scene.generations().len();
        while scene.generations().len() == before {
            scene.backs_up("-incremental", &source.uri(), "backup");
        }
    }
    source.stop_load();
    let generations = scene.generations();
    let ends: Vec<i64> = generations
        .iter()
        .map(|found| found["last"].as_i64().unwrap())
        .collect();
    let mut random = StdRng::seed_from_u64(seed());
    let mut moments: BTreeSet<i64> = (0..count("MOMENTS", 3))
        .map(|_| random.random_range(ends[0]..ends[ends.len() - 1]))
        .collect();
    match count("MOMENTS", 3) {
        ..10 => moments.extend(ends.last()),
        _ => moments.extend(&ends),
    }
    let mut replay = Peer::start(
        release,
        &stage.dir("replayed"),
        &Options {
            settings: vec!["delete-indexes=false".to_owned()],
            ..Options::replay(release)
        },
    );
    for moment in moments {
        let name = format!("at-{moment}");
        let result = scene.restores(&name, &["-at-tx", &moment.to_string()]);
        assert_eq!(result["last_transactions"][0]["id"], moment);
        let mut booted = Peer::boot(release, &scene.dir(&name));
        let found = booted.contents();
        booted.quit();
        fs::remove_dir_all(scene.dir(&name)).unwrap();
        let (graph, index) = replay.replay_as(seed(), &found);
        let difference = found
            .graph_difference(&graph)
            .or_else(|| found.index_difference(&index));
        assert!(
            difference.is_none(),
            "neo4j {} at {moment}: {difference:?}",
            release.name()
        );
    }
}
