//! Four members fail in every way and order, on a paused clock.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use super::{
    Attempt, RetryDecision,
    attempts::{AttemptLoop, AttemptsEnd, FRESH_STARTS, summary},
    rounds::Ranked,
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    progress::Quiet,
    retry::{Clock, Policy, Retry, tests::PausedClock},
};

const POLICY: Policy = Policy {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(5),
    total: Duration::from_secs(20),
    tries: u32::MAX,
};

/// What a member does whenever it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Serve,
    /// Fails the first time and serves then.
    Recover,
    FailForAWhile,
    FailForEver,
}

impl Does {
    const ALL: [Does; 4] = [Does::Serve, Does::Recover, Does::FailForAWhile, Does::FailForEver];
}

/// A member asked for the n-th time, from 1.
fn answer(does: Does, time: u32) -> Result<(), Error> {
    match does {
        Does::Serve => Ok(()),
        Does::Recover if time > 1 => Ok(()),
        Does::Recover | Does::FailForAWhile => Err(Error::new(ErrorKind::Unreachable, "gone")),
        Does::FailForEver => Err(Error::new(ErrorKind::FullNeeded, "pruned")),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "members are handed out by reference")]
fn retry_decision(_: &u32, error: &Error) -> RetryDecision {
    match error.kind() {
        ErrorKind::Unreachable | ErrorKind::Server => RetryDecision::MayPass,
        ErrorKind::FullNeeded | ErrorKind::NotOurs => RetryDecision::RuledOut,
        _ => RetryDecision::Final,
    }
}

fn ranked(members: &[u32]) -> Ranked<u32> {
    Ranked {
        members: members.to_vec(),
        more_may_come: false,
    }
}

struct RankedMember {
    end: AttemptsEnd<u32, ()>,
    /// In the order in which they were asked.
    members: Vec<u32>,
    failures: Vec<Attempt>,
    waited: Duration,
}

/// Asks members of this ranking; `later` is the ranking of each further round, `None` if it cannot be had.
fn ask(
    clock: &PausedClock,
    first: Ranked<u32>,
    later: impl FnMut() -> Option<Ranked<u32>>,
    mut answer: impl FnMut(u32, u32) -> Result<(), Error>,
) -> RankedMember {
    let (begun, cancel) = (clock.now(), Cancel::default());
    let mut asking = AttemptLoop {
        retry: Retry::new(POLICY, 1, clock),
        clock,
        cancel: &cancel,
        progress: &Quiet,
        failures: Vec::new(),
    };
    let (members, times) = (RefCell::new(Vec::new()), RefCell::new(BTreeMap::new()));
    let end = asking.ask(
        first,
        later,
        |member, _| {
            members.borrow_mut().push(*member);
            let mut times = times.borrow_mut();
            let time = times.entry(*member).or_insert(0);
            *time += 1;
            answer(*member, *time)
        },
        retry_decision,
    );
    RankedMember {
        end,
        members: members.into_inner(),
        failures: asking.failures,
        waited: clock.now() - begun,
    }
}

fn permutations(members: &[u32]) -> Vec<Vec<u32>> {
    if members.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |at: usize| {
        let mut rest = members.to_vec();
        let first = rest.remove(at);
        permutations(&rest)
            .into_iter()
            .map(move |rest| [vec![first], rest].concat())
    };
    (0..members.len()).flat_map(with_first).collect()
}

/// Everything that four members can do.
fn behaviours() -> impl Iterator<Item = [Does; 4]> {
    (0..256_usize).map(|code| [0, 2, 4, 6].map(|shift| Does::ALL[(code >> shift) & 3]))
}

#[test]
fn every_order_of_failures_of_four_members_ends_as_it_must() {
    let clock = PausedClock::new();
    let mut cases = 0;
    for order in permutations(&[0, 1, 2, 3]) {
        for does in behaviours() {
            let of = |member: u32| does[usize::try_from(member).unwrap()];
            // the coordinators are gone after the first ranking
            let asked = ask(&clock, ranked(&order), || None, |member, time| answer(of(member), time));
            check(&order, of, &asked);
            cases += 1;
        }
    }
    assert_eq!(cases, 24 * 256);
}

/// What a run over the members in this order must have done, worked out by hand.
fn check(order: &[u32], of: impl Fn(u32) -> Does, asked: &RankedMember) {
    let left: Vec<u32> = order
        .iter()
        .copied()
        .filter(|member| of(*member) != Does::FailForEver)
        .collect();
    let up_to = |members: &[u32], done: &dyn Fn(Does) -> bool| {
        let at = members.iter().position(|member| done(of(*member)));
        at.map(|at| members[..=at].to_vec())
    };
    let case = || {
        format!(
            "{order:?} {:?}: {:?} {:?}",
            [0, 1, 2, 3].map(&of),
            asked.members,
            asked.end
        )
    };
    if let Some(members) = up_to(order, &|does| does == Does::Serve) {
        assert_eq!(asked.members, members, "{}", case());
        assert!(matches!(asked.end, AttemptsEnd::Done(..)), "{}", case());
        assert_eq!(asked.waited, Duration::ZERO, "{}", case());
    } else if let Some(second) = up_to(&left, &|does| does == Does::Recover) {
        assert_eq!(asked.members, [order, &second].concat(), "{}", case());
        assert!(matches!(asked.end, AttemptsEnd::Done(..)), "{}", case());
        assert!(asked.waited <= Duration::from_millis(250), "{}", case());
    } else if left.is_empty() {
        assert_eq!(asked.members, order, "{}", case());
        assert!(
            matches!(asked.end, AttemptsEnd::NoMember(Some(ErrorKind::FullNeeded))),
            "{}",
            case()
        );
        assert_eq!(asked.waited, Duration::ZERO, "{}", case());
    } else {
        // no member comes back: those that might are asked in every round until the time limit
        assert!(asked.members.starts_with(order), "{}", case());
        let later = &asked.members[order.len()..];
        assert!(later.chunks(left.len()).all(|round| round == left), "{}", case());
        assert!(matches!(asked.end, AttemptsEnd::NoMember(None)), "{}", case());
        assert!(
            asked.waited.abs_diff(POLICY.total) < Duration::from_millis(20),
            "{}",
            case()
        );
    }
    let failed: Vec<String> = asked.failures.iter().map(|failed| failed.member.clone()).collect();
    let served = usize::from(matches!(asked.end, AttemptsEnd::Done(..)));
    let expected: Vec<String> = asked.members[..asked.members.len() - served]
        .iter()
        .map(u32::to_string)
        .collect();
    assert_eq!(failed, expected, "every attempt is kept: {}", case());
}

#[test]
fn a_final_error_ends_it_wherever_it_comes() {
    let clock = PausedClock::new();
    for at in 0..4 {
        let asked = ask(
            &clock,
            ranked(&[0, 1, 2, 3]),
            || None,
            |member, _| {
                Err(if member == at {
                    Error::new(ErrorKind::NoSpace, "full")
                } else {
                    Error::new(ErrorKind::Unreachable, "gone")
                })
            },
        );
        assert!(matches!(&asked.end, AttemptsEnd::Final(error) if error.kind() == ErrorKind::NoSpace));
        assert_eq!(asked.members, (0..=at).collect::<Vec<_>>());
    }
}

#[test]
fn a_new_ranking_is_used_in_the_next_round_and_the_last_one_stands_when_there_is_none() {
    let clock = PausedClock::new();
    let mut rankings = [Some(ranked(&[7, 0])), None].into_iter();
    let asked = ask(
        &clock,
        ranked(&[0, 1]),
        || rankings.next().flatten(),
        |member, time| {
            if member == 7 && time == 2 {
                Ok(())
            } else {
                Err(Error::new(ErrorKind::Server, "x"))
            }
        },
    );
    assert_eq!(asked.members, [0, 1, 7, 0, 7]);
    assert!(matches!(asked.end, AttemptsEnd::Done(7, ())));
    assert_eq!(
        asked.failures.iter().map(|failed| failed.round).collect::<Vec<_>>(),
        [1, 1, 2, 2]
    );
}

#[test]
fn members_that_cannot_be_asked_now_are_waited_for() {
    let clock = PausedClock::new();
    let nobody = Ranked {
        members: Vec::new(),
        more_may_come: true,
    };
    let mut rankings = [Some(nobody.clone()), Some(ranked(&[3]))].into_iter();
    let asked = ask(&clock, nobody, || rankings.next().flatten(), |_, _| Ok(()));
    assert!(matches!(asked.end, AttemptsEnd::Done(3, ())));
    let asked = ask(&clock, ranked(&[]), || None, |_, _| Ok(()));
    assert!(matches!(asked.end, AttemptsEnd::NoMember(None)));
    assert_eq!(asked.waited, Duration::ZERO);
}

#[test]
fn a_member_that_lacks_what_it_may_get_is_waited_for_and_leaves_a_full_backup_as_the_way_on() {
    let clock = PausedClock::new();
    let (cancel, mut times) = (Cancel::default(), 0);
    let mut asking = AttemptLoop {
        retry: Retry::new(POLICY, 1, &clock),
        clock: &clock,
        cancel: &cancel,
        progress: &Quiet,
        failures: Vec::new(),
    };
    let end = asking.ask(
        ranked(&[1]),
        || None,
        |_, _| {
            times += 1;
            Err::<(), _>(Error::new(ErrorKind::FullNeeded, "not written yet"))
        },
        |_, _| RetryDecision::MayPass,
    );
    assert!(matches!(end, AttemptsEnd::NoMember(Some(ErrorKind::FullNeeded))));
    assert!(times > 3, "{times}");
}

#[test]
fn a_member_that_got_on_before_it_failed_renews_the_time_limit_a_few_times() {
    let (clock, cancel) = (PausedClock::new(), Cancel::default());
    let begun = clock.now();
    let mut asking = AttemptLoop {
        retry: Retry::new(POLICY, 1, &clock),
        clock: &clock,
        cancel: &cancel,
        progress: &Quiet,
        failures: Vec::new(),
    };
    let hour = Duration::from_hours(1);
    let mut times = 0;
    let end = asking.ask(
        ranked(&[1]),
        || None,
        |_, progress| {
            times += 1;
            progress.bytes(1 << 20);
            clock.wait(hour)?;
            Err::<(), _>(Error::new(ErrorKind::Unreachable, "broke"))
        },
        retry_decision,
    );
    assert!(matches!(end, AttemptsEnd::NoMember(None)));
    // the hour after the last fresh start is longer than the limit
    assert_eq!(times, FRESH_STARTS + 1);
    assert!(clock.now() - begun >= hour * times);
    assert!(
        asking
            .failures
            .iter()
            .all(|failed| failed.bytes == 1 << 20 && failed.took == hour)
    );
}

#[test]
fn a_cancelled_run_asks_nobody_else_and_says_why_it_ended() {
    let (clock, cancel) = (PausedClock::new(), Cancel::default());
    let mut asking = AttemptLoop {
        retry: Retry::new(POLICY, 1, &clock),
        clock: &clock,
        cancel: &cancel,
        progress: &Quiet,
        failures: Vec::new(),
    };
    let end = asking.ask(
        ranked(&[1, 2]),
        || None,
        |_, _| {
            cancel.cancel(ErrorKind::TimeLimit);
            Err::<(), _>(Error::new(ErrorKind::Unreachable, "broke"))
        },
        retry_decision,
    );
    assert!(matches!(end, AttemptsEnd::Final(error) if error.kind() == ErrorKind::TimeLimit));
}

#[test]
fn the_summary_names_each_member_once_with_its_last_cause() {
    let failed = |member: &str, cause: &str| Attempt {
        round: 1,
        member: member.into(),
        kind: ErrorKind::Unreachable,
        cause: cause.into(),
        condition: None,
        bytes: 0,
        retry_decision: RetryDecision::MayPass,
        took: Duration::ZERO,
    };
    let failures = [
        failed("member 1", "refused"),
        failed("member 2", "reset"),
        failed("member 1", "silent"),
    ];
    assert_eq!(summary(&failures), "member 2: reset; member 1: silent (asked 2 times)");
}
