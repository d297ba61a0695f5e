//! The arguments of a backup, validated.

use std::path::PathBuf;

use super::{
    cluster,
    definitions::{Args, ModeSwitches, Switch},
    environment,
    quantity::{self, QuantityError},
    repository::{self, RepositoryArgs},
};
use neo4j_backup_core::{
    Backup, Error, ErrorKind, Mode,
    consistency::Checks,
    replay::apply::Growth,
    source::uri::{Source, UriError},
};

/// How the result is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Lines for people.
    Text,
    /// One object.
    Json,
}

/// A backup to take, and the words of it that reports repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupRequest {
    /// Which backup.
    pub(crate) mode: Mode,
    /// `-from` as it was typed.
    pub(crate) from: String,
    /// Where to.
    pub(crate) target: PathBuf,
    /// All of it, for the library.
    pub(crate) backup: Backup,
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
    #[error("invalid value {text:?} for {}: {expected}", environment::origin(option, text))]
    Word {
        /// The option without its dash.
        option: &'static str,
        /// What was given.
        text: String,
        /// What is taken.
        expected: &'static str,
    },
    /// A time, rate or size that is not understood.
    #[error("invalid value {text:?} for {}: {problem}", environment::origin(option, text))]
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
        let source = Source::parse(&from)?;
        let mut backup = Backup::new(source, &target)
            .source_name(&from)
            .mode(mode)
            .cluster(cluster::options(&args.of_cluster)?)
            .checks(checks(args.verify.as_deref())?)
            .overwrite(args.overwrite)
            .fallback_full(args.fallback_full)
            .require_history(args.require_history)
            .allow_shared_directory(args.allow_shared_directory);
        if let Some(keep) = quantity("prune-logs", args.prune_logs.as_deref(), quantity::keep)? {
            backup = backup.keep_logs(keep);
        }
        if let Some(limit) = quantity("timeout", args.timeout.as_deref(), quantity::time)? {
            backup = backup.time_limit(limit);
        }
        if let Some(limit) = quantity("silence-timeout", args.silence_timeout.as_deref(), quantity::time)? {
            backup = backup.silence_timeout(limit);
        }
        if let Some(rate) = quantity("max-rate", args.max_rate.as_deref(), quantity::rate)? {
            backup = backup.max_rate(rate);
        }
        if let Some(mode) = directory_mode(args.mode.as_deref())? {
            backup = backup.directory_mode(mode);
        }
        if let Some(rate) = quantity("min-rate", args.min_rate.as_deref(), quantity::rate_or_zero)? {
            backup = backup.min_rate(rate);
        }
        if let Some(bytes) = quantity("max-growth", args.max_growth.as_deref(), quantity::size)? {
            backup = backup.max_growth(Growth::Bytes(bytes.get()));
        }
        Ok(BackupRequest {
            mode,
            from,
            target,
            backup,
        })
    }

    /// The same request, whose result goes into the repository that is named.
    ///
    /// # Errors
    /// The repository has no password, or a value is not understood.
    pub(crate) fn archived_in(self, of: &RepositoryArgs, keep: Option<&str>) -> Result<BackupRequest, Error> {
        let keep = repository::keep(keep)?;
        let mut backup = self.backup;
        match (of.named()?, keep) {
            (Some(named), None) => backup = backup.repository(named),
            (Some(named), Some(keep)) => backup = backup.repository(named).keep_generations(keep),
            (None, Some(_)) => {
                return Err(Error::new(ErrorKind::Usage, "-keep needs a repository").with_hint("name it with -repo"));
            }
            (None, None) => {}
        }
        Ok(BackupRequest { backup, ..self })
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

fn checks(text: Option<&str>) -> Result<Checks, RequestError> {
    let Some(text) = given(text) else {
        return Ok(Checks::Usual);
    };
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(Checks::Usual),
        "false" => Ok(Checks::None),
        "full" => Ok(Checks::Whole),
        _ => Err(RequestError::Word {
            option: "verify",
            text: text.to_owned(),
            expected: "true, false or full is expected",
        }),
    }
}

/// Permission bits as `chmod` takes them in octal. The owner must be able to use the backup.
fn directory_mode(text: Option<&str>) -> Result<Option<u32>, RequestError> {
    let Some(text) = given(text) else {
        return Ok(None);
    };
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0o700..=0o777) => Ok(Some(mode)),
        _ => Err(RequestError::Word {
            option: "mode",
            text: text.to_owned(),
            expected: "an octal number from 0700 to 0777 is expected",
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
    use std::{num::NonZeroU64, time::Duration};

    use super::*;
    use neo4j_backup_core::{ClusterOptions, target::archived_logs::KeepLogs};

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
        let source = Source::Single {
            host: "192.168.1.34".into(),
            port: 6362,
        };
        assert_eq!(
            full,
            BackupRequest {
                mode: Mode::Full,
                from: "single://192.168.1.34".into(),
                target: "/mnt/b".into(),
                backup: Backup::new(source, "/mnt/b").source_name("single://192.168.1.34"),
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
            "--allow-shared-directory",
            "--prune-logs",
            "--timeout=2h",
            "--silence-timeout=5",
            "--max-rate=1k",
            "--min-rate=0",
            "--max-growth=8g",
            "--mode=0750",
            "--ha-max-lag=7",
        ])
        .unwrap();
        let cluster = ClusterOptions {
            max_lag: 7,
            ..ClusterOptions::default()
        };
        let expected = Backup::new(Source::parse("h").unwrap(), "d")
            .source_name("h")
            .mode(Mode::Auto)
            .checks(Checks::Whole)
            .overwrite(true)
            .fallback_full(true)
            .require_history(true)
            .allow_shared_directory(true)
            .keep_logs(KeepLogs::Time(Duration::from_hours(7 * 24)))
            .time_limit(Duration::from_hours(2))
            .silence_timeout(Duration::from_secs(5))
            .max_rate(NonZeroU64::new(1024).unwrap())
            .min_rate(0)
            .max_growth(Growth::Bytes(8 << 30))
            .directory_mode(0o750)
            .cluster(cluster);
        assert_eq!((request.mode, request.backup), (Mode::Auto, expected));
    }

    #[test]
    fn empty_values_count_as_absent() {
        let request = request(&["--full", "--from=h", "--to=d", "--verify=", "--timeout=", "--max-rate="]).unwrap();
        let expected = Backup::new(Source::parse("h").unwrap(), "d").source_name("h");
        assert_eq!(request.backup, expected);
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
        for mode in ["rwx", "0677", "1777", "-1"] {
            assert_eq!(
                text(&[&format!("--mode={mode}")]),
                format!("invalid value {mode:?} for -mode: an octal number from 0700 to 0777 is expected")
            );
        }
        assert_eq!(
            text(&["--timeout=0"]),
            "invalid value \"0\" for -timeout: it must be more than zero"
        );
    }
}
