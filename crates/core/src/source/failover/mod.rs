//! A backup that goes on with the next member when one fails: the same full or incremental transfer, driven over the
//! members of a cluster.
//!
//! ```text
//! ranked members ─▶ rounds ─▶ attempt ─▶ done
//!        ▲            │          │
//!        │            │          └─ failed: its RetryDecision
//!        └─ discovery ┴─ round over: pause
//! ```
//!
//! A full backup starts over with each member, in an empty directory, so that files of two never mix; an incremental one
//! asks the next member for what follows the last transaction that was applied. Once members are known the coordinators
//! are only asked again between rounds, and where they do not answer the last ranking stands.
//!
//! `rounds` decides and is pure; `attempts` asks, on a clock that is handed in; `retry_decision` says what an error of one member
//! means for the others; `cluster` puts them together with discovery.

mod attempts;
mod cluster;
mod retry_decision;
mod rounds;
#[cfg(test)]
mod tests;

pub use attempts::Attempt;
pub use cluster::Served;
pub(crate) use cluster::{Cluster, Failover};
pub(crate) use retry_decision::RetryDecision;
