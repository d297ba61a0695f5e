//! `run` and `jobs` against a sandbox: jobs of a file, their hooks and reports.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    program::{program, stderr},
    sandbox::Sandbox,
};

const SAMPLE: &str = include_str!("../../packaging/jobs.toml");

/// A folder with a jobs file.
struct Jobs(TempDir);

impl Jobs {
    fn new(text: &str) -> Jobs {
        let jobs = Jobs(TempDir::new().unwrap());
        jobs.write(text);
        jobs
    }

    /// `DIR` in the text is the folder.
    fn write(&self, text: &str) {
        let text = text.replace("DIR", self.0.path().to_str().unwrap());
        fs::write(self.file(), text).unwrap();
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.dir("jobs.toml")
    }

    fn run(&self, words: &[&str]) -> Output {
        program()
            .env("NEO4J_BACKUP_JOBS", self.file())
            .args(words)
            .output()
            .unwrap()
    }

    /// The document of a run that ends with `code`, and what it says on standard error.
    #[track_caller]
    fn ends(&self, words: &[&str], code: i32) -> (Value, String) {
        let output = self.run(&[words, &["-output", "json"]].concat());
        let (text, stderr) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}{stderr}");
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{stderr}"));
        assert_eq!(document["exit_code"], code);
        (document, stderr)
    }
}

/// Names and exit codes of the jobs of a document.
fn codes(document: &Value) -> Vec<(&str, u64)> {
    let jobs = document["result"]["jobs"].as_array().unwrap().iter();
    jobs.map(|job| (job["job"].as_str().unwrap(), job["exit_code"].as_u64().unwrap()))
        .collect()
}

/// A script for /bin/sh; one that is executed itself could still be open in a process that another test is starting.
fn script(path: &Path, text: &str) {
    fs::write(path, text.to_owned() + "\n").unwrap();
}

/// Two databases with a repository each can share, a job that fails, and hooks.
fn file(sandbox: &Sandbox) -> String {
    format!(
        r#"
        [defaults]
        repo = "DIR/repository"
        repo-password-file = "DIR/password"
        keep = "last=2"
        metrics = "DIR/metrics"
        on-success = ["/bin/sh", "DIR/hook", "good"]
        on-failure = ["/bin/sh", "DIR/hook", "bad"]

        [job.cluster]
        from = "{}"
        to = "DIR/cluster"
        before = ["/bin/sh", "DIR/hook", "first"]

        [job.gone]
        from = "single://127.0.0.1:1"
        to = "DIR/gone"

        [job.server]
        from = "{}"
        to = "DIR/server"
        "#,
        sandbox.uri(),
        sandbox.server()
    )
}

#[test]
fn every_job_is_run_whatever_the_others_do() {
    let sandbox = Sandbox::start();
    let jobs = Jobs::new(&file(&sandbox));
    fs::write(jobs.dir("password"), "secret").unwrap();
    fs::create_dir(jobs.dir("metrics")).unwrap();
    // notes what it is told by the name of the event
    script(&jobs.dir("hook"), r#"cat > "$0.$1.$$"; echo printed by a hook"#);
    let repository = jobs.dir("repository");
    let password = jobs.dir("password");
    let named = [
        "-repo",
        repository.to_str().unwrap(),
        "-repo-password-file",
        password.to_str().unwrap(),
    ];
    assert!(jobs.run(&[&["repo", "init"], &named[..]].concat()).status.success());

    let (document, stderr) = jobs.ends(&["run", "-all"], 10);
    assert_eq!(codes(&document), [("cluster", 0), ("gone", 10), ("server", 0)]);
    assert_eq!(document["command"], "run");
    assert!(stderr.contains("error: gone: cannot connect"), "{stderr}");
    assert!(stderr.contains("printed by a hook"), "{stderr}");
    let cluster = &document["result"]["jobs"][0];
    assert_eq!(cluster["report"]["result"]["archive"]["result"], "new");
    assert_eq!(cluster["report"]["mode"], "auto");
    let hooks: Vec<_> = cluster["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hook| hook["hook"].as_str().unwrap())
        .collect();
    assert_eq!(hooks, ["before", "on-success"]);
    assert!(jobs.dir("cluster/neostore").exists() && jobs.dir("server/neostore").exists());
    assert!(!jobs.dir("gone").exists());

    let told = |event: &str| -> Vec<Value> {
        let files = fs::read_dir(jobs.0.path()).unwrap().map(|entry| entry.unwrap().path());
        let of_event = files.filter(|path| path.to_str().unwrap().contains(&format!("hook.{event}.")));
        of_event
            .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
            .collect()
    };
    let first = told("first");
    assert_eq!(first.len(), 1);
    assert_eq!(
        (&first[0]["event"], &first[0]["job"]),
        (&"before".into(), &"cluster".into())
    );
    assert!(first[0]["report"].is_null());
    assert_eq!(told("good").len(), 2);
    let bad = told("bad");
    assert_eq!(bad.len(), 1);
    assert_eq!((&bad[0]["job"], &bad[0]["exit_code"]), (&"gone".into(), &10.into()));
    assert_eq!(bad[0]["report"]["error"]["kind"], "unreachable");

    for (job, code) in [("cluster", 0), ("gone", 10), ("server", 0)] {
        let metrics = fs::read_to_string(jobs.dir("metrics").join(format!("neo4j-backup-{job}.prom"))).unwrap();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("neo4j_backup_last_attempt_exit_code{"))
            .unwrap();
        assert!(
            line.contains(&format!("job=\"{job}\"")) && line.contains(&format!("}} {code}")),
            "{line}"
        );
    }

    // the targets are known by the names of the jobs
    let known = |words: &[&str], code: i32| -> Vec<String> {
        let (status, _) = jobs.ends(&[&["status"], words].concat(), code);
        let targets = status["result"]["targets"].as_array().unwrap().iter();
        targets
            .map(|target| target["job"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(known(&["-job", "server", "-job", "cluster"], 0), ["server", "cluster"]);
    assert_eq!(known(&["-all"], 23), ["cluster", "gone", "server"]);
    jobs.ends(&["status", "-job", "none"], 64);

    // some of them, in this order, and side by side
    let (document, _) = jobs.ends(&["run", "server", "cluster", "-parallel", "2"], 0);
    assert_eq!(codes(&document), [("server", 0), ("cluster", 0)]);
    assert_eq!(document["result"]["jobs"][0]["report"]["result"]["mode"], "incremental");
}

#[test]
fn a_dry_run_and_a_check_write_nothing_and_start_no_hook() {
    let sandbox = Sandbox::start();
    let jobs = Jobs::new(&format!(
        "[job.a]\nfrom = \"{}\"\nto = \"DIR/a\"\nbefore = [\"/bin/sh\", \"DIR/hook\"]\non-success = [\"DIR/none\"]\n",
        sandbox.uri()
    ));
    script(&jobs.dir("hook"), "touch \"$0.ran\"");
    let names = || -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(jobs.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    for (words, command) in [(&["run", "-all", "-dry-run"][..], "run"), (&["jobs", "check"], "jobs")] {
        let (document, stderr) = jobs.ends(words, 0);
        assert_eq!(document["command"], command);
        assert_eq!(document["result"]["dry_run"], true);
        assert_eq!(document["result"]["jobs"][0]["report"]["dry_run"], true);
        assert!(
            stderr.contains("warning: a: the hook on-success cannot be started"),
            "{stderr}"
        );
    }
    assert_eq!(names(), before);
    let text = jobs.run(&["run", "a", "-dry-run"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.starts_with("Job a: Dry run of backup from 'ha://"), "{text}");
    assert!(text.ends_with("Nothing was written\n"), "{text}");

    let text = fs::read_to_string(jobs.file()).unwrap();
    jobs.write(&text.replace("[\"/bin/sh\"", "[\"/bin/none\""));
    jobs.ends(&["run", "-all", "-dry-run"], 1);
}

#[test]
fn a_hook_never_hides_the_result_of_the_backup() {
    let sandbox = Sandbox::start();
    let server = sandbox.server();
    let jobs = Jobs::new(&format!(
        r#"
        [defaults]
        hook-timeout = 1
        [job.refused]
        from = "{server}"
        to = "DIR/refused"
        before = ["/bin/false"]
        on-failure = ["/bin/sh", "DIR/hook"]
        [job.fails]
        from = "{server}"
        to = "DIR/fails"
        on-success = ["/bin/false"]
        [job.hangs]
        from = "{server}"
        to = "DIR/hangs"
        on-success = ["/bin/sleep", "300"]
        "#
    ));
    script(&jobs.dir("hook"), "cat > \"$0.told\"");
    let (document, stderr) = jobs.ends(&["run", "-all"], 1);
    assert_eq!(codes(&document), [("refused", 1), ("fails", 0), ("hangs", 0)]);
    assert!(
        stderr.contains("error: refused: the hook before failed: /bin/false ended with exit code 1"),
        "{stderr}"
    );
    assert!(!jobs.dir("refused").exists() && jobs.dir("hook.told").exists());
    assert!(
        stderr.contains("warning: fails: the hook on-success failed: /bin/false ended with exit code 1"),
        "{stderr}"
    );
    let hook = |job: usize| &document["result"]["jobs"][job]["hooks"][0];
    assert_eq!(hook(1)["exit_code"], 1);
    assert_eq!(hook(2)["error"], "was killed after 1 s, the limit of hook-timeout");
    assert!(jobs.dir("hangs/neostore").exists());
}

#[test]
fn a_signal_ends_all_jobs() {
    let jobs = Jobs::new(
        r#"
        [defaults]
        before = ["/bin/sh", "DIR/hook"]
        [job.a]
        from = "single://127.0.0.1:1"
        to = "DIR/a"
        [job.b]
        from = "single://127.0.0.1:1"
        to = "DIR/b"
        [job.c]
        from = "single://127.0.0.1:1"
        to = "DIR/c"
        "#,
    );
    script(&jobs.dir("hook"), "touch \"$0.$$\"; exec sleep 300");
    let running = program()
        .args(["run", "-all", "-parallel", "2", "-output", "json", "-jobs"])
        .arg(jobs.file())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let started = || fs::read_dir(jobs.0.path()).unwrap().count() - 2;
    while started() < 2 {
        assert!(begun.elapsed() < Duration::from_mins(1));
        thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&running), Signal::TERM).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(codes(&document), [("a", 143), ("b", 143), ("c", 143)], "{document:#}");
    assert_eq!(started(), 2, "a job was begun after the signal");
}

#[test]
fn mistakes_in_the_file_are_shown_in_their_place() {
    let jobs = Jobs::new("[job.orders]\nform = \"single://db\"\nto = \"DIR/orders\"\n");
    let refused = jobs.run(&["run", "-all"]);
    assert_eq!(refused.status.code(), Some(64));
    let path = jobs.file();
    assert_eq!(
        stderr(&refused),
        format!(
            "error: {}:2:1: unknown key \"form\" in [job.orders]\n  form = \"single://db\"\n  ^^^^\n\
             hint: a key of a similar name exists: from\n",
            path.display()
        )
    );
    jobs.write("[job.orders]\nfrom = \"single://db\"\nto = \"DIR/orders\"\n");
    let (document, _) = jobs.ends(&["run", "order"], 64);
    assert_eq!(document["error"]["hint"], "a job of a similar name exists: orders");
    for (words, hint) in [
        (&["run"][..], "name jobs, or run all with -all"),
        (&["run", "orders", "-all"], "leave one of them out"),
        (
            &["run", "-all", "-parallel", "0"],
            "neo4j-backup -help lists all options",
        ),
    ] {
        let (document, _) = jobs.ends(words, 64);
        assert_eq!(document["error"]["hint"], hint);
    }
    // an environment variable sets no option of a job
    let output = program()
        .env("NEO4J_BACKUP_TO", "/elsewhere")
        .env("NEO4J_BACKUP_FULL", "true")
        .args(["jobs", "list", "-jobs"])
        .arg(jobs.file())
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        listed,
        format!("orders  auto of single://db to {}\n", jobs.dir("orders").display())
    );

    fs::set_permissions(jobs.file(), fs::Permissions::from_mode(0o646)).unwrap();
    jobs.ends(&["jobs", "list"], 78);
    fs::remove_file(jobs.file()).unwrap();
    jobs.ends(&["jobs", "list"], 78);
}

#[test]
fn a_password_that_cannot_be_read_fails_its_own_job() {
    let sandbox = Sandbox::start();
    let server = sandbox.server();
    let jobs = Jobs::new(&format!(
        r#"
        [job.a]
        from = "{server}"
        to = "DIR/a"
        repo = "DIR/repository"
        repo-password-file = "DIR/none"
        [job.b]
        from = "{server}"
        to = "DIR/b"
        "#
    ));
    let (document, _) = jobs.ends(&["run", "-all"], 78);
    assert_eq!(codes(&document), [("a", 78), ("b", 0)]);
}

#[test]
fn the_sample_file_describes_jobs() {
    let jobs = Jobs::new(SAMPLE);
    // it does nothing until somebody has chosen what it shall do
    jobs.ends(&["jobs", "list"], 64);
    let lines = SAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|one: char| one.is_ascii_lowercase() || one == '[') => rest,
        _ => line,
    });
    jobs.write(&lines.collect::<Vec<_>>().join("\n"));
    let (document, _) = jobs.ends(&["jobs", "list"], 0);
    assert!(
        document["result"]["jobs"].as_array().unwrap().len() >= 2,
        "{document:#}"
    );
}

#[test]
fn the_examples_of_the_operations_guide_are_jobs_files() {
    const GUIDE: &str = include_str!("../../docs/operations.md");
    let examples = GUIDE
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for example in examples {
        let jobs = Jobs::new(example);
        jobs.ends(&["jobs", "list"], 0);
        count += 1;
    }
    assert!(count >= 2, "{count} examples");
}
