//! `completions`, `man`, `help` and `version`: texts made from the definitions of the options.

mod completions;
mod man;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Command;

use self::completions::Shell;
use crate::{
    args::{help::HelpArgs, request::Output},
    output::report,
};
use neo4j_backup_core::{Error, ErrorKind};

/// Which script is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

/// Where the pages go.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write all pages into this directory [default: print the main page]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Prints the script that completes commands, options and values in a shell.
pub(crate) fn completions(wanted: &CompletionsArgs, definitions: &Command, output: Output) -> ExitCode {
    print(
        "completions",
        &Ok(completions::script(wanted.shell, definitions)),
        output,
    )
}

/// Prints the manual page of the program, or writes the pages of all commands.
pub(crate) fn man(wanted: &ManArgs, definitions: &Command, output: Output) -> ExitCode {
    let result = match wanted.to.as_deref().filter(|dir| !dir.as_os_str().is_empty()) {
        None => Ok(man::page(definitions, None)),
        Some(dir) => write_pages(dir, definitions),
    };
    print("man", &result, output)
}

/// Prints the help of a command, or the exit codes.
pub(crate) fn help(wanted: &HelpArgs, definitions: &Command, output: Output) -> ExitCode {
    let result = wanted
        .text(definitions)
        .map_err(|error| Error::new(ErrorKind::Usage, error).with_hint("neo4j-backup -help lists all commands"));
    print("help", &result, output)
}

/// Prints name and version.
pub(crate) fn version(definitions: &Command, output: Output) -> ExitCode {
    print("version", &Ok(definitions.render_version()), output)
}

/// Writes a page for the program and for each command, which `man` finds by these names; returns the names of the files.
fn write_pages(dir: &Path, definitions: &Command) -> Result<String, Error> {
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let mut written = String::new();
    for command in [None].into_iter().chain(definitions.get_subcommands().map(Some)) {
        let path = dir.join(format!("{}.1", man::name(definitions, command)));
        fs::write(&path, man::page(definitions, command)).map_err(|error| failed(&path, &error))?;
        let _ = writeln!(written, "{}", path.display());
    }
    Ok(written)
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!("{}: cannot write: {error}", path.display()),
    )
    .with_hint("choose another directory with -to")
}

fn print(command: &'static str, text: &Result<String, Error>, output: Output) -> ExitCode {
    report::command(command, text, output, String::clone, |_| 0)
}
