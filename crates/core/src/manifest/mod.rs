//! What a backup says about its own bytes: `neo4j-backup.json` and `neo4j-backup.sums`.
//!
//! [`document`] is the manifest itself: state, runs, last transactions, the list of files; [`stored`] reads and writes
//! it. [`sums`] has the digests of the files' chunks, which [`units`] reads on several threads. `verified` has what verifications came to. [`files`] says which files
//! of a directory belong to either. [`crate`] writes them, `verify` compares them with the directory;
//! neither the bytes of the store nor the network is known here.

pub(crate) mod checksums;
pub mod document;
pub mod files;
pub(crate) mod precheck;
pub mod stored;
pub mod sums;
pub mod units;
mod verified;

pub use document::{BackupKind, FileEntry, LastTransaction, MANIFEST, Manifest, Run, SCHEMA_VERSION, SUMS, State};
pub use stored::ManifestError;
pub use verified::{Verification, VerificationResult, VerifiedBy};
