//! The command line: the only folder that knows clap, the terminal and the environment.

use std::{ffi::OsString, process::ExitCode};

/// Runs the program with these arguments (the first is the program's name) and returns its exit code.
pub fn run(_args: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::FAILURE
}
