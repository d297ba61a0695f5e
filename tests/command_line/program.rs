//! The built binary and what it prints.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
};

/// Every command of the program.
pub(crate) const COMMANDS: [&str; 22] = [
    "run",
    "jobs",
    "members",
    "inspect",
    "status",
    "verify",
    "restore",
    "drill",
    "repo",
    "snapshots",
    "forget",
    "check",
    "stats",
    "diff",
    "export",
    "serve",
    "sandbox",
    "demo",
    "completions",
    "man",
    "help",
    "version",
];

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NEO4J_BACKUP_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Starts `serve` with these arguments; gives the process and the first line that it prints.
pub(crate) fn serve<'a>(arguments: impl IntoIterator<Item = &'a str>) -> (Child, String) {
    let mut serve = program()
        .arg("serve")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (serve, line)
}

/// Standard output of a run that succeeds without a word on standard error.
#[track_caller]
pub(crate) fn stdout_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), ""),
        "{arguments:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The program of this name, or a loud note that the test does not run; an error under `CI=true`.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "missing: {name}");
        let test = thread::current().name().unwrap_or("test").to_owned();
        let _ = std::io::stderr().write_all(format!("SKIPPED {test}: missing {name}\n").as_bytes());
    }
    found
}

/// Long options in a help text, with one dash.
pub(crate) fn options_of(command: Option<&str>) -> Vec<String> {
    let help = match command {
        None => stdout_of(&["-help"]),
        Some(command) => stdout_of(&[command, "-help"]),
    };
    let heads = help.lines().filter(|line| line.starts_with("  -"));
    heads
        .map(|line| {
            let word = line.split_whitespace().find(|word| !word.ends_with(',')).unwrap();
            word.split(['[', '=']).next().unwrap().to_owned()
        })
        .collect()
}
