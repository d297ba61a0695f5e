//! Logical logs (`docs/formats/transaction-log.md`): header, entries, commands of both formats, Lucene commands.
//!
//! [`entry`], [`command`] and [`lucene`] turn bytes into values. [`entries`] pulls them one part at a time out of a
//! [`std::io::Read`], through a buffer that holds neither a transaction nor a graph command as a whole. On top of it
//! stand [`reader`] (one transaction, as in a backup stream), [`slot`] (a log file, with leftovers of a crash),
//! [`second_pass`] (the transactions found there), [`transaction_range`] (the transactions of several logs, in order) and
//! [`writer`] (a new log file, with the transactions of a stream).
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

pub mod archived;
pub mod change;
pub mod command;
pub mod encode;
pub mod entries;
pub mod entry;
pub mod error;
mod fields;
pub mod files;
pub mod fingerprint;
pub mod format;
pub mod header;
pub mod lucene;
pub mod reader;
pub mod second_pass;
pub mod slot;
pub mod transaction_range;
pub mod writer;

#[cfg(test)]
mod tests;

pub use archived::{ArchivedLog, archived_logs};
pub use change::Change;
pub use entries::{Buffer, Entries, Item, Part};
pub use error::{LogElement, LogError, LogProblem};
pub use fingerprint::Fingerprint;
pub use format::{Layout, LogFormat};
pub use header::LogHeader;
pub use lucene::LuceneCommand;
pub use reader::TransactionReader;
pub use second_pass::SecondPass;
pub use slot::SlotReader;
pub use transaction_range::{TransactionRange, TransactionRangeError};
pub use writer::{LogWriter, TransactionSummary};
