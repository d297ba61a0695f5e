//! The commands in the documents work: each one is run against a sandbox.
//!
//! A block that begins with "```sh" is run line by line; a block whose first line is `# /path` is written to that path
//! first. Commands in backquotes are run if they begin with the name of the program; if they begin with the name of a
//! command, their options must exist. "```sh debian" is left to `packaging/test`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    program::{COMMANDS, options_of, serve},
    sandbox::Sandbox,
};

/// What a document asks its reader to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Type this line.
    Command(String),
    /// Write this file.
    File { path: String, text: String },
    /// Nothing: a command is named, with options.
    Mention(String),
}

/// The steps of a document in their order.
fn steps(document: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.trim_start().strip_prefix("```") else {
            steps.extend(line.split('`').skip(1).step_by(2).filter_map(of_quoted));
            continue;
        };
        let block: Vec<&str> = lines
            .by_ref()
            .map(str::trim_start)
            .take_while(|line| *line != "```")
            .collect();
        match block.first().and_then(|first| first.strip_prefix("# /")) {
            Some(path) => steps.push(Step::File {
                path: format!("/{path}"),
                text: block.join("\n") + "\n",
            }),
            None if kind == "sh" => steps.extend(
                block
                    .into_iter()
                    .filter(|line| !line.starts_with('#'))
                    .map(|line| Step::Command(line.to_owned())),
            ),
            None => {}
        }
    }
    steps
}

fn of_quoted(text: &str) -> Option<Step> {
    let (name, rest) = text.split_once(' ')?;
    if name == "neo4j-backup" {
        return Some(Step::Command(text.to_owned()));
    }
    (COMMANDS.contains(&name) && rest.contains('-')).then(|| Step::Mention(text.to_owned()))
}

/// A machine on which a document is followed: its paths are below a directory of the test.
struct Machine {
    sandbox: Sandbox,
    root: TempDir,
    /// What examples of a document become here.
    examples: Vec<(&'static str, String)>,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine {
            sandbox: Sandbox::start(),
            root: TempDir::new().unwrap(),
            examples: Vec::new(),
        };
        for below in [
            "mnt/backup",
            "var/lib/neo4j/data",
            "var/tmp",
            "usr/local/bin",
            "etc/bash_completion.d",
            "etc/neo4j-backup",
            "var/lib/prometheus/node-exporter",
        ] {
            fs::create_dir_all(machine.path(below)).unwrap();
        }
        fs::write(machine.path("etc/neo4j-backup/repo.password"), "secret\n").unwrap();
        machine
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// The same text with the addresses and paths of this machine.
    fn adapt(&self, text: &str) -> String {
        let root = self.root.path().display();
        let built = env!("CARGO_BIN_EXE_neo4j-backup");
        let mut replacements = self.examples.clone();
        replacements.extend([
            (
                "ha://192.168.1.15:2181,192.168.1.16:2181",
                self.sandbox.uri().to_owned(),
            ),
            ("ha://…", self.sandbox.uri().to_owned()),
            ("single://192.168.1.34", self.sandbox.server()),
            ("0.0.0.0:6362", "127.0.0.1:0".to_owned()),
            ("-db DIR", "-db /mnt/backup/neo4j -listen 127.0.0.1:0".to_owned()),
            (" DIR", " /mnt/backup/neo4j".to_owned()),
            (" COMMAND", " members".to_owned()),
            ("neo4j:neo4j", "$(id -u):$(id -g)".to_owned()),
            ("target/release/neo4j-backup", built.to_owned()),
            ("cargo run --release -- ", format!("{built} ")),
        ]);
        for top in ["/mnt/", "/var/lib/", "/var/tmp", "/usr/local/", "/etc/"] {
            replacements.push((top, format!("{root}{top}")));
        }
        let mut adapted = text.to_owned();
        for (text, replacement) in replacements {
            adapted = adapted.replace(text, &replacement);
        }
        adapted
    }

    #[track_caller]
    fn succeeds(&self, command: &str) {
        let command = self.adapt(command);
        let programs = Path::new(env!("CARGO_BIN_EXE_neo4j-backup")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &command])
            .env("NEO4J_BACKUP_REPO_PASSWORD", "secret")
            .env("PATH", path)
            .stdin(Stdio::null());
        // once the document has written it
        let jobs = self.path("etc/neo4j-backup/jobs.toml");
        if jobs.exists() {
            shell.env("NEO4J_BACKUP_JOBS", jobs);
        }
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }

    #[track_caller]
    fn serves_until_it_is_terminated(&self, arguments: &str) {
        let adapted = self.adapt(arguments);
        let (mut serve, line) = serve(adapted.split_whitespace());
        assert!(line.starts_with("Serving "), "{line}");
        kill_process(Pid::from_raw(i32::try_from(serve.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
        assert_eq!(serve.wait().unwrap().code(), Some(0));
    }

    /// Does what a document says; returns how many commands that were.
    fn follow(&self, document: &str) -> usize {
        let mut count = 0;
        for step in steps(document) {
            match step {
                // it has run already: this test starts what it built
                Step::Command(command) if command == "cargo build --release" => {}
                Step::Command(command) => {
                    match command.strip_prefix("neo4j-backup serve ") {
                        Some(arguments) => self.serves_until_it_is_terminated(arguments),
                        None => self.succeeds(&command),
                    }
                    count += 1;
                }
                Step::File { path, text } => {
                    let path = self.path(path.trim_start_matches('/'));
                    fs::write(path, self.adapt(&text)).unwrap();
                }
                Step::Mention(text) => has_known_options(&text),
            }
        }
        count
    }
}

/// Options that a text gives a command exist.
#[track_caller]
fn has_known_options(text: &str) {
    let mut words = text.split_whitespace();
    let command = words.next().unwrap();
    let known = options_of(Some(command));
    for word in words.filter(|word| word.len() > 1 && word.starts_with('-')) {
        let option = word.split('=').next().unwrap().to_owned();
        assert!(known.contains(&option), "`{text}`: {option}");
    }
}

#[test]
fn every_command_of_the_readme_works() {
    let count = Machine::new().follow(include_str!("../../README.md"));
    assert!(count >= 15, "{count} commands");
}

#[test]
fn every_command_of_the_operations_guide_works() {
    let count = Machine::new().follow(include_str!("../../docs/operations.md"));
    assert!(count >= 8, "{count} commands");
}

#[test]
fn every_command_of_the_runbook_works() {
    let mut machine = Machine::new();
    machine.succeeds("neo4j-backup repo init -repo /mnt/repo");
    machine.succeeds("neo4j-backup -full -from single://192.168.1.34 -to DIR -repo /mnt/repo");
    machine.succeeds("neo4j-backup snapshots -repo /mnt/repo -output json > /mnt/snapshots");
    let snapshots: Value = serde_json::from_slice(&fs::read(machine.path("mnt/snapshots")).unwrap()).unwrap();
    let archived = &snapshots["result"]["generations"][0];
    let committed = archived["committed"].as_u64().unwrap();
    let moment = format!("@{}.{:03}", committed / 1000, committed % 1000);
    machine.examples = vec![
        ("14386", archived["last"].to_string()),
        ("2012-10-10 11:59", format!("$(date -u -d {moment} +%FT%T.%3NZ)")),
    ];
    let count = machine.follow(include_str!("../../docs/runbook.md"));
    assert!(count >= 12, "{count} commands");
}

#[test]
fn steps_are_found_in_blocks_and_backquotes() {
    let document = "Type `neo4j-backup inspect DIR`, or `verify DIR -adopt`; `repo init` is a name.\n\
                    ```toml\n# /etc/jobs.toml\n[job.a]\n```\n1. Then:\n   ```sh\n   # why\n   true\n   ```\n\
                    ```sh debian\nfalse\n```\n";
    let file = Step::File {
        path: "/etc/jobs.toml".to_owned(),
        text: "# /etc/jobs.toml\n[job.a]\n".to_owned(),
    };
    assert_eq!(
        steps(document),
        [
            Step::Command("neo4j-backup inspect DIR".to_owned()),
            Step::Mention("verify DIR -adopt".to_owned()),
            file,
            Step::Command("true".to_owned()),
        ]
    );
}
