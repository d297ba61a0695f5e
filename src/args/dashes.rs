//! The original's spelling: one dash before a long name, and `-verify false` as two words
//! (`docs/formats/wire-protocol.md` §11.1). clap supports neither, so arguments are rewritten before clap parses them,
//! and its messages afterwards.

use std::{collections::HashMap, ffi::OsString, os::unix::ffi::OsStrExt};

use clap::Command;

/// Arguments that are ambiguous.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DashError {
    /// An option where the value of another is expected.
    #[error("-{option} needs a value, but the option {next:?} follows it")]
    OptionAsValue {
        /// The option without value, no dash.
        option: String,
        /// What follows.
        next: OsString,
    },
}

/// The value that an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    None,
    /// Only if the next argument is not an option.
    Optional,
    Required,
}

/// The arguments with two dashes before every long name; values are left as they are.
///
/// An unknown name gets two dashes as well, so that clap's error shows all of it. After the name of a command, the
/// options of that command apply. `command` has been built, so that each command has the common options.
///
/// # Errors
/// An option that needs a value and is followed by what looks like an option.
pub(crate) fn rewrite(command: &Command, argv: &[OsString]) -> Result<Vec<OsString>, DashError> {
    let mut command = command;
    let mut known = long_names(command);
    let mut rewritten = Vec::with_capacity(argv.len());
    let mut rest = argv.iter().peekable();
    rewritten.extend(rest.next().cloned());
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            rewritten.push(argument.clone());
            rewritten.extend(rest.cloned());
            break;
        }
        let Some(body) = long_option(command, bytes) else {
            rewritten.push(argument.clone());
            if let Some(named) = argument.to_str().and_then(|name| command.find_subcommand(name)) {
                command = named;
                known = long_names(command);
            }
            continue;
        };
        let mut option = OsString::from("--");
        option.push(std::ffi::OsStr::from_bytes(body));
        let name = body.split(|byte| *byte == b'=').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let wanted = match known.get(&name) {
            Some(value) if !body.contains(&b'=') => *value,
            _ => Value::None,
        };
        match (wanted, rest.peek()) {
            (Value::Required, Some(next)) if is_option(next) => {
                return Err(DashError::OptionAsValue {
                    option: name,
                    next: (*next).clone(),
                });
            }
            (Value::Required, Some(_)) => {
                rewritten.push(option);
                rewritten.extend(rest.next().cloned());
            }
            (Value::Optional, Some(next)) if !is_option(next) => {
                option.push("=");
                option.push(next);
                rest.next();
                rewritten.push(option);
            }
            _ => rewritten.push(option),
        }
    }
    Ok(rewritten)
}

/// Long names and aliases with the value that each takes.
fn long_names(command: &Command) -> HashMap<String, Value> {
    let mut names = HashMap::new();
    for argument in command.get_arguments() {
        let value = match argument.get_num_args() {
            _ if !argument.get_action().takes_values() => Value::None,
            Some(range) if range.min_values() == 0 => Value::Optional,
            _ => Value::Required,
        };
        let aliases = argument.get_all_aliases().unwrap_or_default();
        for name in argument.get_long().into_iter().chain(aliases) {
            names.insert(name.to_owned(), value);
        }
    }
    names
}

/// The text after the dashes, if this is a long option; `-v` and `-vv` are short ones.
fn long_option<'a>(command: &Command, argument: &'a [u8]) -> Option<&'a [u8]> {
    if let Some(body) = argument.strip_prefix(b"--") {
        return Some(body);
    }
    let body = argument.strip_prefix(b"-")?;
    let is_short = |byte: &u8| {
        command
            .get_arguments()
            .any(|known| known.get_short() == Some(char::from(*byte)))
    };
    (body.len() > 1 && !body.iter().all(is_short)).then_some(body)
}

/// A lone dash is a value.
fn is_option(argument: &OsString) -> bool {
    argument.len() > 1 && argument.as_bytes().starts_with(b"-")
}

/// clap's text with one dash before every long name.
pub(crate) fn single_dashes(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut before = ' ';
    for (start, character) in text.char_indices() {
        let starts_word = matches!(before, ' ' | '\'' | '[' | '(' | '\n');
        let is_long = text
            .get(start..)
            .and_then(|rest| rest.strip_prefix("--"))
            .is_some_and(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()));
        if !(starts_word && is_long) {
            result.push(character);
        }
        before = character;
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::args::definitions::Args;

    fn rewritten(words: &[&str]) -> Vec<String> {
        let argv: Vec<OsString> = ["neo4j-backup"]
            .iter()
            .chain(words)
            .map(|word| OsString::from(*word))
            .collect();
        let result = rewrite(&built(), &argv).unwrap();
        result
            .into_iter()
            .skip(1)
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    fn built() -> Command {
        let mut command = Args::definitions();
        command.build();
        command
    }

    #[test]
    fn one_dash_and_two_mean_the_same() {
        let table: [(&[&str], &[&str]); 15] = [
            (
                &["-full", "-from", "single://h", "-to", "/d"],
                &["--full", "--from", "single://h", "--to", "/d"],
            ),
            (&["--full", "--from=h"], &["--full", "--from=h"]),
            (&["-from=-full", "-to=x=y"], &["--from=-full", "--to=x=y"]),
            (&["-v", "-vv", "-h", "-V"], &["-v", "-vv", "-h", "-V"]),
            (
                &["-verbose", "-version", "-help"],
                &["--verbose", "--version", "--help"],
            ),
            (&["-verify", "-full"], &["--verify", "--full"]),
            (&["-verify", "false", "-full"], &["--verify=false", "--full"]),
            (&["-verify=false", "stray"], &["--verify=false", "stray"]),
            (&["--verify", "full"], &["--verify=full"]),
            (&["-verify"], &["--verify"]),
            (&["-ful", "-f"], &["--ful", "-f"]),
            (&["-to", "-"], &["--to", "-"]),
            (
                &["completions", "bash", "-output", "json", "-vv"],
                &["completions", "bash", "--output", "json", "-vv"],
            ),
            (&["-to", "full"], &["--to", "full"]),
            (&["-full", "--", "-from", "-to"], &["--full", "--", "-from", "-to"]),
        ];
        for (words, expected) in table {
            assert_eq!(rewritten(words), expected, "{words:?}");
        }
    }

    #[test]
    fn an_option_in_the_place_of_a_value_is_named() {
        let argv = ["neo4j-backup", "-to", "-full"].map(OsString::from);
        let error = rewrite(&built(), &argv).unwrap_err();
        assert_eq!(
            error.to_string(),
            "-to needs a value, but the option \"-full\" follows it"
        );
    }

    #[test]
    fn the_name_of_the_program_is_not_an_option() {
        let argv = ["-full", "-full"].map(OsString::from);
        assert_eq!(rewrite(&built(), &argv).unwrap(), ["-full", "--full"]);
    }

    #[test]
    fn values_need_not_be_utf8() {
        let path = std::ffi::OsStr::from_bytes(b"/b\xff").to_owned();
        let mut joined = OsString::from("-to=");
        joined.push(&path);
        let argv = ["neo4j-backup".into(), "-to".into(), path.clone(), joined];
        let result = rewrite(&built(), &argv).unwrap();
        assert_eq!(result[2], path);
        assert_eq!(result[3].as_bytes(), b"--to=/b\xff");
    }

    #[test]
    fn texts_show_one_dash() {
        assert_eq!(
            single_dashes("invalid value 'x' for '--verify'"),
            "invalid value 'x' for '-verify'"
        );
        assert_eq!(
            single_dashes("--from <URI>\n  Text --to\n"),
            "-from <URI>\n  Text -to\n"
        );
        assert_eq!(single_dashes("a--b /--c -- ---d"), "a--b /--c -- ---d");
    }

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            "-{0,3}(full|from|to|verify|output|quiet|v|vv|verbose|x|fulll)(=-?[a-z]{0,3})?",
            "-{0,3}[a-z=]{0,4}",
            "\\PC{0,4}",
        ]
    }

    proptest! {
        #[test]
        fn rewriting_twice_changes_nothing_more(words in proptest::collection::vec(word(), 0..8)) {
            let argv: Vec<OsString> = std::iter::once("neo4j-backup".into()).chain(words.into_iter().map(OsString::from)).collect();
            if let Ok(once) = rewrite(&built(), &argv) {
                prop_assert_eq!(rewrite(&built(), &once).unwrap(), once);
            }
        }

        #[test]
        fn a_value_is_never_touched(
            option in prop_oneof![Just("from"), Just("to"), Just("timeout"), Just("output")],
            value in "([^-\\PC]\\PC{0,12})?",
            before in prop_oneof![Just(vec![]), Just(vec!["-full"]), Just(vec!["-vv", "--verify=false"])],
        ) {
            let mut words = before.clone();
            let option = format!("-{option}");
            words.extend([option.as_str(), &value]);
            let result = rewritten(&words);
            prop_assert_eq!(result.last(), Some(&value));
            prop_assert_eq!(result.len(), words.len());
        }
    }
}
