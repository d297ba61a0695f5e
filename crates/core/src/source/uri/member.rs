//! One `host[:port]`, judged by `url`.

use std::{fmt, net::Ipv4Addr};

use url::{Host, ParseError, Url};

use super::UriProblem;

/// Longest label of a host name, from RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;
/// Longest host name in its text form, from the same section.
const MAX_NAME: usize = 253;

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A lower-case name, an IPv4 address, or an IPv6 address without brackets: as a resolver takes it.
    pub host: String,
    /// Never 0 when it comes from a URI.
    pub port: u16,
}

impl HostPort {
    /// The `host[:port]` in `text`, with the default port where there is none or an empty one (RFC 3986 §3.2.3).
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<HostPort, UriProblem> {
        if text.is_empty() {
            return Err(UriProblem::EmptyHost);
        }
        if text.contains('%') {
            return Err(UriProblem::Percent);
        }
        if !text.starts_with('[') && text.matches(':').count() > 1 {
            return Err(UriProblem::Colons);
        }
        if text.starts_with(':') {
            return Err(UriProblem::EmptyHost);
        }
        // The scheme has no meaning here, but it must be one for which `url` has no rules of its own.
        let url = Url::parse(&format!("single://{text}")).map_err(|error| match error {
            ParseError::InvalidPort => UriProblem::Port,
            ParseError::InvalidIpv6Address => UriProblem::Ipv6,
            ParseError::EmptyHost => UriProblem::EmptyHost,
            _ => UriProblem::HostName,
        })?;
        let host = match url.host() {
            Some(Host::Domain(name)) => checked_name(name)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(UriProblem::EmptyHost),
        };
        match url.port() {
            Some(0) => Err(UriProblem::Port),
            port => Ok(HostPort {
                host,
                port: port.unwrap_or(default_port),
            }),
        }
    }
}

/// A resolver would take `192.168.1` and `0x7f.1` for addresses in another notation, so names made of numbers are refused.
fn checked_name(name: &str) -> Result<String, UriProblem> {
    let name = name.to_ascii_lowercase();
    if name.parse::<Ipv4Addr>().is_ok() {
        return Ok(name);
    }
    let without_root = name.strip_suffix('.').unwrap_or(&name);
    if without_root.rsplit('.').next().is_some_and(is_number) {
        return Err(UriProblem::Ipv4);
    }
    if without_root.len() <= MAX_NAME && without_root.split('.').all(is_label) {
        Ok(name)
    } else {
        Err(UriProblem::HostName)
    }
}

fn is_number(label: &str) -> bool {
    let hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    !label.is_empty()
        && (label.bytes().all(|byte| byte.is_ascii_digit()) || label.strip_prefix("0x").is_some_and(hexadecimal))
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
