//! Moments for people and for JSON: milliseconds since 1970 as date and time of day, UTC.

/// `2012-10-10T08:20:00.123Z`, as in RFC 3339.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    let (day, time) = (milliseconds.div_euclid(DAY), milliseconds.rem_euclid(DAY));
    let (year, month, day) = date(day);
    let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        time % 1000
    )
}

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Days of 400 years of the Gregorian calendar.
const ERA: i64 = 146_097;

/// `2012-10-10 08:20:00 UTC`.
pub(crate) fn utc(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(day);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC",
        second % 60
    )
}

/// Year, month and day of a number of days since 1970. Years are counted from March, so that the leap day is the last.
fn date(days: i64) -> (i64, i64, i64) {
    let since_march_0 = days + 719_468;
    let (era, day) = (since_march_0.div_euclid(ERA), since_march_0.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (milliseconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (1_349_857_200_123, "2012-10-10 08:20:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(milliseconds), text);
        }
        assert_eq!(rfc3339(1_349_857_200_123), "2012-10-10T08:20:00.123Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        // any number is a moment
        utc(i64::MAX);
        utc(i64::MIN);
    }
}
