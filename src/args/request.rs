//! What was meant: the arguments of a backup, judged, as types that cannot be wrong.

use std::{num::NonZeroU64, path::PathBuf, time::Duration};

use super::{
    cluster::ClusterRequest,
    definitions::{Args, ModeSwitches, Switch},
    quantity::{self, Keep, QuantityError},
};
use neo4j_backup_core::{
    Error, ErrorKind,
    source::uri::{Source, UriError},
};

/// Which backup is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All store files.
    Full,
    /// Only what is new.
    Incremental,
    /// Full where the target is absent or empty, incremental otherwise.
    Auto,
}

impl Mode {
    /// The word for it in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Incremental => "incremental",
            Mode::Auto => "auto",
        }
    }
}

/// How much of the finished backup is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Nothing.
    Off,
    /// What this kind of backup checks by default.
    On,
    /// Every rule over the whole store.
    Full,
}

/// What a full backup does with an older backup of the same database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Refuses, as the original does.
    Refuse,
    /// Replaces it in one step, once the new one is complete.
    Replace,
}

/// What happens where an incremental backup cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The run ends with the code that says a full backup is needed.
    Stop,
    /// A full backup is taken beside the old one and swapped in.
    Full,
}

/// What happens where the common history cannot be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// The report says so.
    Reported,
    /// The run is refused.
    Required,
}

/// How the result is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Lines for people.
    Text,
    /// One object.
    Json,
}

/// A backup to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupRequest {
    /// Which backup.
    pub(crate) mode: Mode,
    /// Where from.
    pub(crate) source: Source,
    /// Which cluster and which of its members, where the source is one.
    pub(crate) cluster: ClusterRequest,
    /// `-from` as it was typed, for messages.
    pub(crate) from: String,
    /// Where to.
    pub(crate) target: PathBuf,
    /// How much is checked at the end.
    pub(crate) verify: Verify,
    /// What a full backup may replace.
    pub(crate) existing: Existing,
    /// What an incremental backup that cannot go on does.
    pub(crate) fallback: Fallback,
    /// How much an unproven history matters.
    pub(crate) history: History,
    /// Which history logs are kept; `None` keeps all.
    pub(crate) keep: Option<Keep>,
    /// Limit of the whole run.
    pub(crate) timeout: Option<Duration>,
    /// Limit of the quiet on a connection; `None` leaves it to the dialect.
    pub(crate) silence_timeout: Option<Duration>,
    /// Bytes received a second at most.
    pub(crate) max_rate: Option<NonZeroU64>,
    /// Bytes by which transactions may make a store file grow; `None` leaves it to the file's length.
    pub(crate) max_growth: Option<NonZeroU64>,
}

/// Why the arguments make no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RequestError {
    /// Not exactly one mode.
    #[error("specify either -full or -incremental (or -auto)")]
    Mode,
    /// No source.
    #[error("please specify -from")]
    NoSource,
    /// No target.
    #[error("specify target location with -to <target-directory>")]
    NoTarget,
    /// A source that is not understood.
    #[error(transparent)]
    Source(#[from] UriError),
    /// A word where one of a few is expected.
    #[error("invalid value {text:?} for -{option}: {expected}")]
    Word {
        /// The option without its dash.
        option: &'static str,
        /// What was given.
        text: String,
        /// What is taken.
        expected: &'static str,
    },
    /// A time, rate or size that is not understood.
    #[error("invalid value {text:?} for -{option}: {problem}")]
    Quantity {
        /// The option without its dash.
        option: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: QuantityError,
    },
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Error {
        match error {
            RequestError::Source(error) => error.into(),
            RequestError::NoSource => Error::new(ErrorKind::Usage, error)
                .with_hint("for example -from single://192.168.1.34 or -from single://192.168.1.34:1234"),
            RequestError::NoTarget => Error::new(ErrorKind::Usage, error)
                .with_hint("the directory is the database afterwards; it need not exist before a full backup"),
            RequestError::Mode | RequestError::Word { .. } | RequestError::Quantity { .. } => {
                Error::new(ErrorKind::Usage, error).with_hint("neo4j-backup -help lists all options")
            }
        }
    }
}

impl BackupRequest {
    /// The request these arguments make; checked in the order of the original.
    ///
    /// # Errors
    /// The first option that is missing or not understood.
    pub(crate) fn from_args(args: &Args, modes: ModeSwitches) -> Result<BackupRequest, RequestError> {
        let mode = mode(modes).ok_or(RequestError::Mode)?;
        let from = given(args.from.as_deref()).ok_or(RequestError::NoSource)?.to_owned();
        let target = match &args.to {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => return Err(RequestError::NoTarget),
        };
        Ok(BackupRequest {
            mode,
            source: Source::parse(&from)?,
            cluster: ClusterRequest::from_args(&args.of_cluster)?,
            from,
            target,
            verify: verify(args.verify.as_deref())?,
            existing: if args.overwrite {
                Existing::Replace
            } else {
                Existing::Refuse
            },
            fallback: if args.fallback_full {
                Fallback::Full
            } else {
                Fallback::Stop
            },
            history: if args.require_history {
                History::Required
            } else {
                History::Reported
            },
            keep: quantity("prune-logs", args.prune_logs.as_deref(), quantity::keep)?,
            timeout: quantity("timeout", args.timeout.as_deref(), quantity::time)?,
            silence_timeout: quantity("silence-timeout", args.silence_timeout.as_deref(), quantity::time)?,
            max_rate: quantity("max-rate", args.max_rate.as_deref(), quantity::rate)?,
            max_growth: quantity("max-growth", args.max_growth.as_deref(), quantity::size)?,
        })
    }
}

impl Output {
    /// What `-output` asks for.
    ///
    /// # Errors
    /// [`RequestError::Word`] for an unknown word.
    pub(crate) fn parse(text: Option<&str>) -> Result<Output, RequestError> {
        match given(text) {
            None => Ok(Output::Text),
            Some(text) if text.eq_ignore_ascii_case("text") => Ok(Output::Text),
            Some(text) if text.eq_ignore_ascii_case("json") => Ok(Output::Json),
            Some(text) => Err(RequestError::Word {
                option: "output",
                text: text.to_owned(),
                expected: "text or json is expected",
            }),
        }
    }
}

/// The one mode that was typed, or else the one in the environment: a wrapper may set a mode for all jobs of a machine
/// and one job may ask for another.
fn mode(modes: ModeSwitches) -> Option<Mode> {
    let switches = [
        (modes.full, Mode::Full),
        (modes.incremental, Mode::Incremental),
        (modes.auto, Mode::Auto),
    ];
    let set_by = |origin| {
        let matching = switches.into_iter().filter(move |(switch, _)| *switch == origin);
        matching.map(|(_, mode)| mode).collect::<Vec<_>>()
    };
    let typed = set_by(Switch::Typed);
    let candidates = if typed.is_empty() {
        set_by(Switch::Environment)
    } else {
        typed
    };
    match candidates.as_slice() {
        [mode] => Some(*mode),
        _ => None,
    }
}

fn verify(text: Option<&str>) -> Result<Verify, RequestError> {
    let Some(text) = given(text) else {
        return Ok(Verify::On);
    };
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(Verify::On),
        "false" => Ok(Verify::Off),
        "full" => Ok(Verify::Full),
        _ => Err(RequestError::Word {
            option: "verify",
            text: text.to_owned(),
            expected: "true, false or full is expected",
        }),
    }
}

pub(crate) fn quantity<T>(
    option: &'static str,
    text: Option<&str>,
    parse: fn(&str) -> Result<T, QuantityError>,
) -> Result<Option<T>, RequestError> {
    given(text)
        .map(|text| {
            parse(text).map_err(|problem| RequestError::Quantity {
                option,
                text: text.to_owned(),
                problem,
            })
        })
        .transpose()
}

/// An empty value counts as absent.
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{super::cluster::ClusterArgs, *};

    fn modes(full: Switch, incremental: Switch, auto: Switch) -> ModeSwitches {
        ModeSwitches {
            full,
            incremental,
            auto,
        }
    }

    #[test]
    fn exactly_one_mode_is_wanted_and_what_is_typed_wins() {
        use Switch::{Environment, Off, Typed};
        assert_eq!(mode(modes(Typed, Off, Off)), Some(Mode::Full));
        assert_eq!(mode(modes(Off, Environment, Off)), Some(Mode::Incremental));
        assert_eq!(mode(modes(Environment, Off, Typed)), Some(Mode::Auto));
        assert_eq!(mode(modes(Off, Off, Off)), None);
        assert_eq!(mode(modes(Typed, Typed, Off)), None);
        assert_eq!(mode(modes(Environment, Environment, Off)), None);
    }

    fn request(options: &[&str]) -> Result<BackupRequest, RequestError> {
        let typed: Vec<_> = ["neo4j-backup"]
            .iter()
            .chain(options)
            .map(std::ffi::OsString::from)
            .collect();
        let (args, modes) = Args::read(&typed).unwrap();
        BackupRequest::from_args(&args, modes)
    }

    #[test]
    fn the_examples_are_requests() {
        let full = request(&["--full", "--from", "single://192.168.1.34", "--to", "/mnt/b"]).unwrap();
        assert_eq!(
            full,
            BackupRequest {
                mode: Mode::Full,
                source: Source::Single {
                    host: "192.168.1.34".into(),
                    port: 6362,
                },
                cluster: ClusterRequest::from_args(&ClusterArgs::default()).unwrap(),
                from: "single://192.168.1.34".into(),
                target: "/mnt/b".into(),
                verify: Verify::On,
                existing: Existing::Refuse,
                fallback: Fallback::Stop,
                history: History::Reported,
                keep: None,
                timeout: None,
                silence_timeout: None,
                max_rate: None,
                max_growth: None,
            }
        );
    }

    #[test]
    fn every_option_reaches_the_request() {
        let request = request(&[
            "--auto",
            "--from=h",
            "--to=d",
            "--verify=FULL",
            "--overwrite",
            "--fallback-full",
            "--require-history",
            "--prune-logs",
            "--timeout=2h",
            "--silence-timeout=5",
            "--max-rate=1k",
            "--max-growth=8g",
        ])
        .unwrap();
        assert_eq!(request.mode, Mode::Auto);
        assert_eq!(request.verify, Verify::Full);
        assert_eq!(request.existing, Existing::Replace);
        assert_eq!(request.fallback, Fallback::Full);
        assert_eq!(request.history, History::Required);
        assert_eq!(request.keep, Some(Keep::Time(Duration::from_hours(7 * 24))));
        assert_eq!(request.timeout, Some(Duration::from_hours(2)));
        assert_eq!(request.silence_timeout, Some(Duration::from_secs(5)));
        assert_eq!(request.max_rate, NonZeroU64::new(1024));
        assert_eq!(request.max_growth, NonZeroU64::new(8 << 30));
    }

    #[test]
    fn empty_values_count_as_absent() {
        let request = request(&["--full", "--from=h", "--to=d", "--verify=", "--timeout=", "--max-rate="]).unwrap();
        assert_eq!(
            (request.verify, request.timeout, request.max_rate),
            (Verify::On, None, None)
        );
    }

    #[test]
    fn the_last_of_repeated_options_wins_as_in_the_original() {
        let request = request(&["--full", "--full", "--from=a", "--to=x", "--from=b", "--to=y"]).unwrap();
        assert_eq!((request.from.as_str(), request.target), ("b", "y".into()));
    }

    #[test]
    fn what_is_missing_is_named_in_the_order_of_the_original() {
        assert_eq!(request(&[]), Err(RequestError::Mode));
        assert_eq!(request(&["--full"]), Err(RequestError::NoSource));
        assert_eq!(request(&["--full", "--from="]), Err(RequestError::NoSource));
        assert_eq!(request(&["--full", "--from=h"]), Err(RequestError::NoTarget));
        assert_eq!(request(&["--full", "--from=h", "--to="]), Err(RequestError::NoTarget));
    }

    #[test]
    fn wrong_values_name_option_value_and_what_is_taken() {
        let text = |words: &[&str]| {
            let mut all = vec!["--full", "--from=h", "--to=d"];
            all.extend(words);
            request(&all).unwrap_err().to_string()
        };
        assert_eq!(
            text(&["--verify=no"]),
            "invalid value \"no\" for -verify: true, false or full is expected"
        );
        assert_eq!(
            text(&["--timeout=0"]),
            "invalid value \"0\" for -timeout: it must be more than zero"
        );
    }
}
