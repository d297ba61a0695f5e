//! Environment variables: each option has one, and every other variable of this prefix is a mistake.

use std::env;

use clap::{
    Command,
    error::{ContextKind, ContextValue},
};

use super::repository::PASSWORD_VARIABLE;
use crate::commands::drill::DATA_VARIABLE;

/// Before the name of every variable.
const PREFIX: &str = "NEO4J_BACKUP_";

/// A variable that no option has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown environment variable {name}")]
pub(crate) struct UnknownVariable {
    name: String,
    /// The variable with the most similar name.
    pub(crate) nearest: String,
}

/// Finds a variable that is misspelt: it would be ignored otherwise. `definitions` have been built.
///
/// # Errors
/// The first one by name.
pub(crate) fn require_known(definitions: &Command) -> Result<(), UnknownVariable> {
    let set = env::vars_os().filter(|(_, value)| !value.is_empty());
    let mut names: Vec<String> = set.filter_map(|(name, _)| name.into_string().ok()).collect();
    names.sort_unstable();
    let known = known(definitions);
    match unknown(&names, &known) {
        Some(name) => Err(UnknownVariable {
            name: name.to_owned(),
            nearest: nearest(name, &known),
        }),
        None => Ok(()),
    }
}

/// The variables of all options of all commands, and those that are no option's.
fn known(definitions: &Command) -> Vec<String> {
    let commands = std::iter::once(definitions).chain(definitions.get_subcommands());
    let of_options = commands
        .flat_map(Command::get_arguments)
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
    let others = [PASSWORD_VARIABLE, DATA_VARIABLE].map(str::to_owned);
    of_options.chain(others).collect()
}

fn unknown<'a>(names: &'a [String], known: &[String]) -> Option<&'a str> {
    let ours = names.iter().filter(|name| name.starts_with(PREFIX));
    let mut unknown = ours.filter(|name| !known.contains(name) && !is_of_kubernetes(name));
    unknown.next().map(String::as_str)
}

/// Kubernetes tells every container the addresses of all services: `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_PORT_6362_TCP`.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST") || name.split('_').any(|word| word == "PORT")
}

/// The known name that the fewest changes make of this one.
pub(crate) fn nearest(name: &str, known: &[String]) -> String {
    let nearest = known.iter().min_by_key(|known| changes(name, known));
    nearest.cloned().unwrap_or_default()
}

/// How many characters have to be added, removed or replaced (Levenshtein).
fn changes(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (count, one) in from.bytes().enumerate() {
        let mut next = vec![count + 1];
        for (other, pair) in to.bytes().zip(row.windows(2)) {
            let [replaced, removed] = pair else { continue };
            let added = next.last().copied().unwrap_or_default();
            next.push((replaced + usize::from(one != other)).min(removed + 1).min(added + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// The option, with its variable where that has this value.
pub(crate) fn origin(option: &str, text: &str) -> String {
    let variable = variable(option);
    match env::var(&variable) {
        Ok(value) if value == text => format!("-{option} ({variable})"),
        _ => format!("-{option}"),
    }
}

/// How a source is written where it was found.
pub(crate) fn origin_of_uri(uri: &str) -> String {
    let variable = variable("from");
    match env::var(&variable) {
        Ok(value) if value == uri => format!("{variable}="),
        _ => "-from ".to_owned(),
    }
}

fn variable(option: &str) -> String {
    format!("{PREFIX}{}", option.to_uppercase().replace('-', "_"))
}

/// The variable that the value which clap refuses comes from.
pub(crate) fn refused(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let Some(ContextValue::String(text)) = error.get(ContextKind::InvalidValue) else {
        return None;
    };
    let option = argument.split([' ', '=', '[']).next()?.trim_start_matches('-');
    let variable = variable(option);
    (env::var(&variable).ok()? == *text).then_some(variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::definitions::Args;

    fn names() -> Vec<String> {
        let mut definitions = Args::definitions();
        definitions.build();
        known(&definitions)
    }

    #[test]
    fn a_misspelt_variable_is_found_and_the_nearest_name_suggested() {
        let known = names();
        for (name, expected) in [
            ("NEO4J_BACKUP_TIMOUT", "NEO4J_BACKUP_TIMEOUT"),
            ("NEO4J_BACKUP_MAXRATE", "NEO4J_BACKUP_MAX_RATE"),
            ("NEO4J_BACKUP_", "NEO4J_BACKUP_TO"),
        ] {
            assert_eq!(unknown(&[name.to_owned()], &known), Some(name));
            assert_eq!(nearest(name, &known), expected);
        }
    }

    #[test]
    fn what_others_set_is_left_alone() {
        let known = names();
        for name in [
            "NEO4J_BACKUP_FROM",
            "NEO4J_BACKUP_MAX_CONNECTIONS",
            "NEO4J_BACKUP_SERVICE_HOST",
            "NEO4J_BACKUP_EUROPE_SERVICE_HOST",
            "NEO4J_BACKUP_PORT",
            "NEO4J_BACKUP_PORT_6362_TCP_ADDR",
            "NEO4J_BACKUP_SERVICE_PORT_BACKUP",
            "NEO4J_BACKUPS",
            "PATH",
        ] {
            assert_eq!(unknown(&[name.to_owned()], &known), None);
        }
    }
}
