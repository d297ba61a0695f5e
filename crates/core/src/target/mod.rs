//! The disk: the target directory, its siblings, locks, durability and free space.

pub mod archived_logs;
pub(crate) mod base;
pub(crate) mod durable;
pub(crate) mod free_space;
pub(crate) mod hard_links;
pub(crate) mod links;
pub(crate) mod lock;
mod open_files;
pub(crate) mod owners;
pub(crate) mod restoring;
pub mod staging;
