//! One screen of help for each command.

use super::program::{COMMANDS, run, stderr, stdout_of};

fn texts() -> Vec<(String, String)> {
    let mut texts = vec![("neo4j-backup".to_owned(), stdout_of(&["-help"]))];
    texts.extend(COMMANDS.map(|command| (command.to_owned(), stdout_of(&[command, "-help"]))));
    texts
}

#[test]
fn the_help_of_every_command_fits_one_screen_and_has_an_example() {
    for (command, text) in texts() {
        // the program's own also lists the commands
        let most = if command == "neo4j-backup" { 48 } else { 42 };
        assert!(
            text.lines().count() <= most,
            "{command}: {} lines",
            text.lines().count()
        );
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{command}: too long: {line}");
            assert!(!line.contains("--"), "{command}: two dashes: {line}");
        }
        assert!(text.contains("Usage: neo4j-backup"), "{command}");
        assert!(text.contains("\nExample: neo4j-backup"), "{command}");
        assert!(text.contains("\nOutput:\n"), "{command}: no headings");
    }
}

#[test]
fn wrapped_help_never_ends_with_a_single_word() {
    for (command, text) in texts() {
        for line in text.lines().filter(|line| line.starts_with("       ")) {
            assert!(line.split_whitespace().count() > 1, "{command}: {line:?}");
        }
    }
}

#[test]
fn every_value_with_a_default_shows_it() {
    const NONE: [&str; 8] = [
        "-from",
        "-to",
        "-db",
        "-config",
        "-repo",
        "-repo-password-file",
        "-metrics",
        "-metrics-listen",
    ];
    for command in ["", "members", "check", "serve", "sandbox", "demo"] {
        let text = if command.is_empty() {
            stdout_of(&["-help"])
        } else {
            stdout_of(&[command, "-help"])
        };
        for line in text
            .lines()
            .filter(|line| line.starts_with("  -") && line.contains('<'))
        {
            let option = line.split_whitespace().next().unwrap();
            assert!(
                NONE.contains(&option) || line.contains("[default: "),
                "{command}: {line}"
            );
        }
    }
}

#[test]
fn the_help_command_shows_the_same_as_the_option() {
    assert_eq!(stdout_of(&["help"]), stdout_of(&["-help"]));
    for command in COMMANDS {
        assert_eq!(
            stdout_of(&["help", command]),
            stdout_of(&[command, "-help"]),
            "{command}"
        );
    }
    let unknown = run(&["help", "rewind"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert_eq!(
        stderr(&unknown),
        "error: unknown command \"rewind\"\nhint: neo4j-backup -help lists all commands\n"
    );
}

#[test]
fn the_help_lists_the_exit_codes() {
    let table = stdout_of(&["help", "exit-status"]);
    let codes: Vec<u8> = table
        .lines()
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 77, 78, 130, 143
        ]
    );
}

#[test]
fn the_version_command_prints_the_version() {
    assert_eq!(stdout_of(&["version"]), stdout_of(&["-version"]));
}

#[test]
fn members_without_a_source_suggests_a_cluster() {
    let output = run(&["members"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(
        stderr(&output),
        "error: please specify -from\nhint: for example -from ha://192.168.1.15:2181,192.168.1.16:2181\n"
    );
}

#[test]
fn a_directory_that_exists_is_not_used_for_a_demo_or_sandbox() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    for command in ["demo", "sandbox"] {
        let output = run(&[command, "-keep", path]);
        assert_eq!(output.status.code(), Some(78), "{command}");
        assert_eq!(
            stderr(&output),
            format!("error: {path}: the directory exists\nhint: choose a directory that does not exist with -keep\n")
        );
    }
}
