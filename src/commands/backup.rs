//! The backup command and its dry run: one call of the library between the first line and the report.

use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use crate::{
    args::request::{BackupRequest, Output},
    output::{
        report::{self, Outcome, Report},
        signals, streams,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{Cancel, ErrorKind, backup::BackupFailure};

/// Takes the backup and reports how it ended.
pub(crate) fn run(request: &BackupRequest, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    reported(request, output, loudness, logs, |terminal, cancel| {
        request.backup.run(terminal, cancel)
    })
}

/// Reports what the backup would do.
pub(crate) fn preflight(request: &BackupRequest, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    reported(request, output, loudness, logs, |terminal, cancel| {
        request.backup.preflight(terminal, cancel)
    })
}

fn reported<T: Outcome>(
    request: &BackupRequest,
    output: Output,
    loudness: Verbosity,
    logs: LevelFilter,
    work: impl FnOnce(&Terminal, &Cancel) -> Result<T, BackupFailure>,
) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    if output == Output::Text && loudness == Verbosity::Normal {
        streams::to_stdout(&report::start_line(request, T::IS_DRY_RUN));
    }
    let result = signals::cancelling(ErrorKind::Failed, |cancel| work(&terminal, cancel));
    let report = Report {
        request,
        record: terminal.finish(),
        result,
    };
    report.print(output, loudness)
}
