//! Which generations of a database are kept. Pure: what is decided here is carried out by `forget`.
//!
//! A policy keeps generations by their number and age. Whatever it says, these stay as well: the newest one whose check
//! was good, the last one that was verified, and those without which a moment could no longer be restored that lies after
//! the oldest kept generation and can be restored now.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;

use super::generation::Generation;

/// How many generations are kept of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeepPolicy {
    last: usize,
    daily: usize,
    weekly: usize,
    monthly: usize,
}

/// A text that is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a policy such as last=2,daily=7,weekly=4,monthly=12")]
pub struct PolicyError(String);

impl FromStr for KeepPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<KeepPolicy, PolicyError> {
        let wrong = || PolicyError(text.to_owned());
        let mut policy = KeepPolicy::default();
        for part in text.split(',') {
            let (name, count) = part.trim().split_once('=').ok_or_else(wrong)?;
            let field = match name {
                "last" => &mut policy.last,
                "daily" => &mut policy.daily,
                "weekly" => &mut policy.weekly,
                "monthly" => &mut policy.monthly,
                _ => return Err(wrong()),
            };
            *field = count.parse().map_err(|_| wrong())?;
        }
        // nothing to keep is a mistake
        if policy == KeepPolicy::default() {
            return Err(wrong());
        }
        Ok(policy)
    }
}

/// Why a generation stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is one of the newest.
    Last,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest whose check was good.
    NewestGood,
    /// It is the last that was verified.
    LastVerified,
    /// Moments after the oldest kept generation need it.
    PointInTime,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Last => "last",
            Reason::Daily => "daily",
            Reason::Weekly => "weekly",
            Reason::Monthly => "monthly",
            Reason::NewestGood => "newest good",
            Reason::LastVerified => "last verified",
            Reason::PointInTime => "point in time",
        })
    }
}

/// What tells a period from others.
type Period = fn(&Zoned) -> (i16, i8, i8);

/// Why each of the generations of one database stays, oldest first; one without a reason goes.
pub(super) fn decide(generations: &[Generation], policy: KeepPolicy, zone: &TimeZone) -> Vec<BTreeSet<Reason>> {
    let mut reasons = vec![BTreeSet::new(); generations.len()];
    let mut keep = |index: Option<usize>, reason| {
        if let Some(reasons) = index.and_then(|index| reasons.get_mut(index)) {
            reasons.insert(reason);
        }
    };
    let count = generations.len();
    for index in count.saturating_sub(policy.last)..count {
        keep(Some(index), Reason::Last);
    }
    let periods: [(usize, Reason, Period); 3] = [
        (policy.daily, Reason::Daily, |time| {
            (time.year(), time.month(), time.day())
        }),
        (policy.weekly, Reason::Weekly, |time| {
            let week = time.date().iso_week_date();
            (week.year(), week.week(), 0)
        }),
        (policy.monthly, Reason::Monthly, |time| (time.year(), time.month(), 0)),
    ];
    for (wanted, reason, period) in periods {
        let mut seen = BTreeSet::new();
        for (index, generation) in generations.iter().enumerate().rev() {
            let time = Timestamp::from_millisecond(generation.time).unwrap_or_default();
            if seen.len() < wanted && seen.insert(period(&time.to_zoned(zone.clone()))) {
                keep(Some(index), reason);
            }
        }
    }
    keep(generations.iter().rposition(Generation::is_good), Reason::NewestGood);
    let verified = generations.iter().enumerate();
    let verified = verified.filter_map(|(index, generation)| Some((generation.verified?, index)));
    keep(verified.max().map(|(_, index)| index), Reason::LastVerified);
    keep_moments(generations, &mut reasons);
    reasons
}

/// Lets a generation go, newest first, only if that takes nothing from what can be restored.
fn keep_moments(generations: &[Generation], reasons: &mut [BTreeSet<Reason>]) {
    let kept = generations
        .iter()
        .zip(&*reasons)
        .filter(|(_, reasons)| !reasons.is_empty());
    let Some(oldest) = kept.map(|(generation, _)| generation.last).min() else {
        return;
    };
    let mut stays: Vec<bool> = generations
        .iter()
        .zip(&*reasons)
        .map(|(generation, reasons)| !reasons.is_empty() || generation.last >= oldest)
        .collect();
    let before = moments(generations, &stays);
    for index in (0..generations.len()).rev() {
        let is_free = reasons.get(index).is_some_and(BTreeSet::is_empty);
        if !is_free || stays.get(index) != Some(&true) {
            continue;
        }
        if let Some(stays) = stays.get_mut(index) {
            *stays = false;
        }
        if moments(generations, &stays) != before
            && let (Some(stays), Some(reasons)) = (stays.get_mut(index), reasons.get_mut(index))
        {
            *stays = true;
            reasons.insert(Reason::PointInTime);
        }
    }
}

/// The transactions that can be restored from those that stay, as ranges of more than one, merged and ascending.
pub(super) fn moments(generations: &[Generation], stays: &[bool]) -> Vec<(i64, i64)> {
    let kept: Vec<&Generation> = generations
        .iter()
        .zip(stays)
        .filter(|(_, stays)| **stays)
        .map(|(generation, _)| generation)
        .collect();
    let lasts: BTreeSet<i64> = kept.iter().map(|generation| generation.last).collect();
    let mut ranges: Vec<(i64, i64)> = kept
        .iter()
        .filter_map(|later| {
            let (first, _) = later.logs?;
            // the oldest base that its logs can be applied to
            let base = *lasts.range(first.saturating_sub(1)..).next()?;
            (base < later.last).then_some((base, later.last))
        })
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some((_, last)) if start <= *last => *last = (*last).max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::outcome::Verdict;

    const DAY: i64 = 86_400_000;

    fn generation(time: i64, last: i64, logs: Option<(i64, i64)>) -> Generation {
        Generation {
            time,
            last,
            logs,
            ..Generation::sample()
        }
    }

    fn kept(generations: &[Generation], policy: &str) -> Vec<usize> {
        let reasons = decide(generations, policy.parse().unwrap(), &TimeZone::UTC);
        let kept = reasons.iter().enumerate().filter(|(_, reasons)| !reasons.is_empty());
        kept.map(|(index, _)| index).collect()
    }

    #[test]
    fn policies_are_read() {
        assert_eq!(
            "last=2, daily=7,weekly=4,monthly=12".parse(),
            Ok(KeepPolicy {
                last: 2,
                daily: 7,
                weekly: 4,
                monthly: 12
            })
        );
        for wrong in ["", "last", "last=", "last=-1", "last=0", "hourly=1", "last=1;daily=2"] {
            assert!(wrong.parse::<KeepPolicy>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_newest_of_each_day_is_kept() {
        // two a day, without logs
        let history: Vec<_> = (0..10).map(|i| generation(i * DAY / 2, 10 + i, None)).collect();
        assert_eq!(kept(&history, "daily=3"), [5, 7, 9]);
        assert_eq!(kept(&history, "last=2"), [8, 9]);
    }

    #[test]
    fn the_end_of_a_chain_is_kept_for_the_moments_before_it() {
        // a full backup, three incremental ones in the next week, another full one whose logs do not reach back
        let history = [
            generation(-4 * DAY, 10, None),
            generation(DAY, 20, Some((11, 20))),
            generation(2 * DAY, 30, Some((11, 30))),
            generation(3 * DAY, 40, Some((11, 40))),
            generation(8 * DAY, 90, Some((89, 90))),
        ];
        // of the old chain nothing is asked for
        assert_eq!(kept(&history, "last=1"), [4]);
        // the first generation is kept, and the last of its chain gives all that follows it
        assert_eq!(kept(&history, "weekly=3"), [0, 3, 4]);
    }

    fn histories() -> impl Strategy<Value = Vec<Generation>> {
        let one = (
            1..3 * DAY,
            0..50_i64,
            0..80_i64,
            any::<(bool, bool)>(),
            proptest::option::of(0..9_i64),
        );
        proptest::collection::vec(one, 1..40).prop_map(|steps| {
            let (mut time, mut last) = (0, 10);
            let mut history = Vec::new();
            for (pause, transactions, back, (good, logs), verified) in steps {
                time += pause;
                last += transactions;
                let first = (last - back).max(2);
                history.push(Generation {
                    verdict: if good { Verdict::Good } else { Verdict::NotChecked },
                    verified: verified.map(|days| time + days * DAY),
                    ..generation(time, last, (logs && first <= last).then_some((first, last)))
                });
            }
            history
        })
    }

    /// Whether a pair of a base and the logs of a later generation gives this transaction.
    fn can_restore(history: &[Generation], stays: &[bool], moment: i64) -> bool {
        let kept: Vec<_> = history.iter().zip(stays).filter(|(_, stays)| **stays).collect();
        kept.iter().any(|(base, _)| {
            kept.iter().any(|(later, _)| {
                let reaches = |(first, _)| first <= base.last + 1;
                base.last < later.last && (base.last..=later.last).contains(&moment) && later.logs.is_some_and(reaches)
            })
        })
    }

    proptest! {
        #[test]
        fn no_policy_takes_what_must_stay(
            history in histories(),
            counts in (0..5_usize, 0..5_usize, 0..5_usize, 0..5_usize),
        ) {
            let (last, daily, weekly, monthly) = counts;
            let policy = KeepPolicy { last, daily, weekly, monthly };
            let reasons = decide(&history, policy, &TimeZone::UTC);
            let stays: Vec<bool> = reasons.iter().map(|reasons| !reasons.is_empty()).collect();
            // the newest that is good
            if let Some(newest) = history.iter().rposition(Generation::is_good) {
                prop_assert!(stays[newest]);
            }
            // the last that was verified
            let verified = history.iter().enumerate().filter_map(|(i, g)| Some((g.verified?, i))).max();
            if let Some((_, index)) = verified {
                prop_assert!(stays[index]);
            }
            // the newest ones, as many as were asked for
            let count = history.len();
            prop_assert!(stays[count.saturating_sub(last)..].iter().all(|stays| *stays));
            // the newest of so many days, weeks and months
            for (count, period) in [(daily, "%Y-%m-%d"), (weekly, "%G-%V"), (monthly, "%Y-%m")] {
                let mut newest = BTreeMap::new();
                for (index, generation) in history.iter().enumerate() {
                    let time = Timestamp::from_millisecond(generation.time).unwrap();
                    newest.insert(time.to_zoned(TimeZone::UTC).strftime(period).to_string(), index);
                }
                prop_assert!(newest.values().rev().take(count).all(|index| stays[*index]));
            }
            // every moment after the oldest kept one that could be restored
            let by_policy = history.iter().zip(&reasons).filter(|(_, reasons)| {
                reasons.iter().any(|reason| *reason != Reason::PointInTime)
            });
            if let Some(oldest) = by_policy.map(|(generation, _)| generation.last).min() {
                let all: Vec<bool> = history
                    .iter()
                    .zip(&stays)
                    .map(|(generation, stays)| *stays || generation.last >= oldest)
                    .collect();
                for moment in oldest..history[count - 1].last {
                    prop_assert_eq!(can_restore(&history, &all, moment), can_restore(&history, &stays, moment));
                }
            }
            // what was decided once stays decided
            let left: Vec<Generation> = history
                .iter()
                .zip(&stays)
                .filter(|(_, stays)| **stays)
                .map(|(generation, _)| generation.clone())
                .collect();
            let again = decide(&left, policy, &TimeZone::UTC);
            prop_assert!(again.iter().all(|reasons| !reasons.is_empty()));
        }
    }
}
