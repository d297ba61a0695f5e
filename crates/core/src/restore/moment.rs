//! The state of a database that a restore is asked for.

use std::fmt;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::{Error, ErrorKind};
use neo4j_format::ids::TxId;

/// Which state of the database is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Moment {
    /// The state of the backup.
    #[default]
    Newest,
    /// The state after this transaction of the graph.
    Transaction(TxId),
    /// The state after the last transaction committed at or before this time.
    Time(Timestamp),
}

impl Moment {
    /// The moment that a person means by `text`: RFC 3339, or `YYYY-MM-DD HH:MM[:SS]` in the local time zone.
    ///
    /// # Errors
    /// Neither, or a time that the local clocks skipped.
    pub fn time(text: &str) -> Result<Moment, MomentError> {
        let unknown = || MomentError(text.to_owned());
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Moment::Time(time));
        }
        // an offset or a zone is part of the first form
        let is_local = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-: T".contains(&byte));
        let local: DateTime = text.parse().map_err(|_| unknown())?;
        let has_time = text.contains(':');
        if !is_local || !has_time {
            return Err(unknown());
        }
        let zoned = TimeZone::system().to_ambiguous_zoned(local).unambiguous();
        Ok(Moment::Time(zoned.map_err(|_| unknown())?.timestamp()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Newest => f.write_str("the newest state"),
            Moment::Transaction(id) => write!(f, "transaction {id}"),
            Moment::Time(time) => write!(f, "{time:.3}"),
        }
    }
}

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an unambiguous time such as 2012-10-10T08:20:00Z or \"2012-10-10 08:20\"")]
pub struct MomentError(String);

/// A state that can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownMoment {
    /// Its last transaction of the graph.
    pub(crate) last: TxId,
    /// When that was committed, in milliseconds since 1970, if it is known.
    pub(crate) committed: Option<i64>,
}

impl fmt::Display for KnownMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {}", self.last)?;
        match self.committed.and_then(|time| Timestamp::from_millisecond(time).ok()) {
            Some(time) => write!(f, ", committed {time:.3}"),
            None => Ok(()),
        }
    }
}

/// The moment cannot be reached; these are the nearest ones that can.
pub(crate) fn unreachable(wanted: Moment, why: &str, before: Option<KnownMoment>, after: Option<KnownMoment>) -> Error {
    let near = |known: Option<KnownMoment>| known.map_or("none".to_owned(), |known| known.to_string());
    let text = format!(
        "cannot restore {wanted}: {why}; nearest before: {}; nearest after: {}",
        near(before),
        near(after)
    );
    Error::new(ErrorKind::NoSuchMoment, text).with_hint("restore one of the nearest moments, or another backup")
}

/// Accepts the state of a single backup, finished at `finished`, if it is the one that is wanted.
///
/// # Errors
/// Of kind [`ErrorKind::NoSuchMoment`].
pub(crate) fn require_same(wanted: Moment, has: KnownMoment, finished: Option<u64>) -> Result<(), Error> {
    let finished = finished.and_then(|time| i64::try_from(time).ok());
    match wanted {
        Moment::Newest => Ok(()),
        Moment::Transaction(id) if id == has.last => Ok(()),
        Moment::Transaction(id) if id < has.last => Err(unreachable(wanted, "the backup is newer", None, Some(has))),
        Moment::Transaction(_) => Err(unreachable(wanted, "the backup is older", Some(has), None)),
        Moment::Time(time) => match has.committed {
            None => Err(unreachable(
                wanted,
                "the backup does not say when its last transaction was committed",
                Some(has),
                None,
            )),
            Some(committed) if time.as_millisecond() < committed => {
                Err(unreachable(wanted, "the backup is newer", None, Some(has)))
            }
            Some(_) if finished.is_none_or(|finished| time.as_millisecond() > finished) => {
                Err(unreachable(wanted, "the backup is older", Some(has), None))
            }
            Some(_) => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        Moment::Time(text.parse().unwrap())
    }

    #[test]
    fn times_are_read_with_their_offset_and_anything_else_is_refused() {
        assert_eq!(Moment::time("2012-10-10T08:20:00Z"), Ok(at("2012-10-10T08:20:00Z")));
        assert_eq!(
            Moment::time("2012-10-10T10:20:00+02:00"),
            Ok(at("2012-10-10T08:20:00Z"))
        );
        for local in ["2012-10-10 08:20", "2012-10-10 08:20:30", "2012-10-10T08:20"] {
            assert!(matches!(Moment::time(local), Ok(Moment::Time(_))), "{local}");
        }
        for wrong in [
            "",
            "yesterday",
            "2012-10-10",
            "2012-13-10 08:20",
            "08:20",
            "2012-10-10 25:00",
        ] {
            assert!(Moment::time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_single_backup_is_one_moment() {
        let has = KnownMoment {
            last: TxId(40),
            committed: Some(1_349_857_200_000),
        };
        let finished = Some(1_349_857_260_000);
        let same = |wanted| require_same(wanted, has, finished);
        same(Moment::Newest).unwrap();
        same(Moment::Transaction(TxId(40))).unwrap();
        same(at("2012-10-10T08:20:00Z")).unwrap();
        same(at("2012-10-10T08:21:00Z")).unwrap();
        for (wanted, side) in [
            (
                Moment::Transaction(TxId(39)),
                "nearest before: none; nearest after: transaction 40",
            ),
            (Moment::Transaction(TxId(41)), "nearest before: transaction 40"),
            (
                at("2012-10-10T08:19:59.999Z"),
                "nearest before: none; nearest after: transaction 40",
            ),
            (at("2012-10-10T08:21:00.001Z"), "nearest before: transaction 40"),
        ] {
            let refused = same(wanted).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NoSuchMoment);
            assert!(refused.to_string().contains(side), "{refused}");
        }
        let without_time = KnownMoment { committed: None, ..has };
        assert!(require_same(at("2012-10-10T08:20:00Z"), without_time, finished).is_err());
    }
}
