//! What can be wrong with a log or a transaction.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use crate::ids::{DataSource, TxId};

/// The field of an index command whose text is too long for a log; the files of a full backup hold it.
pub const VALUE_LENGTH: &str = "length of an indexed text";

/// A log or a transaction cannot be read or written.
#[derive(Debug, Error)]
pub enum LogError {
    /// The bytes are not what the format says.
    #[error("{}{source_name}: {place} at byte {offset}: {problem}", Prefix(*.transaction))]
    Malformed {
        /// Whose log it is.
        source_name: DataSource,
        /// The transaction, where its id is known.
        transaction: Option<TxId>,
        /// What was being read.
        place: LogElement,
        /// Where, counted from the start of the log file or of the transaction.
        offset: u64,
        /// What is wrong there.
        problem: LogProblem,
    },
    /// The bytes could not be had.
    #[error("{source_name}: cannot read at byte {offset}")]
    Read {
        /// Whose log it is.
        source_name: DataSource,
        /// Where, counted as above.
        offset: u64,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The copy could not be written.
    #[error("{source_name}: cannot write at byte {offset} of the log")]
    Write {
        /// Whose log it is.
        source_name: DataSource,
        /// Where in the new log.
        offset: u64,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// One of the above, in a file on disk.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: Box<LogError>,
    },
}

impl LogError {
    /// The same error, found in a file: damage on disk and not the peer's fault.
    #[must_use]
    pub fn in_file(self, path: impl Into<PathBuf>) -> LogError {
        match self {
            LogError::File { .. } => self,
            cause => LogError::File {
                path: path.into(),
                cause: Box::new(cause),
            },
        }
    }

    /// What is wrong with the bytes, if it is they.
    pub fn problem(&self) -> Option<LogProblem> {
        match self {
            LogError::Malformed { problem, .. } => Some(*problem),
            LogError::File { cause, .. } => cause.problem(),
            LogError::Read { .. } | LogError::Write { .. } => None,
        }
    }
}

struct Prefix(Option<TxId>);

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "transaction {id} of "),
            None => Ok(()),
        }
    }
}

/// Which part of a log was being read (`docs/formats/transaction-log.md` §4, §5, §9, §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogElement {
    /// The 16 bytes at the start of a file.
    Header,
    /// The first byte of an entry.
    EntryType,
    /// A START entry.
    Start,
    /// A PREPARE entry.
    Prepare,
    /// A 1PC or 2PC entry.
    Commit,
    /// A DONE entry.
    Done,
    /// The first six bytes of a COMMAND entry.
    Command,
    /// A node command.
    Node,
    /// A property command.
    Property,
    /// A relationship command.
    Relationship,
    /// A relationship type command.
    RelationshipType,
    /// A property key command.
    PropertyKey,
    /// A command for the first property of the graph.
    GraphProperty,
    /// A dynamic record inside one of the above.
    DynamicRecord,
    /// A Lucene command.
    Lucene,
    /// Behind the last entry of a transaction.
    End,
}

impl fmt::Display for LogElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogElement::Header => "log header",
            LogElement::EntryType => "entry",
            LogElement::Start => "start entry",
            LogElement::Prepare => "prepare entry",
            LogElement::Commit => "commit entry",
            LogElement::Done => "done entry",
            LogElement::Command => "command entry",
            LogElement::Node => "node command",
            LogElement::Property => "property command",
            LogElement::Relationship => "relationship command",
            LogElement::RelationshipType => "relationship type command",
            LogElement::PropertyKey => "property key command",
            LogElement::GraphProperty => "graph property command",
            LogElement::DynamicRecord => "dynamic record",
            LogElement::Lucene => "index command",
            LogElement::End => "end of the transaction",
        })
    }
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LogProblem {
    /// The bytes end inside it.
    #[error("cut short")]
    Truncated,
    /// A zero byte where an entry or a command type is expected, which ends a log.
    #[error("ends with a zero byte")]
    EndOfLog,
    /// No such log format.
    #[error("unknown log format {0}")]
    UnknownFormat(u8),
    /// The other log format.
    #[error("log format {found}, expected {expected}")]
    OtherFormat {
        /// The one in the header.
        found: u8,
        /// The one of the store.
        expected: u8,
    },
    /// No such entry.
    #[error("unknown entry type {0}")]
    UnknownEntry(u8),
    /// No such command.
    #[error("unknown command type {0}")]
    UnknownCommand(u8),
    /// An entry that has no place here.
    #[error("unexpected {0}")]
    OutOfPlace(LogElement),
    /// An identifier other than that of the transaction's START.
    #[error("identifier {found} inside the transaction with identifier {expected}")]
    OtherIdentifier {
        /// The one of this entry.
        found: i32,
        /// The one of the START entry.
        expected: i32,
    },
    /// A COMMIT with another id than the one announced.
    #[error("commits transaction {found}, expected {expected}")]
    OtherTransaction {
        /// In the COMMIT entry.
        found: TxId,
        /// Announced.
        expected: TxId,
    },
    /// Bytes behind DONE.
    #[error("bytes after the done entry")]
    Trailing,
    /// A branch qualifier of another data source.
    #[error("branch qualifier of another data source")]
    OtherBranch,
    /// A field whose value is not allowed.
    #[error("{field} is {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A size beyond its limit.
    #[error("{field} is {value}, the limit is {limit}")]
    Limit {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
        /// The largest allowed.
        limit: i64,
    },
    /// In-use flag and number of blocks of a property disagree.
    #[error("in-use flag of a property with {0} blocks")]
    InUse(u8),
    /// More transactions are open at once than is believable.
    #[error("more than {0} transactions are open at once")]
    TooManyOpen(usize),
}
