//! Files that are understood, and mistakes with their places.

use std::{ffi::OsString, path::Path, time::Duration};

use super::reader::parse;
use crate::{
    args::{definitions::Args, request::BackupRequest},
    jobs::{Job, keys::Keys},
};

fn jobs(text: &str) -> Vec<Job> {
    parse(Path::new("jobs.toml"), text).unwrap()
}

#[track_caller]
fn refused(text: &str) -> String {
    parse(Path::new("jobs.toml"), text).unwrap_err().to_string()
}

#[test]
fn a_job_is_the_backup_that_the_same_options_describe() {
    let found = jobs(
        r#"
        [defaults]
        timeout = "2h"
        verify = "full"
        ha-max-lag = 7

        [job.users]
        from = "single://db2"
        to = "/b/users"
        full = true
        overwrite = true
        verify = false

        [job.orders]
        from = "ha://zk1:2181,zk2:2181"
        to = "/b/orders"
        prune-logs = "7d"
        fallback-full = false
        "#,
    );
    let names: Vec<&str> = found.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["users", "orders"]);
    let typed = |words: &[&str]| {
        let words: Vec<OsString> = [&["neo4j-backup"], words]
            .concat()
            .into_iter()
            .map(OsString::from)
            .collect();
        let (args, modes) = Args::read_without_environment(&words).unwrap();
        BackupRequest::from_args(&args, modes).unwrap()
    };
    let users = typed(&[
        "--full",
        "--overwrite",
        "--verify=false",
        "--ha-max-lag=7",
        "--timeout=2h",
        "--from=single://db2",
        "--to=/b/users",
    ]);
    assert_eq!(found[0].described(), &users);
    let orders = typed(&[
        "--auto",
        "--verify=full",
        "--ha-max-lag=7",
        "--timeout=2h",
        "--prune-logs=7d",
        "--from=ha://zk1:2181,zk2:2181",
        "--to=/b/orders",
    ]);
    assert_eq!(found[1].described(), &orders);
}

#[test]
fn every_option_of_a_backup_is_a_key() {
    let mut definitions = Args::definitions();
    definitions.build();
    let keys = Keys::of(&definitions);
    for name in [
        "from",
        "to",
        "full",
        "repo",
        "repo-password-file",
        "keep",
        "ha-prefer",
        "min-rate",
        "hook-timeout",
    ] {
        assert!(keys.takes(name).is_some(), "{name}");
    }
    for name in ["quiet", "verbose", "output", "help", "version", "dry-run"] {
        assert!(keys.takes(name).is_none() && keys.is_typed_only(name), "{name}");
    }
}

#[test]
fn hooks_are_programs_with_arguments() {
    let found = jobs(
        r#"
        [defaults]
        on-failure = ["/bin/alert", "-p 1"]
        hook-timeout = "5m"
        [job.a]
        from = "h"
        to = "/b/a"
        before = ["mount", "/mnt"]
        [job.b]
        from = "h"
        to = "/b/b"
        hook-timeout = 9
        on-failure = ["/bin/other"]
        "#,
    );
    let program = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(found[0].hooks.before, program(&["mount", "/mnt"]));
    assert_eq!(found[0].hooks.on_failure, program(&["/bin/alert", "-p 1"]));
    assert_eq!(found[0].hooks.on_success, None);
    assert_eq!(found[0].hooks.limit, Duration::from_mins(5));
    assert_eq!(found[1].hooks.on_failure, program(&["/bin/other"]));
    assert_eq!(found[1].hooks.limit, Duration::from_secs(9));
}

#[test]
fn mistakes_are_named_with_their_place() {
    const GOOD: &str = "[job.a]\nfrom = \"h\"\nto = \"/b\"\n";
    for (text, expected) in [
        ("form = 1\n", "4:1: unknown key \"form\" in [job.a]"),
        (
            "overwrite = \"yes\"\n",
            "4:13: true or false is expected for overwrite, not a string",
        ),
        (
            "timeout = 1.5\n",
            "4:11: a string is expected for timeout, not a number with a fraction",
        ),
        ("mode = 0o750\n", "4:8: a string is expected for mode, not an integer"),
        (
            "timeout = \"soon\"\n",
            "4:11: invalid value \"soon\" for timeout: a time is",
        ),
        (
            "verify = \"no\"\n",
            "4:10: invalid value \"no\" for verify: true, false or full is expected",
        ),
        ("keep = \"last=2\"\n", "4:8: keep needs a repository"),
        ("repo = \"/r\"\n", "4:8: the repository has no password"),
        (
            "repo = \"/r\"\nrepo-password = \"x\"\n",
            "5:1: unknown key \"repo-password\"",
        ),
        ("full = true\nincremental = true\n", "1:6: job a has several modes"),
        (
            "before = \"echo\"\n",
            "4:10: an array of strings, a program and its arguments, is expected for before, not a string",
        ),
        ("before = []\n", "4:10: an array of strings"),
        ("before = [\"a\", 1]\n", "4:10: an array of strings"),
        (
            "hook-timeout = \"0\"\n",
            "4:16: invalid value \"0\" for hook-timeout: it must be more than zero",
        ),
        ("quiet = true\n", "4:1: unknown key \"quiet\" in [job.a]"),
        ("[job.b]\nto = \"/b\"\n", "4:6: job b has no source"),
        ("[job.b]\nfrom = \"h\"\n", "4:6: job b has no target"),
        ("[job.b]\nfrom = \"ha://\"\nto = \"/c\"\n", "5:8: "),
        (
            "[job.b]\nfrom = \"h\"\nto = \"/b\"\n",
            "6:6: /b is the target of job a as well",
        ),
        ("[job.\"a/b\"]\n", "4:6: \"a/b\" cannot be the name of a job"),
        ("[job.-a]\n", "4:6: \"-a\" cannot be the name of a job"),
        ("[job.a.b]\n", "4:8: unknown key \"b\" in [job.a]"),
        ("[jobs]\n", "4:2: unknown table or key \"jobs\""),
        ("[defaults]\nforum = 1\n", "5:1: unknown key \"forum\" in [defaults]"),
        ("to = \"/b\"\n", "4:1: duplicate key"),
        ("x = \n", "4:5: "),
    ] {
        let text = format!("{GOOD}{text}");
        let error = refused(&text);
        assert!(error.starts_with(&format!("jobs.toml:{expected}")), "{text}\n{error}");
    }
    assert_eq!(refused(""), "jobs.toml:1:1: no job is defined");
    assert!(refused("job = 3").starts_with("jobs.toml:1:7: a table [job.NAME] is expected, not an integer"));
}

#[test]
fn the_nearest_key_is_suggested_and_passwords_stay_in_files() {
    let hint = |key: &str| {
        let text = format!("[job.a]\n{key} = \"x\"\n");
        format!("{:?}", parse(Path::new("jobs.toml"), &text).unwrap_err())
    };
    assert!(hint("form").contains("a key of a similar name exists: from"));
    assert!(hint("repo-password").contains("set repo-password-file"));
    assert!(hint("dry-run").contains("-dry-run belongs to the command line"));
}
