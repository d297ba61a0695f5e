//! Backups of clusters: finding the members, and failing over between them.

#[path = "../support/mod.rs"]
mod support;

mod containers;
mod coordinators;
mod discarded_history;
mod discovery;
mod failing_cluster;
mod failover;
mod ledger;
mod migration;
mod misleading;
mod numbers;
mod restore;
mod storms;
mod stormy_cluster;
