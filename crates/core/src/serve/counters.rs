//! What a service has done so far, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one service; they only grow, but for [`Counters::clients`].
#[derive(Debug, Default)]
pub struct Counters {
    clients: AtomicU64,
    connections: AtomicU64,
    not_allowed: AtomicU64,
    too_many: AtomicU64,
    requests: AtomicU64,
    sent_bytes: AtomicU64,
}

impl Counters {
    /// Clients that are connected and served.
    pub fn clients(&self) -> u64 {
        self.clients.load(Ordering::Relaxed)
    }

    /// Connections that were accepted, refused ones included.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections refused because their address is not allowed.
    pub fn not_allowed(&self) -> u64 {
        self.not_allowed.load(Ordering::Relaxed)
    }

    /// Connections refused because there were too many clients.
    pub fn too_many(&self) -> u64 {
        self.too_many.load(Ordering::Relaxed)
    }

    /// Requests that were answered or refused.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes sent to clients.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused_address(&self) {
        self.not_allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused_client(&self) {
        self.too_many.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn requested(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a client until the guard is dropped.
    pub(super) fn serving(&self) -> Served<'_> {
        self.clients.fetch_add(1, Ordering::Relaxed);
        Served(self)
    }
}

/// A client that is served.
pub(super) struct Served<'a>(&'a Counters);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
