//! Consistent, bootable backups of running Neo4j 1.3 – 1.9 Enterprise databases, over the network and without a JVM.
//!
//! The folders are the steps of the data flow; `docs/architecture.md` leads from the command line to the published
//! directory in one page. [`wire`], [`log`], [`store::record`] and [`uri`] turn bytes into values and know no file and
//! no socket; [`client`] knows the peer and never the disk; [`transfer`] knows the disk and pulls from a stream it is
//! given; [`server`] is the other side of the protocol.

pub mod cancel;
pub mod check;
pub mod cli;
pub mod client;
pub mod discovery;
mod disk_error;
pub mod error;
pub mod failover;
mod format_errors;
#[cfg(test)]
mod hex;
pub mod ids;
pub mod inspect;
pub mod log;
pub mod manifest;
pub mod progress;
pub mod retry;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod transfer;
pub mod uri;
pub mod verify;
pub mod wire;

pub use disk_error::DiskError;
pub use error::{Error, ErrorKind};
