//! The disk's side of a backup: staging, receiving, replay, seal, manifest, publish.
//!
//! Knows the disk and pulls from a stream it is given.
//!
//! ```text
//! full: staging ─▶ receive (files by writer, transactions into logs) ─▶ apply ─▶ seal ─▶ pending_index
//!               ─▶ checksums, manifest ─▶ consistency ─▶ staging publishes
//! incremental: receive ─▶ slot ─▶ apply ─▶ seal ─▶ archive ─▶ pending_index ─▶ checksums, manifest ─▶ consistency
//! ```

mod adopt;
pub mod apply;
mod base;
mod checksums;
mod confirm;
mod consistency;
mod database;
mod durable;
mod full;
mod graph_log;
mod history;
mod incremental;
mod inspector;
mod links;
mod lock;
mod open_store;
mod order;
mod outcome;
pub mod pending_index;
mod proof;
mod receive;
mod replace;
mod replay;
mod room;
pub mod seal;
pub mod staging;
mod transactions;
mod unopened;
mod writer;

use crate::manifest::{self, sums};

pub use crate::disk_error::DiskError;
pub use adopt::adopt;
pub use apply::Growth;
pub use confirm::{Authority, TooFarBehind};
pub use consistency::{Checked, Checks};
pub use database::require_database;
pub use full::{Full, full};
pub use history::KeepLogs;
pub use incremental::{Incremental, incremental};
pub use order::Order;
pub use outcome::{BackupOutcome, HistoryProof, TakenMode, Verdict};
pub use proof::{Behind, LogsDropped, Unproven};
pub use replace::Replace;
