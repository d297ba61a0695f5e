//! Logical logs (`docs/formats/transaction-log.md`): header, entries, commands of both formats, Lucene commands.

pub mod change;
