//! Finding the members of a cluster of Neo4j 1.3 – 1.8 through its coordinators, a `ZooKeeper` ensemble
//! (`docs/formats/zookeeper-discovery.md`), and choosing whom to ask for a backup.
//!
//! ```text
//! search: coordinators, all at once ─▶ session: the first that serves ─▶ znodes ─▶ Cluster ──┬─▶ rank ─▶ candidates, and
//!         each with its cause          behind relay and guard                     Answers ───┘   members passed over
//! ```
//!
//! Nothing is ever written to the coordinators. What is found is true for a moment only: registrations outlive a dead
//! member by seconds, and a master may change at any time; callers search again when the candidates fail.
//! `znodes`, `cluster` and `ranking` are pure and do not panic on any node contents.

mod cluster;
mod coordinators;
mod error;
mod guard;
mod ranking;
mod relay;
mod search;
mod services;
mod session;
#[cfg(test)]
mod tests;
pub mod znodes;

pub use cluster::{Cluster, Last, Layout, Master, Member, Node, Reading, Registration, Role, Service};
pub use coordinators::CoordinatorError;
pub(crate) use error::NO_BACKUP_SERVICE;
pub use error::{ClusterSummary, DiscoveryError};
pub use ranking::{
    Answer, Answers, Base, Candidate, Dead, MemberCriteria, PassedOver, Preference, Ranking, Reason, rank,
};
pub(crate) use search::TIMEOUT;
pub use search::{Search, discover};
pub use services::{Patience, ask_members, look};
