//! What a peer can do to us, with who it was, where it happened and what to do next.

use std::{fmt, io, time::Duration};

use super::request_kind::RequestKind;
use crate::{
    Error, ErrorKind,
    error::{Condition, ErrorScope, Setting},
};
use neo4j_format::wire::{self, Dialect, WireError, failure::ServerFailure};

/// Failures of a peer; `address` is its `host:port`.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The name has no address.
    #[error("{address}: the name cannot be resolved: {source}")]
    Resolve {
        /// The peer.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the host took the connection.
    #[error("cannot connect to {address}: {causes}")]
    Connect {
        /// The peer.
        address: String,
        /// Each address with its cause.
        causes: String,
        /// Whether a machine answered that nothing listens there.
        is_refused: bool,
    },
    /// It took a connection and says nothing to any dialect.
    #[error(
        "{address}: accepted the connection but sent nothing for {}: paused, or not a backup port",
        seconds(*limit)
    )]
    Mute {
        /// The peer.
        address: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// It accepted connections and closed them again in every dialect.
    #[error("{address}: took the connection and closed it without an answer")]
    Closing {
        /// The peer.
        address: String,
    },
    /// It answers something else.
    #[error("{address}: does not answer like a Neo4j backup service, but with \"{}\"", first.escape_ascii())]
    NotNeo4j {
        /// The peer.
        address: String,
        /// What it said first.
        first: Vec<u8>,
    },
    /// It speaks a version of the protocol that no release up to 1.9 speaks.
    #[error("{address}: speaks version {internal}.{application} of the backup protocol, which no Neo4j up to 1.9 does")]
    OtherVersion {
        /// The peer.
        address: String,
        /// Internal version.
        internal: u8,
        /// Application version.
        application: u8,
    },
    /// It speaks the protocol of cluster members, whose version was 2.4 on a real 1.8.
    #[error("{address}: this is the HA port of a Neo4j, not its backup service")]
    HaPort {
        /// The peer.
        address: String,
    },
    /// The connection broke.
    #[error("{place}: the connection broke: {source}")]
    Broken {
        /// Where in the response.
        place: ResponsePosition,
        /// What the socket said.
        source: io::Error,
    },
    /// The connection was closed before the response was complete.
    #[error("{0}: the connection was closed")]
    Closed(ResponsePosition),
    /// A one-byte server ended a request for transactions without a word and is alive otherwise.
    #[error("{address}: {dialect} refused the request for transactions without a word")]
    Refused {
        /// The peer.
        address: String,
        /// Its dialect.
        dialect: Dialect,
    },
    /// It was quiet for too long.
    #[error("{place}: nothing was received for {limit:?}{pulse}")]
    Silence {
        /// Where in the response.
        place: ResponsePosition,
        /// The limit that passed.
        limit: Duration,
        /// Whether it is alive otherwise.
        pulse: Liveness,
    },
    /// It sends too little.
    #[error(
        "{place}: received only {bytes} bytes in {}, less than the minimum rate of {min_rate} bytes/s",
        seconds(*time)
    )]
    TooSlow {
        /// Where in the response.
        place: ResponsePosition,
        /// What was received in this time.
        bytes: u64,
        /// How long that was waited for.
        time: Duration,
        /// Bytes per second that are the least.
        min_rate: u64,
    },
    /// It sent something impossible.
    #[error("{place}: {source}")]
    Wire {
        /// Where in the response.
        place: ResponsePosition,
        /// What was wrong.
        source: WireError,
    },
    /// It no longer has the transactions that were asked for.
    #[error("{}: {failure}{}", place.address, place.inside())]
    Pruned {
        /// Where in the response.
        place: ResponsePosition,
        /// What it reports.
        failure: ServerFailure,
    },
    /// Its logs have a hole where the transactions should be that were asked for, or it has not written them yet: slaves
    /// of 1.5 and 1.6 cannot send what they pulled last until something is committed through them
    /// (`docs/formats/zookeeper-discovery.md` §7.7).
    #[error("{}: {failure}{}", place.address, place.inside())]
    Hole {
        /// Where in the response.
        place: ResponsePosition,
        /// What it reports.
        failure: ServerFailure,
    },
    /// It reports a failure of its own.
    #[error("{}: {failure}{}", place.address, place.inside())]
    Server {
        /// Where in the response.
        place: ResponsePosition,
        /// What it reports.
        failure: ServerFailure,
    },
    /// The task that read the response was taken down, or had already told its error.
    #[error("{address}: the response has already ended")]
    Lost {
        /// The peer.
        address: String,
    },
}

/// Where in whose response something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsePosition {
    /// The peer's `host:port`.
    pub address: String,
    /// Its dialect.
    pub dialect: Dialect,
    /// Bytes of the response before this place.
    pub offset: u64,
    /// Part of the response.
    pub place: wire::MessagePart,
}

impl ResponsePosition {
    /// The file or transaction that a failure interrupted; empty when it interrupted nothing.
    fn inside(&self) -> String {
        match &self.place {
            place @ (wire::MessagePart::File(_) | wire::MessagePart::Transaction(..)) => format!(" (in {place})"),
            _ => String::new(),
        }
    }
}

impl fmt::Display for ResponsePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ResponsePosition {
            address, offset, place, ..
        } = self;
        match offset {
            0 => write!(f, "{address}: before the first byte of the response"),
            _ => write!(f, "{address}: in {place}, {offset} bytes into the response"),
        }
    }
}

/// Whether a silent server answers something else meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It was not tried.
    NotAsked,
    /// It answers.
    Alive,
    /// It does not.
    Gone,
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Liveness::NotAsked => "",
            Liveness::Alive => ", though it answers other requests",
            Liveness::Gone => ", and it answers nothing else either",
        })
    }
}

/// A time as messages have it.
fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 10.0).round() / 10.0)
}

impl ClientError {
    /// A failure that the server reports, or bytes that cannot be. Known failures are told by their text, since their
    /// classes differ between the releases (§6.3).
    pub(super) fn wire(place: ResponsePosition, source: WireError, asked: RequestKind) -> Error {
        let failure = match source {
            WireError::Server(failure) => failure,
            source => return ClientError::Wire { place, source }.into(),
        };
        let text = failure.to_string();
        if asked == RequestKind::Incremental && PRUNED.iter().any(|known| text.contains(known)) {
            return ClientError::Pruned { place, failure }.into();
        }
        if asked == RequestKind::Incremental && text.contains(HOLE) {
            return ClientError::Hole { place, failure }.into();
        }
        let hint = what_to_do(asked, &text);
        Error::new(ErrorKind::Server, ClientError::Server { place, failure }).with_hint(hint)
    }
}

/// What a failure of the server asks for, as far as its text tells (§6.3).
fn what_to_do(asked: RequestKind, text: &str) -> &'static str {
    match asked {
        RequestKind::Full if text.contains("java.lang.NullPointerException") => {
            "1.7.2 fails like this after an index was deleted: restart the server"
        }
        RequestKind::Full if IN_AN_INDEX.iter().any(|known| text.contains(known)) => {
            "an index that is deleted during a full backup can leave a running server like this, and unable to commit: \
             if it happens again, restart the server"
        }
        _ if PRUNED.iter().chain([&HOLE]).any(|known| text.contains(known)) => {
            "the server dropped logs during the backup: run again, or let it keep logs longer"
        }
        _ => "look at the server's messages.log",
    }
}

/// Where files of indexes are on a server, Unix or Windows.
const IN_AN_INDEX: [&str; 2] = ["/index/lucene/", "\\index\\lucene\\"];

/// What they say where logs have a hole.
const HOLE: &str = "is missing and can't be extracted";

/// What the releases say when logs for the requested ids are gone (§6.3).
const PRUNED: [&str; 3] = [
    "No such log version",
    "not found in any logical log",
    "in any of my logical logs",
];

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Error {
        use ErrorKind::{FullNeeded, Protocol, Server, TimeLimit, Unreachable};
        let one_byte = |place: &ResponsePosition| place.dialect.is_one_byte();
        let (kind, hint) = match &error {
            ClientError::Resolve { .. } => (Unreachable, "check the host name"),
            ClientError::Connect { .. } => (
                Unreachable,
                "check host, port (default 6362) and that online backup is enabled there",
            ),
            ClientError::Mute { .. } => (
                TimeLimit,
                "check that the server runs and that this is the port of its backup service (default 6362), or allow a \
                 longer silence",
            ),
            ClientError::Closing { .. } | ClientError::NotNeo4j { .. } => (
                Protocol,
                "check that this is the port of Neo4j's backup service (default 6362)",
            ),
            ClientError::HaPort { .. } => (Protocol, "the backup service is usually on port 6362"),
            ClientError::OtherVersion { .. } => (Protocol, "only Neo4j 1.3 - 1.9 can be backed up"),
            ClientError::Closed(place) if one_byte(place) => (
                Unreachable,
                "servers of this age close the connection when they fail: look at the server's log; where an incremental \
                 goes on failing, take a full backup; where a full backup does, restart the server (1.4 lost hold of an \
                 index that was deleted during a full backup)",
            ),
            ClientError::Broken { .. } | ClientError::Closed(_) | ClientError::Lost { .. } => {
                (Unreachable, "look at the server's log and run again")
            }
            ClientError::Refused { .. } => (
                FullNeeded,
                "it does so when its logs no longer reach back that far: take a full backup",
            ),
            ClientError::Silence {
                pulse: Liveness::Gone, ..
            } => (Unreachable, "check the server and the network to it"),
            ClientError::Silence { place, .. } if one_byte(place) => (
                TimeLimit,
                "servers of this age keep silent when they fail, search old logs for minutes, and lose answers of a few \
                 sizes: run again after another transaction was committed, allow a longer silence, or, where an \
                 incremental stays silent, take a full backup",
            ),
            ClientError::Silence { .. } => (TimeLimit, "look at the server, or allow a longer silence"),
            ClientError::TooSlow { .. } => (TimeLimit, "look at the network to the server, or allow a lower rate"),
            ClientError::Wire {
                source: WireError::Path(_),
                ..
            } => (
                Server,
                "no directory can have the name of that index: delete the index, and create it under another name",
            ),
            ClientError::Wire { .. } => (
                Protocol,
                "the bytes were damaged on the way, or this release is not supported",
            ),
            ClientError::Pruned { .. } => (
                FullNeeded,
                "the server no longer has the transactions since the last backup: take a full backup",
            ),
            ClientError::Hole { .. } => (
                FullNeeded,
                "a slave of 1.5 or 1.6, or one that has just become the master, cannot send what it pulled last until \
                 something is committed through it: run again after that, or take a full backup",
            ),
            ClientError::Server { .. } => (Server, "look at the server's messages.log"),
        };
        let condition = match &error {
            ClientError::Connect { is_refused: true, .. } => Some(Condition::ConnectionRefused),
            ClientError::Broken { .. } => Some(Condition::ConnectionBroken),
            ClientError::Closed(_) => Some(Condition::ConnectionClosed),
            ClientError::Hole { .. } => Some(Condition::ResponseFailed),
            _ => None,
        };
        let settings: &[Setting] = match kind {
            TimeLimit if matches!(error, ClientError::TooSlow { .. }) => &[Setting::MinRate],
            TimeLimit => &[Setting::SilenceTimeout],
            _ => &[],
        };
        let result = Error::new(kind, error)
            .with_scope(ErrorScope::Member)
            .with_hint(hint)
            .see(settings);
        match condition {
            Some(condition) => result.with_condition(condition),
            None => result,
        }
    }
}

/// An error in a recorded response.
pub(super) fn replayed(error: WireError) -> Error {
    let kind = match &error {
        WireError::Server(_) => ErrorKind::Server,
        _ => ErrorKind::Protocol,
    };
    Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of real servers (§6.3).
    #[test]
    fn known_failures_say_what_to_do() {
        for (asked, text, hint) in [
            (
                RequestKind::Full,
                "java.lang.NullPointerException",
                "1.7.2 fails like this",
            ),
            (
                RequestKind::Full,
                "org.neo4j.com.MasterFailureException: java.io.FileNotFoundException: \
                 /db/index/lucene/node/temp/_a.tii (No such file or directory)",
                "restart the server",
            ),
            (
                RequestKind::Full,
                "java.lang.RuntimeException: org.apache.lucene.store.LockObtainFailedException: Lock obtain timed out: \
                 NativeFSLock@C:\\db\\index\\lucene\\node\\temp\\write.lock",
                "restart the server",
            ),
            (
                RequestKind::Full,
                "java.lang.RuntimeException: org.neo4j.kernel.impl.transaction.xaframework.NoSuchLogVersionException: \
                 No such log version:0",
                "the server dropped logs",
            ),
            (
                RequestKind::Incremental,
                "java.lang.RuntimeException: No data source 'nothere' found",
                "messages.log",
            ),
        ] {
            assert!(what_to_do(asked, text).contains(hint), "{text}");
        }
    }
}
