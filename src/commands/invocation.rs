//! From the arguments to the exit code.

use std::{ffi::OsString, process::ExitCode};

use clap::error::ErrorKind as ClapKind;
use tracing::level_filters::LevelFilter;

use super::{
    backup, diff, drill, export, generate, inspect, members, repo, restore, run as jobs, serve, stats, status, verify,
};
#[cfg(feature = "demo")]
use super::{demo, sandbox};
use crate::{
    args::{
        dashes,
        definitions::{Args, Command, ModeSwitches},
        environment,
        request::{BackupRequest, Output, RequestError},
    },
    output::{
        log::{self, LogFormat},
        report::{self, Failure},
        streams,
        terminal::{self, Verbosity},
    },
};
use neo4j_backup_core::{Error, ErrorKind, Status};

/// Runs the program with these arguments (the first is the program's name) and returns its exit code.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = args.collect();
    let mut definitions = Args::definitions();
    definitions.build();
    // until all of it is read, as far as it can be found among words that are wrong
    log::set(LogFormat::found(Args::log_format_of(&words).as_deref()));
    let words = match dashes::rewrite(&definitions, &words) {
        Ok(words) => words,
        Err(error) => {
            let error = Error::new(ErrorKind::Usage, error)
                .with_hint("a value that begins with a dash is written after an equals sign, as in -to=-dir");
            return report::refused(&error.into(), output_of(&words));
        }
    };
    let (args, modes) = match Args::read(&words) {
        Ok(read) => read,
        Err(error) if matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) => {
            streams::to_stdout(&dashes::single_dashes(&error.to_string()));
            return ExitCode::SUCCESS;
        }
        Err(error) => return report::refused(&usage_error(&error).into(), output_of(&words)),
    };
    let output = match Output::parse(args.common.output.as_deref()) {
        Ok(output) => output,
        Err(error) => return report::refused(&Error::from(error).into(), Output::Text),
    };
    match LogFormat::parse(args.common.log_format.as_deref()) {
        Ok(format) => log::set(format),
        Err(error) => return report::refused(&Error::from(error).into(), output),
    }
    let is_a_tool = matches!(
        args.command,
        Some(Command::Completions(_) | Command::Man(_) | Command::Help(_) | Command::Version)
    );
    if !is_a_tool && let Err(unknown) = environment::require_known(&definitions) {
        let hint = format!("a variable of a similar name exists: {}", unknown.nearest);
        let error = Error::new(ErrorKind::Usage, unknown).with_hint(hint);
        return report::refused(&error.into(), output);
    }
    let loudness = if args.common.quiet {
        Verbosity::Quiet
    } else {
        Verbosity::Normal
    };
    let logs = terminal::log_level(args.common.verbose);
    match &args.command {
        None => take_backup(&args, modes, output, loudness, logs),
        Some(Command::Run(wanted)) => jobs::run(wanted, output, loudness, logs),
        Some(Command::Jobs(wanted)) => jobs::jobs(wanted, output, loudness, logs),
        Some(Command::Members(wanted)) => members::run(wanted, output, loudness, logs),
        Some(Command::Check(wanted)) => super::check::run(wanted, output, loudness, logs),
        Some(Command::Completions(wanted)) => generate::completions(wanted, &definitions, output),
        Some(Command::Man(wanted)) => generate::man(wanted, &definitions, output),
        Some(Command::Help(wanted)) => generate::help(wanted, &definitions, output),
        Some(Command::Version) => generate::version(&definitions, output),
        Some(Command::Inspect(wanted)) => inspect::run(wanted, output),
        Some(Command::Status(wanted)) => status::run(wanted, output, loudness, logs),
        Some(Command::Verify(wanted)) => verify::run(wanted, output, loudness, logs),
        Some(Command::Repo(wanted)) => repo::init(wanted, output),
        Some(Command::Snapshots(wanted)) => repo::snapshots(wanted, output),
        Some(Command::Forget(wanted)) => repo::forget(wanted, output, loudness),
        Some(Command::Drill(wanted)) => drill::run(wanted, output, loudness, logs),
        Some(Command::Restore(wanted)) => restore::run(wanted, output, loudness, logs),
        Some(Command::Stats(wanted)) => stats::run(wanted, output, loudness, logs),
        Some(Command::Diff(wanted)) => diff::run(wanted, output, args.common.verbose > 0, loudness, logs),
        Some(Command::Export(wanted)) => export::run(wanted, output, loudness, logs),
        Some(Command::Serve(wanted)) => serve::run(wanted, output, loudness, logs),
        #[cfg(feature = "demo")]
        Some(Command::Sandbox(wanted)) => sandbox::run(wanted, output, logs),
        #[cfg(feature = "demo")]
        Some(Command::Demo(wanted)) => demo::run(wanted, logs),
    }
}

fn take_backup(args: &Args, modes: ModeSwitches, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    match BackupRequest::from_args(args, modes) {
        Ok(request) => match request.archived_in(&args.of_repository, args.keep.as_deref()) {
            Ok(request) if args.dry_run => backup::preflight(&request, output, loudness, logs),
            Ok(request) => {
                let code = backup::run(&request, output, loudness, logs);
                args.metrics.write("", &Status::of_directory(&request.target));
                code
            }
            Err(error) => report::refused(&error.into(), output),
        },
        Err(RequestError::Source(error)) => {
            let marked = streams::marked(&environment::origin_of_uri(error.uri()), error.uri(), &error.range());
            report::refused(&Failure::marked(error.into(), marked), output)
        }
        Err(error) => report::refused(&Error::from(error).into(), output),
    }
}

/// clap's error without its usage lines: what is wrong, and its tips as the hint.
fn usage_error(error: &clap::Error) -> Error {
    let text = dashes::single_dashes(&error.to_string());
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message = text.split("\n\n").next().unwrap_or_default();
    let tips: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .collect();
    let message = match environment::refused(error) {
        Some(variable) => format!("{message} (set by {variable})"),
        None => message.to_owned(),
    };
    let hint = if tips.is_empty() {
        "neo4j-backup -help lists all options".to_owned()
    } else {
        tips.join("; ")
    };
    Error::new(ErrorKind::Usage, message.trim()).with_hint(hint)
}

/// How an error in arguments that cannot be read as a whole is reported.
fn output_of(words: &[OsString]) -> Output {
    Output::parse(Args::output_of(words).as_deref()).unwrap_or(Output::Text)
}
