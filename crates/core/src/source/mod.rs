//! Whom to copy from: URIs, connections, the members of a cluster, and the master's confirmation.

pub(crate) mod body;
pub mod client;
pub mod confirm;
pub mod discovery;
pub mod failover;
pub(crate) mod questions;
pub mod uri;
