//! The keys of a job: the options of a backup, by the definitions of the command line, and those of its hooks.

use clap::{Arg, Command};

/// Options of a backup that belong to the command line alone.
const TYPED_ONLY: [&str; 2] = ["dry-run", "version"];

pub(super) const BEFORE: &str = "before";
pub(super) const ON_SUCCESS: &str = "on-success";
pub(super) const ON_FAILURE: &str = "on-failure";
pub(super) const HOOK_TIMEOUT: &str = "hook-timeout";

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// true or false: an option without a value.
    Switch,
    /// A string, or a number.
    Value,
    /// The same, or true or false.
    Word,
    /// A program and its arguments.
    Program,
}

impl Takes {
    /// What is expected, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Takes::Switch => "true or false",
            Takes::Value => "a string",
            Takes::Word => "a string, true or false",
            Takes::Program => "an array of strings, a program and its arguments,",
        }
    }
}

/// All keys with what each takes.
#[derive(Debug)]
pub(super) struct Keys {
    known: Vec<(String, Takes)>,
    typed_only: Vec<String>,
}

impl Keys {
    /// Those of the options in `definitions`, which have been built.
    pub(super) fn of(definitions: &Command) -> Keys {
        let mut known = Vec::new();
        let mut typed_only = Vec::new();
        for (name, option) in definitions
            .get_arguments()
            .filter_map(|option| Some((option.get_long()?, option)))
        {
            if option.is_global_set() || TYPED_ONLY.contains(&name) {
                typed_only.push(name.to_owned());
            } else {
                known.push((name.to_owned(), takes(option)));
            }
        }
        known.extend([BEFORE, ON_SUCCESS, ON_FAILURE].map(|name| (name.to_owned(), Takes::Program)));
        known.push((HOOK_TIMEOUT.to_owned(), Takes::Value));
        Keys { known, typed_only }
    }

    pub(super) fn takes(&self, name: &str) -> Option<Takes> {
        let found = self.known.iter().find(|(known, _)| known == name);
        found.map(|(_, takes)| *takes)
    }

    pub(super) fn is_typed_only(&self, name: &str) -> bool {
        self.typed_only.iter().any(|option| option == name)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.known.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn takes(option: &Arg) -> Takes {
    match option.get_num_args() {
        _ if !option.get_action().takes_values() => Takes::Switch,
        Some(range) if range.min_values() == 0 => Takes::Word,
        _ => Takes::Value,
    }
}
