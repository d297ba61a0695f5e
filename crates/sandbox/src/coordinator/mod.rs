//! Stand-in coordinators: enough of `ZooKeeper` for clusters to register in and for backup tools to find them, the
//! original ones included.
//!
//! All servers of an ensemble share one tree, so they never disagree; what can be tried is what a client meets: servers
//! that are gone, silent or without quorum ([`Condition`]), sessions that expire, registrations that outlive a dead
//! member. Nothing is kept on disk, and there is no access control.

mod message;
mod server;
mod tree;
#[cfg(test)]
mod tree_tests;
mod watches;
mod wire;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

pub use message::{Refused, Stat};
pub use server::Condition;
use server::Server;
use tree::Tree;

/// How often sessions are looked at.
const EXPIRY: Duration = Duration::from_millis(50);

/// The tree that the servers and the members of this process share.
type Shared = Arc<Mutex<Tree>>;

/// An ensemble of stand-in coordinators on loopback; they end when it is dropped.
#[derive(Debug)]
pub struct Coordinators {
    tree: Shared,
    servers: Vec<Server>,
    expiry: AbortHandle,
}

impl Coordinators {
    /// Starts as many servers as there are addresses; port 0 takes a free one.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn start(addresses: &[SocketAddr]) -> std::io::Result<Coordinators> {
        let tree: Shared = Arc::new(Mutex::new(Tree::new()));
        let mut servers = Vec::new();
        for address in addresses {
            servers.push(Server::start(*address, Arc::clone(&tree)).await?);
        }
        let expiring = Arc::clone(&tree);
        let expiry = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EXPIRY).await;
                lock(&expiring).expire(Instant::now());
            }
        });
        Ok(Coordinators {
            tree,
            servers,
            expiry: expiry.abort_handle(),
        })
    }

    /// Where the servers listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// Puts a server into another condition; says whether there is one of this number.
    ///
    /// # Errors
    /// Its address cannot be listened on again.
    pub async fn set_condition(&self, server: usize, condition: Condition) -> std::io::Result<bool> {
        match self.servers.get(server) {
            Some(server) => server.set_condition(condition).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// The condition of each server.
    pub fn conditions(&self) -> Vec<Condition> {
        self.servers.iter().map(Server::condition).collect()
    }

    /// A session for a member of this process.
    pub fn session(&self) -> Session {
        Session {
            id: lock(&self.tree).open_session(),
            tree: Arc::clone(&self.tree),
        }
    }
}

impl Drop for Coordinators {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

/// A session of this process, which needs no connection. Its ephemeral nodes stay until it is closed or expires.
#[derive(Debug)]
pub struct Session {
    id: i64,
    tree: Shared,
}

impl Session {
    /// Makes a persistent node, if there is none.
    ///
    /// # Errors
    /// [`Refused`], but for a node that exists.
    pub fn ensure(&self, path: &str, data: &[u8]) -> Result<(), Refused> {
        match lock(&self.tree).create(path, data.to_vec(), 0, false) {
            Ok(_) | Err(Refused::NodeExists) => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    /// Makes a node that goes away with the session.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn create_ephemeral(&self, path: &str, data: &[u8]) -> Result<(), Refused> {
        lock(&self.tree).create(path, data.to_vec(), self.id, false).map(drop)
    }

    /// The same with a number behind its name; gives its whole path.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn create_numbered(&self, path: &str, data: &[u8]) -> Result<String, Refused> {
        lock(&self.tree).create(path, data.to_vec(), self.id, true)
    }

    /// Replaces the data of a node.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn set(&self, path: &str, data: &[u8]) -> Result<(), Refused> {
        lock(&self.tree).set_data(path, data.to_vec(), -1).map(drop)
    }

    /// Removes a node.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn delete(&self, path: &str) -> Result<(), Refused> {
        lock(&self.tree).delete(path, -1)
    }

    /// Data of a node.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn get(&self, path: &str) -> Result<Vec<u8>, Refused> {
        lock(&self.tree).get_data(path).map(|(data, _)| data)
    }

    /// Names of a node's children.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn children(&self, path: &str) -> Result<Vec<String>, Refused> {
        lock(&self.tree).children(path).map(|(names, _)| names)
    }

    /// Closes it, as a clean shutdown does: its ephemeral nodes are gone at once.
    pub fn close(self) {
        lock(&self.tree).close_session(self.id);
    }

    /// Nothing is heard of it any more: it expires after `timeout`, as that of a killed process does.
    pub fn expire_after(&self, timeout: Duration) {
        lock(&self.tree).set_timeout(self.id, Some(timeout));
    }

    /// It is heard of again; says whether it had not expired.
    pub fn revive(&self) -> bool {
        lock(&self.tree).set_timeout(self.id, None)
    }
}

fn lock(tree: &Shared) -> MutexGuard<'_, Tree> {
    // nothing inside can panic between two changes that belong together
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}
