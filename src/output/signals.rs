//! SIGINT and SIGTERM end a run through its one cancellation. A closed standard output does not end a run.

use std::{io, os::unix::net::UnixStream, process, thread};

use rustix::process::Signal;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
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
    // tokio panics where it does not get the descriptors of its signal handling, the last of the six that it opens
    let pair = || UnixStream::pair().map_err(failed);
    drop((pair()?, pair()?, pair()?));
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed)?;
    let cancel = Cancel::default();
    {
        let _entered = runtime.enter();
        watch(&cancel).map_err(failed)?;
    }
    let (stop, stopped) = oneshot::channel::<()>();
    // not a thread of tokio's, which panics where there is none to be had
    let watching = thread::Builder::new().name("signals".to_owned());
    watching
        .spawn(move || {
            // ends with an error, since nothing is ever sent
            let _ = runtime.block_on(stopped);
        })
        .map_err(failed)?;
    let result = work(&cancel);
    drop(stop);
    result
}

/// Cancels the run at the first signal. The second of the same kind ends the process at once, which is safe at every
/// instant: what is on disk then is what a power cut would leave.
///
/// Has to be called inside the runtime.
///
/// # Errors
/// The system's, where a handler cannot be installed.
pub(crate) fn watch(cancel: &Cancel) -> io::Result<()> {
    // with a handler, a write beyond the limit on the size of files is an error of that write and no end of the process
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
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
    use rustix::process::{getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_signal_cancels_the_run_with_its_own_exit_code() {
        let cancel = Cancel::default();
        watch(&cancel).unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(cancel.cancelled().await.kind().exit_code(), 143);
    }
}
