//! The way out of Neo4j 1.x: the graph of a backup or database as files that other systems read.
//!
//! ```text
//! reader (names, chains, values) ─▶ ordered (threads) ─▶ encoder: csv, jsonl, cypher ─▶ files (OUT.partial ─▶ OUT)
//!                                      csv only: layout, a first pass that finds the columns of each file
//! ```
//!
//! Nothing changes in silence: what the target cannot hold is a [`Loss`], and without [`Export::lossy`] an export with
//! losses publishes nothing. Damaged records are reported and left out. Entries of indexes are not exported.

mod chunk;
mod csv;
mod cypher;
mod encoder;
mod files;
mod import;
mod jsonl;
mod layout;
mod loss;
pub(crate) mod ordered;
pub(crate) mod reader;
mod run;

use std::path::PathBuf;

use serde::{Serialize, Serializer};

pub use files::ExportFile;
pub use loss::{DamagedRecords, LISTED, Loss, LossKind, Losses};
pub use reader::{Damage, Entity, ValueType};

use crate::{Error, cancel::Cancel, error, inspect::indexes::IndexSummary, progress::Progress, repository::Repository};

pub(crate) use jsonl::typed_json;
pub(crate) use run::threads;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// CSV files for `neo4j-admin database import full` of Neo4j 5.26, and a script that calls it.
    #[default]
    Neo4jAdmin,
    /// One JSON object a line.
    Jsonl,
    /// Statements; for small graphs.
    Cypher,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Neo4jAdmin, Format::Jsonl, Format::Cypher];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Neo4jAdmin => "neo4j-admin",
            Format::Jsonl => "jsonl",
            Format::Cypher => "cypher",
        }
    }
}

/// Where nodes get labels from, which Neo4j 1.x does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Labels {
    /// They have none.
    #[default]
    None,
    /// All have this one.
    Name(String),
    /// From the value of this property, a string or an array of strings; nodes without it have none.
    Key(String),
}

/// An export of a backup, or of a database that was closed cleanly.
///
/// Memory does not grow with the store, except for one bit for each node and the names of types and keys.
#[derive(Debug, Clone)]
pub struct Export {
    from: Origin,
    out: PathBuf,
    format: Format,
    labels: Labels,
    is_compressed: bool,
    is_lossy: bool,
    is_strict: bool,
    threads: usize,
}

/// What is exported.
#[derive(Debug, Clone)]
enum Origin {
    Directory(PathBuf),
    Repository {
        repository: Repository,
        snapshot: Option<String>,
    },
}

impl Export {
    /// Exports the directory `dir` to the directory `out`, which must not exist; its parent must.
    pub fn new(dir: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Export {
        Export::of(Origin::Directory(dir.into()), out.into())
    }

    /// Exports a generation: the one whose id begins with `snapshot`; without, the newest. It is restored to the file
    /// system of `out` first, and removed again.
    pub fn from_repository(repository: Repository, snapshot: Option<String>, out: impl Into<PathBuf>) -> Export {
        Export::of(Origin::Repository { repository, snapshot }, out.into())
    }

    fn of(from: Origin, out: PathBuf) -> Export {
        Export {
            from,
            out,
            format: Format::default(),
            labels: Labels::default(),
            is_compressed: false,
            is_lossy: false,
            is_strict: false,
            threads: threads(),
        }
    }

    /// What is written.
    #[must_use]
    pub fn format(self, format: Format) -> Export {
        Export { format, ..self }
    }

    /// Where nodes get labels from.
    #[must_use]
    pub fn labels(self, labels: Labels) -> Export {
        Export { labels, ..self }
    }

    /// Compresses the files with gzip, which the importer reads.
    #[must_use]
    pub fn compress(self, is_compressed: bool) -> Export {
        Export { is_compressed, ..self }
    }

    /// Publishes an export although the target cannot hold everything. Each loss is in the file `losses.jsonl`.
    #[must_use]
    pub fn lossy(self, is_lossy: bool) -> Export {
        Export { is_lossy, ..self }
    }

    /// Ends with an error at the first damaged record.
    #[must_use]
    pub fn strict(self, is_strict: bool) -> Export {
        Export { is_strict, ..self }
    }

    /// How many threads read; the files are the same with any number.
    #[must_use]
    pub fn threads(self, threads: usize) -> Export {
        Export {
            threads: threads.max(1),
            ..self
        }
    }

    /// Exports. Blocks the thread until it is done.
    ///
    /// # Errors
    /// The source is not a database at rest, `out` exists, a record is damaged and the export is strict, the disk failed,
    /// or the run was cancelled; as [`crate::Restore::run`] for a repository. Nothing is left behind then.
    pub fn run(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<ExportOutcome, Error> {
        run::run(self, progress, cancel)
    }
}

/// How good an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportVerdict {
    /// Everything was exported, or everything but accepted losses.
    Complete,
    /// Published, without records that are damaged.
    Damaged,
    /// Not published: the target cannot hold everything.
    NotHeld,
}

impl ExportVerdict {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            ExportVerdict::Complete => error::SUCCESS,
            ExportVerdict::Damaged => error::INCONSISTENT,
            ExportVerdict::NotHeld => error::UNEXPORTABLE,
        }
        .code
    }
}

/// What an export found and wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExportOutcome {
    /// How good it is.
    pub verdict: ExportVerdict,
    /// What was written.
    pub format: Format,
    /// The directory; `None` if nothing was published.
    #[serde(serialize_with = "lossy")]
    pub target: Option<PathBuf>,
    /// Its files.
    pub files: Vec<ExportFile>,
    /// Format of the store.
    pub store_format: &'static str,
    /// The last transaction of the graph.
    pub last_transaction: i64,
    /// Nodes exported.
    pub nodes: u64,
    /// Relationships exported.
    pub relationships: u64,
    /// Properties exported unchanged.
    pub properties: u64,
    /// Nodes without a label although labels are taken from a key.
    pub unlabelled: u64,
    /// What the target cannot hold.
    pub losses: Losses,
    /// Records that were left out.
    pub damage: DamagedRecords,
    /// Indexes, whose entries are not exported.
    pub indexes: Vec<IndexSummary>,
}

#[expect(clippy::ref_option, reason = "what serde calls")]
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}
