//! Stands between the client library and a coordinator, and lets through what [`Guard`] allows.
//!
//! The library only takes the address of a server, so it is given one on the loopback interface that accepts a single
//! connection, and only from this process: any local user can connect to the port, and the first connection gets the session.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::guard::{Guard, GuardError};
use crate::own_socket;

/// For the connection to the coordinator, which took one a moment ago, and for the library's to here.
const CONNECT: Duration = Duration::from_secs(2);
/// For the end of a conversation that the library has given up.
const FAREWELL: Duration = Duration::from_millis(100);

/// A relay that runs until either side closes.
#[derive(Debug)]
pub(super) struct Relay {
    /// Where the library connects to.
    pub(super) address: SocketAddr,
    conversation: JoinHandle<Result<(), RelayError>>,
}

/// Why a conversation ended that should have gone on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The coordinator sent something impossible.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// Who connected cannot be seen.
    #[error("cannot see which process connects to the loopback interface: {0}")]
    Peer(io::Error),
    /// It cannot be connected to any more.
    #[error("no connection within {CONNECT:?}")]
    Connect,
    /// The coordinator closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// The ZooKeeper server closed the connection without opening a session.
    #[error("it closed the connection instead of opening a session, as one without a quorum does")]
    NoSession,
}

impl Relay {
    /// Starts a relay to `coordinator`.
    pub(super) async fn start(coordinator: SocketAddr) -> io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let conversation = tokio::spawn(converse(listener, coordinator));
        Ok(Relay { address, conversation })
    }

    /// Why the conversation ended, if it did and not because the library wanted it to.
    pub(super) async fn end(self) -> Option<RelayError> {
        let ended = timeout(FAREWELL, self.conversation).await;
        ended.ok()?.ok()?.err()
    }
}

async fn converse(listener: TcpListener, coordinator: SocketAddr) -> Result<(), RelayError> {
    let server = timeout(CONNECT, TcpStream::connect(coordinator));
    let mut server = server.await.map_err(|_| RelayError::Connect)??;
    let library = timeout(CONNECT, accept_own(&listener));
    let mut library = library.await.map_err(|_| RelayError::Connect)??;
    drop(listener);
    // only latency is lost where this fails
    let _ = (server.set_nodelay(true), library.set_nodelay(true));
    let (from_server, to_server) = server.split();
    let (from_library, to_library) = library.split();
    let guard = Mutex::new(Guard::default());
    let with_guard = |judge: fn(&mut Guard, &[u8]) -> Result<(), GuardError>| {
        let guard = &guard;
        move |body: &[u8]| judge(&mut guard.lock().unwrap_or_else(PoisonError::into_inner), body)
    };
    tokio::select! {
        // the library closes when it needs no more
        result = forward(from_library, to_server, with_guard(Guard::request)) => result,
        result = forward(from_server, to_library, with_guard(Guard::reply)) => {
            let is_open = guard.lock().unwrap_or_else(PoisonError::into_inner).is_open();
            result.and(Err(if is_open { RelayError::Closed } else { RelayError::NoSession }))
        }
    }
}

/// The first connection of this process; others are closed.
async fn accept_own(listener: &TcpListener) -> Result<TcpStream, RelayError> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let is_ours = match (peer, listener.local_addr()?) {
            (SocketAddr::V4(peer), SocketAddr::V4(local)) => belongs_to_us(peer, local).await?,
            _ => false,
        };
        if is_ours {
            return Ok(stream);
        }
        tracing::warn!(%peer, "closed a loopback connection of another process");
    }
}

async fn belongs_to_us(peer: SocketAddrV4, local: SocketAddrV4) -> Result<bool, RelayError> {
    let looked = tokio::task::spawn_blocking(move || own_socket::is_ours(peer, local)).await;
    // a look neither panics nor is it aborted
    looked.map_err(io::Error::other).flatten().map_err(RelayError::Peer)
}

/// Hands on whole frames, each judged before its first byte goes on, until the reading side closes.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut judge: impl FnMut(&[u8]) -> Result<(), GuardError>,
) -> Result<(), RelayError> {
    let mut body = Vec::new();
    loop {
        let mut length = [0; 4];
        match from.read_exact(&mut length).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let expected = Guard::length(length)?;
        body.clear();
        // grows with what arrives, not with what is announced
        let limit = u64::try_from(expected).unwrap_or(u64::MAX);
        if (&mut from).take(limit).read_to_end(&mut body).await? < expected {
            return Err(RelayError::Closed);
        }
        judge(&body)?;
        to.write_all(&length).await?;
        to.write_all(&body).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    /// A request to open a session: protocol 0, zxid 0, 4 s, no session, an empty password of 16 bytes.
    fn opening() -> Vec<u8> {
        let mut body = vec![0; 12];
        body.extend(4000_i32.to_be_bytes());
        body.extend([0; 8]);
        body.extend(16_i32.to_be_bytes());
        body.extend([0; 17]);
        let length = i32::try_from(body.len()).unwrap();
        [length.to_be_bytes().to_vec(), body].concat()
    }

    #[tokio::test]
    async fn a_stranger_who_is_faster_does_not_get_the_session() {
        let coordinator = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let relay = Relay::start(coordinator.local_addr().unwrap()).await.unwrap();
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} && echo in && read -r <&3",
            relay.address.port()
        );
        let mut stranger = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(stranger.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "in\n");

        let mut ours = TcpStream::connect(relay.address).await.unwrap();
        ours.write_all(&opening()).await.unwrap();
        let (mut served, _) = coordinator.accept().await.unwrap();
        let mut seen = vec![0; opening().len()];
        let arrived = timeout(Duration::from_secs(10), served.read_exact(&mut seen)).await;
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        arrived.expect("our own connection is served").unwrap();
        assert_eq!(seen, opening());
    }
}
