//! Times, rates and sizes as people type them.

use std::{num::NonZeroU64, time::Duration};

use neo4j_backup_core::target::archived_logs::KeepLogs;

/// The longest time that is taken, one year: no run and no log is meant to last longer.
const MAX_SECONDS: u64 = 366 * 24 * 60 * 60;

/// Why a quantity is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuantityError {
    /// Not a whole number with a unit that is known.
    #[error("a time is a whole number followed by s, m, h or d, or of seconds: 90, 30s, 5m, 2h, 7d")]
    NotATime,
    /// Not a whole number with a unit that is known.
    #[error("a rate is a whole number of bytes a second, or one followed by k, m or g: 500k, 20m, 1g")]
    NotARate,
    /// Not a whole number with a unit that is known.
    #[error("a size is a whole number of bytes, or one followed by k, m or g: 512m, 8g")]
    NotASize,
    /// Neither a time nor a size.
    #[error("a time such as 7d or 12h, or a size such as 512k, 512mb or 2g, is expected")]
    NotAKeep,
    /// Zero.
    #[error("it must be more than zero")]
    Zero,
    /// More than is taken.
    #[error("it is too large")]
    TooLarge,
}

/// A time: `90` and `90s` are seconds, `5m` minutes, `2h` hours, `7d` days.
pub(crate) fn time(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split(text).ok_or(QuantityError::NotATime)?;
    let seconds = match unit.as_str() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(QuantityError::NotATime),
    };
    match positive(number, seconds)?.get() {
        seconds if seconds > MAX_SECONDS => Err(QuantityError::TooLarge),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// Bytes a second: `k`, `m` and `g` are powers of 1024.
pub(crate) fn rate(text: &str) -> Result<NonZeroU64, QuantityError> {
    bytes(text, QuantityError::NotARate)
}

/// The same, or 0.
pub(crate) fn rate_or_zero(text: &str) -> Result<u64, QuantityError> {
    match rate(text) {
        Ok(rate) => Ok(rate.get()),
        Err(QuantityError::Zero) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Bytes, counted as in [`rate`].
pub(crate) fn size(text: &str) -> Result<NonZeroU64, QuantityError> {
    bytes(text, QuantityError::NotASize)
}

fn bytes(text: &str, otherwise: QuantityError) -> Result<NonZeroU64, QuantityError> {
    let (number, unit) = split(text).ok_or(otherwise)?;
    let factor = binary_factor(unit.trim_end_matches('b')).ok_or(otherwise)?;
    positive(number, factor)
}

/// A time as [`time`] takes it, or a size. `10m` are minutes, `10mb` are bytes; no time has the units `k` and `g`.
pub(crate) fn keep(text: &str) -> Result<KeepLogs, QuantityError> {
    let (number, unit) = split(text).ok_or(QuantityError::NotAKeep)?;
    let size = match unit.as_str() {
        "k" | "g" => Some(unit.as_str()),
        unit => unit.strip_suffix('b'),
    };
    if let Some(prefix) = size {
        let factor = binary_factor(prefix).ok_or(QuantityError::NotAKeep)?;
        return positive(number, factor).map(|bytes| KeepLogs::Bytes(bytes.get()));
    }
    match time(text) {
        // A bare number could be either.
        Ok(time) if !unit.is_empty() => Ok(KeepLogs::Time(time)),
        Ok(_) | Err(QuantityError::NotATime) => Err(QuantityError::NotAKeep),
        Err(error) => Err(error),
    }
}

/// The digits and the unit after them in lower case.
fn split(text: &str) -> Option<(&str, String)> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (digits, unit.to_ascii_lowercase()))
}

fn binary_factor(prefix: &str) -> Option<u64> {
    match prefix {
        "" => Some(1),
        "k" => Some(1 << 10),
        "m" => Some(1 << 20),
        "g" => Some(1 << 30),
        _ => None,
    }
}

fn positive(digits: &str, factor: u64) -> Result<NonZeroU64, QuantityError> {
    let number = digits.parse::<u64>().map_err(|_| QuantityError::TooLarge)?;
    let product = number.checked_mul(factor).ok_or(QuantityError::TooLarge)?;
    NonZeroU64::new(product).ok_or(QuantityError::Zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonzero(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    #[test]
    fn times_have_units_or_are_seconds() {
        for (text, seconds) in [
            ("1", 1),
            ("90s", 90),
            ("5m", 300),
            ("2H", 7200),
            ("7d", 604_800),
            ("366d", MAX_SECONDS),
        ] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for (text, error) in [
            ("0", QuantityError::Zero),
            ("0m", QuantityError::Zero),
            ("367d", QuantityError::TooLarge),
            ("18446744073709551615d", QuantityError::TooLarge),
            ("99999999999999999999", QuantityError::TooLarge),
            ("s", QuantityError::NotATime),
            ("", QuantityError::NotATime),
            ("-1s", QuantityError::NotATime),
            ("1.5h", QuantityError::NotATime),
            ("1 h", QuantityError::NotATime),
            ("5min", QuantityError::NotATime),
        ] {
            assert_eq!(time(text), Err(error), "{text}");
        }
    }

    #[test]
    fn rates_count_in_powers_of_1024() {
        for (text, expected) in [
            ("1", 1),
            ("500k", 512_000),
            ("20M", 20 << 20),
            ("1gb", 1 << 30),
            ("7b", 7),
        ] {
            assert_eq!(rate(text), Ok(nonzero(expected)), "{text}");
            assert_eq!(size(text), rate(text), "{text}");
        }
        for (text, error) in [
            ("0k", QuantityError::Zero),
            ("17179869184g", QuantityError::TooLarge),
            ("1t", QuantityError::NotARate),
            ("k", QuantityError::NotARate),
            ("1m/s", QuantityError::NotARate),
        ] {
            assert_eq!(rate(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_size_that_is_none_is_called_a_size() {
        assert_eq!(size("big"), Err(QuantityError::NotASize));
    }

    #[test]
    fn minutes_and_megabytes_of_history_cannot_be_confused() {
        assert_eq!(keep("10m"), Ok(KeepLogs::Time(Duration::from_mins(10))));
        assert_eq!(keep("10mb"), Ok(KeepLogs::Bytes(10 << 20)));
        assert_eq!(keep("7d"), Ok(KeepLogs::Time(Duration::from_hours(7 * 24))));
        assert_eq!(keep("2GB"), Ok(KeepLogs::Bytes(2 << 30)));
        assert_eq!(keep("1k"), Ok(KeepLogs::Bytes(1024)));
        assert_eq!(keep("2g"), keep("2gb"));
        for text in ["10", "", "all", "10t", "10tb"] {
            assert_eq!(keep(text), Err(QuantityError::NotAKeep), "{text}");
        }
        assert_eq!(keep("0d"), Err(QuantityError::Zero));
        assert_eq!(keep("0mb"), Err(QuantityError::Zero));
    }
}
