//! `neo4j-backup`: see the library's [crate page](neo4j_backup).

use std::process::ExitCode;

fn main() -> ExitCode {
    neo4j_backup::cli::run(std::env::args_os())
}
