//! The command line of `neo4j-backup`; the work is done by [`neo4j_backup_core`].

mod args;
mod commands;
mod jobs;
mod output;
mod process_group;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::invocation::run(std::env::args_os())
}
