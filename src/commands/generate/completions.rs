//! Completion scripts for options with one dash, which the usual generators do not know.

use std::fmt::Write as _;

use clap::{Arg, Command, ValueEnum};

use crate::args::help::EXIT_STATUS;

/// The shells that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What can follow an option, or stand where a command takes an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Values {
    Words(Vec<String>),
    Directories,
    Files,
    /// Something that the shell cannot know.
    Unknown,
}

/// An option to complete.
#[derive(Debug)]
struct Completed {
    /// With its dash.
    name: String,
    short: Option<char>,
    about: String,
    /// The name of the value and what it can be; `None` for a switch.
    value: Option<(String, Values)>,
    /// Whether the value may be left out, and is then joined by `=`.
    is_optional: bool,
}

/// The script; `program` has been built.
pub(super) fn script(shell: Shell, program: &Command) -> String {
    match shell {
        Shell::Bash => bash(program),
        Shell::Zsh => zsh(program),
        Shell::Fish => fish(program),
    }
}

fn names(program: &Command) -> Vec<String> {
    let commands = program.get_subcommands();
    commands.map(|command| command.get_name().to_owned()).collect()
}

fn options(program: &Command, command: &Command) -> Vec<Completed> {
    let options = command.get_arguments().filter(|argument| !argument.is_positional());
    options
        .map(|argument| Completed {
            name: format!("-{}", argument.get_long().unwrap_or_default()),
            short: argument.get_short(),
            about: about(argument.get_help()),
            value: argument
                .get_action()
                .takes_values()
                .then(|| (value_name(argument), values(program, argument))),
            is_optional: argument.get_num_args().is_some_and(|range| range.min_values() == 0),
        })
        .collect()
}

/// What the argument of a command can be, if it takes one.
fn positional(program: &Command, command: &Command) -> Option<(String, Values)> {
    let argument = command.get_positionals().next()?;
    Some((value_name(argument), values(program, argument)))
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map(ToString::to_string).unwrap_or_default()
}

fn values(program: &Command, argument: &Arg) -> Values {
    let words = |words: &[&str]| Values::Words(words.iter().map(|word| (*word).to_owned()).collect());
    match (argument.get_long(), value_name(argument).as_str()) {
        (Some("output"), _) => words(&["text", "json"]),
        (Some("verify"), _) => words(&["true", "false", "full"]),
        (Some("ha-prefer"), _) => words(&["master", "slave", "any"]),
        (Some("prune-logs"), _) => words(&["7d", "30d", "512mb", "2gb"]),
        (Some("format"), _) => words(&["neo4j-admin", "jsonl", "cypher"]),
        (Some("release"), _) => words(&["1.3", "1.4.2", "1.5", "1.6.1", "1.7.2", "1.8"]),
        (None, "SHELL") => words(&["bash", "zsh", "fish"]),
        (None, "COMMAND") => Values::Words(names(program).into_iter().chain([EXIT_STATUS.to_owned()]).collect()),
        (None, "ACTION") => {
            let actions = argument.get_possible_values();
            Values::Words(actions.iter().map(|action| action.get_name().to_owned()).collect())
        }
        (_, "DIR" | "OTHER") => Values::Directories,
        (_, "FILE") => Values::Files,
        _ => Values::Unknown,
    }
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn bash(program: &Command) -> String {
    let commands = names(program);
    let mut with_value = Vec::new();
    let mut tables = String::new();
    let mut after = String::new();
    for command in std::iter::once(program).chain(program.get_subcommands()) {
        let key = if command.has_subcommands() {
            ""
        } else {
            command.get_name()
        };
        let mut words = Vec::new();
        for option in options(program, command) {
            words.extend(option.short.map(|short| format!("-{short}")));
            if let Some((_, values)) = &option.value {
                let _ = writeln!(
                    after,
                    "        {key}:{}) {}; return ;;",
                    option.name,
                    bash_values(values)
                );
                if !option.is_optional {
                    with_value.push(option.name.clone());
                }
            }
            words.push(option.name);
        }
        let argument = match positional(program, command) {
            Some((_, values)) => bash_values(&values),
            None => String::from(":"),
        };
        let _ = writeln!(
            tables,
            "        '{key}') options='{}'; argument='{}' ;;",
            words.join(" "),
            argument
        );
    }
    with_value.sort();
    with_value.dedup();
    format!(
        r#"# bash completion of neo4j-backup

_neo4j_backup_words() {{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}}

_neo4j_backup_paths() {{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}}

_neo4j_backup() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command='' options='' argument='' i
    COMPREPLY=()
    # bash splits -option=value into three words
    if [[ $cur == = ]]; then
        cur=''
    elif [[ $prev == = && COMP_CWORD -gt 2 ]]; then
        prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]/#--/-}} in
        {with_value}) ((i++)) ;;
        {commands}) command=${{COMP_WORDS[i]}}; break ;;
        esac
    done
    case $command in
{tables}    esac
    if [[ $cur == -* ]]; then
        local typed=$cur
        cur=${{cur/#--/-}}
        _neo4j_backup_words "$options"
        if [[ $typed == --* ]]; then
            COMPREPLY=("${{COMPREPLY[@]/#/-}}")
        fi
        return
    fi
    case $command:${{prev/#--/-}} in
{after}    esac
    if [[ $COMP_CWORD -eq 1 ]]; then
        _neo4j_backup_words '{words} '"$options"
    elif [[ $argument != : ]]; then
        eval "$argument"
    else
        _neo4j_backup_words "$options"
    fi
}}

complete -F _neo4j_backup neo4j-backup
"#,
        with_value = with_value.join("|"),
        commands = commands.join("|"),
        words = commands.join(" "),
    )
}

/// The call that completes such a value; without a single quote, so that it can be quoted.
fn bash_values(values: &Values) -> String {
    match values {
        Values::Words(words) => format!("_neo4j_backup_words \"{}\"", words.join(" ")),
        Values::Directories => "_neo4j_backup_paths -d".to_owned(),
        Values::Files => "_neo4j_backup_paths -f".to_owned(),
        Values::Unknown => ":".to_owned(),
    }
}

fn zsh(program: &Command) -> String {
    let mut cases = String::new();
    for command in program.get_subcommands() {
        let mut arguments = zsh_options(program, command);
        if let Some((name, values)) = positional(program, command) {
            let _ = write!(arguments, " \\\n            '1:{name}:{}'", zsh_values(&values));
        }
        let _ = writeln!(
            cases,
            "    {})\n        shift words; (( CURRENT-- ))\n        _arguments{arguments}\n        ;;",
            command.get_name()
        );
    }
    let commands: Vec<String> = program
        .get_subcommands()
        .map(|command| {
            let about = about(command.get_about()).replace(':', "\\:");
            format!("        {}", single_quoted(&format!("{}:{about}", command.get_name())))
        })
        .collect();
    format!(
        r#"#compdef neo4j-backup
# zsh completion of neo4j-backup

_neo4j-backup_commands() {{
    local -a commands
    commands=(
{commands}
    )
    _describe command commands
}}

_neo4j-backup() {{
    case $words[2] in
{cases}    *)
        _arguments{root} \
            '1:command:_neo4j-backup_commands'
        ;;
    esac
}}

if [[ ${{funcstack[1]}} == _neo4j-backup ]]; then
    _neo4j-backup "$@"
else
    compdef _neo4j-backup neo4j-backup
fi
"#,
        commands = commands.join("\n"),
        root = zsh_options(program, program),
    )
}

fn zsh_options(program: &Command, command: &Command) -> String {
    let mut text = String::new();
    for option in options(program, command) {
        let about = option.about.replace('[', "\\[").replace(']', "\\]");
        let value = match &option.value {
            None => String::new(),
            Some((name, values)) if option.is_optional => format!("::{name}:{}", zsh_values(values)),
            Some((name, values)) => format!(":{name}:{}", zsh_values(values)),
        };
        let joint = match (&option.value, option.is_optional) {
            (None, _) => "",
            (Some(_), true) => "=-",
            (Some(_), false) => "=",
        };
        let spec = format!("{}{joint}[{about}]{value}", option.name);
        let _ = write!(text, " \\\n            {}", single_quoted(&spec));
    }
    text
}

fn zsh_values(values: &Values) -> String {
    match values {
        Values::Words(words) => format!("({})", words.join(" ")),
        Values::Directories => "_files -/".to_owned(),
        Values::Files => "_files".to_owned(),
        Values::Unknown => " ".to_owned(),
    }
}

fn fish(program: &Command) -> String {
    let mut text = String::from("# fish completion of neo4j-backup\ncomplete -c neo4j-backup -f\n");
    for command in program.get_subcommands() {
        let _ = writeln!(
            text,
            "complete -c neo4j-backup -n __fish_use_subcommand -a {} -d {}",
            command.get_name(),
            single_quoted(&about(command.get_about()))
        );
    }
    let names = names(program).join(" ");
    for command in std::iter::once(program).chain(program.get_subcommands()) {
        let condition = if command.has_subcommands() {
            format!("not __fish_seen_subcommand_from {names}")
        } else {
            format!("__fish_seen_subcommand_from {}", command.get_name())
        };
        let condition = single_quoted(&condition);
        for option in options(program, command) {
            let short = option.short.map(|short| format!(" -s {short}")).unwrap_or_default();
            let values = match &option.value {
                None => String::new(),
                Some((_, Values::Files)) => " -r -F".to_owned(),
                Some((_, values)) => format!(" -x{}", fish_values(values)),
            };
            let name = option.name.trim_start_matches('-');
            let _ = writeln!(
                text,
                "complete -c neo4j-backup -n {condition}{short} -o {name}{values} -d {}",
                single_quoted(&option.about)
            );
        }
        if let Some((_, values)) = positional(program, command) {
            let _ = writeln!(text, "complete -c neo4j-backup -n {condition}{}", fish_values(&values));
        }
    }
    text
}

fn fish_values(values: &Values) -> String {
    match values {
        Values::Words(words) => format!(" -a '{}'", words.join(" ")),
        Values::Directories => " -a '(__fish_complete_directories)'".to_owned(),
        Values::Files => " -F".to_owned(),
        Values::Unknown => String::new(),
    }
}

/// For a POSIX shell, and for fish if there is no backslash in it.
fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
