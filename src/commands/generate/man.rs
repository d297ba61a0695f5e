//! Manual pages in roff.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::{
    args::{
        dashes::single_dashes,
        help::{groups, head},
    },
    jobs::file::DEFAULT_PATH,
};
use neo4j_backup_core::error::{EXIT_STATUSES, ExitStatus};

/// Files in the directory of a backup.
const IN_THE_BACKUP: [(&str, &str); 2] = [
    (
        "DIR/neo4j-backup.json",
        "The manifest: database, backup runs, last transactions and all files of the backup.",
    ),
    (
        "DIR/neo4j-backup.sums",
        "The checksums of the files, one for each 64 KiB. Neo4j ignores both files.",
    ),
];

/// Siblings of the directory while a run works, or after it was killed.
const BESIDE_THE_BACKUP: [(&str, &str); 4] = [
    (
        "DIR.journal",
        "The last runs, verifications, checks and drills, good and bad, one JSON object a line. It stays.",
    ),
    ("DIR.lock", "Lock of the run that writes to DIR."),
    (
        "DIR.partial",
        "A full backup that is being received. The next run deletes it.",
    ),
    (
        "DIR.ready",
        "A complete full backup that is about to replace DIR. The next run puts it in place.",
    ),
];

/// Commands that read the jobs file.
const JOBS: [&str; 2] = ["run", "jobs"];

/// Commands that read a backup.
const READERS: [&str; 7] = ["inspect", "verify", "check", "stats", "diff", "export", "serve"];

/// The name of the page of `command`, or of the program.
pub(super) fn name(program: &Command, command: Option<&Command>) -> String {
    match command {
        None => program.get_name().to_owned(),
        Some(command) => format!("{}-{}", program.get_name(), command.get_name()),
    }
}

/// The page of `command`, or of the program; `program` has been built.
pub(super) fn page(program: &Command, command: Option<&Command>) -> String {
    let name = name(program, command);
    let version = program.render_version();
    let shown = command.unwrap_or(program);
    let mut page = format!(
        ".TH {} 1 \"\" {} {}\n.nh\n.ad l\n",
        quoted(&name.to_uppercase()),
        quoted(version.trim_end()),
        quoted("neo4j-backup manual")
    );
    let about = shown.get_about().map(ToString::to_string).unwrap_or_default();
    section(&mut page, "NAME");
    let _ = writeln!(page, "{} \\- {}", escaped(&name), escaped(&about));
    section(&mut page, "SYNOPSIS");
    let usage = single_dashes(&shown.clone().render_usage().to_string());
    let usage = usage.trim().trim_start_matches("Usage:");
    verbatim(&mut page, usage.lines().map(str::trim));
    section(&mut page, "DESCRIPTION");
    let description = shown.get_long_about().map(ToString::to_string).unwrap_or_default();
    for (index, paragraph) in description.split("\n\n").skip(1).enumerate() {
        if index > 0 {
            page.push_str(".PP\n");
        }
        text(&mut page, paragraph);
    }
    if shown.has_subcommands() {
        section(&mut page, "COMMANDS");
        for subcommand in shown.get_subcommands() {
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            entry(&mut page, subcommand.get_name(), &about);
        }
    }
    section(&mut page, "OPTIONS");
    for (heading, arguments) in groups(shown) {
        let _ = writeln!(page, ".SS {}", quoted(heading));
        for argument in arguments {
            entry(&mut page, &head(argument), &long_help(argument));
        }
    }
    section(&mut page, "EXIT STATUS");
    for ExitStatus { code, meaning, .. } in EXIT_STATUSES {
        entry(&mut page, &code.to_string(), meaning);
    }
    environment(&mut page, shown);
    files(&mut page, shown);
    section(&mut page, "EXAMPLES");
    let examples = shown.get_after_long_help().or(shown.get_after_help());
    let examples = examples.map(ToString::to_string).unwrap_or_default();
    verbatim(&mut page, examples.lines());
    section(&mut page, "SEE ALSO");
    let others: Vec<String> = [None]
        .into_iter()
        .chain(program.get_subcommands().map(Some))
        .map(|other| self::name(program, other))
        .filter(|other| *other != name)
        .map(|other| format!(".BR {} (1)", escaped(&other)))
        .collect();
    let _ = writeln!(page, "{}", others.join(" ,\n").replace("(1) ,", "(1),"));
    page
}

fn environment(page: &mut String, command: &Command) {
    section(page, "ENVIRONMENT");
    text(
        page,
        "Each variable sets the option of its name. Options on the command line take precedence. An empty variable \
         counts as unset. Switches take true or false.",
    );
    for argument in command.get_arguments() {
        if let (Some(variable), Some(long)) = (argument.get_env(), argument.get_long()) {
            entry(page, &variable.to_string_lossy(), &format!("Sets -{long}."));
        }
    }
}

fn files(page: &mut String, command: &Command) {
    if JOBS.contains(&command.get_name()) {
        section(page, "FILES");
        entry(
            page,
            DEFAULT_PATH,
            "The jobs: TOML with a table [job.NAME] for each and [defaults] for all. Keys are the options of a backup without \
             their dash, before, on-success and on-failure (arrays: a program and its arguments) and hook-timeout.",
        );
        return;
    }
    let is_program = command.has_subcommands();
    if !is_program && !READERS.contains(&command.get_name()) {
        return;
    }
    section(page, "FILES");
    let beside = BESIDE_THE_BACKUP.iter().filter(|_| is_program);
    for (file, what) in IN_THE_BACKUP.iter().chain(beside) {
        entry(page, file, what);
    }
}

fn long_help(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    help.map(ToString::to_string).unwrap_or_default()
}

fn section(page: &mut String, heading: &str) {
    let _ = writeln!(page, ".SH {}", quoted(heading));
}

/// A term with its explanation, in paragraphs.
fn entry(page: &mut String, term: &str, explanation: &str) {
    let _ = writeln!(page, ".TP\n\\fB{}\\fR", escaped(term));
    for (index, paragraph) in explanation.split("\n\n").enumerate() {
        if index > 0 {
            page.push_str(".IP\n");
        }
        text(page, paragraph);
    }
}

fn text(page: &mut String, paragraph: &str) {
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let _ = writeln!(page, "{}", escaped(&words.join(" ")));
}

fn verbatim<'a>(page: &mut String, lines: impl Iterator<Item = &'a str>) {
    page.push_str(".nf\n");
    for line in lines {
        let _ = writeln!(page, "{}", escaped(line));
    }
    page.push_str(".fi\n");
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text).replace('"', "\\(dq"))
}

/// Text that roff shows as it is: no escapes, no requests, and dashes that can be copied.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_a_request_or_an_escape() {
        assert_eq!(escaped(".SH x"), "\\&.SH x");
        assert_eq!(escaped("'x"), "\\&'x");
        assert_eq!(escaped("-a\\n"), "\\-a\\en");
    }
}
