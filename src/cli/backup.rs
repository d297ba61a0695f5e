//! The backup command: the surroundings of one run – runtime, signals, limits, progress, report.

use std::process::ExitCode;

use tokio::runtime;
use tracing::level_filters::LevelFilter;

use super::{
    job::{Done, Job},
    output,
    report::{self, Report},
    request::{BackupRequest, Output},
    signals,
    terminal::{Loudness, Terminal},
};
use crate::{Error, ErrorKind, cancel::Cancel, progress::Progress};

/// Takes the backup and reports how it ended.
pub(super) fn run(request: &BackupRequest, output: Output, loudness: Loudness, logs: LevelFilter) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    if output == Output::Text && loudness == Loudness::Normal {
        output::to_stdout(&report::start_line(request));
    }
    let done = within_runtime(request, &terminal).unwrap_or_else(|error| Err(error).into());
    let report = Report {
        request,
        record: terminal.finish(),
        done,
    };
    report.print(output, loudness)
}

/// The disk work stays on this thread, the one worker drives sockets, timers and signals: neither can hold up the
/// other.
fn within_runtime(request: &BackupRequest, progress: &dyn Progress) -> Result<Done, Error> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Failed, error))?;
    let cancel = Cancel::default();
    let done = {
        let _entered = runtime.enter();
        signals::watch(&cancel).map_err(|error| Error::new(ErrorKind::Failed, error))?;
        if let Some(limit) = request.timeout {
            let cancel = cancel.clone();
            runtime.spawn(async move {
                tokio::time::sleep(limit).await;
                cancel.cancel(ErrorKind::TimeLimit);
            });
        }
        perform(request, progress, &cancel)
    };
    // A name that is still being looked up must not keep a finished run alive.
    runtime.shutdown_background();
    Ok(done)
}

fn perform(request: &BackupRequest, progress: &dyn Progress, cancel: &Cancel) -> Done {
    if let Err(ended) = cancel.check() {
        return Err(ended).into();
    }
    Job::new(request, progress, cancel).run()
}
