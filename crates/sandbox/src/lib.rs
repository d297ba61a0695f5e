//! Databases and clusters to try things on, without Java: real in every byte, written to while they are read, thrown
//! away afterwards.
//!
//! [`database`] is one live database, [`generator`] a reproducible stream of transactions for it, [`Live`] what a backup
//! service serves of it. [`coordinator`] stands in for `ZooKeeper`. [`Cluster`] puts them together: members that register,
//! elect a master, replicate from it, and fail when told to.

mod board;
mod cluster;
pub mod coordinator;
pub mod database;
pub mod generator;
mod link;
mod live;
mod member;
mod plan;
mod process;
mod prompt;
mod registration;

#[cfg(test)]
#[path = "../../format/src/hex.rs"]
mod hex;

pub use cluster::Cluster;
pub use live::Live;
pub use member::MemberError;
pub use neo4j_format::store::value;
pub use plan::{ClusterError, MemberState, Plan, Status};
pub use prompt::{HELP, PromptCommand, PromptError};
pub use registration::Generation;
