//! One cancellation for a whole run: a signal or the total time limit sets it, sockets and disk work look at it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind};

/// Handed to everything that can take long; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    token: CancellationToken,
    reason: Arc<OnceLock<ErrorKind>>,
}

impl Cancel {
    /// Ends the run with `reason`; only the first call counts.
    pub fn cancel(&self, reason: ErrorKind) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// The error to end with, if the run was cancelled.
    ///
    /// # Errors
    /// The reason given to [`Cancel::cancel`].
    pub fn check(&self) -> Result<(), Error> {
        if self.token.is_cancelled() {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    /// Completes when the run is cancelled.
    pub async fn cancelled(&self) -> Error {
        self.token.cancelled().await;
        self.error()
    }

    fn error(&self) -> Error {
        let kind = self.reason.get().copied().unwrap_or(ErrorKind::Interrupted);
        let what = match kind {
            ErrorKind::TimeLimit => "the time limit of the whole run (-timeout) has passed",
            ErrorKind::Terminated => "terminated by a signal",
            _ => "interrupted",
        };
        Error::new(kind, what)
    }
}
