//! SIGINT and SIGTERM end a run through its one cancellation. A closed standard output is no reason to end one.

use std::{io, process};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use neo4j_backup_core::{Error, ErrorKind, cancel::Cancel};

/// Does `work` on this thread while another one watches for signals.
///
/// # Errors
/// Those of `work`; the system's, of this `kind`, if a thread or a handler is not available.
pub(crate) fn cancelling<T, E: From<Error>>(
    kind: ErrorKind,
    work: impl FnOnce(&Cancel) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |error: io::Error| Error::new(kind, error);
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()
        .map_err(failed)?;
    let cancel = Cancel::default();
    {
        let _entered = runtime.enter();
        watch(&cancel).map_err(failed)?;
    }
    work(&cancel)
}

/// Cancels the run at the first signal. The second of the same kind ends the process at once, which is safe at every
/// instant: what is on disk then is what a power cut would leave.
///
/// Has to be called inside the runtime.
///
/// # Errors
/// The system's, where a handler cannot be installed.
pub(crate) fn watch(cancel: &Cancel) -> io::Result<()> {
    for (kind, reason) in [
        (SignalKind::interrupt(), ErrorKind::Interrupted),
        (SignalKind::terminate(), ErrorKind::Terminated),
    ] {
        let mut signals = signal(kind)?;
        let cancel = cancel.clone();
        tokio::spawn(async move {
            signals.recv().await;
            tracing::info!(reason = reason.name(), "signal received, ending the run");
            cancel.cancel(reason);
            signals.recv().await;
            process::exit(i32::from(reason.exit_code()));
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_signal_cancels_the_run_with_its_own_exit_code() {
        let cancel = Cancel::default();
        watch(&cancel).unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(cancel.cancelled().await.kind().exit_code(), 143);
    }
}
