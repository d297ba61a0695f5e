//! What the commands print with `-output json` is what the schemas in `docs/schema` describe.

use std::{collections::BTreeSet, error::Error, fs, path::Path, process::Command};

use jsonschema::{Retrieve, Uri, Validator};
use neo4j_backup_core::error::EXIT_STATUSES;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    program::{run, serve},
    sandbox::Sandbox,
};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema")
}

/// The schema of this name; fields that it does not describe are errors here, unlike for users.
fn schema(name: &str) -> Validator {
    jsonschema::options()
        .with_base_uri("schemas:///")
        .with_retriever(Folder)
        .build(&closed(name))
        .unwrap()
}

/// The schemas that others refer to.
struct Folder;

impl Retrieve for Folder {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let name = uri.as_str().strip_prefix("schemas:///").unwrap();
        Ok(closed(name.strip_suffix(".json").unwrap()))
    }
}

fn closed(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        schema["$schema"], "https://json-schema.org/draft/2020-12/schema",
        "{name}"
    );
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("type").is_some_and(|kind| kind == "object") && object.contains_key("properties") {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[track_caller]
fn matches(name: &str, line: &str) -> Value {
    let document: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line:?}"));
    let errors: Vec<String> = schema(name)
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}\n{document:#}");
    document
}

/// Runs this with JSON output; all its lines match the schemas, and it ends with `code`. Returns the last document.
#[track_caller]
fn documented(name: &str, arguments: &[&str], code: i32) -> Value {
    let output = run(&[arguments, &["-output", "json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut lines: Vec<&str> = text.lines().collect();
    let last = matches(name, lines.pop().unwrap());
    assert_eq!(last["exit_code"], code);
    for line in &lines {
        matches("check-finding", line);
    }
    assert_eq!(lines.is_empty(), !(name == "check" && code == 3), "{arguments:?}");
    last
}

#[test]
fn backups_and_their_failures_match_the_schema() {
    let sandbox = Sandbox::start();
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("cluster");
    let (target, other) = (target.to_str().unwrap(), dir.path().join("server"));
    let (uri, server) = (sandbox.uri(), sandbox.server());
    documented("backup", &["-full", "-from", uri, "-to", target], 0);
    let incremental = documented("backup", &["-auto", "-from", uri, "-to", target], 0);
    assert_eq!(incremental["result"]["mode"], "incremental");
    assert!(incremental["result"]["check"].is_object() && incremental["members"].is_object());
    let one = documented(
        "backup",
        &[
            "-full",
            "-verify=false",
            "-from",
            &server,
            "-to",
            other.to_str().unwrap(),
        ],
        0,
    );
    assert!(one["members"].is_null() && one["result"]["check"].is_null());
    let again = ["-full", "-from", uri, "-to", target];
    let refused = documented("backup", &again, 13);
    assert_eq!(refused["error"]["kind"], "not-ours");
    let slave = documented(
        "backup",
        &["-full", "-overwrite", "-ha-member", "2", "-from", uri, "-to", target],
        0,
    );
    assert!(
        !slave["members"]["passed_over"].as_array().unwrap().is_empty(),
        "{slave:#}"
    );
    documented(
        "backup",
        &["-full", "-from", "single://127.0.0.1:1", "-to", "/nonexistent/x"],
        10,
    );
    documented(
        "backup",
        &["-full", "-from", "ha://127.0.0.1:1", "-to", "/nonexistent/x"],
        12,
    );
    for (mode, code) in [("-auto", 0), ("-full", 13)] {
        let dry = documented("dry-run", &[mode, "-dry-run", "-from", uri, "-to", target], code);
        assert!(dry["members"].is_object(), "{dry:#}");
    }
    documented("backup", &["-full"], 64);
    documented("backup", &["-unknown"], 64);
    documented("backup", &["verify", "-unknown"], 64);
}

#[test]
fn jobs_match_the_schemas() {
    let sandbox = Sandbox::start();
    let dir = TempDir::new().unwrap();
    let name = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let file = name("jobs.toml");
    let text = format!(
        r#"
        [defaults]
        on-failure = ["/bin/false"]
        [job.cluster]
        from = "{}"
        to = "{}"
        before = ["/bin/sh", "-c", "cat > $0", "{}"]
        on-success = ["/bin/sh", "-c", "cat > $0", "{}"]
        [job.gone]
        from = "single://127.0.0.1:1"
        to = "{}"
        "#,
        sandbox.uri(),
        name("cluster"),
        name("before"),
        name("after"),
        name("gone")
    );
    fs::write(&file, text).unwrap();
    documented("run", &["run", "-all", "-dry-run", "-jobs", &file], 10);
    documented("run", &["jobs", "check", "-jobs", &file], 10);
    documented("run", &["run", "-all", "-jobs", &file], 10);
    documented("jobs", &["jobs", "list", "-jobs", &file], 0);
    let status = documented("status", &["status", "-all", "-jobs", &file], 23);
    assert_eq!(status["result"]["targets"][0]["job"], "cluster");
    documented("backup", &["run", "nothing", "-jobs", &file], 64);
    documented("backup", &["jobs", "list", "-jobs", &name("none")], 78);
    for event in ["before", "after"] {
        matches("hook", &fs::read_to_string(name(event)).unwrap());
    }
}

#[test]
fn a_member_that_fails_is_documented() {
    let mut sandbox = Sandbox::start();
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("backup");
    // a member that holds the connection without a word
    sandbox.typed("stall 1");
    let backup = documented(
        "backup",
        &[
            "-full",
            "-silence-timeout",
            "1s",
            "-from",
            sandbox.uri(),
            "-to",
            target.to_str().unwrap(),
        ],
        0,
    );
    assert!(
        !backup["members"]["failed"].as_array().unwrap().is_empty(),
        "{backup:#}"
    );
}

#[test]
fn what_reads_a_directory_matches_the_schemas() {
    let sandbox = Sandbox::start();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("backup");
    let path = path.to_str().unwrap();
    documented("backup", &["-full", "-from", &sandbox.server(), "-to", path], 0);
    documented("inspect", &["inspect", path], 0);
    documented("verify", &["verify", path], 0);
    documented("check", &["check", path], 0);
    documented(
        "drill",
        &["drill", "-from", path, "-scratch", dir.path().to_str().unwrap()],
        0,
    );
    let good = documented("status", &["status", path, "-ask"], 0);
    assert_eq!(good["result"]["targets"][0]["lag"]["error"], Value::Null, "{good:#}");
    let bad = documented("status", &["status", path, "/nonexistent", "-warn", "1h"], 23);
    assert_eq!(bad["result"]["level"], "critical");
    documented("backup", &["status"], 64);
    let restored = dir.path().join("graph.db");
    let restored = restored.to_str().unwrap();
    documented("restore", &["restore", "-dry-run", "-from", path, "-to", restored], 0);
    documented("restore", &["restore", "-from", path, "-to", restored], 0);
    documented("restore", &["restore", "-from", path, "-to", restored], 13);
    documented(
        "restore",
        &["restore", "-at-tx", "1", "-from", path, "-to", restored],
        22,
    );
    documented("stats", &["stats", path], 0);
    documented("diff", &["diff", path, path], 0);
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    let refused = documented("export", &["export", path, "-to", out], 24);
    assert!(refused["result"]["target"].is_null());
    documented("export", &["export", path, "-to", out, "-lossy", "-label", "Old"], 0);
    documented("export", &["export", path, "-to", out], 13);
    documented("export", &["export", path], 64);
    documented("export", &["export", path, "-to", out, "-format", "csv"], 64);

    let damaged = dir.path().join("damaged");
    let copy = Command::new("cp").arg("-a").arg(path).arg(&damaged).status().unwrap();
    assert!(copy.success());
    let store = damaged.join("neostore.nodestore.db");
    let mut bytes = fs::read(&store).unwrap();
    // the first relationship of a node that is in use
    let node = bytes.chunks_exact(9).rposition(|node| node[0] & 1 == 1).unwrap();
    bytes[9 * node + 2] ^= 0xff;
    fs::write(&store, bytes).unwrap();
    let damaged = damaged.to_str().unwrap();
    let verified = documented("verify", &["verify", damaged], 20);
    assert_eq!(verified["result"]["findings"][0]["path"], "neostore.nodestore.db");
    documented("check", &["check", damaged], 3);
    differences_match_the_schemas(path, damaged);

    fs::remove_file(Path::new(damaged).join("neo4j-backup.json")).unwrap();
    documented("verify", &["verify", damaged], 1);
    documented("inspect", &["inspect", damaged], 0);
    documented("verify", &["verify", "-adopt", damaged], 0);
    documented("inspect", &["inspect", damaged], 0);

    let empty = dir.path().to_str().unwrap();
    for command in ["inspect", "verify", "check", "stats"] {
        let output = run(&[command, empty, "-output", "json"]);
        assert_ne!(output.status.code(), Some(0), "{command}");
        let failed = matches(command, &String::from_utf8(output.stdout).unwrap());
        assert!(failed["error"].is_object(), "{command}");
    }
}

/// Two directories of which the second lacks a node.
fn differences_match_the_schemas(path: &str, damaged: &str) {
    let store = Path::new(damaged).join("neostore.nodestore.db");
    let mut bytes = fs::read(&store).unwrap();
    let node = bytes.chunks_exact(9).rposition(|node| node[0] & 1 == 1).unwrap();
    bytes[9 * node] &= !1;
    fs::write(&store, bytes).unwrap();
    let output = run(&["diff", path, damaged, "-v", "-output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let last = matches("diff", lines.pop().unwrap());
    assert_eq!(last["result"]["nodes"]["removed"], 1);
    let first = matches("diff-finding", lines[0]);
    assert_eq!(first["finding"]["entity"], format!("node {node}"));
    for line in lines {
        matches("diff-finding", line);
    }
}

#[test]
fn generations_match_the_schemas() {
    let sandbox = Sandbox::start();
    let dir = TempDir::new().unwrap();
    let name = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (backup, repository, password) = (name("backup"), name("repository"), name("password"));
    fs::write(&password, "secret").unwrap();
    let with = |arguments: &[&str]| -> Vec<String> {
        let named = ["-repo", &repository, "-repo-password-file", &password];
        arguments.iter().chain(&named).map(ToString::to_string).collect()
    };
    let documented = |schema: &str, arguments: &[&str], code: i32| {
        let arguments = with(arguments);
        documented(schema, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), code)
    };
    let source = sandbox.server();
    documented("snapshots", &["snapshots"], 25);
    documented("backup", &["-full", "-from", &source, "-to", &backup], 5);
    documented("repo", &["repo", "init"], 0);
    documented("repo", &["repo", "init"], 13);
    documented("backup", &["-incremental", "-from", &source, "-to", &backup], 0);
    documented("snapshots", &["snapshots"], 0);
    documented("forget", &["forget", "-keep", "last=1", "-dry-run"], 0);
    documented("forget", &["forget", "-keep", "last=1"], 0);
    documented("forget", &["forget"], 64);
    documented("status", &["status"], 0);
    documented("restore", &["restore", "-to", &name("restored"), "-dry-run"], 0);
    documented("restore", &["restore", "-to", &name("restored")], 0);
    documented("drill", &["drill", "-scratch", dir.path().to_str().unwrap()], 0);
    documented(
        "drill",
        &["drill", "-probe", "false", "-scratch", dir.path().to_str().unwrap()],
        1,
    );
}

#[test]
fn clusters_and_services_match_the_schemas() {
    let sandbox = Sandbox::start();
    matches("sandbox", &sandbox.started.to_string());
    documented("sandbox", &["sandbox", "-release", "2.0"], 64);
    let members = documented("members", &["members", "-from", sandbox.uri()], 0);
    assert_eq!(members["result"]["members"].as_array().unwrap().len(), 3);
    documented("members", &["members", "-ha-member", "9", "-from", sandbox.uri()], 12);
    documented("members", &["members", "-from", "ha://127.0.0.1:1"], 12);
    documented("members", &["members"], 64);

    let dir = TempDir::new().unwrap();
    let path = dir.path().join("backup");
    let path = path.to_str().unwrap();
    documented("backup", &["-full", "-from", &sandbox.server(), "-to", path], 0);
    let (mut serve, line) = serve(["-db", path, "-listen", ":0", "-output", "json"]);
    serve.kill().unwrap();
    serve.wait().unwrap();
    matches("serve", &line);
    documented("serve", &["serve"], 64);
}

#[test]
fn texts_match_the_schema() {
    for arguments in [
        &["completions", "bash"][..],
        &["man"],
        &["help"],
        &["help", "members"],
        &["version"],
    ] {
        let document = documented("text", arguments, 0);
        assert_eq!(document["command"], arguments[0]);
    }
    documented("text", &["help", "nothing"], 64);
    documented("text", &["man", "-to", "/proc/pages"], 78);
}

/// The lists of kinds of errors in a schema.
fn kinds(schema: &Value) -> Vec<BTreeSet<String>> {
    let mut found = Vec::new();
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(names)) = object.get("enum")
                && names.contains(&Value::from("disk"))
            {
                found.push(names.iter().map(|name| name.as_str().unwrap().to_owned()).collect());
            }
            found.extend(object.values().flat_map(kinds));
        }
        Value::Array(items) => found.extend(items.iter().flat_map(kinds)),
        _ => {}
    }
    found
}

#[test]
fn the_schemas_know_every_kind_of_error() {
    // verdicts of a backup that is complete
    let verdicts = ["success", "inconsistent", "source-demoted", "not-archived", "stale"];
    let names = EXIT_STATUSES.iter().map(|status| status.name.to_owned());
    let errors: BTreeSet<String> = names.filter(|name| !verdicts.contains(&name.as_str())).collect();
    for name in [
        "backup",
        "check",
        "diff",
        "drill",
        "dry-run",
        "forget",
        "inspect",
        "jobs",
        "members",
        "repo",
        "restore",
        "run",
        "sandbox",
        "serve",
        "snapshots",
        "stats",
        "status",
        "text",
        "verify",
    ] {
        let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let found = kinds(&serde_json::from_str(&text).unwrap());
        assert!(
            !found.is_empty() && found.iter().all(|kinds| errors.is_subset(kinds)),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn every_schema_is_listed_and_used() {
    let names: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    let list = fs::read_to_string(folder().join("README.md")).unwrap();
    let source = include_str!("schema.rs");
    for name in names {
        assert!(
            list.contains(&format!("[{name}.json]({name}.json)")),
            "{name} is not listed"
        );
        assert!(source.contains(&format!("\"{name}\"")), "{name} is not used");
        schema(&name);
    }
}
