//! Keeps what is received below a rate, and notices what stays below one.

use std::time::Duration;

use neo4j_format::width::to_usize;

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

/// Notices a response that goes on and is too slow to end. Times begin with its first byte.
pub(super) struct Slowness {
    /// Bytes per second; 0 for no limit.
    min_rate: u64,
    /// The time over which the rate is taken.
    window: Duration,
    begun: bool,
    bytes: u64,
    waited: Duration,
}

impl Slowness {
    pub(super) fn new(min_rate: u64, window: Duration) -> Slowness {
        Slowness {
            min_rate,
            window,
            begun: false,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// These bytes came after that wait; how many came in which time if that is too slow.
    pub(super) fn received(&mut self, bytes: u64, waited: Duration) -> Option<(u64, Duration)> {
        if !self.begun {
            self.begun = true;
            return None;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited = self.waited.saturating_add(waited);
        if self.waited < self.window {
            return None;
        }
        let (bytes, waited) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.waited));
        let least = u128::from(self.min_rate) * waited.as_millis() / 1000;
        (u128::from(bytes) < least).then_some((bytes, waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_too_slow_only_over_the_whole_time() {
        let seconds = Duration::from_secs;
        let mut slowness = Slowness::new(1024, seconds(60));
        // however long the server takes to begin
        assert_eq!(slowness.received(1, seconds(600)), None);
        assert_eq!(slowness.received(1, seconds(59)), None);
        assert_eq!(slowness.received(61 * 1024, seconds(2)), None);
        for _ in 0..59 {
            assert_eq!(slowness.received(1, seconds(1)), None);
        }
        assert_eq!(slowness.received(1, seconds(1)), Some((60, seconds(60))));
        let mut patient = Slowness::new(0, seconds(60));
        for _ in 0..1000 {
            assert_eq!(patient.received(1, seconds(1)), None);
        }
    }

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
