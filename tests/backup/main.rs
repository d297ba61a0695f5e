//! Backups: full and incremental, of what they are made, and what becomes of the target.

#[path = "../support/mod.rs"]
mod support;

mod bad_networks;
mod chains;
mod client;
mod damaged_responses;
mod dry_run;
mod file_systems;
mod full;
mod hostile_directory;
mod incremental;
mod index_config;
mod interop;
mod journal;
mod leftovers;
mod legacy_1_3;
mod long_names;
mod or_full;
mod permissions;
mod recovery;
mod repository;
mod restore;
mod servers;
mod shared_directory;
mod target_safety;
mod verification_record;
mod wire_vectors;
