//! The network in front of a member: a port that can be slow, held or down, independent of the member.
//!
//! A member that is stalled is one whose link is held; one that was killed has a link that is down. What passes is
//! counted, so that a fault can be timed by the bytes of a transfer.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

/// Bytes that are passed on at once.
const PIECE: usize = 64 * 1024;

/// How long a slowed link waits between two pieces.
const PAUSE: Duration = Duration::from_millis(10);

/// What the link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Everything passes.
    Open,
    /// At most this many bytes a second pass to a client.
    Slow(u64),
    /// Nothing passes, and nothing is closed.
    Held,
}

/// A port in front of another one.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// `None` while it is down.
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    flow: watch::Sender<Flow>,
    /// Changes when all connections have to end.
    cut: watch::Sender<u64>,
    /// Bytes that went to clients.
    passed: AtomicU64,
}

impl Link {
    /// Listens on `address` (port 0: a free one) and passes connections on to `behind`.
    pub(super) async fn up(address: SocketAddr, behind: SocketAddr) -> io::Result<Link> {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            flow: watch::Sender::new(Flow::Open),
            cut: watch::Sender::new(0),
            passed: AtomicU64::new(0),
        });
        Ok(Link {
            address: listener.local_addr()?,
            listening: Some(listen(listener, behind, Arc::clone(&shared))),
            shared,
        })
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that went to clients so far.
    pub(super) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }

    pub(super) fn set_flow(&self, flow: Flow) {
        self.shared.flow.send_replace(flow);
    }

    pub(super) fn flow(&self) -> Flow {
        *self.shared.flow.borrow()
    }

    /// Cuts all connections and refuses new ones.
    pub(super) async fn down(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            // the port is free once the task is gone
            let _ = listening.await;
        }
        self.shared.cut.send_modify(|cut| *cut += 1);
    }

    /// Listens again on the same port.
    pub(super) async fn up_again(&mut self, behind: SocketAddr) -> io::Result<()> {
        self.down().await;
        let listener = TcpListener::bind(self.address).await?;
        self.shared.flow.send_replace(Flow::Open);
        self.listening = Some(listen(listener, behind, Arc::clone(&self.shared)));
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
        self.shared.cut.send_modify(|cut| *cut += 1);
    }
}

fn listen(listener: TcpListener, behind: SocketAddr, shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut flow = shared.flow.subscribe();
        loop {
            if flow.wait_for(|flow| *flow != Flow::Held).await.is_err() {
                return;
            }
            match listener.accept().await {
                Ok((client, _)) => drop(tokio::spawn(pass(client, behind, Arc::clone(&shared)))),
                Err(error) => {
                    tracing::debug!("a link cannot accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

/// One connection, until one of its ends is gone or the link is cut.
async fn pass(client: TcpStream, behind: SocketAddr, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    cut.mark_unchanged();
    let both = async {
        let server = TcpStream::connect(behind).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let nothing = AtomicU64::new(0);
        tokio::try_join!(
            pump(from_client, to_server, &shared.flow, None, &nothing),
            pump(from_server, to_client, &shared.flow, Some(PAUSE), &shared.passed),
        )
    };
    tokio::select! {
        // how a connection ends is its ends' business
        ended = both => drop(ended),
        _ = cut.changed() => {}
    }
}

/// Passes bytes on until there are no more; `pause` is the rhythm of a slowed direction.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    flow: &watch::Sender<Flow>,
    pause: Option<Duration>,
    passed: &AtomicU64,
) -> io::Result<()> {
    let mut flow = flow.subscribe();
    let mut piece = vec![0; PIECE];
    loop {
        let limit = match (*flow.borrow(), pause) {
            (Flow::Slow(rate), Some(pause)) => {
                let bytes = rate.saturating_mul(u64::try_from(pause.as_millis()).unwrap_or(1)) / 1000;
                usize::try_from(bytes).unwrap_or(PIECE).clamp(1, PIECE)
            }
            _ => PIECE,
        };
        let count = from.read(piece.get_mut(..limit).unwrap_or_default()).await?;
        if flow.wait_for(|flow| *flow != Flow::Held).await.is_err() || count == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece.get(..count).unwrap_or_default()).await?;
        passed.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        if limit < PIECE
            && let Some(pause) = pause
        {
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server that greets and repeats what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn ask(client: &mut TcpStream) -> io::Result<[u8; 4]> {
        let mut answer = [0; 4];
        client.write_all(b"ping").await?;
        tokio::time::timeout(LIMIT, client.read_exact(&mut answer))
            .await
            .unwrap()?;
        Ok(answer)
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[tokio::test]
    async fn a_link_that_is_down_cuts_and_refuses_until_it_is_up_again() {
        let behind = echo().await;
        let mut link = Link::up(any(), behind).await.unwrap();
        let mut client = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(ask(&mut client).await.unwrap(), *b"ping");
        assert_eq!(link.passed(), 4);
        link.down().await;
        assert!(ask(&mut client).await.is_err());
        assert!(TcpStream::connect(link.address()).await.is_err());
        link.up_again(behind).await.unwrap();
        let mut client = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(ask(&mut client).await.unwrap(), *b"ping");
    }

    #[tokio::test]
    async fn a_held_link_goes_on_where_it_stood() {
        let link = Link::up(any(), echo().await).await.unwrap();
        let mut client = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(ask(&mut client).await.unwrap(), *b"ping");
        link.set_flow(Flow::Held);
        client.write_all(b"pong").await.unwrap();
        let mut answer = [0; 4];
        let silence = tokio::time::timeout(Duration::from_millis(100), client.read_exact(&mut answer)).await;
        assert!(silence.is_err());
        link.set_flow(Flow::Open);
        tokio::time::timeout(LIMIT, client.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer, *b"pong");
    }
}
