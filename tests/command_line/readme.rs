//! The README: its commands work, its exit codes are those of the program.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{
    program::{program, stdout_of},
    sandbox::Sandbox,
};

const README: &str = include_str!("../../README.md");

/// The lines of all blocks that are marked as shell commands.
fn commands() -> Vec<&'static str> {
    let blocks = README.split("```sh\n").skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .collect()
}

#[test]
fn every_command_of_the_readme_works() {
    let sandbox = Sandbox::start();
    let dir = TempDir::new().unwrap();
    let root = dir.path().to_str().unwrap();
    for below in [
        "mnt/backup",
        "var/lib/neo4j/data",
        "usr/local/bin",
        "etc/bash_completion.d",
    ] {
        fs::create_dir_all(dir.path().join(below)).unwrap();
    }
    let built = Path::new(env!("CARGO_BIN_EXE_neo4j-backup"));
    let replacements = [
        ("ha://192.168.1.15:2181,192.168.1.16:2181", sandbox.uri().to_owned()),
        ("single://192.168.1.34", sandbox.server()),
        ("0.0.0.0:6362", "127.0.0.1:0".to_owned()),
        ("/mnt/", format!("{root}/mnt/")),
        ("/var/lib/", format!("{root}/var/lib/")),
        ("/usr/local/", format!("{root}/usr/local/")),
        ("/etc/", format!("{root}/etc/")),
        ("neo4j:neo4j", "$(id -u):$(id -g)".to_owned()),
        ("target/release/neo4j-backup", built.display().to_string()),
        ("cargo run --release -- ", format!("{} ", built.display())),
    ];
    let mut count = 0;
    for line in commands() {
        // It has run already: this test starts what it built.
        if line == "cargo build --release" {
            continue;
        }
        let mut command = line.to_owned();
        for (text, replacement) in &replacements {
            command = command.replace(text, replacement);
        }
        if let Some(arguments) = command.strip_prefix("neo4j-backup serve ") {
            serves_until_it_is_terminated(arguments);
        } else {
            succeeds(built, &command);
        }
        count += 1;
    }
    assert!(count >= 15, "{count} commands");
}

#[track_caller]
fn succeeds(built: &Path, command: &str) {
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", command])
        .env("NEO4J_BACKUP_REPO_PASSWORD", "secret")
        .env("PATH", format!("{}:{path}", built.parent().unwrap().display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
}

#[track_caller]
fn serves_until_it_is_terminated(arguments: &str) {
    let mut serve = program()
        .arg("serve")
        .args(arguments.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("Serving "), "{line}");
    kill_process(Pid::from_raw(i32::try_from(serve.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(serve.wait().unwrap().code(), Some(0));
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_program() {
    let of_readme: Vec<(String, String)> = README
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(2, " | ");
            let code = cells.next()?;
            code.parse::<u8>().ok()?;
            Some((code.to_owned(), cells.next()?.to_owned()))
        })
        .collect();
    let of_program: Vec<(String, String)> = stdout_of(&["help", "exit-status"])
        .lines()
        .map(|line| {
            let (code, meaning) = line.trim_start().split_once("  ").unwrap();
            (code.to_owned(), meaning.to_owned())
        })
        .collect();
    assert_eq!(of_readme, of_program);
}

#[test]
fn the_runbook_has_a_procedure_for_every_exit_code() {
    let runbook = include_str!("../../docs/runbook.md");
    for line in stdout_of(&["help", "exit-status"]).lines() {
        let code = line.split_whitespace().next().unwrap();
        let is_there = runbook.lines().any(|line| {
            let cell = line
                .strip_prefix("| ")
                .and_then(|line| line.split(" |").next())
                .unwrap_or_default();
            cell.split(", ").any(|cell| cell == code)
        });
        assert!(is_there, "exit code {code}");
    }
}

#[test]
fn the_readme_is_short_and_its_links_lead_somewhere() {
    assert!(README.lines().count() <= 150);
    for link in README.split("](").skip(1) {
        let link = link.split(')').next().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}
