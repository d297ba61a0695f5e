//! The disk's side of a backup: staging, receiving, replay, seal, manifest, publish.
//!
//! Knows the disk and pulls from a stream it is given.
//!
//! ```text
//! full: staging ─▶ receive (files by writer, transactions into logs) ─▶ apply ─▶ seal ─▶ pending_index
//!               ─▶ sums, manifest ─▶ staging publishes
//! ```

pub mod apply;
mod disk_error;
mod full;
pub mod manifest;
mod outcome;
pub mod pending_index;
mod receive;
pub mod seal;
pub mod staging;
pub mod sums;
mod transactions;
mod writer;

pub use disk_error::DiskError;
pub use full::{Full, Replace, full};
pub use outcome::{BackupOutcome, HistoryProof, TakenMode, Verdict};
