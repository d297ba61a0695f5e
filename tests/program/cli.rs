//! The built binary as a shell, a script and a pipe see it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may end the test")]

use std::{
    io,
    os::unix::ffi::OsStrExt,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A request that is understood and then fails by itself.
const FAILING: [&str; 5] = ["-full", "-from", "single://127.0.0.1:1", "-to", "/nonexistent/backup"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn with_environment(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// The one object on standard output.
fn report(output: &Output) -> Value {
    assert_eq!(stdout(output).lines().count(), 1, "{}", stdout(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn help_is_shown_with_single_dashes() {
    for spelling in ["-help", "--help", "-h"] {
        let output = run(&[spelling]);
        assert_eq!(stdout(&output), include_str!("../snapshots/help.txt"), "{spelling}");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    }
}

#[test]
fn the_version_is_shown() {
    for spelling in ["-version", "--version", "-V"] {
        assert_eq!(
            stdout(&run(&[spelling])),
            concat!("neo4j-backup ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}

/// Scripts ask for it all the time. 10 ms is the target of a release build, which `packaging/test` measures; a debug build on
/// a busy machine gets more.
#[test]
fn the_version_is_shown_at_once() {
    const LIMIT: Duration = Duration::from_millis(100);
    let starts = (0..20).map(|_| {
        let start = Instant::now();
        run(&["-version"]);
        start.elapsed()
    });
    let fastest = starts.min().unwrap();
    println!("-version takes {fastest:?}");
    assert!(fastest <= LIMIT, "{fastest:?}");
}

#[test]
fn usage_errors_say_what_is_wrong_and_what_to_do() {
    const LIST: &str = "hint: neo4j-backup -help lists all options\n";
    const URI: &str =
        "hint: write single://host[:port], or ha://host[:port],host[:port] for a cluster's coordinators\n";
    let table: [(&[&str], String); 14] = [
        (
            &[],
            format!("error: specify either -full or -incremental (or -auto)\n{LIST}"),
        ),
        (
            &["-full", "-incremental", "-from", "h", "-to", "d"],
            format!("error: specify either -full or -incremental (or -auto)\n{LIST}"),
        ),
        (
            &["-full", "-to", "d"],
            "error: please specify -from\n\
             hint: for example -from single://192.168.1.34 or -from single://192.168.1.34:1234\n"
                .into(),
        ),
        (
            &["-full", "-from", "h"],
            "error: specify target location with -to <target-directory>\n\
             hint: the directory is the database afterwards; it need not exist before a full backup\n"
                .into(),
        ),
        (
            &["-ful"],
            "error: unexpected argument '-ful' found\nhint: a similar argument exists: '-full'\n".into(),
        ),
        (
            &["-full", "stray", "-from", "h", "-to", "d"],
            format!("error: the subcommand 'stray' cannot be used with '-full'\n{LIST}"),
        ),
        (
            &["-to", "-full"],
            "error: -to needs a value, but the option \"-full\" follows it\n\
             hint: a value that begins with a dash is written after an equals sign, as in -to=-dir\n"
                .into(),
        ),
        (
            &["-full", "-from", "h", "-to"],
            format!("error: a value is required for '-to <DIR>' but none was supplied\n{LIST}"),
        ),
        (
            &["-full", "-from", "h", "-to", "d", "-verify", "no"],
            format!("error: invalid value \"no\" for -verify: true, false or full is expected\n{LIST}"),
        ),
        (
            &["-full", "-from", "h", "-to", "d", "-output", "xml"],
            format!("error: invalid value \"xml\" for -output: text or json is expected\n{LIST}"),
        ),
        (
            &["-full", "-from", "h", "-to", "d", "-max-rate", "fast"],
            format!(
                "error: invalid value \"fast\" for -max-rate: a rate is a whole number of bytes a second, \
                 or one followed by k, m or g: 500k, 20m, 1g\n{LIST}"
            ),
        ),
        (
            &["-full", "-from", "ha://h1:2181,h2:x,h3", "-to", "d"],
            [
                "error: invalid source, member 2 (\"h2:x\"): the port is not a number from 1 to 65535",
                "  -from ha://h1:2181,h2:x,h3",
                "                     ^^^^",
                URI,
            ]
            .join("\n"),
        ),
        (
            &["-full", "-from", "ha://h1,,h3", "-to", "d"],
            [
                "error: invalid source, member 2 (\"\"): the host is missing",
                "  -from ha://h1,,h3",
                "                ^",
                URI,
            ]
            .join("\n"),
        ),
        (
            &["-full", "-from", "single://h\u{1b}[31m\u{e9}", "-to", "d"],
            [
                "error: invalid source \"single://h\\u{1b}[31mé\": the character '\\u{1b}' cannot be part of it",
                "  -from single://h?[31mé",
                "                  ^",
                URI,
            ]
            .join("\n"),
        ),
    ];
    for (arguments, expected) in table {
        let output = run(arguments);
        assert_eq!(stderr(&output), expected, "{arguments:?}");
        assert_eq!((output.status.code(), stdout(&output)), (Some(64), ""), "{arguments:?}");
    }
}

#[test]
fn one_dash_and_two_start_the_same_run() {
    let double = FAILING.map(|word| word.strip_prefix('-').map_or(word.into(), |name| format!("--{name}")));
    let double: Vec<&str> = double.iter().map(String::as_str).collect();
    let (one, two) = (run(&FAILING), run(&double));
    assert_eq!(stdout(&one), "Performing full backup from 'single://127.0.0.1:1'\n");
    assert_eq!(one, two);
}

#[test]
fn a_cluster_without_coordinators_has_its_own_exit_code() {
    let coordinators = ["-from", "ha://127.0.0.1:1", "-zk-timeout", "1"];
    let output = run(&[&FAILING[..], &coordinators].concat());
    assert_eq!(output.status.code(), Some(12));
    assert!(
        stderr(&output)
            .starts_with("error: no coordinator can be used: cannot connect to 127.0.0.1:1: connection refused")
    );
}

#[test]
fn a_failure_is_one_json_object_with_its_exit_code() {
    let mut arguments = FAILING.to_vec();
    arguments.extend(["-output", "json"]);
    let output = run(&arguments);
    let mut report = report(&output);
    assert!(report["seconds"]["total"].is_f64());
    for moment in ["started", "finished"] {
        let text = report[moment].as_str().unwrap();
        assert!(
            text.starts_with("20") && text.ends_with('Z') && text.len() == 24,
            "{text}"
        );
        report[moment] = json!("");
    }
    assert!(report["started"].as_str() <= report["finished"].as_str());
    assert_eq!(report["duration_seconds"], report["seconds"]["total"]);
    report["duration_seconds"] = json!(0);
    report["seconds"] = json!({});
    assert_eq!(
        report,
        json!({
            "schema_version": 2,
            "version": env!("CARGO_PKG_VERSION"),
            "exit_code": 10,
            "mode": "full",
            "source": "single://127.0.0.1:1",
            "target": "/nonexistent/backup",
            "result": null,
            "members": null,
            "started": "",
            "finished": "",
            "duration_seconds": 0,
            "seconds": {},
            "warnings": [],
            "error": {
                "kind": "unreachable",
                "message": "cannot connect to 127.0.0.1:1: connection refused",
                "causes": [],
                "hint": "check host, port (default 6362) and that online backup is enabled there",
            },
        })
    );
    assert_eq!(output.status.code(), Some(10));
    assert!(
        stderr(&output).starts_with("error: "),
        "a log of standard error shows it too"
    );
}

#[test]
fn usage_errors_are_json_where_it_is_asked_for() {
    let cases: [&[&str]; 5] = [
        &["-output", "json"],
        &["--output=json", "-full", "-from", "http://h", "-to", "d"],
        &["-wrong", "-output", "json"],
        &["-output=json", "-to", "-full"],
        &["-output=json", "-full", "-from", "h", "-to", "d", "-timeout", "0"],
    ];
    for arguments in cases {
        let output = run(arguments);
        let report = report(&output);
        assert_eq!(report["exit_code"], 64, "{arguments:?}");
        assert_eq!(report["schema_version"], 2);
        assert_eq!(report["error"]["kind"], "usage");
        assert_eq!(output.status.code(), Some(64));
    }
    let output = with_environment(&["-wrong"], &[("NEO4J_BACKUP_OUTPUT", "json")]);
    assert_eq!(report(&output)["error"]["kind"], "usage");
}

#[test]
fn the_environment_can_say_everything() {
    let output = with_environment(
        &[],
        &[
            ("NEO4J_BACKUP_INCREMENTAL", "true"),
            ("NEO4J_BACKUP_FULL", "false"),
            ("NEO4J_BACKUP_FROM", "single://127.0.0.1:1"),
            ("NEO4J_BACKUP_TO", "/nonexistent/d"),
            ("NEO4J_BACKUP_VERIFY", "false"),
            ("NEO4J_BACKUP_OVERWRITE", "1"),
            ("NEO4J_BACKUP_FALLBACK_FULL", "yes"),
            ("NEO4J_BACKUP_REQUIRE_HISTORY", "on"),
            ("NEO4J_BACKUP_PRUNE_LOGS", "7d"),
            ("NEO4J_BACKUP_TIMEOUT", "5m"),
            ("NEO4J_BACKUP_SILENCE_TIMEOUT", "30s"),
            ("NEO4J_BACKUP_MAX_RATE", "1g"),
            ("NEO4J_BACKUP_MIN_RATE", "0"),
            ("NEO4J_BACKUP_ZK_TIMEOUT", "1m"),
            ("NEO4J_BACKUP_OUTPUT", "json"),
            ("NEO4J_BACKUP_VERBOSE", "true"),
        ],
    );
    let report = report(&output);
    assert_eq!(report["mode"], "incremental");
    assert_eq!(report["target"], "/nonexistent/d");
    assert!(
        stderr(&output).contains("INFO"),
        "logs go to standard error: {}",
        stderr(&output)
    );
}

#[test]
fn what_is_typed_wins_over_the_environment() {
    let output = with_environment(
        &FAILING,
        &[
            ("NEO4J_BACKUP_INCREMENTAL", "true"),
            ("NEO4J_BACKUP_FROM", "single://elsewhere"),
        ],
    );
    assert_eq!(stdout(&output), "Performing full backup from 'single://127.0.0.1:1'\n");
}

#[test]
fn empty_variables_count_as_unset() {
    let names = [
        "FULL",
        "INCREMENTAL",
        "AUTO",
        "FROM",
        "TO",
        "VERIFY",
        "OVERWRITE",
        "FALLBACK_FULL",
        "REQUIRE_HISTORY",
        "PRUNE_LOGS",
        "TIMEOUT",
        "SILENCE_TIMEOUT",
        "MAX_RATE",
        "MIN_RATE",
        "ZK_TIMEOUT",
        "OUTPUT",
        "UNKNOWN",
        "QUIET",
        "VERBOSE",
    ]
    .map(|name| format!("NEO4J_BACKUP_{name}"));
    let variables = names.each_ref().map(|name| (name.as_str(), ""));
    assert_eq!(with_environment(&FAILING, &variables), run(&FAILING));
}

#[test]
fn a_wrong_variable_is_a_usage_error_that_names_it() {
    for (name, value, expected) in [
        (
            "QUIET",
            "perhaps",
            "invalid value 'perhaps' for '-quiet': true or false is expected (set by NEO4J_BACKUP_QUIET)\n",
        ),
        (
            "MAX_RATE",
            "fast",
            "invalid value \"fast\" for -max-rate (NEO4J_BACKUP_MAX_RATE): a rate is",
        ),
        (
            "OUTPUT",
            "xml",
            "invalid value \"xml\" for -output (NEO4J_BACKUP_OUTPUT): text or json",
        ),
    ] {
        let output = with_environment(&FAILING, &[(&format!("NEO4J_BACKUP_{name}"), value)]);
        assert_eq!(output.status.code(), Some(64));
        assert!(
            stderr(&output).starts_with(&format!("error: {expected}")),
            "{}",
            stderr(&output)
        );
    }
    let output = with_environment(&["-full", "-to", "d"], &[("NEO4J_BACKUP_FROM", "ha://h1,,h3")]);
    let marked = "\n  NEO4J_BACKUP_FROM=ha://h1,,h3\n                            ^\n";
    assert!(stderr(&output).contains(marked), "{}", stderr(&output));
}

#[test]
fn a_misspelt_variable_is_a_usage_error_that_suggests_the_right_one() {
    let output = with_environment(&FAILING, &[("NEO4J_BACKUP_TIMOUT", "5m")]);
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (
            Some(64),
            "error: unknown environment variable NEO4J_BACKUP_TIMOUT\n\
             hint: a variable of a similar name exists: NEO4J_BACKUP_TIMEOUT\n"
        )
    );
    let of_kubernetes = [
        ("NEO4J_BACKUP_SERVICE_HOST", "10.0.0.1"),
        ("NEO4J_BACKUP_PORT_6362_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(with_environment(&FAILING, &of_kubernetes), run(&FAILING));
    assert_eq!(
        with_environment(&["-help"], &[("NEO4J_BACKUP_TIMOUT", "5m")])
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn a_pipe_gets_neither_progress_nor_colours() {
    let mut arguments = FAILING.to_vec();
    arguments.push("-vvv");
    let output = run(&arguments);
    for text in [stdout(&output), stderr(&output)] {
        assert!(!text.contains(['\u{1b}', '\r']), "{text:?}");
    }
}

#[test]
fn quiet_leaves_nothing_but_the_error() {
    let mut arguments = FAILING.to_vec();
    arguments.push("-quiet");
    let output = run(&arguments);
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).starts_with("error: "));
    assert_eq!(output.status.code(), Some(10));
}

#[test]
fn a_reader_that_went_away_changes_nothing_about_the_run() {
    for arguments in [&FAILING[..], &["-help"]] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), run(arguments).status.code());
        assert_eq!(stderr(&output), stderr(&run(arguments)));
    }
}

#[test]
fn standard_error_may_be_gone_as_well() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut arguments = FAILING.to_vec();
    arguments.push("-vvv");
    let output = command(&arguments).stderr(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(10));
}

#[test]
fn a_full_disk_behind_standard_output_is_told_on_standard_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&FAILING).stdout(full).output().unwrap();
    assert!(
        stderr(&output).starts_with("warning: cannot write to standard output: "),
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(10));
}

#[test]
fn a_target_need_not_be_utf8() {
    let target = std::ffi::OsStr::from_bytes(b"/nonexistent/\xff");
    let output = command(&["-full", "-from", "single://127.0.0.1:1", "-output=json", "-to"])
        .arg(target)
        .output()
        .unwrap();
    assert_eq!(report(&output)["target"], "/nonexistent/\u{fffd}");
}

#[test]
fn a_command_takes_the_options_that_all_share_on_its_own_side() {
    let output = run(&["completions", "bash", "-output", "json"]);
    let object = report(&output);
    assert_eq!(
        (&object["command"], &object["exit_code"]),
        (&json!("completions"), &json!(0))
    );
    assert!(object["result"].as_str().unwrap().contains("silence-timeout"));
}

#[test]
fn a_command_does_not_mix_with_a_backup() {
    let output = run(&["-full", "man"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
}

#[test]
fn every_command_has_help_of_its_own() {
    for arguments in [["man", "-help"], ["completions", "--help"], ["completions", "-h"]] {
        let output = run(&arguments);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{arguments:?}");
        let usage = format!("Usage: neo4j-backup {}", arguments[0]);
        assert!(stdout(&output).contains(&usage), "{}", stdout(&output));
        assert!(stdout(&output).contains("-output <FORMAT>") && !stdout(&output).contains("--output"));
    }
}
