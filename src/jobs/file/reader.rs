//! The jobs that the tables of a file describe; every mistake with its place.

use std::{collections::BTreeMap, ffi::OsString, ops::Range, path::Path, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::values::{fits, kind, plain};
use crate::{
    args::{
        definitions::Args,
        environment::nearest,
        quantity,
        repository::{keep, text_variable},
        request::{BackupRequest, RequestError},
    },
    jobs::{
        Job,
        hooks::Hooks,
        keys::{BEFORE, HOOK_TIMEOUT, Keys, ON_FAILURE, ON_SUCCESS, Takes},
        position::FileError,
    },
};
use neo4j_backup_core::{Mode, repository::Location};

/// Longest name of a job, so that it fits into the names of files.
const NAME_MAX: usize = 64;

/// How long a hook may take by default.
const HOOK_LIMIT: Duration = Duration::from_mins(1);

/// Tables of the file.
const DEFAULTS: &str = "defaults";
const JOB: &str = "job";

/// The option whose default is a directory, with a file for each job.
const METRICS: &str = "metrics";

/// A key that is set.
#[derive(Debug, Clone, Copy)]
struct Entry<'t> {
    takes: Takes,
    value: &'t Spanned<DeValue<'t>>,
}

type Entries<'t> = BTreeMap<&'t str, Entry<'t>>;

/// The jobs that `text` describes, in its order; `path` names it in errors.
///
/// # Errors
/// Something in it is wrong.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Job>, FileError> {
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
