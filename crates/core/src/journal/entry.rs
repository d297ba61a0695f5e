//! One line of a journal.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Journal;
use crate::{
    Error,
    context::{now, timestamp},
    drill::DrillOutcome,
    inspect::logs,
    outcome::BackupOutcome,
    progress::Progress,
    run_id::RunId,
};
use neo4j_format::DirHandle;

/// Version of the layout of a line.
const VERSION: u32 = 1;

/// Characters kept of a text that somebody else may have chosen.
const MAX_TEXT: usize = 300;

/// What ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RunKind {
    /// A backup, with its archiving.
    Backup,
    /// A comparison with the checksums.
    Verify,
    /// A check of consistency by itself.
    Check,
    /// A restore for practice.
    Drill,
}

impl RunKind {
    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            RunKind::Backup => "backup",
            RunKind::Verify => "verify",
            RunKind::Check => "check",
            RunKind::Drill => "drill",
        }
    }
}

/// The newest transaction of a data source after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTransaction {
    /// `nioneodb` or `lucene-index`.
    pub data_source: String,
    /// Its id.
    pub id: i64,
    /// When it was committed, where a log says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Time>,
}

/// A moment, written as in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Timestamp);

impl Time {
    /// Milliseconds since 1970.
    pub(crate) fn of_milliseconds(milliseconds: i64) -> Option<Time> {
        Timestamp::from_millisecond(milliseconds).ok().map(Time)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> String {
        format!("{:.3}", time.0)
    }
}

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Time, jiff::Error> {
        text.parse().map(Time)
    }
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JournalEntry {
    /// Version of the layout. It comes first, since a line is known by it.
    pub(super) journal: u32,
    /// What ran.
    pub command: RunKind,
    /// Random id of the run; that of the manifest where it made a backup.
    pub run_id: String,
    /// When it began.
    pub started: Time,
    /// How long it took.
    pub seconds: f64,
    /// The exit code of the program.
    pub exit_code: u8,
    /// The kind of the error that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the error says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What a run that came to its end found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Backups: `full`, `incremental`, or `auto` where nothing was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Backups: the source. Drills: what was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Bytes received, or read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Transactions received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
    /// Newest transaction per data source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_transactions: Vec<RecordedTransaction>,
    /// Transactions that the master had beyond the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_master: Option<u64>,
    /// What became of the backup in the repository: `new`, `unchanged`, `refused` or `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}

impl JournalEntry {
    /// A run that began at `started` and ended well; the rest is for the caller to fill in.
    pub fn new(command: RunKind, started: Timestamp) -> JournalEntry {
        JournalEntry {
            journal: VERSION,
            command,
            run_id: String::new(),
            started: Time(started),
            seconds: 0.0,
            exit_code: 0,
            error: None,
            message: None,
            verdict: None,
            mode: None,
            source: None,
            bytes: None,
            stored_bytes: None,
            transactions: None,
            last_transactions: Vec::new(),
            behind_master: None,
            archive: None,
        }
    }

    /// Whether the run ended with exit code 0.
    pub fn is_good(&self) -> bool {
        self.exit_code == 0
    }

    /// When it ended.
    pub fn finished(&self) -> Timestamp {
        let duration = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        self.started.0.checked_add(duration).unwrap_or(self.started.0)
    }

    /// The line, with its end.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an entry has text, numbers and finite times");
        line.push(b'\n');
        line
    }

    /// The entry of a line; `None` if it is not one of a version that is known.
    pub(super) fn of_line(line: &[u8]) -> Option<JournalEntry> {
        let entry: JournalEntry = serde_json::from_slice(line).ok()?;
        (entry.journal == VERSION && entry.seconds.is_finite()).then_some(entry)
    }
}

/// The entry of a run that goes on.
#[derive(Debug)]
pub(crate) struct Recorder {
    begun: Instant,
    /// Filled in as the run goes on.
    pub(crate) entry: JournalEntry,
}

impl Recorder {
    /// Of a run that begins now, and whose id need not be known to anybody else.
    pub(crate) fn begin_reading(command: RunKind) -> Recorder {
        // an entry without an id is better than none
        let run_id = RunId::random().map(|id| id.to_string()).unwrap_or_default();
        Recorder::begin(command, run_id)
    }

    /// Of a run that begins now.
    pub(crate) fn begin(command: RunKind, run_id: String) -> Recorder {
        Recorder {
            begun: Instant::now(),
            entry: JournalEntry {
                run_id,
                ..JournalEntry::new(command, timestamp(now()))
            },
        }
    }

    /// Notes how a backup ended that was taken.
    pub(crate) fn backup(&mut self, outcome: &BackupOutcome) {
        let dir = DirHandle::open(&outcome.target).ok();
        let last = outcome
            .last_transactions
            .iter()
            .map(|(source, id)| RecordedTransaction {
                data_source: source.name().to_owned(),
                id: id.0,
                committed: dir
                    .as_ref()
                    .and_then(|dir| logs::committed(dir, *source, *id))
                    .and_then(Time::of_milliseconds),
            });
        let entry = &mut self.entry;
        entry.last_transactions = last.collect();
        entry.exit_code = outcome.exit_code();
        entry.mode = Some(outcome.mode.name().to_owned());
        entry.verdict = Some(outcome.verdict.name().to_owned());
        entry.bytes = Some(outcome.bytes);
        entry.stored_bytes = Some(outcome.stored_bytes);
        entry.transactions = Some(outcome.transactions);
        entry.behind_master = outcome.behind_master;
        entry.archive = outcome.archive.as_ref().map(|archived| archived.name().to_owned());
    }

    /// Notes how a drill ended that was held.
    pub(crate) fn drill(&mut self, outcome: &DrillOutcome) {
        let restored = &outcome.restored;
        let last = restored.last_transactions.iter().map(|last| RecordedTransaction {
            data_source: last.data_source.to_owned(),
            id: last.id,
            committed: last.committed.and_then(Time::of_milliseconds),
        });
        let entry = &mut self.entry;
        entry.last_transactions = last.collect();
        entry.exit_code = outcome.verdict.exit_code();
        entry.verdict = Some(outcome.verdict.name().to_owned());
        entry.source = Some(restored.source.clone());
    }

    /// Notes how a run ended that has no result.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.entry.exit_code = error.kind().exit_code();
        self.entry.error = Some(error.kind().name().to_owned());
        self.entry.message = Some(shortened(&error.to_string()));
    }

    /// Writes the entry into the journal of `dir`. A run does not fail because it cannot be recorded: a good one that
    /// wrote a backup warns of it, and readers may lack the permission.
    pub(crate) fn record(mut self, dir: &Path, progress: &dyn Progress) {
        self.entry.seconds = self.begun.elapsed().as_secs_f64();
        self.entry.source = self.entry.source.as_deref().map(shortened);
        let Err(error) = Journal::of(dir).and_then(|journal| journal.append(&self.entry)) else {
            return;
        };
        match self.entry.command {
            RunKind::Backup | RunKind::Drill if self.entry.error.is_none() => {
                progress.warning(&format!("this run was not recorded: {error}"));
            }
            _ => tracing::info!(%error, "this run was not recorded"),
        }
    }
}

/// The beginning of a text, as one line.
fn shortened(text: &str) -> String {
    let one_line = text.chars().map(|one| if one.is_control() { ' ' } else { one });
    one_line.take(MAX_TEXT).collect()
}
