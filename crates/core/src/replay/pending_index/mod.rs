//! The pending Lucene log: index updates that wait for Neo4j's next start
//! (`docs/formats/transaction-log.md` §12.2, `docs/formats/neo4j-1.3.md` §5).
//!
//! Lucene's own files are never written here. Transactions that were received for the Lucene data source are left in its
//! active log instead, and Neo4j replays them when it starts. What stands in that log must be fit for every release:
//!
//! | command | what becomes of it |
//! |---|---|
//! | of an index that does not exist at that point, and is not deleted later on | refused: nobody knows what index it is |
//! | of an index that is deleted later on, up to the last delete | dropped; the index is deleted here |
//! | PREPARE and 2PC of a transaction without commands | 1PC |
//! | relationship remove, for 1.3 | an add of the same value before it, so that there is a document to remove it from |
//! | transaction that the log has already | dropped |
//!
//! [`prepare()`] does all the work without changing what a reader of the directory sees; [`Update`] then makes it visible
//! in steps, between any two of which the directory is one that Neo4j starts from:
//!
//! | found at start | new transactions | steps |
//! |---|---|---|
//! | no log (after a full copy) | – | none |
//! | no log | some | slot, marker, last transaction |
//! | marker `C` | some | marker away, slot, marker, last transaction |
//! | log, with or without marker | none | what a crash left out; rewritten whole if 1.3 could not replay it |
//! | log | some, no index deleted | appended behind a zero byte, the byte set, last transaction |
//! | log | some, an index deleted; or 1.3; or something unfinished in it | slot rewritten, last transaction |
//!
//! Where an index is deleted, the slot as it was is published without what it had for that index, then the index leaves
//! `index.db`, then its directory goes, and only then is the slot published that has the transactions behind the delete.
//! No release ever sees the delete, which 1.8 would not execute; a crash in between leaves the transactions to the next
//! run.
//!
//! The caller makes the graph durable first and commits the index second, so that an index may lack what the graph has
//! but never the reverse.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

mod disk;
mod error;
mod existing;
mod filter;
mod input;
mod inspect;
mod prepare;
mod update;

#[cfg(test)]
mod tests;

pub use error::PendingIndexError;
pub use existing::{Changes, Existing, read_config};
pub use input::{Ends, IndexRules, Input, Keep};
pub use inspect::{PendingIndex, PendingState};
pub use prepare::{discard, prepare};
pub use update::{Outcome, Step, Update};
