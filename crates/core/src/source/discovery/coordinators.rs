//! One coordinator: whether it is there, is a `ZooKeeper` server and has a quorum.
//!
//! The client library says of a list of hosts only that none could be used, so each is asked by itself first, with the
//! four letters `srvr`, which every version since 3.3 answers in plain text and without opening a session
//! (`docs/formats/zookeeper-discovery.md` §9.1, §11).

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::source::{
    client::{ClientError, connect},
    uri::HostPort,
};

/// For each address of a host.
const CONNECT: Duration = Duration::from_secs(2);
/// For a host with all its addresses.
const HOST: Duration = Duration::from_secs(5);
/// Bytes of the answer that are looked at; whole ones have about 200.
const ANSWER_BYTES: u64 = 4096;
/// Bytes of a foreign answer that are shown.
const SHOWN: usize = 40;

/// Why a coordinator is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// No address of it takes a connection.
    #[error(transparent)]
    Unreachable(#[from] ClientError),
    /// The connection broke.
    #[error("{host}: the connection broke: {source}")]
    Broken {
        /// Which one.
        host: HostPort,
        /// What the socket said.
        source: io::Error,
    },
    /// It took a connection and said nothing.
    #[error("{host}: took the connection and did not answer within {limit:?}")]
    Silent {
        /// Which one.
        host: HostPort,
        /// How long it had.
        limit: Duration,
    },
    /// It closed the connection.
    #[error("{host}: took the connection and closed it without an answer")]
    Closed {
        /// Which one.
        host: HostPort,
    },
    /// It is something else.
    #[error("{host}: not a ZooKeeper server: it answers \"{}\"", .answer.escape_ascii())]
    NotZooKeeper {
        /// Which one.
        host: HostPort,
        /// How its answer begins.
        answer: Vec<u8>,
    },
    /// It runs and sees too few of the others.
    #[error("{host}: runs, but has no quorum with the other coordinators")]
    NoQuorum {
        /// Which one.
        host: HostPort,
    },
    /// The same, and it would show what it remembers, which may be long past: members that died then are still there, and
    /// who became the master since is not.
    #[error("{host}: runs read-only, since it has no quorum with the other coordinators")]
    ReadOnly {
        /// Which one.
        host: HostPort,
    },
    /// It is a coordinator and what was asked could not be had.
    #[error("{host}: {what}")]
    Session {
        /// Which one.
        host: HostPort,
        /// What happened.
        what: String,
    },
}

impl CoordinatorError {
    /// Whether it will say the same a moment later.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self,
            CoordinatorError::NotZooKeeper { .. } | CoordinatorError::Unreachable(ClientError::Resolve { .. })
        )
    }

    /// Whether it runs and lacks the others.
    pub(super) fn is_without_quorum(&self) -> bool {
        matches!(
            self,
            CoordinatorError::NoQuorum { .. } | CoordinatorError::ReadOnly { .. }
        )
    }
}

/// The address at which `host` is a coordinator that can be used; it answers within `limit`.
pub(super) async fn probe(host: &HostPort, limit: Duration) -> Result<SocketAddr, CoordinatorError> {
    let silent = |limit| CoordinatorError::Silent {
        host: host.clone(),
        limit,
    };
    let stream = timeout(HOST, connect(&host.host, host.port, CONNECT)).await;
    let stream = stream.map_err(|_| silent(HOST))??;
    let broken = |source| CoordinatorError::Broken {
        host: host.clone(),
        source,
    };
    let address = stream.peer_addr().map_err(broken)?;
    let answer = timeout(limit, ask(stream)).await.map_err(|_| silent(limit))?;
    let answer = answer.map_err(broken)?;
    judge(host, &answer)?;
    tracing::debug!(%host, %address, "coordinator answers");
    Ok(address)
}

/// The whole answer; the server closes the connection behind it.
async fn ask(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.write_all(b"srvr").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn judge(host: &HostPort, answer: &[u8]) -> Result<(), CoordinatorError> {
    let host = host.clone();
    if answer.is_empty() {
        return Err(CoordinatorError::Closed { host });
    }
    if answer.starts_with(b"This ZooKeeper instance is not currently serving requests") {
        return Err(CoordinatorError::NoQuorum { host });
    }
    let is_read_only = answer
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"Mode: read-only"));
    if is_read_only {
        return Err(CoordinatorError::ReadOnly { host });
    }
    // an administrator may have left the four letters out of the list of those that are answered
    if answer.starts_with(b"Zookeeper version") || answer.starts_with(b"srvr is not executed") {
        return Ok(());
    }
    Err(CoordinatorError::NotZooKeeper {
        host,
        answer: answer.iter().copied().take(SHOWN).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_tell_what_a_host_is() {
        let judged = |answer: &[u8]| {
            let host = HostPort {
                host: "zk1".into(),
                port: 2181,
            };
            judge(&host, answer).map_err(|error| error.to_string())
        };
        let serving = "Zookeeper version: 3.3.2-1031432, built on 11/05/2010 05:32 GMT\nLatency min/avg/max: 0/0/0\n\
                       Received: 1\nSent: 0\nOutstanding: 0\nZxid: 0x0\nMode: standalone\nNode count: 4\n";
        assert_eq!(judged(serving.as_bytes()), Ok(()));
        assert_eq!(
            judged(b"srvr is not executed because it is not in the whitelist.\n"),
            Ok(())
        );
        let read_only = "zk1:2181: runs read-only, since it has no quorum with the other coordinators";
        assert_eq!(
            judged(serving.replace("standalone", "read-only").as_bytes()),
            Err(read_only.to_owned())
        );
        let quorum = Err("zk1:2181: runs, but has no quorum with the other coordinators".to_owned());
        assert_eq!(
            judged(b"This ZooKeeper instance is not currently serving requests\n"),
            quorum
        );
        assert_eq!(
            judged(b"HTTP/1.1 400 Bad Request\r\nConnection: close and a lot more"),
            Err("zk1:2181: not a ZooKeeper server: it answers \
                 \"HTTP/1.1 400 Bad Request\\r\\nConnection: cl\""
                .to_owned())
        );
        assert_eq!(
            judged(b""),
            Err("zk1:2181: took the connection and closed it without an answer".to_owned())
        );
    }
}
