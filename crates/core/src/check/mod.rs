//! Is the graph in a store consistent? Reads both store formats natively and collects what breaks a rule of
//! `docs/check.md`; never stops at the first, never writes.
//!
//! ```text
//! stores (framing) ─▶ header ─▶ id_files ─▶ logs
//!   whole: whole ─▶ properties, blocks (passes) ─▶ ledger (what does not match) ─▶ judge      all rules, any size
//!   part:  part (what transactions wrote, and its neighbours) ─▶ judge, delta (what that changes for all others)
//! ```
//!
//! A pass never follows a pointer into a store that may not fit the memory. Instead each record says what it knows of
//! others into a ledger (`ledger`), and only where that does not balance are single records looked up.
//! `links` holds the rules between two records, `record` those within one, `value` and `chain` those of values.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub(crate) mod bits;
mod blocks;
mod budget;
mod chain;
mod claim;
mod delta;
mod emit;
mod error;
mod finding;
mod header;
mod id_files;
mod judge;
mod ledger;
mod links;
mod logs;
pub(crate) mod lookup;
mod options;
mod part;
mod pass;
mod properties;
mod record;
mod report;
mod rings;
mod rules;
mod scan;
pub(crate) mod stores;
mod value;
mod whole;
mod written;

pub use budget::Memory;
pub use error::CheckError;
pub(crate) use finding::Collector;
pub use finding::{Finding, Findings, Listener, Origin, RecordRef};
pub use options::{CheckOptions, What};
pub(crate) use report::check_handle;
pub use report::{CheckReport, Totals, check};
pub use rules::{Rule, Severity};
pub use written::WrittenRecords;
