//! What is wrong with a target, and how bad that is.

use std::time::Duration;

use serde::Serialize;

use super::TargetStatus;
use crate::error;

/// Clocks may differ by so many seconds.
const CLOCKS: i64 = 300;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing is wrong.
    Ok,
    /// There is a good backup, but somebody should look.
    Warning,
    /// There is no backup that is good and recent.
    Critical,
}

impl Level {
    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }

    /// The exit code of `status`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Level::Ok => error::SUCCESS.code,
            Level::Warning | Level::Critical => error::STALE.code,
        }
    }
}

/// How old the last good backup may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// An older one is a warning.
    pub warning: Duration,
    /// An older one is critical.
    pub critical: Duration,
}

impl Default for Thresholds {
    /// One day and two hours, and two days and two hours: a nightly run that failed once, and twice.
    fn default() -> Thresholds {
        Thresholds {
            warning: Duration::from_hours(26),
            critical: Duration::from_hours(50),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The worst.
    pub level: Level,
    /// Everything that is wrong, the worst first.
    pub reasons: Vec<String>,
}

impl TargetStatus {
    /// Judges it.
    pub fn judge(&self, thresholds: Thresholds) -> Judgement {
        let mut critical: Vec<String> = self.defects.clone();
        let mut warnings = Vec::new();
        match self.last_good.map(|time| self.seconds_since(time)) {
            None if critical.is_empty() => critical.push("no good backup".to_owned()),
            None => {}
            Some(seconds) if seconds < -CLOCKS => {
                critical.push("the last good backup has a time that has not come yet".to_owned());
            }
            Some(seconds) => {
                let age = Duration::from_secs(seconds.max(0).unsigned_abs());
                let text = format!("the last good backup is {} old", in_words(age));
                if age > thresholds.critical {
                    critical.push(text);
                } else if age > thresholds.warning {
                    warnings.push(text);
                }
            }
        }
        if let Some(run) = self.last_run.as_ref().filter(|run| !run.is_good()) {
            let what = run.error.as_ref().or(run.verdict.as_ref());
            let what = match (what, run.archive.as_deref()) {
                (Some(verdict), Some(archive)) if verdict == "good" => format!("archiving {archive}"),
                (Some(what), _) => what.clone(),
                (None, _) => "for an unknown reason".to_owned(),
            };
            warnings.push(format!("the last run ended with exit code {}: {what}", run.exit_code));
        }
        if let Some(drill) = self.last_drill_run.as_ref().filter(|drill| !drill.is_good()) {
            warnings.push(format!("the last drill ended with exit code {}", drill.exit_code));
        }
        if let (Some(free), Some(needed)) = (self.free_bytes, self.needed_bytes)
            && free < needed
        {
            warnings.push("there is not enough free space for the next full backup".to_owned());
        }
        warnings.extend(self.problems.iter().cloned());
        let level = match (critical.is_empty(), warnings.is_empty()) {
            (false, _) => Level::Critical,
            (true, false) => Level::Warning,
            (true, true) => Level::Ok,
        };
        critical.append(&mut warnings);
        Judgement {
            level,
            reasons: critical,
        }
    }
}

/// A duration in its two largest units: `3 d 4 h`, `5 h 12 min`, `7 min`, `12 s`.
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::journal::{JournalEntry, RunKind, Time};

    fn found(age: i64) -> TargetStatus {
        let mut found = TargetStatus::new("b".to_owned());
        found.last_good = Some(before(&found, age));
        found
    }

    fn before(found: &TargetStatus, seconds: i64) -> Time {
        Time(found.at.0 - SignedDuration::from_secs(seconds))
    }

    fn judged(found: &TargetStatus) -> (Level, Vec<String>) {
        let judgement = found.judge(Thresholds::default());
        (judgement.level, judgement.reasons)
    }

    #[test]
    fn the_age_decides() {
        let hours = |hours: i64| judged(&found(hours * 3600 + 1));
        assert_eq!(hours(0), (Level::Ok, vec![]));
        assert_eq!(hours(25), (Level::Ok, vec![]));
        let old = |text: &str| vec![format!("the last good backup is {text} old")];
        assert_eq!(hours(26), (Level::Warning, old("1 d 2 h")));
        assert_eq!(hours(50), (Level::Critical, old("2 d 2 h")));
        let never = TargetStatus::new("b".to_owned());
        assert_eq!(judged(&never), (Level::Critical, vec!["no good backup".to_owned()]));
    }

    #[test]
    fn a_time_in_the_future_is_not_recent() {
        assert_eq!(judged(&found(-200)).0, Level::Ok);
        assert_eq!(judged(&found(-400)).0, Level::Critical);
        let mut far = found(0);
        far.last_good = Some(Time(Timestamp::MAX));
        assert_eq!(judged(&far).0, Level::Critical);
        far.last_good = Some(Time(Timestamp::MIN));
        assert_eq!(judged(&far).0, Level::Critical);
    }

    #[test]
    fn what_went_wrong_last_is_a_warning_and_a_defect_is_critical() {
        let mut status = found(60);
        let mut run = JournalEntry::new(RunKind::Backup, status.at.0);
        run.exit_code = 10;
        run.error = Some("unreachable".to_owned());
        status.last_run = Some(run);
        status.free_bytes = Some(5);
        status.needed_bytes = Some(6);
        let (level, reasons) = judged(&status);
        assert_eq!(level, Level::Warning);
        assert_eq!(
            reasons,
            [
                "the last run ended with exit code 10: unreachable",
                "there is not enough free space for the next full backup"
            ]
        );
        status.defects.push("verify found damage".to_owned());
        let (level, reasons) = judged(&status);
        assert_eq!((level, reasons[0].as_str()), (Level::Critical, "verify found damage"));
    }

    #[test]
    fn times_are_short_in_words() {
        for (seconds, text) in [(59, "59 s"), (61, "1 min"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), text);
        }
    }
}
