//! The manual pages, as `man` shows them.

use std::{fs, process::Command};

use tempfile::TempDir;

use super::program::{COMMANDS, options_of, program, stdout_of, tool};

/// A page as plain text; fails if `man` has a warning about it.
fn rendered(page: &std::path::Path) -> Option<String> {
    let man = tool("man")?;
    let output = Command::new(man)
        .args(["--warnings", "-E", "UTF-8", "-l"])
        .arg(page)
        .env_clear()
        .envs([
            ("MANWIDTH", "100"),
            ("PATH", "/usr/bin:/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("MANROFFOPT", "-c"),
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}", page.display());
    assert!(output.status.success(), "{}", page.display());
    // overstruck characters are bold
    let text = String::from_utf8(output.stdout).unwrap();
    let mut plain = String::new();
    for character in text.chars() {
        match character {
            '\u{8}' => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[test]
fn man_shows_a_complete_page_for_every_command() {
    let dir = TempDir::new().unwrap();
    let pages = dir.path().join("man1");
    // a variable for backups does not decide where pages go
    let output = program()
        .args(["man", "-to", pages.to_str().unwrap()])
        .env("NEO4J_BACKUP_TO", "/nonexistent")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(fs::read_dir(&pages).unwrap().count(), COMMANDS.len() + 1);
    for command in [None].into_iter().chain(COMMANDS.map(Some)) {
        let name = command.map_or("neo4j-backup".to_owned(), |command| format!("neo4j-backup-{command}"));
        let Some(text) = rendered(&pages.join(format!("{name}.1"))) else {
            return;
        };
        let mut sections = vec![
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXIT STATUS",
            "ENVIRONMENT",
            "EXAMPLES",
        ];
        if command.is_none() {
            sections.extend(["COMMANDS", "FILES"]);
        }
        for section in sections {
            let body = text.split(&format!("\n{section}\n")).nth(1);
            let body = body.unwrap_or_else(|| panic!("{name} has no {section}:\n{text}"));
            assert!(
                body.starts_with("       ") || body.starts_with("   "),
                "{name}: {section} is empty"
            );
        }
        assert!(text.contains(&format!("{name} - ")), "{text}");
        for option in options_of(command) {
            let head = format!("{option} ");
            let is_listed = text.lines().any(|line| {
                let line = format!("{} ", line.trim_start());
                line.starts_with(&head)
                    || line.starts_with(&format!("{option}["))
                    || line.contains(&format!(", {head}"))
            });
            assert!(is_listed, "{name}: {option} is missing:\n{text}");
        }
        assert!(text.contains("143"), "{name}: exit codes");
    }
}

#[test]
fn the_main_page_is_printed_without_a_directory() {
    let page = stdout_of(&["man"]);
    assert!(page.starts_with(".TH \"NEO4J\\-BACKUP\" 1 "), "{page}");
    assert!(page.contains("\\fBNEO4J_BACKUP_SILENCE_TIMEOUT\\fR"), "{page}");
    assert!(page.contains("\\fBDIR.partial\\fR"), "{page}");
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let output = super::program::run(&["man", "-to", "/proc/pages"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(super::program::stderr(&output).starts_with("error: /proc/pages: cannot write: "));
}
