//! The backup service's settings in a `neo4j.properties`, with the grammar of each release
//! (`docs/formats/wire-protocol.md` §12).
//!
//! | releases | settings |
//! |---|---|
//! | 1.3 – 1.6 | `enable_online_backup` = `true`, `false` or `port=9999` |
//! | 1.7, 1.8 | `online_backup_enabled`, `online_backup_port`; the older one as well |
//! | 1.9 | `online_backup_enabled`, `online_backup_server` = `host:first-last`; the older ones as well |
//!
//! Where a file has older and newer ones, the older ones win, but for the port in 1.7: they are written over the newer
//! ones when it is read.
//!
//! A file that does not say of which release it is is read by the newest release whose settings it has.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::settings_file;

/// The port of every release, and of this tool.
const DEFAULT_PORT: u16 = 6362;

/// The last of the ports that 1.9 tries.
const LAST_DEFAULT_PORT: u16 = 6372;

/// How the releases read their settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settings {
    /// 1.3 – 1.4.1.
    UpTo141,
    /// 1.4.2 – 1.6.
    UpTo16,
    /// 1.7.
    Of17,
    /// 1.8.
    Of18,
    /// 1.9.
    From19,
}

/// Whether and where a file lets the service listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enabled {
    /// It does not.
    No,
    /// On the first free of these ports.
    Yes {
        /// The address, where the file names one.
        host: Option<String>,
        /// The ports.
        ports: RangeInclusive<u16>,
    },
}

/// A setting that its release refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Of `enable_online_backup`; the words are the originals'.
    #[error(
        "Invalid configuration value '{0}' for enable_online_backup. The format is [true/false] or \
         [key1=value1,key2=value2...]"
    )]
    Legacy(String),
    /// Of a later one.
    #[error("{key}={value}: expected {expected}")]
    Value {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A release that does not exist.
    #[error("{0:?} is not a release from 1.3 to 1.9")]
    Release(String),
}

const ENABLE: &str = "enable_online_backup";
const ENABLED: &str = "online_backup_enabled";
const PORT: &str = "online_backup_port";
const SERVER: &str = "online_backup_server";

type Values = BTreeMap<String, String>;

/// What `enable_online_backup` says where it enables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Legacy {
    port: Option<u16>,
}

impl Settings {
    /// Those of a release such as `1.4.2`, `1.8` or `1.9.9`.
    ///
    /// # Errors
    /// [`SettingsError::Release`].
    pub fn of_release(release: &str) -> Result<Settings, SettingsError> {
        let mut parts = release.split('.');
        let (one, minor, patch) = (parts.next(), parts.next(), parts.next());
        let unknown = || SettingsError::Release(release.to_owned());
        let patch: u8 = patch.map_or(Ok(0), str::parse).map_err(|_| unknown())?;
        match (one, minor, parts.next()) {
            (Some("1"), Some("3"), None) => Ok(Settings::UpTo141),
            (Some("1"), Some("4"), None) if patch < 2 => Ok(Settings::UpTo141),
            (Some("1"), Some("4" | "5" | "6"), None) => Ok(Settings::UpTo16),
            (Some("1"), Some("7"), None) => Ok(Settings::Of17),
            (Some("1"), Some("8"), None) => Ok(Settings::Of18),
            (Some("1"), Some("9"), None) => Ok(Settings::From19),
            _ => Err(unknown()),
        }
    }

    /// Reads a file with the settings of this release, or, where none is given, of the newest that it speaks of.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(release: Option<Settings>, text: &str) -> Result<Enabled, SettingsError> {
        let values = settings_file::read(text);
        let has = |key| values.contains_key(key);
        let release = release.unwrap_or(match () {
            () if has(SERVER) => Settings::From19,
            () if has(ENABLED) || has(PORT) => Settings::Of18,
            () => Settings::UpTo16,
        });
        match release {
            Settings::UpTo141 | Settings::UpTo16 => {
                let old = release.legacy(&values)?;
                Ok(old.map_or(Enabled::No, |old| on(old.port.unwrap_or(DEFAULT_PORT))))
            }
            Settings::Of17 | Settings::Of18 => release.later(&values),
            Settings::From19 => release.latest(&values),
        }
    }

    /// `enable_online_backup`, where it enables. 1.4.2 to 1.7 take a decimal number and cut it.
    fn legacy(self, values: &Values) -> Result<Option<Legacy>, SettingsError> {
        let Some(value) = values.get(ENABLE) else {
            return Ok(None);
        };
        let invalid = || SettingsError::Legacy(value.clone());
        if !value.contains('=') {
            return Ok(value.eq_ignore_ascii_case("true").then_some(Legacy { port: None }));
        }
        let mut port = None;
        for part in value.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(invalid)?;
            if value.contains('=') {
                return Err(invalid());
            }
            if key == "port" {
                let whole = match self {
                    Settings::UpTo16 | Settings::Of17 => value.split_once('.').map_or(value, |(whole, fraction)| {
                        let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
                        if digits { whole } else { value }
                    }),
                    _ => value,
                };
                port = Some(one_port(whole).ok_or_else(invalid)?);
            }
        }
        Ok(Some(Legacy { port }))
    }

    fn later(self, values: &Values) -> Result<Enabled, SettingsError> {
        let port = match self.legacy(values)? {
            None if enabled(values)? != Some(true) => return Ok(Enabled::No),
            None => port(values)?,
            // also where it says `true` alone
            Some(old) if self == Settings::Of18 => old.port,
            Some(old) => port(values)?.or(old.port),
        };
        Ok(on(port.unwrap_or(DEFAULT_PORT)))
    }

    fn latest(self, values: &Values) -> Result<Enabled, SettingsError> {
        let old = self.legacy(values)?;
        if old.is_none() && enabled(values)? == Some(false) {
            return Ok(Enabled::No);
        }
        if let Some(port) = port(values)? {
            return Ok(on(port));
        }
        match (old, values.get(SERVER)) {
            (Some(Legacy { port: Some(port) }), _) => Ok(on(port)),
            (None, Some(server)) => server_address(server),
            _ => Ok(at(None, DEFAULT_PORT..=LAST_DEFAULT_PORT)),
        }
    }
}

fn on(port: u16) -> Enabled {
    at(None, port..=port)
}

fn at(host: Option<String>, ports: RangeInclusive<u16>) -> Enabled {
    Enabled::Yes { host, ports }
}

fn enabled(values: &Values) -> Result<Option<bool>, SettingsError> {
    match values.get(ENABLED).map(|value| (value, value.to_ascii_lowercase())) {
        None => Ok(None),
        Some((_, lower)) if lower == "true" => Ok(Some(true)),
        Some((_, lower)) if lower == "false" => Ok(Some(false)),
        Some((value, _)) => Err(SettingsError::Value {
            key: ENABLED,
            value: value.clone(),
            expected: "true or false",
        }),
    }
}

fn port(values: &Values) -> Result<Option<u16>, SettingsError> {
    values
        .get(PORT)
        .map(|value| {
            one_port(value).ok_or_else(|| SettingsError::Value {
                key: PORT,
                value: value.clone(),
                expected: "a port from 1 to 65535",
            })
        })
        .transpose()
}

fn one_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// `[host][:port[-port]]`; no host and `0.0.0.0` are all interfaces, no port and port 0 are any that is free.
fn server_address(value: &str) -> Result<Enabled, SettingsError> {
    let (host, ports) = value.rsplit_once(':').unwrap_or((value, ""));
    let ports = match ports.split_once('-') {
        _ if value == ":" => None,
        _ if ports.is_empty() => Some(0..=0),
        None => ports.parse().ok().map(|port| port..=port),
        Some((first, last)) => match (one_port(first), one_port(last)) {
            (Some(first), Some(last)) if first <= last => Some(first..=last),
            _ => None,
        },
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    ports
        .map(|ports| at(Some(host.to_owned()), ports))
        .ok_or_else(|| SettingsError::Value {
            key: SERVER,
            value: value.to_owned(),
            expected: "[host][:port[-port]]",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(release: &str, text: &str) -> Result<Enabled, SettingsError> {
        Settings::read(Some(Settings::of_release(release).unwrap()), text)
    }

    #[test]
    fn releases_up_to_1_6_have_one_setting() {
        for release in ["1.3", "1.4", "1.4.1", "1.4.2", "1.5", "1.6.1"] {
            for off in [
                "",
                "enable_online_backup=false",
                "enable_online_backup=yes",
                "online_backup_enabled=true",
            ] {
                assert_eq!(read(release, off), Ok(Enabled::No), "{release}: {off}");
            }
            assert_eq!(read(release, "enable_online_backup=TRUE"), Ok(on(6362)));
            assert_eq!(read(release, "enable_online_backup=port=9999"), Ok(on(9999)));
            assert_eq!(read(release, "enable_online_backup=x=1,port=9999"), Ok(on(9999)));
            assert_eq!(read(release, "enable_online_backup=x=1"), Ok(on(6362)));
            for wrong in [
                "port=9999,x",
                "port=1=2",
                "port=",
                "port=x",
                "port=0",
                "port=65536",
                "port=-1",
            ] {
                let text = format!("enable_online_backup={wrong}");
                assert_eq!(
                    read(release, &text),
                    Err(SettingsError::Legacy(wrong.to_owned())),
                    "{release}"
                );
            }
        }
        let decimal = "enable_online_backup=port=9999.7";
        for release in ["1.4.2", "1.6.1", "1.7.2"] {
            assert_eq!(read(release, decimal), Ok(on(9999)), "{release}");
        }
        for release in ["1.4.1", "1.8", "1.9.9"] {
            assert!(read(release, decimal).is_err(), "{release}");
        }
    }

    #[test]
    fn releases_1_7_and_1_8_have_two_and_the_older_one_wins() {
        for release in ["1.7.2", "1.8"] {
            assert_eq!(read(release, ""), Ok(Enabled::No));
            assert_eq!(read(release, "online_backup_port=1"), Ok(Enabled::No));
            assert_eq!(read(release, "online_backup_enabled=TRUE"), Ok(on(6362)));
            let both = "online_backup_enabled=true\nonline_backup_port=6370";
            assert_eq!(read(release, both), Ok(on(6370)));
            let old = |rest: &str| read(release, &format!("enable_online_backup=port=7000\n{rest}"));
            for rest in ["", "online_backup_enabled=false", "online_backup_enabled=maybe"] {
                assert_eq!(old(rest), Ok(on(7000)), "{release}: {rest}");
            }
            let switched_on = "enable_online_backup=true\nonline_backup_enabled=false";
            assert_eq!(read(release, switched_on), Ok(on(6362)));
            let false_sets_nothing = "enable_online_backup=false\nonline_backup_enabled=true";
            assert_eq!(read(release, false_sets_nothing), Ok(on(6362)));
            for wrong in [
                "online_backup_enabled=maybe",
                "online_backup_enabled=true\nonline_backup_port=70000",
            ] {
                assert!(
                    matches!(read(release, wrong), Err(SettingsError::Value { .. })),
                    "{wrong}"
                );
            }
        }
        for (switched_on, by_1_8) in [("true", 6362), ("x=1", 6362), ("port=7000", 7000)] {
            let with_port = format!("enable_online_backup={switched_on}\nonline_backup_port=6370");
            assert_eq!(read("1.7.2", &with_port), Ok(on(6370)));
            assert_eq!(read("1.8", &with_port), Ok(on(by_1_8)));
        }
    }

    #[test]
    fn release_1_9_is_on_unless_told_otherwise_and_has_an_address_with_a_range() {
        let server = |text: &str| read("1.9.9", &format!("online_backup_server={text}"));
        let there = |host: &str, ports| Ok(at(Some(host.to_owned()), ports));
        assert_eq!(read("1.9", ""), Ok(at(None, 6362..=6372)));
        assert_eq!(read("1.9", "online_backup_enabled=false"), Ok(Enabled::No));
        assert_eq!(server("127.0.0.1:6370"), there("127.0.0.1", 6370..=6370));
        assert_eq!(server(":6380-6390"), there("0.0.0.0", 6380..=6390));
        for any_port in ["host", "host:", "host:0"] {
            assert_eq!(server(any_port), there("host", 0..=0));
        }
        assert_eq!(server(""), there("0.0.0.0", 0..=0));
        for wrong in ["h:70000", "h:5-4", "h:x", ":"] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn release_1_9_writes_the_older_settings_over_the_newer_one() {
        let among = |older: &str| read("1.9.9", &format!("online_backup_server=h:7000\n{older}"));
        assert_eq!(among("online_backup_port=9999"), Ok(on(9999)));
        assert_eq!(among("enable_online_backup=true"), Ok(at(None, 6362..=6372)));
        assert_eq!(among("enable_online_backup=x=1"), Ok(at(None, 6362..=6372)));
        assert_eq!(among("enable_online_backup=port=9999"), Ok(on(9999)));
        assert_eq!(
            among("enable_online_backup=port=9999\nonline_backup_port=8888"),
            Ok(on(8888))
        );
        assert_eq!(
            among("enable_online_backup=port=9999\nonline_backup_enabled=false"),
            Ok(on(9999))
        );
        assert_eq!(
            among("online_backup_port=9999\nonline_backup_enabled=false"),
            Ok(Enabled::No)
        );
        let there = at(Some("h".to_owned()), 7000..=7000);
        assert_eq!(among("enable_online_backup=false"), Ok(there));
    }

    #[test]
    fn a_file_without_a_release_is_read_by_the_newest_that_it_speaks_of() {
        assert_eq!(Settings::read(None, ""), Ok(Enabled::No));
        assert_eq!(Settings::read(None, "enable_online_backup=port=9999"), Ok(on(9999)));
        assert_eq!(Settings::read(None, "online_backup_enabled=true"), Ok(on(6362)));
        let newest = Settings::read(None, "online_backup_server=:7000");
        assert_eq!(newest, Ok(at(Some("0.0.0.0".to_owned()), 7000..=7000)));
    }

    #[test]
    fn releases_that_do_not_exist_are_refused() {
        for text in ["2.0", "1.2", "1.10", "1", "", "1.8.x", "1.8.1.2"] {
            assert!(Settings::of_release(text).is_err(), "{text}");
        }
    }
}
