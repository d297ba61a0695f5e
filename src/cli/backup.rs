//! The backup command: the surroundings of one run – runtime, signals, limits, progress, report.

use std::{num::NonZeroU64, process::ExitCode, time::SystemTime};

use tokio::runtime::{self, Handle};
use tracing::level_filters::LevelFilter;

use super::{
    output,
    quantity::Keep,
    report::{self, Report},
    request::{BackupRequest, Existing, Fallback, History, Mode, Output, Verify},
    signals,
    terminal::{Loudness, Terminal},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    client::{Member, Settings},
    progress::Progress,
    store::StoreFile,
    transfer::{self, BackupOutcome, Full, Growth, Incremental, KeepLogs, Order, Replace, Unproven},
    uri::Source,
};

/// Takes the backup and reports how it ended.
pub(super) fn run(request: &BackupRequest, output: Output, loudness: Loudness, logs: LevelFilter) -> ExitCode {
    let terminal = Terminal::start(loudness, logs);
    if output == Output::Text && loudness == Loudness::Normal {
        output::to_stdout(&report::start_line(request));
    }
    let result = within_runtime(request, &terminal);
    let report = Report {
        request,
        record: terminal.finish(),
        result,
    };
    report.print(output, loudness)
}

/// The disk work stays on this thread, the one worker drives sockets, timers and signals: neither can hold up the
/// other.
fn within_runtime(request: &BackupRequest, progress: &dyn Progress) -> Result<BackupOutcome, Error> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Failed, error))?;
    let cancel = Cancel::default();
    let result = {
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
    result
}

/// Finds the member and lets it be backed up. Runs inside the runtime's context, on a thread that may block.
fn perform(request: &BackupRequest, progress: &dyn Progress, cancel: &Cancel) -> Result<BackupOutcome, Error> {
    cancel.check()?;
    if request.verify != Verify::Off {
        return Err(
            Error::new(ErrorKind::Usage, "the consistency check is not there yet").with_hint("give -verify=false")
        );
    }
    progress.phase(crate::progress::Phase::Connecting);
    match &request.source {
        Source::Ha { .. } => Err(Error::new(ErrorKind::NoMember, "ha:// sources are not supported yet")
            .with_hint("name the member itself, as in -from single://host:port")),
        Source::Single { host, port } => {
            let settings = Settings {
                silence_timeout: request.silence_timeout,
                max_rate: request.max_rate.map(NonZeroU64::get),
                ..Settings::default()
            };
            let member = Handle::current().block_on(Member::find(host, *port, settings, cancel.clone()))?;
            single(request, &member, progress, cancel)
        }
    }
}

/// Takes the kind of backup that was asked for.
fn single(
    request: &BackupRequest,
    member: &Member,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BackupOutcome, Error> {
    let run_id = blake3::hash(format!("{:?} {}", SystemTime::now(), std::process::id()).as_bytes()).to_hex();
    let run_id = run_id.get(..32).unwrap_or(&run_id);
    let order = Order {
        member,
        source: &request.from,
        target: &request.target,
        growth: match request.max_growth {
            None => Growth::Usual,
            Some(bytes) => Growth::Bytes(bytes.get()),
        },
        run_id,
    };
    let full = |replace| {
        let full = Full { order, replace };
        transfer::full(&full, progress, cancel)
    };
    let replace = match request.existing {
        Existing::Refuse => Replace::Never,
        Existing::Replace => Replace::SameDatabase,
    };
    let has_database = request.target.join(StoreFile::Neostore.name()).exists();
    if request.mode == Mode::Full || (request.mode == Mode::Auto && !has_database) {
        return full(replace);
    }
    let unproven = match request.history {
        History::Reported => Unproven::Reported,
        History::Required => Unproven::Refused,
    };
    let incremental = Incremental {
        order,
        unproven,
        keep: match request.keep {
            None => KeepLogs::All,
            Some(Keep::Time(limit)) => KeepLogs::Time(limit),
            Some(Keep::Bytes(limit)) => KeepLogs::Bytes(limit.get()),
        },
    };
    match transfer::incremental(&incremental, progress, cancel) {
        Err(error) if request.fallback == Fallback::Full && calls_for_full(&error) => {
            progress.warning(&format!("{error}; a full backup is taken instead"));
            full(Replace::SameDatabase)
        }
        result => result,
    }
}

/// Whether a full backup of the same database is the way on.
fn calls_for_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::FullNeeded | ErrorKind::NotOurs)
}
