//! What can be wrong with a source URI, and where.

use std::{error, fmt, num::NonZeroUsize, ops::Range};

use crate::{Error, ErrorKind};

/// Why a source URI is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriProblem {
    /// Nothing at all was given.
    #[error("it is empty")]
    Empty,
    /// White space, a control character, a backslash or anything outside ASCII.
    #[error("the character {0:?} cannot be part of it")]
    Character(char),
    /// A scheme other than `single` and `ha`.
    #[error("unknown scheme {0:?}, single and ha are known")]
    Scheme(String),
    /// `single:host` or `ha:/host`.
    #[error("two slashes belong after the scheme, as in single://host")]
    Slashes,
    /// A list of hosts where one is wanted.
    #[error("a single source is one host; a cluster is written ha://host,host")]
    OneHost,
    /// Something before an `@`.
    #[error("user names and passwords are not part of the protocol")]
    UserInfo,
    /// A path after a single host.
    #[error("a single source has no path")]
    Path,
    /// A chroot that `ZooKeeper` would not take for a path.
    #[error("the chroot is not a path of the form /name or /name/name")]
    Chroot,
    /// `?…`
    #[error("a source has no query")]
    Query,
    /// `#…`
    #[error("a source has no fragment")]
    Fragment,
    /// Nothing between two commas, or no host at all.
    #[error("the host is missing")]
    EmptyHost,
    /// An IPv6 address without brackets, or a second port.
    #[error("more than one colon; an IPv6 address is written in brackets, as in [::1]:6362")]
    Colons,
    /// A percent sign: an encoded character or an IPv6 zone.
    #[error("percent signs are not understood, neither as encoding nor as an IPv6 zone")]
    Percent,
    /// A port that is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Brackets without an IPv6 address.
    #[error("the text in brackets is not an IPv6 address")]
    Ipv6,
    /// Something that reads like an IPv4 address and is none.
    #[error("a host that ends in a number has to be a complete IPv4 address")]
    Ipv4,
    /// Not a host name: a character, a label or the whole is not allowed.
    #[error("this is not a host name: letters, digits, - and _ in parts of 1 to 63, separated by dots, 253 in all")]
    HostName,
}

/// A source URI that is refused: what is wrong, and the bytes it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriError {
    uri: String,
    range: Range<usize>,
    member: Option<NonZeroUsize>,
    problem: UriProblem,
}

impl UriError {
    pub(super) fn new(uri: &str, range: Range<usize>, member: Option<NonZeroUsize>, problem: UriProblem) -> UriError {
        UriError {
            uri: uri.to_owned(),
            range,
            member,
            problem,
        }
    }

    /// The text that was parsed, as it was given.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The bytes of [`UriError::uri`] the error is about, on character borders; empty where something is missing.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Which member of the list it is, counted from 1, if it is about a member.
    pub fn member(&self) -> Option<NonZeroUsize> {
        self.member
    }

    /// What is wrong.
    pub fn problem(&self) -> &UriProblem {
        &self.problem
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.member {
            Some(member) => {
                let text = self.uri.get(self.range()).unwrap_or_default();
                write!(f, "invalid source, member {member} ({text:?}): {}", self.problem)
            }
            None => write!(f, "invalid source {:?}: {}", self.uri, self.problem),
        }
    }
}

impl error::Error for UriError {}

impl From<UriError> for Error {
    fn from(error: UriError) -> Error {
        Error::new(ErrorKind::Usage, error)
            .with_hint("write single://host[:port], or ha://host[:port],host[:port] for a cluster's coordinators")
    }
}
