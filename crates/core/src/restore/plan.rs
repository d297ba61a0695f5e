//! Which generations give a moment: a base, and a later one whose logs lead from there to the moment.

use super::{
    forward::Cut,
    moment::{KnownMoment, Moment, unreachable},
};
use crate::{Error, repository::Generation};
use neo4j_format::ids::TxId;

/// How a moment is restored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) base: &'a Generation,
    /// Whose logs are applied, and how far.
    pub(super) forward: Option<(&'a Generation, Cut)>,
}

/// Plans a restore from the generations of one database, oldest first. A base that was named is used.
///
/// # Errors
/// Of kind [`crate::ErrorKind::NoSuchMoment`], with the nearest moments.
pub(super) fn plan<'a>(
    generations: &'a [Generation],
    named: Option<&'a Generation>,
    moment: Moment,
) -> Result<Plan<'a>, Error> {
    let bases: Vec<&Generation> = match named {
        Some(base) => vec![base],
        None => generations.iter().rev().collect(),
    };
    let found = match moment {
        Moment::Newest => bases.first().map(|base| Plan { base, forward: None }),
        Moment::Transaction(wanted) => transaction(generations, &bases, wanted.0),
        Moment::Time(time) => at(generations, &bases, time),
    };
    let why = match moment {
        Moment::Time(_) if bases.iter().all(|base| base.committed.is_none()) => {
            "no generation says when its last transaction was committed"
        }
        _ => "no generation and no logs reach it",
    };
    found.ok_or_else(|| {
        let (before, after) = nearest(generations, moment);
        unreachable(moment, why, before, after)
    })
}

fn transaction<'a>(generations: &'a [Generation], bases: &[&'a Generation], wanted: i64) -> Option<Plan<'a>> {
    if let Some(base) = bases.iter().find(|base| base.last == wanted) {
        return Some(Plan { base, forward: None });
    }
    let mut bases: Vec<_> = bases.iter().filter(|base| base.last < wanted).collect();
    bases.sort_by_key(|base| std::cmp::Reverse(base.last));
    bases.into_iter().find_map(|base| {
        let later = generations
            .iter()
            .find(|later| leads(base, later) && later.last >= wanted)?;
        Some(Plan {
            base,
            forward: Some((later, Cut::After(TxId(wanted)))),
        })
    })
}

fn at<'a>(generations: &'a [Generation], bases: &[&'a Generation], time: jiff::Timestamp) -> Option<Plan<'a>> {
    let limit = time.as_millisecond();
    let is_before = |base: &Generation| base.committed.is_some_and(|committed| committed <= limit);
    let mut bases: Vec<_> = bases.iter().filter(|base| is_before(base)).collect();
    bases.sort_by_key(|base| std::cmp::Reverse(base.last));
    // logs that go on beyond the time prove that nothing was missed before it
    let by_logs = bases.iter().find_map(|base| {
        let is_later =
            |later: &&Generation| leads(base, later) && later.committed.is_some_and(|committed| committed > limit);
        let later = generations.iter().find(is_later)?;
        Some(Plan {
            base,
            forward: Some((later, Cut::At(time))),
        })
    });
    by_logs.or_else(|| {
        let base = bases.iter().find(|base| limit <= base.time)?;
        Some(Plan { base, forward: None })
    })
}

/// Whether the logs of a later generation begin where a base ends, or before.
fn leads(base: &Generation, later: &Generation) -> bool {
    later.last > base.last
        && later
            .logs
            .is_some_and(|(first, _)| first <= base.last.saturating_add(1))
}

/// The nearest moments that can be restored.
fn nearest(generations: &[Generation], moment: Moment) -> (Option<KnownMoment>, Option<KnownMoment>) {
    let known = |generation: &Generation| KnownMoment {
        last: TxId(generation.last),
        committed: generation.committed,
    };
    let is_before = |generation: &&Generation| match moment {
        Moment::Transaction(wanted) => generation.last <= wanted.0,
        Moment::Time(time) => generation
            .committed
            .is_some_and(|committed| committed <= time.as_millisecond()),
        Moment::Newest => true,
    };
    let before = generations
        .iter()
        .filter(is_before)
        .max_by_key(|found| found.last)
        .map(known);
    let after = generations
        .iter()
        .filter(|found| !is_before(found))
        .min_by_key(|found| match found.logs {
            // from the last base before its logs on, which is less than its own end
            Some((first, _)) if generations.iter().any(|base| leads(base, found)) => first,
            _ => found.last,
        });
    (before, after.map(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn generation(last: i64, logs: Option<(i64, i64)>) -> Generation {
        Generation {
            id: last.to_string(),
            last,
            logs,
            committed: Some(last * 1000),
            time: last * 1000 + 500,
            ..Generation::sample()
        }
    }

    /// A full backup, two incremental ones, and a full one that does not reach back.
    fn history() -> Vec<Generation> {
        vec![
            generation(10, None),
            generation(20, Some((11, 20))),
            generation(30, Some((11, 30))),
            generation(90, Some((88, 90))),
        ]
    }

    fn planned(moment: Moment) -> Option<(i64, Option<i64>)> {
        let history = history();
        let plan = plan(&history, None, moment).ok()?;
        Some((plan.base.last, plan.forward.map(|(later, _)| later.last)))
    }

    #[test]
    fn a_transaction_is_reached_from_the_newest_base_before_it() {
        let tx = |id| planned(Moment::Transaction(TxId(id)));
        assert_eq!(tx(10), Some((10, None)));
        assert_eq!(tx(15), Some((10, Some(20))));
        assert_eq!(tx(21), Some((20, Some(30))));
        assert_eq!(tx(90), Some((90, None)));
        for unreachable in [9, 31, 89, 91] {
            assert_eq!(tx(unreachable), None, "{unreachable}");
        }
    }

    #[test]
    fn a_time_is_reached_by_logs_that_go_on_beyond_it() {
        let at = |milliseconds| planned(Moment::Time(jiff::Timestamp::from_millisecond(milliseconds).unwrap()));
        assert_eq!(at(10_000), Some((10, Some(20))));
        assert_eq!(at(19_999), Some((10, Some(20))));
        assert_eq!(at(30_400), Some((30, None)));
        assert_eq!(at(90_500), Some((90, None)));
        for unreachable in [9_999, 30_501, 89_000, 90_501] {
            assert_eq!(at(unreachable), None, "{unreachable}");
        }
    }

    #[test]
    fn the_nearest_moments_are_named() {
        let history = history();
        let refused = plan(&history, None, Moment::Transaction(TxId(50))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NoSuchMoment);
        let text = refused.to_string();
        assert!(
            text.contains("nearest before: transaction 30") && text.contains("nearest after: transaction 90"),
            "{text}"
        );
    }

    #[test]
    fn a_named_base_is_the_only_one() {
        let history = history();
        let base = history.first();
        let named = plan(&history, base, Moment::Transaction(TxId(25))).unwrap();
        assert_eq!(
            (named.base.last, named.forward.map(|(later, _)| later.last)),
            (10, Some(30))
        );
        assert!(plan(&history, history.get(1), Moment::Transaction(TxId(15))).is_err());
    }
}
