//! What a peer can do to us, with who it was and what to do next.

use std::{io, time::Duration};

use crate::{
    Error, ErrorKind,
    wire::{Dialect, WireError},
};

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
    #[error("{address}: cannot connect: {causes}")]
    Connect {
        /// The peer.
        address: String,
        /// Each address with its cause.
        causes: String,
    },
    /// It took a connection and says nothing to any dialect.
    #[error("{address}: took the connection and answers no dialect of the backup protocol")]
    Mute {
        /// The peer.
        address: String,
    },
    /// It answers something else.
    #[error("{address}: does not answer like a Neo4j backup service (first bytes {first:02x?})")]
    NotNeo4j {
        /// The peer.
        address: String,
        /// What it said first.
        first: Vec<u8>,
    },
    /// The connection broke.
    #[error("{address}: the connection broke in {place} after {offset} bytes{file}: {source}")]
    Broken {
        /// The peer.
        address: String,
        /// Where in the response.
        place: &'static str,
        /// Bytes received.
        offset: u64,
        /// Which file was arriving.
        file: String,
        /// What the socket said.
        source: io::Error,
    },
    /// The connection was closed before the response was complete.
    #[error("{address}: the connection was closed in {place} after {offset} bytes{file}")]
    Closed {
        /// The peer.
        address: String,
        /// Where in the response.
        place: &'static str,
        /// Bytes received.
        offset: u64,
        /// Which file was arriving.
        file: String,
    },
    /// A one-byte dialect ended an incremental request without a word and is alive otherwise.
    #[error("{address}: {dialect} refused the request for transactions without a word, as it does when its logs no longer reach back that far")]
    Refused {
        /// The peer.
        address: String,
        /// Its dialect.
        dialect: Dialect,
    },
    /// It was quiet for too long.
    #[error("{address}: nothing was received for {limit:?} in {place} after {offset} bytes{file}")]
    Silence {
        /// The peer.
        address: String,
        /// The limit that passed.
        limit: Duration,
        /// Where in the response.
        place: &'static str,
        /// Bytes received.
        offset: u64,
        /// Which file was arriving.
        file: String,
        /// Its dialect, which decides the hint.
        dialect: Dialect,
    },
    /// It sent something impossible, or reports a failure of its own.
    #[error("{address}: {source} (after {offset} bytes{file})")]
    Wire {
        /// The peer.
        address: String,
        /// What was wrong.
        source: WireError,
        /// Bytes received.
        offset: u64,
        /// Which file was arriving.
        file: String,
    },
    /// It goes on sending behind the end.
    #[error("{address}: the reading task ended without a result")]
    Lost {
        /// The peer.
        address: String,
    },
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Error {
        let (kind, hint) = match &error {
            ClientError::Resolve { .. } => (ErrorKind::Unreachable, "check the host name"),
            ClientError::Connect { .. } => {
                (ErrorKind::Unreachable, "check host, port (default 6362) and that online backup is enabled there")
            }
            ClientError::Mute { .. } => {
                (ErrorKind::Protocol, "check that this is the port of Neo4j's backup service (default 6362)")
            }
            ClientError::NotNeo4j { .. } => {
                (ErrorKind::Protocol, "the backup service listens on port 6362 unless configured otherwise")
            }
            ClientError::Broken { .. } | ClientError::Closed { .. } | ClientError::Lost { .. } => {
                (ErrorKind::Unreachable, "look at the server's log and run again")
            }
            ClientError::Refused { .. } => (ErrorKind::FullNeeded, "take a full backup"),
            ClientError::Silence { dialect: Dialect::D13 | Dialect::D14, .. } => (
                ErrorKind::TimeLimit,
                "servers of this age keep silent when they fail or search old logs: take a full backup, or raise -silence-timeout",
            ),
            ClientError::Silence { .. } => (ErrorKind::TimeLimit, "look at the server, or raise -silence-timeout"),
            ClientError::Wire { source: WireError::Server(failure), .. } => server_failure(&failure.to_string()),
            ClientError::Wire { .. } => {
                (ErrorKind::Protocol, "the bytes were damaged on the way, or this is a release that is not supported")
            }
        };
        Error::new(kind, error).with_hint(hint)
    }
}

/// Known failures are told by their text, since classes differ between the releases (§6.3).
fn server_failure(text: &str) -> (ErrorKind, &'static str) {
    let pruned = ["No such log version", "not found in any logical log", "in any of my logical logs", "can't be extracted"];
    if pruned.iter().any(|known| text.contains(known)) {
        return (ErrorKind::FullNeeded, "the server no longer has the logs that are needed: take a full backup");
    }
    if text.contains("java.lang.NullPointerException") {
        return (ErrorKind::Server, "1.7.2 does so after an index was deleted, until it is restarted");
    }
    (ErrorKind::Server, "look at the server's messages.log")
}
