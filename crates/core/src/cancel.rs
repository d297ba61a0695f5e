//! One cancellation for a whole run: a signal or the total time limit sets it, sockets and disk work look at it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind, error::Setting};

/// Handed to everything that can take long; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    token: CancellationToken,
    shared: Arc<CancelState>,
    /// When the run ends by itself.
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct CancelState {
    reason: Mutex<Option<ErrorKind>>,
    /// Notified when there is a reason, for threads that wait outside the runtime.
    given: Condvar,
}

impl Cancel {
    /// The same cancellation, with a limit on the time from now: its holder is cancelled with
    /// [`ErrorKind::TimeLimit`] once it has passed. The limit does not cancel `self`.
    #[must_use]
    pub fn limited(&self, limit: Duration) -> Cancel {
        let end = Instant::now().checked_add(limit);
        Cancel {
            deadline: self.deadline.into_iter().chain(end).min(),
            ..self.clone()
        }
    }

    /// Ends the run with `reason`; only the first call counts.
    pub fn cancel(&self, reason: ErrorKind) {
        let mut given = self.reason();
        given.get_or_insert(reason);
        // before the lock is released: who sees the reason sees the cancelled token too
        self.token.cancel();
        drop(given);
        self.shared.given.notify_all();
    }

    /// The error to end with, if the run was cancelled.
    ///
    /// # Errors
    /// The reason given to [`Cancel::cancel`].
    pub fn check(&self) -> Result<(), Error> {
        if self.token.is_cancelled() || self.is_past(Instant::now()) {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    /// Completes when the run is cancelled.
    pub async fn cancelled(&self) -> Error {
        match self.deadline {
            None => self.token.cancelled().await,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                // either way the run is over
                let _ = tokio::time::timeout(left, self.token.cancelled()).await;
            }
        }
        self.error()
    }

    /// Lets the thread wait, no longer than to the end of the run.
    ///
    /// # Errors
    /// The reason given to [`Cancel::cancel`].
    pub fn wait(&self, time: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        let mut reason = self.reason();
        while reason.is_none() {
            let now = Instant::now();
            if self.is_past(now) {
                break;
            }
            let left = time.saturating_sub(now.duration_since(begun));
            if left.is_zero() {
                return Ok(());
            }
            let left = self.deadline.map_or(left, |end| left.min(end.duration_since(now)));
            let woken = self.shared.given.wait_timeout(reason, left);
            reason = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(reason);
        Err(self.error())
    }

    fn is_past(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|end| end <= now)
    }

    /// A thread that panicked with the lock leaves a whole value behind.
    fn reason(&self) -> MutexGuard<'_, Option<ErrorKind>> {
        self.shared.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self) -> Error {
        let given = *self.reason();
        let kind = given.unwrap_or(match self.deadline {
            Some(_) if !self.token.is_cancelled() => ErrorKind::TimeLimit,
            _ => ErrorKind::Interrupted,
        });
        let what = match kind {
            ErrorKind::TimeLimit => {
                return Error::new(kind, "the time limit of the run has passed")
                    .with_hint("allow the run more time")
                    .see(&[Setting::TimeLimit]);
            }
            ErrorKind::Terminated => "terminated by a signal",
            _ => "interrupted",
        };
        Error::new(kind, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_time_or_with_the_run() {
        let cancel = Cancel::default();
        cancel.wait(Duration::from_millis(1)).unwrap();
        let other = cancel.clone();
        let waiting = std::thread::spawn(move || other.wait(Duration::from_hours(1)));
        cancel.cancel(ErrorKind::Terminated);
        cancel.cancel(ErrorKind::Interrupted);
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Terminated);
    }

    #[test]
    fn a_wait_that_was_cancelled_is_followed_by_a_check_that_says_so() {
        for _ in 0..500 {
            let cancel = Cancel::default();
            let waits = || {
                cancel.wait(Duration::from_hours(1)).unwrap_err();
                cancel.check()
            };
            std::thread::scope(|scope| {
                let waiting: Vec<_> = (0..4).map(|_| scope.spawn(waits)).collect();
                // time for them to begin, which the test does not depend on
                std::thread::sleep(Duration::from_micros(200));
                cancel.cancel(ErrorKind::Terminated);
                assert!(waiting.into_iter().all(|one| one.join().unwrap().is_err()));
            });
        }
    }

    #[tokio::test]
    async fn a_limit_ends_its_holder_and_nobody_else() {
        let cancel = Cancel::default();
        let limited = cancel
            .limited(Duration::from_millis(5))
            .limited(Duration::from_hours(1));
        limited.check().unwrap();
        assert_eq!(limited.cancelled().await.kind(), ErrorKind::TimeLimit);
        assert_eq!(limited.check().unwrap_err().kind(), ErrorKind::TimeLimit);
        assert_eq!(
            limited.wait(Duration::from_hours(1)).unwrap_err().kind(),
            ErrorKind::TimeLimit
        );
        cancel.check().unwrap();

        let limited = cancel.limited(Duration::from_hours(1));
        cancel.cancel(ErrorKind::Interrupted);
        assert_eq!(limited.cancelled().await.kind(), ErrorKind::Interrupted);
        assert_eq!(limited.check().unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
