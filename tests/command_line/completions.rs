//! The completion scripts, in the shells they are for.

use std::{fs, process::Command};

use tempfile::TempDir;

use super::program::{COMMANDS, options_of, run, stdout_of, tool};

/// What bash offers for the last of these words.
fn bash(words: &[&str]) -> Option<Vec<String>> {
    let bash = tool("bash")?;
    let script = r#"
        set -u
        source /dev/stdin
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        complete -p neo4j-backup | grep -q -- '-F _neo4j_backup neo4j-backup' || exit 3
        _neo4j_backup
        (( ${#COMPREPLY[@]} )) && printf '%s\n' "${COMPREPLY[@]}"
        exit 0
    "#;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("script");
    fs::write(&file, stdout_of(&["completions", "bash"])).unwrap();
    let output = Command::new(bash)
        .args(["--norc", "-c", script, "bash", "neo4j-backup"])
        .args(words)
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), ""),
        "{words:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

#[test]
fn bash_completes_options_values_and_commands() {
    let table: [(&[&str], &[&str]); 15] = [
        (&["-fu"], &["-full"]),
        (&["--fu"], &["--full"]),
        (&["-full", "-fal"], &["-fallback-full"]),
        (&["-f"], &["-full", "-from", "-fallback-full"]),
        (&["mem"], &["members"]),
        (&["members", "-ha-p"], &["-ha-prefer"]),
        (&["members", "-ha-prefer", "s"], &["slave"]),
        (&["members", "--ha-prefer", ""], &["master", "slave", "any"]),
        (&["-output", "j"], &["json"]),
        (&["-output", "=", "j"], &["json"]),
        (&["-verify", "="], &["true", "false", "full"]),
        (&["verify", "-ad"], &["-adopt"]),
        (&["completions", ""], &["bash", "zsh", "fish"]),
        (&["-to", "members", "-ful"], &["-full"]),
        (&["help", "exi"], &["exit-status"]),
    ];
    for (words, expected) in table {
        let Some(mut found) = bash(words) else { return };
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{words:?}");
    }
}

#[test]
fn bash_completes_every_option_of_every_command() {
    for command in COMMANDS {
        let Some(found) = bash(&[command, "-"]) else { return };
        for option in options_of(Some(command)) {
            assert!(found.contains(&option), "{command} {option}: {found:?}");
        }
    }
}

#[test]
fn bash_completes_directories() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("a backup")).unwrap();
    fs::write(dir.path().join("a file"), "").unwrap();
    let start = dir.path().join("a").to_str().unwrap().to_owned();
    let expected = dir.path().join("a backup").to_str().unwrap().to_owned();
    for words in [["-to", &start], ["verify", &start]] {
        let Some(found) = bash(&words) else { return };
        assert_eq!(found, [expected.as_str()], "{words:?}");
    }
}

#[test]
fn fish_completes_options_values_and_commands() {
    let Some(fish) = tool("fish") else { return };
    let dir = TempDir::new().unwrap();
    let script = dir.path().join("neo4j-backup.fish");
    fs::write(&script, stdout_of(&["completions", "fish"])).unwrap();
    let table = [
        ("neo4j-backup -fallb", "-fallback-full"),
        ("neo4j-backup mem", "members"),
        ("neo4j-backup members -ha-pre", "-ha-prefer"),
        ("neo4j-backup members -ha-prefer sl", "slave"),
        ("neo4j-backup -output js", "json"),
        ("neo4j-backup completions zs", "zsh"),
    ];
    for (line, expected) in table {
        let output = Command::new(&fish)
            .args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"])
            .arg(&script)
            .arg(line)
            .env("HOME", dir.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
        let text = String::from_utf8(output.stdout).unwrap();
        let found: Vec<&str> = text.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert_eq!(found, [expected], "{line}");
    }
}

#[test]
fn zsh_completes_options_values_and_commands() {
    let Some(zsh) = tool("zsh") else { return };
    let dir = TempDir::new().unwrap();
    let script = dir.path().join("_neo4j-backup");
    fs::write(&script, stdout_of(&["completions", "zsh"])).unwrap();
    // An interactive shell on a terminal of its own; what Tab made of the line is echoed by the shell.
    let driver = r#"
        zmodload zsh/zpty
        zpty shell 'zsh -f -i'
        zpty -w shell 'PS1=; autoload -U compinit; compinit -D -u; source $script; neo4j-backup() { print -r -- "<$*>" }; print ready''1'
        zpty -r shell line '*ready1*'
        zpty -w shell "$1"$'\t'
        zpty -r shell line '*<*>*'
        print -r -- "$line"
        zpty -d shell
    "#;
    let table = [
        ("neo4j-backup -fallb", "<-fallback-full>"),
        ("neo4j-backup mem", "<members>"),
        ("neo4j-backup members -ha-pre", "<members -ha-prefer>"),
        ("neo4j-backup members -ha-prefer sl", "<members -ha-prefer slave>"),
        ("neo4j-backup -output js", "<-output json>"),
        ("neo4j-backup completions zs", "<completions zsh>"),
    ];
    for (line, expected) in table {
        let output = Command::new("timeout")
            .arg("30")
            .arg(&zsh)
            .args(["-f", "-c", driver, "zsh", line])
            .env("script", &script)
            .env("HOME", dir.path())
            .env("TERM", "dumb")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains(expected),
            "{line}: {text:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!text.contains("error"), "{line}: {text:?}");
    }
}

#[test]
fn other_shells_are_refused() {
    for shell in ["powershell", "elvish", "dos"] {
        assert_eq!(run(&["completions", shell]).status.code(), Some(64), "{shell}");
    }
}
