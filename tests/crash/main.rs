//! Runs that are killed, whose disk fails, or that lose power.

#[path = "../support/mod.rs"]
mod support;

mod disk_trace;
mod fault_matrix;
mod full;
mod incremental;
mod interrupted;
mod journal;
mod lost_power;
mod neo4j_start;
mod power;
mod sandbox_run;
mod syncs;
mod verify;
