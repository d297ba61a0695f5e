//! `export`: the graph of a backup as files for other systems.

use std::{ffi::OsString, fmt::Write as _, path::PathBuf, process::ExitCode};

use indicatif::HumanBytes;
use tracing::level_filters::LevelFilter;

use crate::{
    args::{
        definitions::switch,
        repository::RepositoryArgs,
        request::{Output, RequestError, given},
    },
    output::{
        report, signals,
        streams::printable,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{
    Error, ErrorKind, Export,
    export::{DamagedRecords, ExportOutcome, ExportVerdict, Format, Labels, Losses},
    repository::Repository,
};

/// Losses of each kind, and damaged records, that are shown; the JSON object has more.
const SHOWN: usize = 10;

/// What is exported, and to what.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Directory of the backup or database; or use -repo
    #[arg(value_name = "DIR", value_parser = clap::value_parser!(OsString))]
    dir: Option<OsString>,

    /// Generation to export [default: the newest]
    #[arg(
        long,
        value_name = "ID",
        conflicts_with = "dir",
        hide_env = true,
        env = "NEO4J_BACKUP_SNAPSHOT"
    )]
    snapshot: Option<String>,

    /// Directory for the files; must not exist
    #[arg(long, value_name = "DIR", hide_env = true, env = "NEO4J_BACKUP_TO",
          value_parser = clap::value_parser!(OsString))]
    to: Option<OsString>,

    /// neo4j-admin, jsonl or cypher [default: neo4j-admin]
    ///
    /// neo4j-admin: CSV files for `neo4j-admin database import full` of Neo4j 5.26, with the script import.sh that
    /// calls it. jsonl: one JSON object a line. cypher: statements, for small graphs.
    #[arg(long, value_name = "FORMAT", hide_env = true, env = "NEO4J_BACKUP_FORMAT")]
    format: Option<String>,

    /// Give all nodes this label [default: no label]
    #[arg(long, value_name = "NAME", hide_env = true, env = "NEO4J_BACKUP_LABEL")]
    label: Option<String>,

    /// Take labels from this property, a string or an array of strings [default: no label]
    #[arg(long, value_name = "KEY", hide_env = true, env = "NEO4J_BACKUP_LABEL_FROM")]
    label_from: Option<String>,

    /// Compress the files with gzip
    ///
    /// The importer reads compressed files.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_COMPRESS", value_parser = switch)]
    compress: bool,

    /// Export even if the target cannot hold everything
    ///
    /// Without this option nothing is published then. With it, the file losses.jsonl lists what is missing or changed.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_LOSSY", value_parser = switch)]
    lossy: bool,

    /// Stop at the first damaged record
    ///
    /// Without this option damaged records are left out and listed in the file damage.jsonl.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_STRICT", value_parser = switch)]
    strict: bool,

    #[command(flatten)]
    repository: RepositoryArgs,
}

/// Exports and reports.
pub(crate) fn run(wanted: &ExportArgs, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let result = request(wanted).and_then(|export| {
        let terminal = Terminal::start(loudness, logs);
        let result = signals::cancelling(ErrorKind::Failed, |cancel| export.run(&terminal, cancel));
        terminal.finish();
        result
    });
    let text = |outcome: &ExportOutcome| text(outcome, loudness);
    report::command("export", &result, output, text, |outcome| outcome.verdict.exit_code())
}

fn request(wanted: &ExportArgs) -> Result<Export, Error> {
    let out = match &wanted.to {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => {
            return Err(Error::new(ErrorKind::Usage, "please specify -to")
                .with_hint("the directory for the files; it must not exist"));
        }
    };
    let format = match given(wanted.format.as_deref()) {
        None => Format::default(),
        Some(text) => Format::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| RequestError::Word {
                option: "format",
                text: text.to_owned(),
                expected: "neo4j-admin, jsonl or cypher is expected",
            })?,
    };
    let labels = match (given(wanted.label.as_deref()), given(wanted.label_from.as_deref())) {
        (None, None) => Labels::None,
        (Some(name), None) => Labels::Name(name.to_owned()),
        (None, Some(key)) => Labels::Key(key.to_owned()),
        (Some(_), Some(_)) => {
            return Err(Error::new(ErrorKind::Usage, "specify either -label or -label-from"));
        }
    };
    let export = match &wanted.dir {
        Some(dir) => Export::new(dir, out),
        None => Export::from_repository(repository(wanted)?, wanted.snapshot.clone(), out),
    };
    Ok(export
        .format(format)
        .labels(labels)
        .compress(wanted.compress)
        .lossy(wanted.lossy)
        .strict(wanted.strict))
}

fn repository(wanted: &ExportArgs) -> Result<Repository, Error> {
    wanted.repository.named()?.ok_or_else(|| {
        Error::new(ErrorKind::Usage, "please specify the directory of a backup, or -repo")
            .with_hint("neo4j-backup export -help lists all options")
    })
}

fn text(outcome: &ExportOutcome, loudness: Verbosity) -> String {
    let mut text = losses(&outcome.losses) + &damaged(&outcome.damage);
    if loudness == Verbosity::Quiet {
        return text;
    }
    let bytes: u64 = outcome.files.iter().map(|file| file.bytes).sum();
    let counts = format!(
        "{} nodes, {} relationships, {} properties",
        outcome.nodes, outcome.relationships, outcome.properties
    );
    let unlabelled = (outcome.unlabelled > 0).then(|| format!("{} nodes", outcome.unlabelled));
    let indexes = match outcome.indexes.len() {
        0 => None,
        1 => Some("1 index, whose entries are not exported".to_owned()),
        count => Some(format!("{count} indexes, whose entries are not exported")),
    };
    let target = outcome.target.as_ref().map(|path| path.to_string_lossy().into_owned());
    let files = (!outcome.files.is_empty()).then(|| format!("{}, {}", outcome.files.len(), HumanBytes(bytes)));
    let rows = [
        ("format", Some(outcome.format.name().to_owned())),
        (
            "store",
            Some(format!(
                "{}, transaction {}",
                outcome.store_format, outcome.last_transaction
            )),
        ),
        ("read", Some(counts)),
        ("no label", unlabelled),
        ("indexes", indexes),
        ("files", files),
        ("target", target),
    ];
    for (name, value) in rows.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let _ = writeln!(text, "  {name:<10}{}", printable(&value));
    }
    text.push_str(match outcome.verdict {
        ExportVerdict::Complete => "Done\n",
        ExportVerdict::Damaged => "Done, without damaged records\n",
        ExportVerdict::NotHeld => "Nothing exported: the target cannot hold everything; -lossy exports the rest\n",
    });
    text
}

/// The first losses of each kind, and how many there are.
fn losses(losses: &Losses) -> String {
    let mut text = String::new();
    for (kind, count) in &losses.kinds {
        let of_kind = losses.listed.iter().filter(|loss| loss.kind == *kind);
        for loss in of_kind.take(SHOWN) {
            let _ = writeln!(text, "loss {}", printable(&loss.to_string()));
        }
        let _ = writeln!(text, "{count} × {kind}: {}", kind.meaning());
    }
    text
}

/// The first damaged records, and how many there are.
pub(crate) fn damaged(damage: &DamagedRecords) -> String {
    let mut text = String::new();
    for record in damage.listed.iter().take(SHOWN) {
        let _ = writeln!(text, "damaged {}", printable(&record.to_string()));
    }
    if damage.total > 0 {
        let _ = writeln!(text, "{} damaged records were left out", damage.total);
    }
    text
}
