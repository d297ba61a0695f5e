//! Connections and what each of them watches: a watch serves once, and its event goes out before any later reply.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::{message::Event, wire};

/// Messages for a client, in the order in which they go out; one that reads too slowly is cut off.
pub(super) type Outbox = mpsc::Sender<Vec<u8>>;

/// Number of a connection; watches belong to one.
pub(super) type ConnectionId = u64;

/// Which watches a change of a node sets off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watched {
    /// The node itself, also one that does not exist yet.
    Node,
    /// Its list of children.
    Children,
}

/// The connected clients and their watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    set: BTreeMap<(String, Watched), BTreeSet<ConnectionId>>,
    outboxes: BTreeMap<ConnectionId, Outbox>,
    last_connection: ConnectionId,
}

impl Watches {
    /// The number of a new connection.
    pub(super) fn number(&mut self) -> ConnectionId {
        self.last_connection += 1;
        self.last_connection
    }

    /// From now on messages for a connection go into `outbox`.
    pub(super) fn connect(&mut self, connection: ConnectionId, outbox: Outbox) {
        self.outboxes.insert(connection, outbox);
    }

    /// Forgets a connection and what it watches.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.outboxes.remove(&connection);
        self.set.retain(|_, watchers| {
            watchers.remove(&connection);
            !watchers.is_empty()
        });
    }

    /// Sets a watch, if the client asked for one.
    pub(super) fn add_if(&mut self, wanted: bool, connection: ConnectionId, path: &str, watched: Watched) {
        if wanted {
            self.set
                .entry((path.to_owned(), watched))
                .or_default()
                .insert(connection);
        }
    }

    /// Sets off the watches of a node.
    pub(super) fn tell(&mut self, path: &str, watched: Watched, event: Event) {
        let path = if path.is_empty() { "/" } else { path };
        for connection in self.set.remove(&(path.to_owned(), watched)).unwrap_or_default() {
            self.post(connection, wire::event(event, path));
        }
    }

    /// Puts a message into a client's outbox; says whether it takes it.
    pub(super) fn post(&mut self, connection: ConnectionId, message: Vec<u8>) -> bool {
        let taken = self
            .outboxes
            .get(&connection)
            .is_some_and(|outbox| outbox.try_send(message).is_ok());
        if !taken {
            self.disconnect(connection);
        }
        taken
    }
}
