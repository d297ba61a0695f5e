//! What a user reads: help, manual pages, completions, README and the JSON documents.
#![allow(clippy::unwrap_used, clippy::panic, reason = "panicking is how tests report")]

mod completions;
mod documents;
mod help;
mod jobs;
mod man;
mod monitoring;
mod program;
mod readme;
mod sandbox;
mod schema;
