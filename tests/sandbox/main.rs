//! The sandbox is a database and a cluster like real ones, and backups of it hold what they should.

#[path = "../support/mod.rs"]
mod support;

mod backups;
mod changes;
mod check;
mod cluster;
mod comparisons;
mod database;
mod export_releases;
mod exports;
mod library;
