//! The backup command: one call of the library between the first line and the report.

use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use crate::{
    args::request::{BackupRequest, Output},
    output::{
        report::{self, Report},
        signals, streams,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::ErrorKind;

/// Takes the backup and reports how it ended.
pub(crate) fn run(request: &BackupRequest, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    if output == Output::Text && loudness == Verbosity::Normal {
        streams::to_stdout(&report::start_line(request));
    }
    let result = signals::cancelling(ErrorKind::Failed, |cancel| request.backup.run(&terminal, cancel));
    let report = Report {
        request,
        record: terminal.finish(),
        result,
    };
    report.print(output, loudness)
}
