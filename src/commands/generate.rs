//! `completions` and `man`: texts made from the definitions of the options.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use crate::{args::request::Output, output::report};
use neo4j_backup_core::{Error, ErrorKind};

/// Which completions are wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

/// Prints the script that completes this program's options, spelled with two dashes as shells expect them.
pub(crate) fn completions(wanted: &CompletionsArgs, mut definitions: Command, output: Output) -> ExitCode {
    let name = definitions.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(wanted.shell, &mut definitions, name, &mut script);
    print("completions", &script_text(script), output)
}

/// Prints the manual page, options spelled with one dash as in the help.
pub(crate) fn man(definitions: Command, output: Output) -> ExitCode {
    let mut page = Vec::new();
    let text = clap_mangen::Man::new(definitions)
        .render(&mut page)
        .map_err(|error| Error::new(ErrorKind::Failed, error))
        .and_then(|()| script_text(page))
        .map(|page| page.replace("\\-\\-", "\\-"));
    print("man", &text, output)
}

fn script_text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::Failed, error))
}

fn print(command: &'static str, text: &Result<String, Error>, output: Output) -> ExitCode {
    report::command(command, text, output, String::clone, |_| 0)
}
