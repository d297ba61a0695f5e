//! `repo init`, `snapshots` and `forget`: the repository of generations.

use std::{fmt::Write as _, process::ExitCode};

use clap::ValueEnum;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::{
    args::{
        definitions::{REPOSITORY, switch},
        repository::{RepositoryArgs, keep},
        request::Output,
    },
    output::{
        calendar::utc,
        report::{self, counted},
        signals,
        streams::printable,
        terminal::Verbosity,
    },
};
use neo4j_backup_core::{
    Error, ErrorKind,
    repository::{ForgetOutcome, Generation},
};

/// Digits of an id that are shown; restic shows as many.
const SHORT_ID: usize = 8;

/// What is done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Create it
    Init,
}

/// A repository that is to be created.
#[derive(Debug, clap::Args)]
pub(crate) struct RepoArgs {
    /// What to do: init creates the repository
    #[arg(value_name = "ACTION")]
    action: Action,

    #[command(flatten)]
    repository: RepositoryArgs,
}

/// Whose generations are listed.
#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotsArgs {
    /// Only those of the database with this store id [default: all]
    #[arg(long, value_name = "ID", hide_env = true, env = "NEO4J_BACKUP_STORE_ID")]
    store_id: Option<String>,

    #[command(flatten)]
    repository: RepositoryArgs,
}

/// Which generations are removed.
#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    /// Keep so many: last=2,daily=7,weekly=4,monthly=12
    ///
    /// Counts per database. These stay as well: the newest generation whose check was good, the last one that a drill
    /// restored, and those that a point in time after the oldest kept generation needs.
    #[arg(long, value_name = "POLICY", hide_env = true, env = "NEO4J_BACKUP_KEEP", help_heading = REPOSITORY)]
    keep: Option<String>,

    /// Show what would be removed and why the rest stays; change nothing
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_DRY_RUN", value_parser = switch, help_heading = REPOSITORY)]
    dry_run: bool,

    #[command(flatten)]
    repository: RepositoryArgs,
}

#[derive(Debug, Serialize)]
struct Created {
    repository: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    generations: Vec<Generation>,
}

/// Creates a repository.
pub(crate) fn init(wanted: &RepoArgs, output: Output) -> ExitCode {
    let Action::Init = wanted.action;
    let result = wanted.repository.required().and_then(|repository| {
        repository.create()?;
        Ok(Created {
            repository: repository.location().to_string(),
        })
    });
    let text = |created: &Created| {
        format!(
            "Created {}\nWithout its password nobody can restore from it: keep a copy of the password elsewhere\n",
            printable(&created.repository)
        )
    };
    report::command("repo", &result, output, text, |_| 0)
}

/// Lists generations.
pub(crate) fn snapshots(wanted: &SnapshotsArgs, output: Output) -> ExitCode {
    let result = wanted.repository.required().and_then(|repository| {
        let mut generations = signals::cancelling(ErrorKind::Failed, |cancel| repository.generations(cancel))?;
        if let Some(id) = wanted.store_id.as_deref().filter(|id| !id.is_empty()) {
            generations.retain(|found| found.store_id.starts_with(id));
        }
        Ok(Listed { generations })
    });
    report::command("snapshots", &result, output, |found| table(&found.generations), |_| 0)
}

/// Removes generations.
pub(crate) fn forget(wanted: &ForgetArgs, output: Output, loudness: Verbosity) -> ExitCode {
    let result = keep(wanted.keep.as_deref()).and_then(|policy| {
        let policy = policy.ok_or_else(|| {
            Error::new(ErrorKind::Usage, "-keep is required").with_hint("for example -keep last=2,daily=7,weekly=4")
        })?;
        let repository = wanted.repository.required()?;
        signals::cancelling(ErrorKind::Failed, |cancel| {
            repository.forget(policy, wanted.dry_run, cancel)
        })
    });
    let text = |outcome: &ForgetOutcome| match loudness {
        Verbosity::Normal => forgotten(outcome),
        Verbosity::Quiet => String::new(),
    };
    report::command("forget", &result, output, text, |_| 0)
}

fn table(generations: &[Generation]) -> String {
    let mut text = String::new();
    let mut store = None;
    for found in generations {
        if store != Some(&found.store_id) {
            let _ = writeln!(text, "Database {}", printable(&found.store_id));
            store = Some(&found.store_id);
        }
        let committed = found.committed.map(|time| format!(", committed {}", utc(time)));
        let verified = found.verified.map(|time| format!(", restored {}", utc(time)));
        let line = format!(
            "{}  {}  {:<11}  transaction {}{}, {} added, check {}{}",
            short(&found.id),
            utc(found.time),
            found.mode,
            found.last,
            committed.unwrap_or_default(),
            HumanBytes(found.added_bytes),
            found.verdict.name(),
            verified.unwrap_or_default(),
        );
        let _ = writeln!(text, "  {}", printable(&line));
    }
    let _ = writeln!(text, "{}", counted(generations.len() as u64, "generation"));
    text
}

fn forgotten(outcome: &ForgetOutcome) -> String {
    let mut text = String::new();
    for one in &outcome.generations {
        let reasons: Vec<String> = one.keep.iter().map(ToString::to_string).collect();
        let what = match reasons.as_slice() {
            [] if outcome.dry_run => "would be removed".to_owned(),
            [] => "removed".to_owned(),
            reasons => format!("kept: {}", reasons.join(", ")),
        };
        let found = &one.generation;
        let line = format!(
            "{}  {}  transaction {} of {}: {what}",
            short(&found.id),
            utc(found.time),
            found.last,
            found.store_id
        );
        let _ = writeln!(text, "  {}", printable(&line));
    }
    let removed = outcome.generations.iter().filter(|one| one.keep.is_empty()).count() as u64;
    let freed = HumanBytes(outcome.freed_bytes);
    let what = if outcome.dry_run { "would be removed" } else { "removed" };
    let _ = writeln!(text, "{} {what}, {freed} freed", counted(removed, "generation"));
    text
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}
