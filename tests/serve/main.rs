//! `serve`: backups of backups.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod interop;
mod limits;
mod serving;
mod settings;
