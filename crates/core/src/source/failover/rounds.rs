//! Which member is asked next: pure, so that every order of failures can be tried out.
//!
//! | state | next |
//! |---|---|
//! | a member of this round has not been asked | it |
//! | all were asked, and one may do better later | the next round |
//! | all were asked, and none can ever give the backup | the end |

use std::collections::VecDeque;

use super::RetryDecision;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<C> {
    /// Ask this member.
    Ask(C),
    /// Pause, see who is there now, and begin the next round.
    NextRound,
    /// Give up: no member is left that could do it.
    End,
}

/// The members of the present round, and what is known of them from earlier ones.
#[derive(Debug)]
pub(super) struct Rounds<C> {
    number: u32,
    waiting: VecDeque<C>,
    /// A member failed in a way that may pass, or is expected back.
    hope: bool,
    ruled_out: Vec<C>,
    ended: bool,
}

/// Who can be asked, best first, as seen before a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranked<C> {
    pub(super) members: Vec<C>,
    /// Whether a member that cannot be asked now may be back in the next round.
    pub(super) more_may_come: bool,
}

impl<C: PartialEq> Rounds<C> {
    /// The first round.
    pub(super) fn begin(ranked: Ranked<C>) -> Rounds<C> {
        Rounds {
            number: 1,
            waiting: ranked.members.into(),
            hope: ranked.more_may_come,
            ruled_out: Vec::new(),
            ended: false,
        }
    }

    /// The number of the round, from 1.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// What is to be done next.
    pub(super) fn next(&mut self) -> Step<C> {
        if self.ended {
            return Step::End;
        }
        match self.waiting.pop_front() {
            Some(member) => Step::Ask(member),
            None if self.hope => Step::NextRound,
            None => Step::End,
        }
    }

    /// The member that was asked has failed.
    pub(super) fn failed(&mut self, member: C, retry_decision: RetryDecision) {
        match retry_decision {
            RetryDecision::MayPass => self.hope = true,
            RetryDecision::RuledOut => self.ruled_out.push(member),
            RetryDecision::Final => self.ended = true,
        }
    }

    /// Begins the next round with those of the ranking that are not ruled out. A member that came back at another
    /// address or in another role compares unequal and gets its chance.
    pub(super) fn begin_next(&mut self, ranked: Ranked<C>) {
        self.number = self.number.saturating_add(1);
        self.hope = ranked.more_may_come;
        let ruled_out = &self.ruled_out;
        let left = ranked.members.into_iter().filter(|member| !ruled_out.contains(member));
        self.waiting = left.collect();
    }
}
