//! The backup command: the surroundings of one run – signals, limits, progress, report.

use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use super::job::{Done, Job};
use crate::{
    args::request::{BackupRequest, Output},
    output::{
        report::{self, Report},
        signals, streams,
        terminal::{Terminal, Verbosity},
    },
};
use neo4j_backup_core::{ErrorKind, cancel::Cancel, progress::Progress};

/// Takes the backup and reports how it ended.
pub(crate) fn run(request: &BackupRequest, output: Output, loudness: Verbosity, logs: LevelFilter) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    if output == Output::Text && loudness == Verbosity::Normal {
        streams::to_stdout(&report::start_line(request));
    }
    let done = signals::cancelling(ErrorKind::Failed, |cancel| Ok(perform(request, &terminal, cancel)))
        .unwrap_or_else(|error| Err(error).into());
    let report = Report {
        request,
        record: terminal.finish(),
        done,
    };
    report.print(output, loudness)
}

/// Within the limit of the whole run.
fn perform(request: &BackupRequest, progress: &dyn Progress, cancel: &Cancel) -> Done {
    if let Some(limit) = request.timeout {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            cancel.cancel(ErrorKind::TimeLimit);
        });
    }
    if let Err(ended) = cancel.check() {
        return Err(ended).into();
    }
    Job::new(request, progress, cancel).run()
}
