//! What was typed: every option with its help, its environment variable and its spelling; nothing is judged here.
//!
//! Values stay text and [`super::request`] judges them, since a value that is given but empty counts as absent, as in
//! the original, and a job may well set an environment variable to nothing.

use std::{env, ffi::OsString};

use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

use super::cluster::ClusterArgs;
#[cfg(feature = "demo")]
use crate::commands::{demo, sandbox};
use crate::commands::{generate, inspect, members, serve, verify};

/// Read by clap, and where clap cannot.
const OUTPUT_VARIABLE: &str = "NEO4J_BACKUP_OUTPUT";

/// Shown below the options.
const AFTER_HELP: &str = "\
EXAMPLES
  neo4j-backup -full -from single://192.168.1.34 -to /mnt/backup/neo4j-backup
  neo4j-backup -incremental -from single://192.168.1.34:9999 -to /mnt/backup/neo4j-backup
  neo4j-backup -full -from ha://192.168.1.15:2181,192.168.1.16:2181 -to /mnt/backup/neo4j-backup

The directory given with -to is the database: to restore, stop the server and put the directory in
the place of its data directory.

One dash or two are the same. Every option can also be set by an environment variable, NEO4J_BACKUP_
and its name as in NEO4J_BACKUP_MAX_RATE; what is typed wins.

EXIT STATUS
    0  done and durable
    1  failed, none of the below
    2  backup good, check could not run
    3  backup good, inconsistencies found, or indexes could not be had
    4  backup good, but its source lost the master role meanwhile: the cluster may lose its last
       transactions
   10  source unreachable
   11  target in use by another run or by Neo4j
   12  coordinators unreachable, no such cluster, no usable member
   13  target is not this source's to continue or replace
   14  a full backup is needed
   15  protocol or version not understood
   16  the server reported an error
   17  time limit
   18  no space
   19  disk error
   20  verify: damage
   21  verify: no damage, but Neo4j opened it since, or an update did not end
   64  usage
   78  configuration
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)";

/// Consistent, bootable backups of running Neo4j 1.3 - 1.9 databases, full and incremental
#[derive(Debug, Parser)]
#[command(
    name = "neo4j-backup",
    version,
    override_usage = "neo4j-backup -full|-incremental|-auto -from URI -to DIR [OPTIONS]\n       neo4j-backup COMMAND [OPTIONS]",
    after_help = AFTER_HELP,
    next_line_help = true,
    max_term_width = 100,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "COMMAND",
    disable_help_subcommand = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a switch that was typed is a bool; requests have enums"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Take a full backup: all store files, and the transactions committed meanwhile
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_FULL", value_parser = switch)]
    pub(crate) full: bool,

    /// Bring an existing backup up to the source's present state
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_INCREMENTAL", value_parser = switch)]
    pub(crate) incremental: bool,

    /// Full where the target is absent or empty, incremental otherwise
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_AUTO", value_parser = switch)]
    pub(crate) auto: bool,

    #[arg(
        long,
        help = "The running database: single://host[:port], port 6362 unless given; or a cluster by its coordinators: \
                ha://host[:port],host[:port][/chroot], port 2181 unless given",
        value_name = "URI",
        hide_env = true,
        env = "NEO4J_BACKUP_FROM"
    )]
    pub(crate) from: Option<String>,

    /// The directory of the backup
    #[arg(long, value_name = "DIR", hide_env = true, env = "NEO4J_BACKUP_TO",
          value_parser = clap::value_parser!(OsString))]
    pub(crate) to: Option<OsString>,

    /// Check the consistency of the finished backup: true, the default, checks all of a full backup and what an
    /// incremental one changed; full checks all; false nothing
    #[arg(long, value_name = "WHAT", hide_env = true, env = "NEO4J_BACKUP_VERIFY",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) verify: Option<String>,

    /// Let a full backup replace an older backup of the same database, in one step and only when it is complete
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_OVERWRITE", value_parser = switch)]
    pub(crate) overwrite: bool,

    /// Take a full backup where an incremental one cannot go on
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_FALLBACK_FULL", value_parser = switch)]
    pub(crate) fallback_full: bool,

    /// Refuse to continue where it cannot be proven that the source still has the target's history
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_REQUIRE_HISTORY", value_parser = switch)]
    pub(crate) require_history: bool,

    /// Remove history logs older than a time (7d, which is meant where nothing follows; 12h) or beyond a size (512mb,
    /// 2gb); all are kept unless given
    #[arg(long, value_name = "KEEP", hide_env = true, env = "NEO4J_BACKUP_PRUNE_LOGS",
          num_args = 0..=1, require_equals = true, default_missing_value = "7d")]
    pub(crate) prune_logs: Option<String>,

    /// End the whole run after this time: 90, 90s, 5m, 2h, 1d
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_TIMEOUT")]
    pub(crate) timeout: Option<String>,

    /// Give up on a server that is silent for this time: 60s unless given, longer for old releases
    #[arg(long, value_name = "TIME", hide_env = true, env = "NEO4J_BACKUP_SILENCE_TIMEOUT")]
    pub(crate) silence_timeout: Option<String>,

    /// Receive no more than this many bytes a second: 500k, 20m, 1g (powers of 1024)
    #[arg(long, value_name = "RATE", hide_env = true, env = "NEO4J_BACKUP_MAX_RATE")]
    pub(crate) max_rate: Option<String>,

    /// Let transactions make a store file grow by this many bytes: 512m, 8g (powers of 1024); 1g, or four times its
    /// length, unless given
    #[arg(long, value_name = "SIZE", hide_env = true, env = "NEO4J_BACKUP_MAX_GROWTH")]
    pub(crate) max_growth: Option<String>,

    #[command(flatten)]
    pub(crate) of_cluster: ClusterArgs,

    #[command(flatten)]
    pub(crate) common: Common,

    /// Print this text
    #[arg(long, short, global = true, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(long, short = 'V', action = ArgAction::Version)]
    version: Option<bool>,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The result on standard output: text (the default), or json: one object, on failure too
    #[arg(long, global = true, value_name = "FORMAT", hide_env = true, env = OUTPUT_VARIABLE)]
    pub(crate) output: Option<String>,

    /// No progress and no text on success; warnings and errors only
    #[arg(long, global = true, hide_env = true, env = "NEO4J_BACKUP_QUIET", value_parser = switch)]
    pub(crate) quiet: bool,

    /// Log what happens on the wire and on disk; -vv and -vvv log more
    #[arg(short, long, global = true, action = ArgAction::Count, hide_env = true, env = "NEO4J_BACKUP_VERBOSE",
          value_parser = level)]
    pub(crate) verbose: u8,
}

/// Everything but taking a backup; each command's own file says what it takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who is in a cluster and who would be asked for a backup
    Members(members::MembersArgs),

    /// Look for inconsistencies in a backup or a database that nobody has open
    Check(crate::commands::check::CheckArgs),

    /// Print the completion script of a shell
    Completions(generate::CompletionsArgs),

    /// Print the manual page, in roff
    Man,

    /// Say what a directory is: which database, how far, since when, what the first start will do
    Inspect(inspect::InspectArgs),

    /// Compare a backup with its checksums, every byte of it; exit code 20 for damage, 21 for changes by Neo4j
    Verify(verify::VerifyArgs),

    /// Serve a cleanly closed database, or a backup, as a backup source
    Serve(Box<serve::ServeArgs>),

    /// Start a throw-away cluster to try everything on, with a prompt to break it
    #[cfg(feature = "demo")]
    Sandbox(Box<sandbox::SandboxArgs>),

    /// See all of this in ten seconds, on a throw-away cluster
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
}

/// A switch and where it came from: what is typed wins over the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    Off,
    Environment,
    Typed,
}

impl Args {
    /// The definitions that parsing, help and the dash rewriting share.
    pub(crate) fn definitions() -> clap::Command {
        Args::command()
    }

    /// Reads arguments whose options have two dashes.
    pub(crate) fn read(words: &[OsString]) -> Result<(Args, ModeSwitches), clap::Error> {
        let matches = Args::definitions().try_get_matches_from(words)?;
        let args = Args::from_arg_matches(&matches)?;
        let modes = ModeSwitches {
            full: origin(&matches, "full", args.full),
            incremental: origin(&matches, "incremental", args.incremental),
            auto: origin(&matches, "auto", args.auto),
        };
        Ok((args, modes))
    }

    /// What `-output` says in words that cannot be read as a whole: how to report the error. clap stops at the first
    /// word that is wrong, so this looks by itself.
    pub(crate) fn output_of(words: &[OsString]) -> Option<String> {
        let mut found = None;
        let mut rest = words.iter().filter_map(|word| word.to_str());
        while let Some(word) = rest.next() {
            match word.trim_start_matches('-').split_once('=') {
                Some(("output", value)) if word.starts_with('-') => found = Some(value),
                None if matches!(word, "-output" | "--output") => found = rest.next(),
                _ => {}
            }
        }
        found.map(str::to_owned).or_else(|| env::var(OUTPUT_VARIABLE).ok())
    }
}

/// The three modes, of which one is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModeSwitches {
    pub(crate) full: Switch,
    pub(crate) incremental: Switch,
    pub(crate) auto: Switch,
}

fn origin(matches: &ArgMatches, name: &str, on: bool) -> Switch {
    match matches.value_source(name) {
        _ if !on => Switch::Off,
        Some(ValueSource::EnvVariable) => Switch::Environment,
        _ => Switch::Typed,
    }
}

/// The value of a switch in the environment; an empty one is off.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "" | "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("true or false is expected".to_owned()),
    }
}

fn level(text: &str) -> Result<u8, String> {
    match text {
        "" => Ok(0),
        _ => text.parse().map_err(|_| "a number from 0 to 3 is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_the_environment_variable_of_its_name() {
        let root = Args::definitions();
        let commands = root.get_subcommands().flat_map(clap::Command::get_arguments);
        for argument in root.get_arguments().chain(commands) {
            let Some(name) = argument.get_long() else {
                assert!(argument.is_positional());
                continue;
            };
            if !matches!(name, "help" | "version") {
                let expected = format!("NEO4J_BACKUP_{}", name.to_uppercase().replace('-', "_"));
                assert_eq!(argument.get_env(), Some(expected.as_ref()), "-{name}");
            }
        }
    }

    #[test]
    fn the_output_format_is_found_among_wrong_words() {
        let found = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Args::output_of(&words)
        };
        assert_eq!(found(&["x", "-wrong", "-output", "json"]), Some("json".into()));
        assert_eq!(
            found(&["x", "--output=json", "-output=text", "-to"]),
            Some("text".into())
        );
        assert_eq!(found(&["x", "output=json", "--outputs=json"]), None);
    }
}
