//! The demo shows what it says, as the README has it, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{fs, process::Command};

use tempfile::TempDir;

/// The lines of the README's example of the demo; `…` stands for lines that are left out.
fn readme() -> Vec<&'static str> {
    let text = include_str!("../../README.md");
    let example = text.split("$ neo4j-backup members").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    example.lines().skip(1).collect()
}

/// A line without its numbers, addresses, sizes and times, which differ from run to run.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let is_number = word.bytes().any(|byte| byte.is_ascii_digit());
        let unit = matches!(word, "B" | "KiB" | "MiB" | "ms" | "s");
        match (is_number, unit) {
            (true, _) => shape.push('#'),
            (false, true) => {}
            (false, false) => shape.push_str(word),
        }
        shape.push(' ');
    }
    shape.trim_end().to_owned()
}

#[test]
fn the_demo_shows_what_the_readme_says_and_cleans_up() {
    let work = TempDir::new().unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
        .arg("demo")
        .env("TMPDIR", work.path())
        // of other runs, and no business of the demo's
        .env("NEO4J_BACKUP_FROM", "single://nobody.invalid")
        .output()
        .unwrap();
    let (shown, errors) = (
        String::from_utf8_lossy(&demo.stdout),
        String::from_utf8_lossy(&demo.stderr),
    );
    assert!(demo.status.success(), "{shown}\n{errors}");
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0, "something is left");
    let mut lines = shown.lines().map(shape);
    for line in readme()
        .into_iter()
        .filter(|line| !line.trim().is_empty() && line.trim() != "…")
    {
        let wanted = shape(line);
        assert!(
            lines.any(|shown| shown == wanted),
            "not shown, or not in this order: {line:?}, that is {wanted:?}, of\n{shown}"
        );
    }
}

#[test]
fn a_demo_that_is_kept_can_be_looked_at() {
    let work = TempDir::new().unwrap();
    let kept = work.path().join("kept");
    let demo = || {
        Command::new(env!("CARGO_BIN_EXE_neo4j-backup"))
            .args(["demo", "-keep", kept.to_str().unwrap()])
            .output()
            .unwrap()
    };
    assert!(demo().status.success());
    for name in ["member-1", "member-2", "member-3", "backup", "second-backup"] {
        assert!(kept.join(name).join("neostore").exists(), "{name}");
    }
    let again = demo();
    assert_eq!(again.status.code(), Some(78), "an existing directory is not touched");
    let errors = String::from_utf8_lossy(&again.stderr);
    assert!(errors.contains("the directory exists"), "{errors}");
}
