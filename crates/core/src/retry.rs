//! When to try again: the one place that knows the `backoff` crate, so that replacing it touches one file
//! (`docs/decisions/0006-retry-crate.md`).
//!
//! Pauses double up to a longest one and are spread by a seeded jitter. Two limits end the trying, one on the tries and
//! one on the time. Time is handed in as a [`Clock`], so that tests need none. Whether an error is worth another try is
//! the caller's to say: each step of a backup knows best what it lost.

use std::time::{Duration, Instant};

use backoff::{backoff::Backoff, exponential::ExponentialBackoff};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{Error, cancel::Cancel};

/// Time, as far as retries need it.
pub(crate) trait Clock {
    /// Now.
    fn now(&self) -> Instant;

    /// Lets time pass.
    ///
    /// # Errors
    /// Of a run that is cancelled meanwhile, at once.
    fn wait(&self, time: Duration) -> Result<(), Error>;
}

/// The system's time, up to the end of the run.
impl Clock for Cancel {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wait(&self, time: Duration) -> Result<(), Error> {
        Cancel::wait(self, time)
    }
}

/// How often, how fast and for how long something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The pause after the first failure, before jitter; each further one is twice as long.
    pub(crate) first: Duration,
    /// No pause is planned longer than this.
    pub(crate) longest: Duration,
    /// No try begins later than this after the first failure, or the first one since [`Retry::progressed`].
    pub(crate) total: Duration,
    /// Tries at most, with the first one.
    pub(crate) tries: u32,
}

/// How much a pause may be shorter or longer than planned, so that many jobs on one server spread out.
const JITTER: f64 = 0.25;

/// The seed that a run's id gives.
pub(crate) fn seed(run_id: &str) -> u64 {
    let hash = blake3::hash(run_id.as_bytes());
    let first = hash.as_bytes().iter().take(8);
    first.fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// The tries of one operation.
pub(crate) struct Retry<'a> {
    policy: Policy,
    clock: &'a dyn Clock,
    rng: StdRng,
    failures: u32,
    /// `None` until something failed: time that went well does not count.
    pauses: Option<ExponentialBackoff<Adapter<'a>>>,
}

impl<'a> Retry<'a> {
    /// Nothing has been tried yet; equal seeds pause equally.
    pub(crate) fn new(policy: Policy, seed: u64, clock: &'a dyn Clock) -> Retry<'a> {
        Retry {
            policy,
            clock,
            rng: StdRng::seed_from_u64(seed),
            failures: 0,
            pauses: None,
        }
    }

    /// A try has failed: waits until the next one may begin, and returns how long that took; `None` at once where a
    /// limit is reached.
    ///
    /// # Errors
    /// Of a run that is cancelled meanwhile.
    pub(crate) fn pause(&mut self) -> Result<Option<Duration>, Error> {
        let pause = self.next_pause();
        if let Some(pause) = pause {
            tracing::debug!(failures = self.failures, ?pause, "trying again after a pause");
            self.clock.wait(pause)?;
        }
        Ok(pause)
    }

    /// What was tried got on for a while before it failed: time limit and pauses start over, the number of tries does not.
    pub(crate) fn progressed(&mut self) {
        self.pauses = None;
    }

    /// The same without waiting.
    pub(crate) fn next_pause(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.tries {
            return None;
        }
        let pauses = self.pauses.get_or_insert_with(|| pauses(self.policy, self.clock));
        let left = self.policy.total.checked_sub(pauses.get_elapsed_time())?;
        let planned = pauses.next_backoff()?;
        let jitter = self.rng.random_range(1.0 - JITTER..=1.0 + JITTER);
        (!left.is_zero()).then(|| planned.mul_f64(jitter).min(left))
    }

    /// Does it until it succeeds, fails with what `again` says no to, or a limit is reached. Each failure that another
    /// try follows is told to `note`.
    ///
    /// # Errors
    /// The last failure, with the earlier ones in its text.
    pub(crate) fn run<T>(
        mut self,
        mut operation: impl FnMut() -> Result<T, Error>,
        again: impl Fn(&Error) -> bool,
        note: impl Fn(&Error),
    ) -> Result<T, Error> {
        let mut earlier = Vec::new();
        loop {
            let error = match operation() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !again(&error) || self.pause()?.is_none() {
                return Err(error.after(earlier));
            }
            note(&error);
            earlier.push(error.to_string());
        }
    }
}

fn pauses(policy: Policy, clock: &dyn Clock) -> ExponentialBackoff<Adapter<'_>> {
    ExponentialBackoff {
        current_interval: policy.first,
        initial_interval: policy.first,
        // its own jitter cannot be seeded
        randomization_factor: 0.0,
        multiplier: 2.0,
        max_interval: policy.longest,
        start_time: clock.now(),
        // it would leave out a last pause that is cut short
        max_elapsed_time: None,
        clock: Adapter(clock),
    }
}

/// Our clock as the crate sees one.
struct Adapter<'a>(&'a dyn Clock);

impl backoff::Clock for Adapter<'_> {
    fn now(&self) -> Instant {
        self.0.now()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use tokio::runtime::{self, Runtime};

    use super::*;
    use crate::ErrorKind;

    /// tokio's paused clock: a wait ends at once and moves it.
    pub(crate) struct PausedClock(Runtime);

    impl PausedClock {
        pub(crate) fn new() -> PausedClock {
            let mut builder = runtime::Builder::new_current_thread();
            PausedClock(builder.enable_time().start_paused(true).build().unwrap())
        }
    }

    impl Clock for PausedClock {
        fn now(&self) -> Instant {
            let _entered = self.0.enter();
            tokio::time::Instant::now().into_std()
        }

        fn wait(&self, time: Duration) -> Result<(), Error> {
            self.0.block_on(async { tokio::time::sleep(time).await });
            Ok(())
        }
    }

    const POLICY: Policy = Policy {
        first: Duration::from_millis(200),
        longest: Duration::from_secs(5),
        total: Duration::from_secs(30),
        tries: u32::MAX,
    };

    fn pauses_of(policy: Policy, seed: u64) -> Vec<Duration> {
        let clock = PausedClock::new();
        let mut retry = Retry::new(policy, seed, &clock);
        std::iter::from_fn(|| retry.pause().unwrap()).collect()
    }

    fn unreachable(text: &str) -> Error {
        Error::new(ErrorKind::Unreachable, text).with_hint("look at it")
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_jitter_around_it() {
        let pauses = pauses_of(POLICY, 1);
        for (pause, planned) in pauses.iter().zip([0.2, 0.4, 0.8, 1.6, 3.2, 5.0]) {
            let pause = pause.as_secs_f64();
            assert!(
                (planned * 0.75..=planned * 1.25).contains(&pause),
                "{pause} for {planned}"
            );
        }
    }

    #[test]
    fn all_pauses_together_last_as_long_as_the_time_limit() {
        for seed in 0..50 {
            let total: Duration = pauses_of(POLICY, seed).iter().sum();
            let rest = POLICY.total.abs_diff(total);
            assert!(rest < Duration::from_millis(10), "seed {seed}: {total:?}");
        }
    }

    #[test]
    fn equal_seeds_pause_equally_and_others_do_not() {
        assert_eq!(pauses_of(POLICY, 7), pauses_of(POLICY, 7));
        assert_ne!(pauses_of(POLICY, 7), pauses_of(POLICY, 8));
    }

    #[test]
    fn progress_restarts_the_time_limit_but_not_the_tries() {
        let clock = PausedClock::new();
        let mut retry = Retry::new(POLICY, 1, &clock);
        while retry.pause().unwrap().is_some() {}
        retry.progressed();
        assert!(retry.pause().unwrap().unwrap() <= Duration::from_millis(250));

        let few = Policy { tries: 3, ..POLICY };
        let mut retry = Retry::new(few, 1, &clock);
        for left in [true, true, false, false] {
            retry.progressed();
            assert_eq!(retry.pause().unwrap().is_some(), left);
        }
    }

    #[test]
    fn an_operation_is_tried_until_it_succeeds_and_each_failure_before_is_told() {
        let (clock, told) = (PausedClock::new(), RefCell::new(Vec::new()));
        let mut left = 3;
        let operation = || {
            left -= 1;
            if left == 0 {
                Ok("done")
            } else {
                Err(unreachable(&format!("{left} left")))
            }
        };
        let done = Retry::new(POLICY, 1, &clock).run(operation, |_| true, |e| told.borrow_mut().push(e.to_string()));
        assert_eq!(done.unwrap(), "done");
        assert_eq!(*told.borrow(), ["2 left", "1 left"]);
    }

    #[test]
    fn an_exhausted_operation_ends_with_every_cause() {
        let clock = PausedClock::new();
        let mut number = 0;
        let operation = || {
            number += 1;
            Err::<(), _>(unreachable(&format!("cause {number}")))
        };
        let error = Retry::new(Policy { tries: 3, ..POLICY }, 1, &clock).run(operation, |_| true, |_| {});
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "cause 3 (tried 3 times, before: cause 1; cause 2)");
        assert_eq!(
            (error.kind(), error.hint()),
            (ErrorKind::Unreachable, Some("look at it"))
        );
    }

    #[test]
    fn an_error_that_no_other_try_would_mend_ends_it_at_once() {
        let (clock, mut tries) = (PausedClock::new(), 0);
        let operation = || {
            tries += 1;
            Err::<(), _>(Error::new(ErrorKind::NoSpace, "full"))
        };
        let ended = Retry::new(POLICY, 1, &clock).run(operation, |e| e.kind() != ErrorKind::NoSpace, |_| {});
        assert_eq!(ended.unwrap_err().to_string(), "full");
        assert_eq!(tries, 1);
    }

    #[test]
    fn a_cancelled_run_does_not_wait() {
        let cancel = Cancel::default();
        cancel.cancel(ErrorKind::Interrupted);
        let patient = Policy {
            first: Duration::from_hours(1),
            ..POLICY
        };
        let mut retry = Retry::new(patient, 1, &cancel);
        assert_eq!(retry.pause().unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
