//! What a user reads: help, manual pages, completions, README and the JSON documents.
#![allow(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

#[path = "command_line/completions.rs"]
mod completions;
#[path = "command_line/help.rs"]
mod help;
#[path = "command_line/man.rs"]
mod man;
#[path = "command_line/program.rs"]
mod program;
#[path = "command_line/readme.rs"]
mod readme;
#[path = "command_line/sandbox.rs"]
mod sandbox;
#[path = "command_line/schema.rs"]
mod schema;
