//! The help texts: one screen for each command, with one dash before every option.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::{dashes::single_dashes, exit_status};

/// Columns of the screen.
const WIDTH: usize = 100;

/// Commands that the program's help lists by name only.
const TOOLS: [&str; 6] = ["sandbox", "demo", "completions", "man", "help", "version"];

/// The topic of `help` that is not a command.
pub(crate) const EXIT_STATUS: &str = "exit-status";

/// What `help` is about.
#[derive(Debug, clap::Args)]
pub(crate) struct HelpArgs {
    /// A command, or exit-status [default: the program]
    #[arg(value_name = "COMMAND")]
    topic: Option<String>,
}

/// A word that `help` knows nothing about.
#[derive(Debug, thiserror::Error)]
#[error("unknown command {0:?}")]
pub(crate) struct UnknownTopic(String);

impl HelpArgs {
    /// The text that was asked for; `definitions` have been built.
    ///
    /// # Errors
    /// [`UnknownTopic`] for a topic that is neither a command nor `exit-status`.
    pub(crate) fn text(&self, definitions: &Command) -> Result<String, UnknownTopic> {
        match self.topic.as_deref() {
            None | Some("") => Ok(help(definitions)),
            Some(EXIT_STATUS) => Ok(exit_status::table()),
            Some(name) => definitions
                .find_subcommand(name)
                .map(help)
                .ok_or_else(|| UnknownTopic(name.to_owned())),
        }
    }
}

/// `command` with these texts for `-help`, in every command.
pub(crate) fn with_help_texts(command: Command) -> Command {
    let mut built = command.clone();
    built.build();
    let mut command = command.override_help(help(&built));
    for subcommand in built.get_subcommands() {
        let text = help(subcommand);
        command = command.mut_subcommand(subcommand.get_name(), |subcommand| subcommand.override_help(text));
    }
    command
}

/// The help of a command that has been built: without options that few need, which the manual page has.
fn help(command: &Command) -> String {
    let mut text = String::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "{about}\n\n{}", single_dashes(usage.trim_end()));
    for (line, example) in example.lines().enumerate() {
        let label = if line == 0 { "Example:" } else { "        " };
        let _ = write!(text, "\n{label} {example}");
    }
    text.push_str("\n\n");
    if command.has_subcommands() {
        text.push_str(&commands(command));
    }
    let mut groups = groups(command);
    for (_, arguments) in &mut groups {
        arguments.retain(|argument| !argument.is_hide_short_help_set());
    }
    let heads = groups
        .iter()
        .flat_map(|(_, arguments)| arguments)
        .map(|argument| head(argument).len());
    let column = heads.max().unwrap_or_default().saturating_add(4);
    for (heading, arguments) in &groups {
        let _ = writeln!(text, "{heading}:");
        for argument in arguments {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let mut lines = wrapped(&help, WIDTH.saturating_sub(column)).into_iter();
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(
                text,
                "  {:<width$}{first}",
                head(argument),
                width = column.saturating_sub(2)
            );
            for line in lines {
                let _ = writeln!(text, "{:column$}{line}", "");
            }
        }
    }
    if command.has_subcommands() {
        text.push_str(
            "Environment: NEO4J_BACKUP_FROM sets -from, and so on. Exit codes: neo4j-backup help exit-status\n",
        );
    }
    text
}

/// The commands in two columns.
fn commands(command: &Command) -> String {
    let named = |name: &str| TOOLS.contains(&name);
    let mut cells: Vec<String> = command
        .get_subcommands()
        .filter(|command| !named(command.get_name()))
        .map(|command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            format!("{:<10}{about}", command.get_name())
        })
        .collect();
    cells.push(TOOLS.join(", "));
    let rows = cells.len().div_ceil(2);
    let mut text = String::from("Commands:\n");
    for row in 0..rows {
        let cell = |index: usize| cells.get(index).map(String::as_str).unwrap_or_default();
        let line = format!("  {:<50}{}", cell(row), cell(row.saturating_add(rows)));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The visible arguments below their headings, in the order of their definition.
pub(crate) fn groups(command: &Command) -> Vec<(&str, Vec<&Arg>)> {
    let mut groups: Vec<(&str, Vec<&Arg>)> = Vec::new();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let heading = match argument.get_help_heading() {
            _ if argument.is_positional() => "Arguments",
            Some(heading) => heading,
            None => "Options",
        };
        match groups.iter_mut().find(|(name, _)| *name == heading) {
            Some((_, arguments)) => arguments.push(argument),
            None => groups.push((heading, vec![argument])),
        }
    }
    groups
}

/// An argument as it is typed, with the name of its value.
pub(crate) fn head(argument: &Arg) -> String {
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string)
        .filter(|_| argument.get_action().takes_values());
    let Some(long) = argument.get_long() else {
        return format!("<{}>", value.unwrap_or_default());
    };
    let short = argument
        .get_short()
        .map(|short| format!("-{short}, "))
        .unwrap_or_default();
    let is_optional = argument.get_num_args().is_some_and(|range| range.min_values() == 0);
    match value {
        Some(value) if is_optional => format!("{short}-{long}[=<{value}>]"),
        Some(value) => format!("{short}-{long} <{value}>"),
        None => format!("{short}-{long}"),
    }
}

/// Lines of at most `width` columns; the last one does not hold a single word.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let lines = wrapped_at(text, width);
    let is_balanced = |lines: &[String]| lines.last().is_none_or(|line| line.contains(' '));
    if lines.len() < 2 || is_balanced(&lines) {
        return lines;
    }
    (1..width)
        .rev()
        .map(|narrower| wrapped_at(text, narrower))
        .take_while(|narrower| narrower.len() == lines.len())
        .find(|narrower| is_balanced(narrower))
        .unwrap_or(lines)
}

fn wrapped_at(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wrapped_line_holds_a_single_word() {
        assert_eq!(wrapped("one two three", 20), ["one two three"]);
        assert_eq!(wrapped("one two three four", 14), ["one two", "three four"]);
        assert_eq!(wrapped("one two three four", 8), ["one two", "three", "four"]);
    }
}
