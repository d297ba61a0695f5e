//! Asks one member after the other until one has given the backup; every failure is kept with its cause.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;

use super::{
    RetryDecision,
    rounds::{Ranked, Rounds, Step},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Condition,
    progress::{Phase, Progress, Total},
    retry::{Clock, Retry},
};

/// How often the time limit starts over because a member had sent something before it failed: a transfer that breaks
/// more often than that is not going to succeed.
pub(super) const FRESH_STARTS: u32 = 5;

/// A member that was asked and did not give the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// In which round over the members, from 1.
    pub round: u32,
    /// Who was asked.
    pub member: String,
    /// How the attempt ended.
    #[serde(serialize_with = "kind_name")]
    pub kind: ErrorKind,
    /// As the layer that found it worded it.
    pub cause: String,
    /// What is known beyond the kind.
    #[serde(skip)]
    pub(crate) condition: Option<Condition>,
    /// Bytes of files and transactions that had arrived.
    pub bytes: u64,
    /// What that means for it.
    #[serde(skip)]
    pub(crate) retry_decision: RetryDecision,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub took: Duration,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn kind_name<S: serde::Serializer>(kind: &ErrorKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

fn as_seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.cause)
    }
}

/// How asking ended.
#[derive(Debug)]
pub(super) enum AttemptsEnd<C, T> {
    /// This member gave it.
    Done(C, T),
    /// It makes no sense to ask anybody else.
    Final(Error),
    /// No member could. What those agree on who cannot give it whatever the time, or have not for as long as they had;
    /// `None` if a member might have come back, or if there was none.
    NoMember(Option<ErrorKind>),
}

/// What it takes to ask members one after the other.
pub(super) struct AttemptLoop<'a> {
    pub(super) retry: Retry<'a>,
    pub(super) clock: &'a dyn Clock,
    pub(super) cancel: &'a Cancel,
    pub(super) progress: &'a dyn Progress,
    /// In the order in which they happened.
    pub(super) failures: Vec<Attempt>,
}

impl AttemptLoop<'_> {
    /// Asks the members of the ranking, and between rounds of the ranking that `rank_again` has then, if it has one.
    /// `retry_decision` says what the failure of a member means.
    pub(super) fn ask<C: Clone + PartialEq + fmt::Display, T>(
        &mut self,
        ranked: Ranked<C>,
        mut rank_again: impl FnMut() -> Option<Ranked<C>>,
        mut attempt: impl FnMut(&C, &dyn Progress) -> Result<T, Error>,
        retry_decision: impl Fn(&C, &Error) -> RetryDecision,
    ) -> AttemptsEnd<C, T> {
        let mut known = ranked;
        let mut rounds = Rounds::begin(known.clone());
        let mut fresh_starts = 0;
        loop {
            match rounds.next() {
                Step::Ask(member) => {
                    tracing::info!(round = rounds.number(), %member, "asking");
                    let counted = Counted::new(self.progress);
                    let begun = self.clock.now();
                    let error = match attempt(&member, &counted) {
                        Ok(done) => return AttemptsEnd::Done(member, done),
                        Err(error) => error,
                    };
                    // a silent member and the limit of the whole run are errors of one kind
                    if let Err(ended) = self.cancel.check() {
                        return AttemptsEnd::Final(ended);
                    }
                    let retry_decision = retry_decision(&member, &error);
                    if retry_decision == RetryDecision::Final {
                        return AttemptsEnd::Final(error);
                    }
                    let failed = Attempt {
                        round: rounds.number(),
                        member: member.to_string(),
                        kind: error.kind(),
                        cause: error.to_string(),
                        condition: error.condition(),
                        bytes: counted.bytes(),
                        retry_decision,
                        took: self.clock.now().duration_since(begun),
                    };
                    tracing::info!(%failed, ?retry_decision, "attempt failed");
                    if failed.bytes > 0 && fresh_starts < FRESH_STARTS {
                        fresh_starts += 1;
                        self.retry.progressed();
                    }
                    self.progress.warning(&failed.to_string());
                    self.failures.push(failed);
                    rounds.failed(member, retry_decision);
                }
                Step::NextRound => match self.retry.pause() {
                    Err(ended) => return AttemptsEnd::Final(ended),
                    Ok(None) => return AttemptsEnd::NoMember(waited_for(&self.failures)),
                    Ok(Some(_)) => {
                        if let Some(ranked) = rank_again() {
                            known = ranked;
                        }
                        if let Err(ended) = self.cancel.check() {
                            return AttemptsEnd::Final(ended);
                        }
                        rounds.begin_next(known.clone());
                    }
                },
                Step::End => return AttemptsEnd::NoMember(verdict(&self.failures)),
            }
        }
    }
}

/// What those who can never give the backup agree on: that it belongs to others weighs most, then that a full one is
/// needed.
fn verdict(failures: &[Attempt]) -> Option<ErrorKind> {
    [ErrorKind::NotOurs, ErrorKind::FullNeeded, ErrorKind::Protocol]
        .into_iter()
        .find(|kind| failures.iter().any(|failed| failed.kind == *kind))
}

/// What the members were waited for: one that is there and lacks what is asked for may have it yet, but a full backup
/// can be had of it now.
fn waited_for(failures: &[Attempt]) -> Option<ErrorKind> {
    let lacks =
        |failed: &Attempt| failed.kind == ErrorKind::FullNeeded && failed.retry_decision == RetryDecision::MayPass;
    failures.iter().any(lacks).then_some(ErrorKind::FullNeeded)
}

/// Counts what passes, to distinguish a member that failed at once from one that sent something.
struct Counted<'a> {
    inner: &'a dyn Progress,
    bytes: AtomicU64,
}

impl<'a> Counted<'a> {
    fn new(inner: &'a dyn Progress) -> Counted<'a> {
        Counted {
            inner,
            bytes: AtomicU64::new(0),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Progress for Counted<'_> {
    fn phase(&self, phase: Phase) {
        self.inner.phase(phase);
    }

    fn expected(&self, total: Total) {
        self.inner.expected(total);
    }

    fn file(&self, path: &str) {
        self.inner.file(path);
    }

    fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
        self.inner.bytes(count);
    }

    fn transactions(&self, count: u64) {
        self.inner.transactions(count);
    }

    fn warning(&self, text: &str) {
        self.inner.warning(text);
    }
}

/// The causes of all members, each named once with its last one.
pub(super) fn summary(failures: &[Attempt]) -> String {
    let mut members: Vec<&Attempt> = Vec::new();
    for failed in failures.iter().rev() {
        if !members.iter().any(|known| known.member == failed.member) {
            members.insert(0, failed);
        }
    }
    let lines: Vec<String> = members
        .iter()
        .map(|last| {
            let times = failures.iter().filter(|failed| failed.member == last.member).count();
            match times {
                1 => last.to_string(),
                _ => format!("{last} (asked {times} times)"),
            }
        })
        .collect();
    lines.join("; ")
}
