//! Programs in a process group of their own, so that whatever they start ends with them.

use std::{
    io,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use neo4j_backup_core::{Cancel, Error};

/// Between two looks at a program that runs; the first ones come sooner.
const LOOK: Duration = Duration::from_millis(100);
const FIRST_LOOK: Duration = Duration::from_millis(2);

/// How a program ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Exited(ExitStatus),
    /// It was killed at its limit.
    TimedOut,
    /// It was killed because the run was cancelled.
    Cancelled(Error),
}

/// Waits for a program that leads its process group; kills the group at the limit, or when the run is cancelled.
///
/// # Errors
/// It cannot be waited for.
pub(crate) fn wait(child: &mut Child, limit: Duration, cancel: &Cancel) -> io::Result<Ended> {
    let begun = Instant::now();
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Exited(status));
        }
        let left = limit.saturating_sub(begun.elapsed());
        let end = if left.is_zero() {
            Some(Ended::TimedOut)
        } else {
            cancel.wait(pause.min(left)).err().map(Ended::Cancelled)
        };
        if let Some(end) = end {
            signal(child, Signal::KILL);
            let _ = child.wait();
            return Ok(end);
        }
        pause = (pause * 2).min(LOOK);
    }
}

/// Sends a signal to the group of a program that was not waited for yet, so that its id is still its own.
pub(crate) fn signal(child: &Child, signal: Signal) {
    // it may have ended meanwhile
    let _ = kill_process_group(Pid::from_child(child), signal);
}
