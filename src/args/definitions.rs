//! What was typed: every option with its help, its environment variable and its spelling; nothing is judged here.
//!
//! Values stay text and [`super::request`] judges them, since a value that is given but empty counts as absent, as in
//! the original, and a job may well set an environment variable to nothing.

use std::{env, ffi::OsString};

use clap::{
    ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{OsStr, Resettable},
    parser::ValueSource,
};

use super::{cluster::ClusterArgs, help, repository::RepositoryArgs};
#[cfg(feature = "demo")]
use crate::commands::{demo, sandbox};
use crate::commands::{
    diff, drill, export, generate, inspect, members, repo, restore, run, serve, stats, status, verify,
};
use crate::output::metrics::MetricsArgs;

/// Read by clap, and where clap cannot.
const OUTPUT_VARIABLE: &str = "NEO4J_BACKUP_OUTPUT";
const LOG_FORMAT_VARIABLE: &str = "NEO4J_BACKUP_LOG_FORMAT";

/// Headings of the options in the help and the manual page, in this order.
pub(crate) const BACKUP: &str = "Backup";
pub(crate) const CLUSTER: &str = "Cluster";
pub(crate) const REPOSITORY: &str = "Repository";
pub(crate) const LIMITS: &str = "Limits";
pub(crate) const OUTPUT: &str = "Output";

/// Consistent, bootable backups of running Neo4j 1.3 - 1.9 databases, full and incremental
///
/// neo4j-backup copies a running Neo4j 1.3 - 1.9 Enterprise database over the network, without a JVM. It detects the
/// release that it talks to. The directory given with -to is a database: to restore, stop the server and put a copy of
/// the directory where the server's data directory is.
///
/// One dash and two dashes before an option mean the same.
#[derive(Debug, Parser)]
#[command(
    name = "neo4j-backup",
    version,
    override_usage = "neo4j-backup -full|-incremental|-auto -from URI -to DIR [OPTIONS]\n       neo4j-backup COMMAND [OPTIONS]",
    after_help = "neo4j-backup -auto -from single://192.168.1.34 -to /mnt/backup/neo4j",
    after_long_help = "\
neo4j-backup -full -from single://192.168.1.34 -to /mnt/backup/neo4j
neo4j-backup -incremental -from single://192.168.1.34:9999 -to /mnt/backup/neo4j
neo4j-backup -auto -from ha://192.168.1.15:2181,192.168.1.16:2181 -to /mnt/backup/neo4j",
    next_help_heading = BACKUP,
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

    /// Take a full backup
    ///
    /// Copies all store files and the transactions that are committed during the copy.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_FULL", value_parser = switch)]
    pub(crate) full: bool,

    /// Add the transactions since the last backup to the backup in DIR
    ///
    /// Proves first that the source has the same history as the backup.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_INCREMENTAL", value_parser = switch)]
    pub(crate) incremental: bool,

    /// Full if DIR is missing or cannot be continued, incremental otherwise
    ///
    /// Takes a full backup if DIR is empty, too, and as with -fallback-full if an incremental one cannot continue.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_AUTO", value_parser = switch)]
    pub(crate) auto: bool,

    #[arg(
        long,
        help = "Source: single://host[:6362], or ha://host[:2181],host[:2181][/chroot]",
        long_help = "Source of the backup: a server, single://host[:port] [default port: 6362], or a cluster by its \
                     ZooKeeper servers, ha://host[:port],host[:port][/chroot] [default port: 2181]. host[:port] alone \
                     is a server.",
        value_name = "URI",
        hide_env = true,
        env = "NEO4J_BACKUP_FROM"
    )]
    pub(crate) from: Option<String>,

    /// Directory of the backup
    ///
    /// The parent directory must exist: temporary siblings, DIR.lock, DIR.partial, DIR.ready and
    /// DIR.replaced, are created there.
    #[arg(long, value_name = "DIR", hide_env = true, env = "NEO4J_BACKUP_TO",
          value_parser = clap::value_parser!(OsString))]
    pub(crate) to: Option<OsString>,

    /// Check consistency at the end: true, false or full [default: true]
    ///
    /// true checks everything after a full backup and the changed records after an incremental one; full always checks
    /// everything; false checks nothing.
    #[arg(long, value_name = "WHAT", hide_env = true, env = "NEO4J_BACKUP_VERIFY",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) verify: Option<String>,

    /// Full: replace an older backup of the same database, in one step
    ///
    /// The old backup stays in place until the new one is complete. It is replaced only by a backup of the same
    /// database that is at least as recent.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_OVERWRITE", value_parser = switch)]
    pub(crate) overwrite: bool,

    /// Full: permissions of a new directory, such as 0750 [default: 0700]
    ///
    /// Files get the same permissions to read and write: 0640 for 0750. The default is narrowed by the umask. A directory
    /// that exists keeps its owner, group and mode, and new files follow them.
    #[arg(
        long,
        value_name = "MODE",
        hide_env = true,
        hide_short_help = true,
        env = "NEO4J_BACKUP_MODE"
    )]
    pub(crate) mode: Option<String>,

    /// As root: work in a directory in which other users can rename files
    ///
    /// Without this option, root refuses if a user who is neither root nor the owner of the backup can rename files in the
    /// target or its parent directory. The sticky bit (chmod +t) protects a directory of root.
    #[arg(long, hide_env = true, hide_short_help = true, env = "NEO4J_BACKUP_ALLOW_SHARED_DIRECTORY", value_parser = switch)]
    pub(crate) allow_shared_directory: bool,

    /// Incremental: take a full backup if the chain cannot be continued
    ///
    /// For example because the server has pruned the logs that are needed. The full backup replaces the old one in one
    /// step.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_FALLBACK_FULL", value_parser = switch)]
    pub(crate) fallback_full: bool,

    /// Incremental: refuse if the common history cannot be proven
    ///
    /// Without this option a warning gives the cause. 1.3, and a server that no longer has the last transaction of the
    /// backup, can prove nothing.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_REQUIRE_HISTORY", value_parser = switch)]
    pub(crate) require_history: bool,

    /// Delete old archived logs: 7d, 12h, 512mb, 2gb [default: keep all]
    ///
    /// Keeps the logs of this time, or up to this size. A time needs a unit, s, m, h or d; a size needs k, mb or g. Without a value: 7d. Servers that read from this
    /// backup need its archived logs for their incremental backups.
    #[arg(long, value_name = "KEEP", hide_env = true, env = "NEO4J_BACKUP_PRUNE_LOGS",
          num_args = 0..=1, require_equals = true, default_missing_value = "7d")]
    pub(crate) prune_logs: Option<String>,

    /// Show what would be done and whether it can succeed; write nothing
    ///
    /// Asks the members, compares the history, and checks space, permissions and the repository. The exit code is that of
    /// the backup, as far as it can be known before anything is received.
    #[arg(long, hide_env = true, env = "NEO4J_BACKUP_DRY_RUN", value_parser = switch)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) of_cluster: ClusterArgs,

    #[command(flatten)]
    pub(crate) of_repository: RepositoryArgs,

    /// Then remove old generations: last=2,daily=7,weekly=4 [default: none]
    ///
    /// As `forget` does, after the backup was archived.
    #[arg(long, value_name = "POLICY", help_heading = REPOSITORY, hide_env = true, env = "NEO4J_BACKUP_KEEP")]
    pub(crate) keep: Option<String>,

    /// End the run after this time: 90s, 5m, 2h, 1d [default: no limit]
    ///
    /// A number without a unit is in seconds.
    #[arg(long, value_name = "TIME", help_heading = LIMITS, hide_env = true, env = "NEO4J_BACKUP_TIMEOUT")]
    pub(crate) timeout: Option<String>,

    /// Give up on a server that sends nothing for this time [default: 60s]
    ///
    /// Holds for the first answer too. The default is longer for releases that are known to pause.
    #[arg(long, value_name = "TIME", help_heading = LIMITS, hide_env = true, env = "NEO4J_BACKUP_SILENCE_TIMEOUT")]
    pub(crate) silence_timeout: Option<String>,

    /// Receive at most this many bytes/s: 500k, 20m [default: no limit]
    ///
    /// k, m and g are powers of 1024.
    #[arg(long, value_name = "RATE", help_heading = LIMITS, hide_env = true, env = "NEO4J_BACKUP_MAX_RATE")]
    pub(crate) max_rate: Option<String>,

    /// Give up on a server that sends fewer bytes/s: 100, 10k [default: 1k]
    ///
    /// Averaged over -silence-timeout. 0 disables the limit; k, m and g are powers of 1024.
    #[arg(long, value_name = "RATE", help_heading = LIMITS, hide_env = true, hide_short_help = true,
          env = "NEO4J_BACKUP_MIN_RATE")]
    pub(crate) min_rate: Option<String>,

    /// Let a store file grow by at most this much [default: 1g]
    ///
    /// Protects against corrupt record numbers. The default is 1g or four times the length of the file, whichever is
    /// more. k, m and g are powers of 1024.
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, hide_env = true, hide_short_help = true,
          env = "NEO4J_BACKUP_MAX_GROWTH")]
    pub(crate) max_growth: Option<String>,

    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,

    #[command(flatten)]
    pub(crate) common: Common,

    /// Print this help
    #[arg(long, short, global = true, help_heading = OUTPUT, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(long, short = 'V', hide = true, help_heading = OUTPUT, action = ArgAction::Version)]
    version: Option<bool>,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = OUTPUT)]
pub(crate) struct Common {
    /// Format of the result on standard output: text or json [default: text]
    ///
    /// json prints one object, after a failure too. Its schema is in docs/schema.
    #[arg(long, global = true, value_name = "FORMAT", hide_env = true, env = OUTPUT_VARIABLE)]
    pub(crate) output: Option<String>,

    /// Format of the lines on standard error: text or json [default: text]
    ///
    /// json prints one object a line, with time, level, event and message. Below systemd, each line begins with its priority.
    #[arg(long, global = true, value_name = "FORMAT", hide_env = true, hide_short_help = true, env = LOG_FORMAT_VARIABLE)]
    pub(crate) log_format: Option<String>,

    /// Print warnings and errors only
    #[arg(long, global = true, hide_env = true, env = "NEO4J_BACKUP_QUIET", value_parser = switch)]
    pub(crate) quiet: bool,

    /// Log to standard error; -vv and -vvv log more
    ///
    /// Each v adds detail: what happens, each step, each message on the wire.
    #[arg(short, long, global = true, action = ArgAction::Count, hide_env = true, env = "NEO4J_BACKUP_VERBOSE",
          value_parser = level)]
    pub(crate) verbose: u8,
}

/// Every command except the backup itself; the options of each are in the file of the command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the jobs of a file
    ///
    /// A job is a backup with -auto, its check, its generation in the repository and the hooks before and after it. Jobs run
    /// in their order; none stops another one. The exit code is the worst of all: the highest, where 1 counts more than 2
    /// to 5.
    #[command(after_help = "neo4j-backup run orders users\nneo4j-backup run -all -parallel 2")]
    Run(run::RunArgs),

    /// Check or list the jobs of a file
    ///
    /// `check` tries every source, target and repository as -dry-run does, and writes nothing. `list` shows the jobs.
    #[command(after_help = "neo4j-backup jobs check -jobs /etc/neo4j-backup/jobs.toml")]
    Jobs(run::JobsArgs),

    /// List the members of a cluster
    ///
    /// Shows role, addresses and last transaction of each member, whether its backup service answers, and which
    /// members a backup would use, in which order. Exit status 12 means that no member is eligible.
    #[command(after_help = "neo4j-backup members -from ha://192.168.1.15:2181,192.168.1.16:2181")]
    Members(members::MembersArgs),

    /// Describe a backup or database
    ///
    /// Shows the database, its last transaction, its age, and what the first start of Neo4j will do. Reads headers
    /// only and changes nothing.
    #[command(after_help = "neo4j-backup inspect /mnt/backup/neo4j")]
    Inspect(inspect::InspectArgs),

    /// Show how good and recent backups are
    ///
    /// Shows the age of the last good backup, its last transaction, the last run and its result, the last verification and
    /// drill, and the free space. Reads the backup's manifest and DIR.journal; changes nothing. Exit status 23 means that a
    /// backup is missing, too old or damaged, or that its last run failed.
    #[command(after_help = "neo4j-backup status /mnt/backup/neo4j -warn 26h -crit 50h\nneo4j-backup status -all")]
    Status(Box<status::StatusArgs>),

    /// Compare a backup with its checksums
    ///
    /// Reads every byte. Exit status 20 means damage; 21 means that Neo4j or an interrupted update changed the backup.
    #[command(after_help = "neo4j-backup verify /mnt/backup/neo4j")]
    Verify(verify::VerifyArgs),

    /// Restore a backup into a data directory
    ///
    /// Copies the backup beside the target, compares every byte with its checksums, checks the graph, and puts the
    /// database in place in one step. The report says what the first start of Neo4j will do and how to start it. Exit
    /// status 11 means that Neo4j has the target open; 20 means that the backup is damaged.
    #[command(after_help = "neo4j-backup restore -from /mnt/backup/neo4j -to /var/lib/neo4j/data/graph.db -replace")]
    Restore(restore::RestoreArgs),

    /// Prove that a backup can be restored
    ///
    /// Restores the newest generation, or a directory, below a scratch directory, verifies and checks it, and removes it.
    /// Optionally starts a server on it and asks it. The repository notes when a generation was last restored.
    #[command(after_help = "neo4j-backup drill -repo /mnt/repo -repo-password-file /etc/neo4j-backup/password")]
    Drill(Box<drill::DrillArgs>),

    /// Create a repository of generations
    ///
    /// `repo init` creates a repository in the format of restic in a directory that is absent or empty. A backup with
    /// -repo archives its result there.
    #[command(after_help = "neo4j-backup repo init -repo /mnt/repo -repo-password-file /etc/neo4j-backup/password")]
    Repo(repo::RepoArgs),

    /// List the generations in a repository
    ///
    /// Shows for each its time, mode, last transaction, the bytes that it added, its check, and when a drill last
    /// restored it.
    #[command(after_help = "neo4j-backup snapshots -repo /mnt/repo -repo-password-file /etc/neo4j-backup/password")]
    Snapshots(repo::SnapshotsArgs),

    /// Remove old generations
    ///
    /// Frees their space. Waits for other runs that use the repository, and keeps them away meanwhile.
    #[command(after_help = "neo4j-backup forget -repo /mnt/repo -keep last=2,daily=7,weekly=4,monthly=12 -dry-run")]
    Forget(repo::ForgetArgs),

    /// Check the consistency of the graph
    ///
    /// Checks every record of a backup, or of a database that is not open. Exit status 3 means that inconsistencies
    /// were found.
    #[command(after_help = "neo4j-backup check /mnt/backup/neo4j")]
    Check(crate::commands::check::CheckArgs),

    /// Show what the graph consists of
    ///
    /// Counts nodes, relationships by type and properties by key, with the types and ranges of their values, and shows
    /// how many relationships nodes have. Useful before a migration. Exit status 3 means that damaged records were left
    /// out.
    #[command(after_help = "neo4j-backup stats /mnt/backup/neo4j")]
    Stats(stats::StatsArgs),

    /// Compare two graphs
    ///
    /// Compares the nodes, relationships and properties of two backups, or of databases that were closed cleanly. -v
    /// shows each difference. Exit status 0 means that they are equal, 1 that they differ, and 3 that they are equal
    /// as far as they can be read.
    #[command(after_help = "neo4j-backup diff /mnt/backup/monday /mnt/backup/tuesday")]
    Diff(diff::DiffArgs),

    /// Export the graph for other systems
    ///
    /// Writes the graph of a backup, or of a database that was closed cleanly, as CSV files that the importer of a
    /// current Neo4j takes, as JSON lines, or as Cypher statements. Ids of nodes and types of values are kept. Entries
    /// of indexes are not exported.
    ///
    /// Nothing changes in silence: exit status 24 means that the format cannot hold every value, and that nothing was
    /// exported; 3 means that damaged records were left out.
    #[command(after_help = "neo4j-backup export /mnt/backup/neo4j -to /mnt/export")]
    Export(export::ExportArgs),

    /// Serve a backup to other clients
    ///
    /// Offers a backup, or a database that was closed cleanly, as a source for this program and for the original
    /// backup tools. An incremental backup may update the directory at the same time.
    ///
    /// The protocol has no authentication: everyone who can reach the port can copy the database. By default only this
    /// machine can; restrict the clients with -allow if you listen on another address.
    ///
    /// SIGTERM waits for responses in progress; a second SIGTERM does not.
    #[command(after_help = "neo4j-backup serve -db /mnt/backup/neo4j -listen 0.0.0.0:6362 -allow 10.0.0.0/8")]
    Serve(Box<serve::ServeArgs>),

    /// Start a test cluster with a prompt
    ///
    /// The members hold real databases that change all the time, behind backup services on 127.0.0.1. Needs no Java, no
    /// network and no root. Commands on standard input kill, stall, slow and restart members; help lists them. Ctrl-C
    /// ends the cluster.
    #[command(after_help = "neo4j-backup sandbox -release 1.8 -members 3")]
    #[cfg(feature = "demo")]
    Sandbox(Box<sandbox::SandboxArgs>),

    /// Show it all on a test cluster
    ///
    /// Takes about ten seconds: members, a full backup, an incremental one, the failure of the master, verify, check
    /// and inspect. Needs no Java and no network. Ends with an error if a step does not show what it claims.
    #[command(after_help = "neo4j-backup demo -keep /tmp/demo")]
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),

    /// Print a shell's completion script
    ///
    /// For bash, zsh and fish. The script completes commands, options and their values.
    #[command(after_help = "neo4j-backup completions bash > /etc/bash_completion.d/neo4j-backup")]
    Completions(generate::CompletionsArgs),

    /// Print or write the manual pages
    ///
    /// Prints the page of the program, or writes one page for each command into a directory.
    #[command(after_help = "neo4j-backup man -to /usr/local/share/man/man1")]
    Man(generate::ManArgs),

    /// Print the help of a command
    ///
    /// Without a command: the help of the program. `help exit-status` lists the exit codes.
    #[command(after_help = "neo4j-backup help members\nneo4j-backup help exit-status")]
    Help(help::HelpArgs),

    /// Print the version
    ///
    /// Prints the name and version of the program.
    #[command(after_help = "neo4j-backup version")]
    Version,
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
        help::with_help_texts(Args::command())
    }

    /// Reads arguments whose options have two dashes.
    pub(crate) fn read(words: &[OsString]) -> Result<(Args, ModeSwitches), clap::Error> {
        Args::read_by(Args::definitions(), words)
    }

    /// The same, and no environment variable sets an option of a backup.
    pub(crate) fn read_without_environment(words: &[OsString]) -> Result<(Args, ModeSwitches), clap::Error> {
        Args::read_by(
            Args::definitions().mut_args(|option| option.env(Resettable::<OsStr>::Reset)),
            words,
        )
    }

    fn read_by(definitions: clap::Command, words: &[OsString]) -> Result<(Args, ModeSwitches), clap::Error> {
        let matches = definitions.try_get_matches_from(words)?;
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
        Args::value_of(words, "output").or_else(|| env::var(OUTPUT_VARIABLE).ok())
    }

    /// The same of `-log-format`.
    pub(crate) fn log_format_of(words: &[OsString]) -> Option<String> {
        Args::value_of(words, "log-format").or_else(|| env::var(LOG_FORMAT_VARIABLE).ok())
    }

    fn value_of(words: &[OsString], option: &str) -> Option<String> {
        let mut found = None;
        let mut rest = words.iter().filter_map(|word| word.to_str());
        while let Some(word) = rest.next() {
            match word.trim_start_matches('-').split_once('=') {
                Some((name, value)) if name == option && word.starts_with('-') => found = Some(value),
                None if word.starts_with('-') && word.trim_start_matches('-') == option => found = rest.next(),
                _ => {}
            }
        }
        found.map(str::to_owned)
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

/// How often `-v` counts, from the environment; a switch counts as one.
fn level(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(level) => Ok(level),
        Err(_) => switch(text)
            .map(u8::from)
            .map_err(|_| "a number from 0 to 3, true or false is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_the_environment_variable_of_its_name() {
        let root = Args::definitions();
        // A NEO4J_BACKUP_TO for backups must not send manual pages into the backup, nor restore into it.
        let typed_only = ["man", "restore", "drill"];
        let commands = root
            .get_subcommands()
            .filter(|command| !typed_only.contains(&command.get_name()));
        let commands = commands.flat_map(clap::Command::get_arguments);
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
