//! The jobs file: TOML whose keys are the options of a backup.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use rustix::process::geteuid;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Job,
    hooks::Hooks,
    keys::{BEFORE, HOOK_TIMEOUT, Keys, ON_FAILURE, ON_SUCCESS, Takes},
    position::FileError,
};
use crate::{
    args::{
        definitions::Args,
        environment::nearest,
        quantity,
        repository::{keep, text_variable},
        request::{BackupRequest, RequestError},
    },
    output::report::Failure,
};
use neo4j_backup_core::{Error, ErrorKind, Mode, repository::Location};

/// Where the file is unless it is named.
pub(crate) const DEFAULT_PATH: &str = "/etc/neo4j-backup/jobs.toml";

/// Longest file that is read.
const LENGTH_MAX: u64 = 1 << 20;

/// Longest name of a job, so that it fits into the names of files.
const NAME_MAX: usize = 64;

/// How long a hook may take by default.
const HOOK_LIMIT: Duration = Duration::from_mins(1);

/// Tables of the file.
const DEFAULTS: &str = "defaults";
const JOB: &str = "job";

/// The option whose default is a directory, with a file for each job.
const METRICS: &str = "metrics";

/// Anyone may write.
const OTHERS_WRITE: u32 = 0o002;

/// Reads the jobs of a file, in their order.
///
/// # Errors
/// The file cannot be read, others may change it, or something in it is wrong.
fn read(path: &Path) -> Result<Vec<Job>, Failure> {
    let text = text(path)?;
    Ok(parse(path, &text)?)
}

/// The jobs of a file that are meant, in the order of the names or else of the file.
///
/// # Errors
/// No job has such a name; as [`read`].
pub(crate) fn choose(path: &Path, names: &[String], all: bool) -> Result<Vec<Job>, Failure> {
    let usage = |text: &str, hint: &str| Error::new(ErrorKind::Usage, text.to_owned()).with_hint(hint);
    match (all, names) {
        (true, [_, ..]) => return Err(usage("either names of jobs or -all", "leave one of them out").into()),
        (false, []) => return Err(usage("no job is named", "name jobs, or run all with -all").into()),
        _ => {}
    }
    let mut found = read(path)?;
    if all {
        return Ok(found);
    }
    let known: Vec<String> = found.iter().map(|job| job.name.clone()).collect();
    let mut chosen = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if names.iter().take(place).any(|earlier| earlier == name) {
            continue;
        }
        let Some(index) = found.iter().position(|job| job.name == *name) else {
            let text = format!("{}: no job {name:?}", path.display());
            let hint = format!("a job of a similar name exists: {}", nearest(name, &known));
            return Err(usage(&text, &hint).into());
        };
        chosen.push(found.swap_remove(index));
    }
    Ok(chosen)
}

/// Whoever may write the file says what this user runs.
fn text(path: &Path) -> Result<String, Error> {
    let refused =
        |what: &dyn std::fmt::Display| Error::new(ErrorKind::Configuration, format!("{}: {what}", path.display()));
    let unreadable = |error: io::Error| refused(&error).with_hint("name the jobs file with -jobs or NEO4J_BACKUP_JOBS");
    let file = File::open(path).map_err(unreadable)?;
    let status = file.metadata().map_err(unreadable)?;
    if status.mode() & OTHERS_WRITE != 0 {
        return Err(refused(&"every user can change it, and with it what this user runs").with_hint("chmod o-w"));
    }
    if ![0, geteuid().as_raw()].contains(&status.uid()) {
        let what = format!("belongs to user {}, who could change what this user runs", status.uid());
        return Err(refused(&what).with_hint("give it to root or to this user"));
    }
    let mut text = String::new();
    file.take(LENGTH_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > LENGTH_MAX {
        return Err(refused(&"too large for a jobs file"));
    }
    Ok(text)
}

/// A key that is set.
#[derive(Debug, Clone, Copy)]
struct Entry<'t> {
    takes: Takes,
    value: &'t Spanned<DeValue<'t>>,
}

type Entries<'t> = BTreeMap<&'t str, Entry<'t>>;

fn parse(path: &Path, text: &str) -> Result<Vec<Job>, FileError> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        FileError::new(path, text, span, error.message())
    })?;
    let mut definitions = Args::definitions();
    definitions.build();
    let reader = Reader {
        path,
        text,
        keys: Keys::of(&definitions),
    };
    reader.jobs(table.get_ref())
}

struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    keys: Keys,
}

impl<'t> Reader<'t> {
    fn wrong(&self, span: Range<usize>, message: impl Into<String>) -> FileError {
        FileError::new(self.path, self.text, span, message)
    }

    fn jobs(&self, file: &'t DeTable<'t>) -> Result<Vec<Job>, FileError> {
        let mut defaults = Entries::new();
        let mut tables = Vec::new();
        for (key, value) in file {
            match key.get_ref().as_ref() {
                DEFAULTS => defaults = self.entries(self.table(value, "[defaults]")?, "[defaults]")?,
                JOB => tables.extend(self.table(value, "[job.NAME]")?),
                name => {
                    let known = [DEFAULTS, JOB].map(str::to_owned);
                    return Err(self
                        .wrong(key.span(), format!("unknown table or key {name:?}"))
                        .with_hint(format!(
                            "a file has [defaults] and [job.NAME]; the nearest is {}",
                            nearest(name, &known)
                        )));
                }
            }
        }
        tables.sort_by_key(|(key, _)| key.span().start);
        let mut jobs: Vec<Job> = Vec::new();
        for (key, value) in tables {
            let name = key.get_ref().as_ref();
            self.require_name(name, key.span())?;
            let table = self.table(value, "[job.NAME]")?;
            let label = format!("[job.{name}]");
            let own = self.entries(table, &label)?;
            let shares_metrics = !own.contains_key(METRICS);
            let entries = merged(&defaults, own);
            let mut job = self.job(name, key.span(), &entries)?;
            if let Some(dir) = job.metrics.metrics.as_mut().filter(|_| shares_metrics) {
                // each has a file of its own
                *dir = Path::new(dir).join(format!("neo4j-backup-{name}.prom")).into();
            }
            let target = &job.request.target;
            if let Some(other) = jobs.iter().find(|other| other.request.target == *target) {
                let what = format!("{} is the target of job {} as well", target.display(), other.name);
                return Err(self.wrong(span_of(&entries, "to", key.span()), what));
            }
            jobs.push(job);
        }
        if jobs.is_empty() {
            let end = self.text.len();
            return Err(self
                .wrong(end..end, "no job is defined")
                .with_hint("a job is a table [job.NAME]"));
        }
        Ok(jobs)
    }

    fn table(&self, value: &'t Spanned<DeValue<'t>>, expected: &str) -> Result<&'t DeTable<'t>, FileError> {
        let found = value.get_ref();
        found.as_table().ok_or_else(|| {
            let what = format!("a table {expected} is expected, not {}", kind(found));
            self.wrong(value.span(), what)
        })
    }

    /// A name that can be part of a file's name and the instance of a systemd unit.
    fn require_name(&self, name: &str, span: Range<usize>) -> Result<(), FileError> {
        let is_allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.');
        let starts_well = name.starts_with(|one: char| one.is_ascii_alphanumeric());
        if starts_well && name.chars().all(is_allowed) && name.len() <= NAME_MAX {
            return Ok(());
        }
        let what = format!("{name:?} cannot be the name of a job");
        Err(self.wrong(span, what).with_hint(format!(
            "a name has at most {NAME_MAX} letters, digits, -, _ and ., and begins with a letter or a digit"
        )))
    }

    /// The keys of a table, all of them known and with values of the right types.
    fn entries(&self, table: &'t DeTable<'t>, label: &str) -> Result<Entries<'t>, FileError> {
        let mut entries = Entries::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let Some(takes) = self.keys.takes(name) else {
                return Err(self.unknown(name, key.span(), label));
            };
            if !fits(value.get_ref(), takes) {
                let what = format!("{} is expected for {name}, not {}", takes.name(), kind(value.get_ref()));
                return Err(self.wrong(value.span(), what));
            }
            entries.insert(name, Entry { takes, value });
        }
        Ok(entries)
    }

    fn unknown(&self, name: &str, span: Range<usize>, label: &str) -> FileError {
        let hint = if self.keys.is_typed_only(name) {
            format!("-{name} belongs to the command line")
        } else if name.contains("password") {
            "passwords are read from files only: set repo-password-file".to_owned()
        } else {
            format!("a key of a similar name exists: {}", nearest(name, &self.keys.names()))
        };
        self.wrong(span, format!("unknown key {name:?} in {label}"))
            .with_hint(hint)
    }

    fn job(&self, name: &str, span: Range<usize>, entries: &Entries<'t>) -> Result<Job, FileError> {
        let at = |key: &str| span_of(entries, key, span.clone());
        let (args, modes) = Args::read_without_environment(&words(entries))
            .map_err(|error| self.wrong(span.clone(), error.to_string()))?;
        let request = BackupRequest::from_args(&args, modes).map_err(|error| match error {
            RequestError::NoSource => self
                .wrong(at("from"), format!("job {name} has no source"))
                .with_hint("set from, for example from = \"single://192.168.1.34\""),
            RequestError::NoTarget => self
                .wrong(at("to"), format!("job {name} has no target"))
                .with_hint("set to, the directory of the backup"),
            RequestError::Mode => self
                .wrong(span.clone(), format!("job {name} has several modes"))
                .with_hint("set one of full, incremental and auto"),
            RequestError::Source(error) => self.wrong(at("from"), error.to_string()),
            RequestError::Word { option, text, expected } => {
                self.wrong(at(option), format!("invalid value {text:?} for {option}: {expected}"))
            }
            RequestError::Quantity { option, text, problem } => {
                self.wrong(at(option), format!("invalid value {text:?} for {option}: {problem}"))
            }
        })?;
        keep(args.keep.as_deref()).map_err(|error| self.wrong(at("keep"), error.to_string()))?;
        match &args.of_repository.repo {
            Some(location) => {
                let parsed = Location::parse(&location.to_string_lossy(), text_variable);
                parsed.map_err(|error| self.wrong(at("repo"), error.to_string()))?;
                if args.of_repository.repo_password_file.is_none() {
                    return Err(self
                        .wrong(at("repo"), "the repository has no password")
                        .with_hint("set repo-password-file"));
                }
            }
            None if args.keep.is_some() => {
                return Err(self.wrong(at("keep"), "keep needs a repository").with_hint("set repo"));
            }
            None => {}
        }
        Ok(Job {
            name: name.to_owned(),
            request,
            repository: args.of_repository,
            keep: args.keep,
            metrics: args.metrics,
            hooks: self.hooks(entries)?,
        })
    }

    fn hooks(&self, entries: &Entries<'t>) -> Result<Hooks, FileError> {
        let mut limit = HOOK_LIMIT;
        if let Some(Entry { value, .. }) = entries.get(HOOK_TIMEOUT) {
            let text = plain(value.get_ref());
            limit = quantity::time(&text).map_err(|problem| {
                self.wrong(
                    value.span(),
                    format!("invalid value {text:?} for {HOOK_TIMEOUT}: {problem}"),
                )
            })?;
        }
        let program = |key: &str| -> Option<Vec<String>> {
            let words = entries.get(key)?.value.get_ref().as_array()?.iter();
            Some(
                words
                    .filter_map(|word| word.get_ref().as_str().map(str::to_owned))
                    .collect(),
            )
        };
        Ok(Hooks {
            before: program(BEFORE),
            on_success: program(ON_SUCCESS),
            on_failure: program(ON_FAILURE),
            limit,
        })
    }
}

/// The place of a key, or of the job where it is not set.
fn span_of(entries: &Entries<'_>, key: &str, job: Range<usize>) -> Range<usize> {
    entries.get(key).map_or(job, |entry| entry.value.span())
}

const MODES: [Mode; 3] = [Mode::Full, Mode::Incremental, Mode::Auto];

/// The keys of a job and, where it does not set them, the defaults. A job that sets a mode has no other one.
fn merged<'t>(defaults: &Entries<'t>, own: Entries<'t>) -> Entries<'t> {
    let sets_mode = MODES.iter().any(|mode| own.contains_key(mode.name()));
    let mut entries = defaults.clone();
    if sets_mode {
        entries.retain(|key, _| !MODES.iter().any(|mode| mode.name() == *key));
    }
    entries.extend(own);
    entries
}

/// The command line that means the same; the mode is -auto unless another one is set.
fn words(entries: &Entries<'_>) -> Vec<OsString> {
    let mut words = vec![env!("CARGO_PKG_NAME").to_owned()];
    let is_on = |mode: &Mode| {
        let entry = entries.get(mode.name());
        entry.and_then(|entry| entry.value.get_ref().as_bool()) == Some(true)
    };
    if !MODES.iter().any(is_on) {
        words.push(format!("--{}", Mode::Auto.name()));
    }
    for (key, Entry { takes, value }) in entries {
        match (takes, value.get_ref()) {
            (Takes::Program, _) | (Takes::Switch, DeValue::Boolean(false)) => {}
            (Takes::Switch, _) => words.push(format!("--{key}")),
            _ if *key == HOOK_TIMEOUT => {}
            (Takes::Value | Takes::Word, value) => words.push(format!("--{key}={}", plain(value))),
        }
    }
    words.into_iter().map(OsString::from).collect()
}

fn fits(value: &DeValue<'_>, takes: Takes) -> bool {
    match (takes, value) {
        (Takes::Switch | Takes::Word, DeValue::Boolean(_)) | (Takes::Value | Takes::Word, DeValue::String(_)) => true,
        (Takes::Value | Takes::Word, DeValue::Integer(number)) => number.radix() == 10,
        (Takes::Program, DeValue::Array(words)) => {
            let is_first_set = words
                .iter()
                .next()
                .is_some_and(|first| first.get_ref().as_str() != Some(""));
            is_first_set && words.iter().all(|word| word.get_ref().is_str())
        }
        _ => false,
    }
}

/// A value as it is typed on the command line.
fn plain(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        _ => String::new(),
    }
}

/// What a value is, for messages.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
