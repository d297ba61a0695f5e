//! Consistent, bootable backups of running Neo4j 1.3 – 1.9 Enterprise databases, over the network and without a JVM.
//!
//! The modules are the steps of the data's way; `docs/architecture.md` leads from the command line to the published
//! directory in one page. [`source`] knows the peer and never the disk; [`target`] knows the disk and never a socket;
//! [`receive`] and [`replay`] stand between them; [`serve`] is the other side of the protocol.

pub mod adopt;
pub mod backup;
pub mod cancel;
pub mod check;
pub mod cluster_options;
pub mod consistency;
pub mod context;
pub mod error;
mod format_errors;
pub mod full;
pub mod incremental;
pub mod inspect;
pub mod manifest;
pub mod members;
pub mod outcome;
pub mod progress;
pub mod receive;
pub mod replace;
pub mod replay;
pub mod retry;
mod run_id;
mod runtime;
pub mod serve;
pub mod server;
pub mod source;
pub mod target;
mod verification;
pub mod verify;

#[cfg(test)]
#[path = "../../format/src/hex.rs"]
mod hex;

pub use adopt::adopt;
pub use backup::{Backup, BackupFailure, Mode};
pub use cancel::Cancel;
pub use check::check;
pub use cluster_options::ClusterOptions;
pub use error::{Error, ErrorKind};
pub use inspect::inspect;
pub use members::members;
pub use outcome::BackupOutcome;
pub use server::{Serve, Server};
pub use verification::verify;
