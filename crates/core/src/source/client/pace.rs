//! Keeps what is received below a rate.

use neo4j_format::width::to_usize;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// An average rate, kept by waiting after each read.
pub(super) struct Pace {
    per_second: u64,
    start: Instant,
    bytes: u64,
}

impl Pace {
    /// At most that many bytes per second; 0 counts as 1.
    pub(super) fn new(per_second: u64) -> Pace {
        Pace {
            per_second: per_second.max(1),
            start: Instant::now(),
            bytes: 0,
        }
    }

    /// Bytes to read at once, so that no wait is much longer than a quarter of a second.
    pub(super) fn portion(&self) -> usize {
        to_usize(self.per_second / 4).max(1)
    }

    /// Waits until these bytes are due.
    pub(super) async fn after(&mut self, n: u64) {
        self.bytes = self.bytes.saturating_add(n);
        let nanos = u128::from(self.bytes) * 1_000_000_000 / u128::from(self.per_second);
        let due = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        match self.start.checked_add(due) {
            Some(due) if due.elapsed() < Duration::from_secs(1) => sleep_until(due).await,
            // a pause of the server gives no right to a burst
            _ => *self = Pace::new(self.per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (start, mut pace) = (Instant::now(), Pace::new(1_000_000));
            assert_eq!(pace.portion(), 250_000);
            for _ in 0..4 {
                pace.after(20_000).await;
            }
            assert!(start.elapsed() >= Duration::from_millis(80));
        });
    }
}
