//! Accepts clients, as many as there may be, and ends cleanly.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Counters, Network, Source,
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
    /// Clients at once of one IPv4 address, or of one network of IPv6 (/64).
    pub per_address: usize,
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
            per_address: 10,
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
    counters: Arc<Counters>,
}

impl<S: Source> Service<S> {
    /// Serves `source` to all clients that connect.
    pub fn new(source: Arc<S>, limits: Limits) -> Service<S> {
        Service {
            source,
            limits,
            allowed: Vec::new(),
            counters: Arc::default(),
        }
    }

    /// What it has done so far.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
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
            hosts: Hosts::default(),
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
    hosts: Hosts,
    lines: Lines,
}

impl<S: Source> Shared<S> {
    fn welcome(shared: &Arc<Shared<S>>, stream: TcpStream, peer: SocketAddr, clients: &mut JoinSet<()>) {
        let counters = &shared.service.counters;
        counters.connected();
        let allowed = &shared.service.allowed;
        if !allowed.is_empty() && !allowed.iter().any(|network| network.contains(peer.ip())) {
            counters.refused_address();
            tracing::warn!(client = %peer, "connection rejected: address is not allowed");
            return;
        }
        let host = shared.hosts.enter(peer.ip(), shared.service.limits.per_address);
        let admitted = shared.admit(host.is_some());
        if !matches!(admitted, Some((Welcome::Served, _))) {
            counters.refused_client();
        }
        let Some((welcome, permit)) = admitted else {
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
                counters: &shared.service.counters,
                lines: &shared.lines,
                line: &line,
                peer,
                welcome,
            };
            connection.serve();
            shared.lines.remove(&line);
            drop((permit, host));
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

    fn admit(&self, is_below_its_own_limit: bool) -> Option<(Welcome, OwnedSemaphorePermit)> {
        let limits = &self.service.limits;
        let refused = if is_below_its_own_limit {
            if let Ok(permit) = Arc::clone(&self.served).try_acquire_owned() {
                return Some((Welcome::Served, permit));
            }
            Welcome::Refused {
                limit: limits.connections,
            }
        } else {
            Welcome::RefusedAddress {
                limit: limits.per_address,
            }
        };
        let permit = Arc::clone(&self.refused).try_acquire_owned().ok()?;
        Some((refused, permit))
    }
}

/// How many clients there are of each address.
#[derive(Debug, Clone, Default)]
struct Hosts(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A client of an address; no longer counted once it is dropped.
#[derive(Debug)]
struct Guest {
    hosts: Hosts,
    host: IpAddr,
}

impl Hosts {
    /// Counts another client, unless there are `most` already.
    fn enter(&self, address: IpAddr, most: usize) -> Option<Guest> {
        let host = host(address);
        let mut hosts = self.lock();
        let count = hosts.entry(host).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest {
            hosts: self.clone(),
            host,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut hosts = self.hosts.lock();
        if let Entry::Occupied(mut count) = hosts.entry(self.host) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The address that a client is counted under. An IPv6 client usually has a whole /64 network of addresses.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_one_address_are_limited_and_counted_until_they_go() {
        let hosts = Hosts::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = hosts.enter(address("10.0.0.1"), 2).unwrap();
        let second = hosts.enter(address("::ffff:10.0.0.1"), 2).unwrap();
        assert!(hosts.enter(address("10.0.0.1"), 2).is_none());
        assert!(hosts.enter(address("10.0.0.2"), 2).is_some());
        drop(first);
        let third = hosts.enter(address("10.0.0.1"), 2);
        assert!(third.is_some());
        let _one = hosts.enter(address("2001:db8::1"), 1).unwrap();
        assert!(hosts.enter(address("2001:db8::2"), 1).is_none());
        drop((third, second));
        assert_eq!(hosts.lock().len(), 1);
    }
}
