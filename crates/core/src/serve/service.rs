//! Accepts clients, as many as there may be, and ends cleanly.

use std::{io, net::SocketAddr, num::NonZeroU64, sync::Arc, thread, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Network, Source,
    connection::{Connection, Welcome},
    line::Lines,
    pace::Pace,
};

/// Clients beyond the limit that are told so; any more are closed without a word.
const REFUSED_AT_ONCE: usize = 16;

/// After an accept that failed, since the next one may fail at once for the same reason.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// What clients may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Clients at once; each takes a thread and less than a megabyte.
    pub connections: usize,
    /// Bytes per second to all of them together.
    pub max_rate: Option<NonZeroU64>,
    /// How long a new connection may take to ask.
    pub first_request: Duration,
    /// How long a connection may stay open between requests: the original tools leave theirs open while they work.
    pub idle: Duration,
    /// How long a client may take for a chunk of 256 KiB: some start a database on what they have before they go on.
    pub reader: Duration,
    /// How long responses may go on once the service is to end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 100,
            max_rate: None,
            first_request: Duration::from_secs(30),
            idle: Duration::from_mins(10),
            reader: Duration::from_mins(10),
            drain: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Blocking threads that the runtime has to have.
    pub fn threads(&self) -> usize {
        self.connections.saturating_add(REFUSED_AT_ONCE)
    }
}

/// Ends a service from outside; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Stop {
    /// Takes no new clients and requests; responses under way go on for a while.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends everything at once, as a crash would.
    pub fn abort(&self) {
        self.abort.cancel();
        self.drain.cancel();
    }
}

/// A backup service.
#[derive(Debug, Clone)]
pub struct Service<S> {
    source: Arc<S>,
    limits: Limits,
    allowed: Vec<Network>,
}

impl<S: Source> Service<S> {
    /// Hands out `source` to whoever connects.
    pub fn new(source: Arc<S>, limits: Limits) -> Service<S> {
        Service {
            source,
            limits,
            allowed: Vec::new(),
        }
    }

    /// Hands it out to clients of these networks alone; of any, where none is given.
    #[must_use]
    pub fn allowing(mut self, networks: Vec<Network>) -> Service<S> {
        self.allowed = networks;
        self
    }

    /// Serves until it is stopped and all its clients are gone. Returns how many responses had to be cut off.
    pub async fn run(self, listener: TcpListener, stop: &Stop) -> usize {
        let shared = Arc::new(Shared {
            pace: Pace::new(self.limits.max_rate),
            served: Arc::new(Semaphore::new(self.limits.connections)),
            refused: Arc::new(Semaphore::new(REFUSED_AT_ONCE)),
            lines: Lines::default(),
            service: self,
        });
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.drain.cancelled() => break,
                Some(ended) = clients.join_next() => noted(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => Shared::welcome(&shared, stream, peer, &mut clients),
                    Err(cause) => {
                        tracing::warn!(%cause, "cannot accept a connection");
                        sleep(AFTER_ERROR).await;
                    }
                },
            }
        }
        drop(listener);
        shared.lines.drain();
        tokio::select! {
            () = all(&mut clients) => return 0,
            () = stop.abort.cancelled() => {}
            () = sleep(shared.service.limits.drain) => {}
        }
        let cut_off = shared.lines.count();
        shared.lines.abort();
        all(&mut clients).await;
        cut_off
    }
}

struct Shared<S> {
    service: Service<S>,
    pace: Pace,
    served: Arc<Semaphore>,
    refused: Arc<Semaphore>,
    lines: Lines,
}

impl<S: Source> Shared<S> {
    fn welcome(shared: &Arc<Shared<S>>, stream: TcpStream, peer: SocketAddr, clients: &mut JoinSet<()>) {
        let allowed = &shared.service.allowed;
        if !allowed.is_empty() && !allowed.iter().any(|network| network.contains(peer.ip())) {
            tracing::warn!(client = %peer, "connection rejected: address is not allowed");
            return;
        }
        let Some((welcome, permit)) = shared.admit() else {
            tracing::warn!(client = %peer, "connection closed: too many clients");
            return;
        };
        let stream = stream.into_std().and_then(|stream| {
            stream.set_nonblocking(false)?;
            Ok(stream)
        });
        let stream = match stream {
            Ok(stream) => stream,
            Err(cause) => {
                tracing::warn!(client = %peer, %cause, "the connection cannot be used");
                return;
            }
        };
        let shared = Arc::clone(shared);
        let (end, ended) = oneshot::channel::<()>();
        let served = thread::Builder::new().name(format!("client {peer}")).spawn(move || {
            let _end = end;
            let line = shared.lines.add(stream);
            let connection = Connection {
                source: &*shared.service.source,
                limits: &shared.service.limits,
                pace: &shared.pace,
                lines: &shared.lines,
                line: &line,
                peer,
                welcome,
            };
            connection.serve();
            shared.lines.remove(&line);
            drop(permit);
        });
        match served {
            Ok(served) => {
                clients.spawn(async move {
                    let _ = ended.await;
                    if served.join().is_err() {
                        tracing::error!(client = %peer, "the thread of a connection failed");
                    }
                });
            }
            Err(cause) => tracing::warn!(client = %peer, %cause, "connection closed: no thread for it"),
        }
    }

    fn admit(&self) -> Option<(Welcome, OwnedSemaphorePermit)> {
        let limit = self.service.limits.connections;
        if let Ok(permit) = Arc::clone(&self.served).try_acquire_owned() {
            return Some((Welcome::Served, permit));
        }
        let permit = Arc::clone(&self.refused).try_acquire_owned().ok()?;
        Some((Welcome::Refused { limit }, permit))
    }
}

async fn all(clients: &mut JoinSet<()>) {
    while let Some(ended) = clients.join_next().await {
        noted(ended);
    }
}

fn noted(ended: Result<(), tokio::task::JoinError>) {
    if let Err(cause) = ended {
        tracing::error!(%cause, "the thread of a connection failed");
    }
}

/// Binds the first port that is free of a range.
///
/// # Errors
/// Of the last one tried, with its address.
pub async fn bind(host: &str, ports: std::ops::RangeInclusive<u16>) -> io::Result<TcpListener> {
    let mut error = io::Error::from(io::ErrorKind::InvalidInput);
    for port in ports {
        match TcpListener::bind((host, port)).await {
            Ok(listener) => return Ok(listener),
            Err(cause) => error = io::Error::new(cause.kind(), format!("{host}:{port}: {cause}")),
        }
    }
    Err(error)
}
