//! Finding the members of a cluster of Neo4j 1.3 – 1.8 through its coordinators, a `ZooKeeper` ensemble
//! (`docs/formats/zookeeper-discovery.md`), and choosing whom to ask for a backup.
//!
//! ```text
//! coordinators ─▶ znodes ─▶ Cluster ──┬─▶ rank ─▶ candidates, best first; members passed over, each with its reason
//!          backup services ─▶ Answers ┘
//! ```
//!
//! Nothing is ever written to the coordinators. What is found is true for a moment only: registrations outlive a dead
//! member by seconds, and a master may change at any time; whoever uses the candidates looks again when they fail.
//! `znodes`, `cluster` and `ranking` are pure and do not panic, whatever the nodes contain.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod cluster;
mod error;
mod ranking;
#[cfg(test)]
mod tests;
pub mod znodes;

pub use cluster::{Cluster, Last, Layout, Master, Member, Node, Reading, Registration, Role, Service};
pub use error::DiscoveryError;
pub use ranking::{Answer, Answers, Base, Candidate, PassedOver, Preference, Ranking, Reason, Wanted, rank};
