//! Reading one cluster through one coordinator; the only user of `zookeeper_client`.
//!
//! Reads are not atomic, so the lists of members are read again behind the members and all of it is repeated if they
//! changed (`docs/formats/zookeeper-discovery.md` §8). A node that vanishes in between is a member that left. Every
//! request has a limit, and the library only sees what a [`Relay`] lets through.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, time::Duration};

use tokio::{task::JoinError, time::timeout};
use zookeeper_client::{Client, Error as ZkError, SessionState, Stat};

use super::{
    cluster::{Cluster, Node, Reading},
    error::{ClusterSummary, DiscoveryError},
    relay::Relay,
    znodes::{self, MemberName, RootName},
};
use neo4j_format::ids::StoreId;

/// Asked of the server at least; servers give at least two of their ticks. Discovery takes milliseconds.
const SESSION: Duration = Duration::from_secs(5);
/// For closing a session; no result depends on it.
const CLOSE: Duration = Duration::from_secs(1);
/// How often members are read while they change.
const ATTEMPTS: usize = 3;
/// Requests under way at once: a node may hold 1 MiB of somebody's garbage.
const AT_ONCE: usize = 8;
/// Nodes of one kind that are read: clusters have fewer than ten members, an ensemble fewer than a hundred clusters.
const NODES: usize = 1000;
/// The cluster's name unless one is given.
const DEFAULT_CLUSTER: &str = "neo4j.ha";

/// Why a session did not lead to a cluster.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// Another coordinator may do better.
    #[error("{0}")]
    Coordinator(String),
    /// No other would say anything else.
    #[error(transparent)]
    Answer(Box<DiscoveryError>),
}

impl SessionError {
    fn request(path: &str, error: &ZkError) -> SessionError {
        match error {
            ZkError::NoAuth => DiscoveryError::NotAuthorized(path.to_owned()).into(),
            _ => SessionError::Coordinator(format!("reading {path}: {error}")),
        }
    }
}

impl From<DiscoveryError> for SessionError {
    fn from(error: DiscoveryError) -> SessionError {
        SessionError::Answer(Box::new(error))
    }
}

/// Reads the cluster of this name, or the one that is there if none is given, below `chroot`; `limit` is for opening a
/// session and for each request.
pub(super) async fn read(
    coordinator: SocketAddr,
    chroot: Option<&str>,
    cluster: Option<&str>,
    limit: Duration,
) -> Result<Cluster, SessionError> {
    let relay = Relay::start(coordinator).await;
    let relay =
        relay.map_err(|error| SessionError::Coordinator(format!("no port on the loopback interface: {error}")))?;
    let servers = format!("{}{}", relay.address, chroot.unwrap_or_default());
    let (chroot, cluster) = (chroot.map(str::to_owned), cluster.map(str::to_owned));
    // in a task of its own, so that a panic of the library ends no more than that
    let reading = tokio::spawn(async move {
        let session = Session::open(&servers, chroot, limit).await?;
        let found = session.cluster(cluster.as_deref()).await;
        session.close();
        found
    });
    let found = reading.await.unwrap_or_else(|error: JoinError| {
        Err(SessionError::Coordinator(format!(
            "the client library gave up: {error}"
        )))
    });
    match found {
        // what the relay saw says more than what the library makes of a closed connection
        Err(SessionError::Coordinator(what)) => {
            let cause = relay.end().await.map(|end| end.to_string());
            Err(SessionError::Coordinator(cause.unwrap_or(what)))
        }
        found => found,
    }
}

struct Session {
    client: Client,
    chroot: Option<String>,
    /// For each request.
    limit: Duration,
}

/// Where a cluster was found.
struct ClusterNode {
    name: Option<String>,
    root: RootName,
    store_version: Option<i64>,
}

impl Session {
    async fn open(servers: &str, chroot: Option<String>, limit: Duration) -> Result<Session, SessionError> {
        let connector = Client::connector()
            .with_session_timeout(SESSION.max(limit.saturating_mul(2)))
            .with_connection_timeout(limit)
            .with_server_version(3, 3, 0)
            .with_fail_eagerly();
        match timeout(limit, connector.connect(servers)).await {
            Ok(Ok(client)) => Ok(Session { client, chroot, limit }),
            // which is all that the library says of a single host
            Ok(Err(ZkError::NoHosts)) | Err(_) => Err(SessionError::Coordinator("it opens no session".to_owned())),
            Ok(Err(error)) => Err(SessionError::Coordinator(format!("it opens no session: {error}"))),
        }
    }

    /// Closes the session behind the caller's back; one that is left open expires by itself.
    fn close(self) {
        let mut state = self.client.state_watcher();
        drop(self.client);
        tokio::spawn(timeout(CLOSE, async move {
            while !matches!(state.changed().await, SessionState::Closed | SessionState::Expired) {}
        }));
    }

    async fn cluster(&self, name: Option<&str>) -> Result<Cluster, SessionError> {
        // a follower may lag behind; where it cannot catch up, what it has is still an answer
        if let Err(error) = self.within("/", self.client.sync("/")).await {
            tracing::debug!(%error, "the coordinator did not synchronize");
        }
        let place = self.find(name).await?;
        let reading = self.members(place.root).await?;
        Ok(Cluster::assemble(place.name, place.root, place.store_version, &reading))
    }

    /// The root of the cluster (§10 step 3).
    async fn find(&self, name: Option<&str>) -> Result<ClusterNode, SessionError> {
        let Some(top) = self.list("/").await? else {
            return Err(DiscoveryError::NoChroot(self.chroot.clone().unwrap_or_default()).into());
        };
        let roots: Vec<RootName> = top.iter().filter_map(|node| RootName::parse(node)).collect();
        let wanted = name.unwrap_or(DEFAULT_CLUSTER);
        if let Some(root) = RootName::parse(wanted).filter(|root| roots.contains(root)) {
            return Ok(ClusterNode {
                name: None,
                root,
                store_version: None,
            });
        }
        let mut damaged = None;
        if top.iter().any(|node| node == wanted) {
            match self.claim(wanted).await? {
                Some(Ok(id)) => match root_of(id, &roots) {
                    Some(root) => {
                        return Ok(ClusterNode {
                            name: Some(wanted.to_owned()),
                            root,
                            store_version: id.store_version,
                        });
                    }
                    None => damaged = Some(format!("it names {}, which is not there", RootName::from(id))),
                },
                Some(Err(error)) => damaged = Some(error.to_string()),
                None => {}
            }
        }
        let clusters = self.clusters(&top, &roots).await?;
        let mut unclaimed: Vec<&ClusterSummary> = clusters.iter().filter(|cluster| cluster.name.is_none()).collect();
        // what was left behind by a cluster that went on with another database does not make it ambiguous (§3.1)
        if unclaimed.iter().any(|cluster| cluster.members > 0) {
            unclaimed.retain(|cluster| cluster.members > 0);
        }
        match (name, unclaimed.as_slice()) {
            (None, [only]) => Ok(ClusterNode {
                name: None,
                root: only.root,
                store_version: None,
            }),
            (None, [_, _, ..]) => Err(DiscoveryError::SeveralClusters(clusters).into()),
            _ => Err(match damaged {
                Some(problem) => DiscoveryError::DamagedCluster {
                    name: wanted.to_owned(),
                    problem,
                },
                None => DiscoveryError::NoCluster {
                    name: wanted.to_owned(),
                    clusters,
                },
            }
            .into()),
        }
    }

    /// What a cluster's name leads to; `None` if it is gone.
    async fn claim(&self, name: &str) -> Result<Option<Result<StoreId, znodes::ZnodeError>>, SessionError> {
        let node = self.node("", name).await?;
        Ok(node.map(|node| znodes::store_id(&node.data)))
    }

    /// All clusters that are there: those with a name, and roots without one that members have registered below.
    async fn clusters(&self, top: &[String], roots: &[RootName]) -> Result<Vec<ClusterSummary>, SessionError> {
        let mut claims: BTreeMap<RootName, Vec<String>> = BTreeMap::new();
        let others = top
            .iter()
            .filter(|node| RootName::parse(node).is_none() && *node != "zookeeper");
        for name in others.take(NODES) {
            if let Some(Ok(id)) = self.claim(name).await?
                && let Some(root) = root_of(id, roots)
            {
                claims.entry(root).or_default().push(name.clone());
            }
        }
        let mut clusters = Vec::new();
        for root in roots.iter().take(NODES) {
            let Some(servers) = self.list(&format!("/{root}/{}", znodes::SERVERS)).await? else {
                continue;
            };
            let members = servers.iter().filter(|node| znodes::member_in(node).is_some()).count();
            let mut summary = ClusterSummary {
                name: None,
                root: *root,
                members,
            };
            match claims.remove(root) {
                None => clusters.push(summary),
                Some(names) => clusters.extend(names.into_iter().map(|name| {
                    summary.name = Some(name);
                    summary.clone()
                })),
            }
        }
        Ok(clusters)
    }

    /// Everything below a root that says something about members.
    async fn members(&self, root: RootName) -> Result<Reading, SessionError> {
        let root = format!("/{root}");
        let servers = format!("{root}/{}", znodes::SERVERS);
        let mut attempt = 1;
        loop {
            let before = self.registered(&root, &servers).await?;
            let marks_of_1_8 = format!("{root}/{}", znodes::MARKS_OF_1_8);
            let (members, servers_read) =
                tokio::try_join!(self.nodes(&root, &before.0), self.nodes(&servers, &before.1))?;
            let (marks_of_1_8, notify, rebound, flush) = tokio::try_join!(
                self.list(&marks_of_1_8),
                self.node(&root, znodes::MASTER_NOTIFY),
                self.node(&root, znodes::MASTER_REBOUND),
                self.node(&root, znodes::FLUSH_REQUESTED),
            )?;
            let reading = Reading {
                members,
                servers: servers_read,
                marks_of_1_8: marks_of_1_8.unwrap_or_default(),
                notify,
                rebound,
                flush,
            };
            if attempt == ATTEMPTS || self.registered(&root, &servers).await? == before {
                return Ok(reading);
            }
            attempt = attempt.saturating_add(1);
            tracing::debug!("members came or went while they were read");
        }
    }

    /// The names of the nodes of all members, sorted: below the root and below the servers.
    async fn registered(&self, root: &str, servers: &str) -> Result<(Vec<String>, Vec<String>), SessionError> {
        let (members, servers) = tokio::try_join!(self.list(root), self.list(servers))?;
        let sorted = |nodes: Option<Vec<String>>, is_known: fn(&str) -> bool| {
            let mut nodes = nodes.unwrap_or_default();
            nodes.retain(|node| is_known(node));
            nodes.sort_unstable();
            nodes.truncate(NODES);
            nodes
        };
        Ok((
            sorted(members, |node| MemberName::parse(node).is_some()),
            sorted(servers, |node| znodes::member_in(node).is_some()),
        ))
    }

    /// The nodes of these names, but for those that are gone.
    async fn nodes(&self, parent: &str, names: &[String]) -> Result<Vec<Node>, SessionError> {
        let mut nodes = Vec::new();
        for names in names.chunks(AT_ONCE) {
            // asked at once, since the library sends when it is called
            let asked = names
                .iter()
                .map(|name| self.client.get_data(&format!("{parent}/{name}")));
            let asked: Vec<_> = asked.collect();
            for (name, asked) in names.iter().zip(asked) {
                nodes.extend(self.received(parent, name, asked).await?);
            }
        }
        Ok(nodes)
    }

    /// One node, if it is there.
    async fn node(&self, parent: &str, name: &str) -> Result<Option<Node>, SessionError> {
        self.received(parent, name, self.client.get_data(&format!("{parent}/{name}")))
            .await
    }

    /// The names of a node's children; `None` if it is not there.
    async fn list(&self, path: &str) -> Result<Option<Vec<String>>, SessionError> {
        match self.within(path, self.client.list_children(path)).await {
            Ok(Ok(children)) => Ok(Some(children)),
            Ok(Err(ZkError::NoNode)) => Ok(None),
            Ok(Err(error)) => Err(SessionError::request(path, &error)),
            Err(error) => Err(error),
        }
    }

    async fn received(
        &self,
        parent: &str,
        name: &str,
        asked: impl Future<Output = Result<(Vec<u8>, Stat), ZkError>>,
    ) -> Result<Option<Node>, SessionError> {
        let path = format!("{parent}/{name}");
        match self.within(&path, asked).await? {
            Ok((mut data, stat)) => {
                // longer data are no record, which one byte more tells as well as all of them
                data.truncate(znodes::RECORD_BYTES.saturating_add(1));
                data.shrink_to_fit();
                Ok(Some(Node {
                    name: name.to_owned(),
                    data,
                    version: stat.version,
                    changed: stat.mzxid,
                    owner: stat.ephemeral_owner,
                }))
            }
            Err(ZkError::NoNode) => Ok(None),
            Err(error) => Err(SessionError::request(&path, &error)),
        }
    }

    async fn within<T>(&self, path: &str, asked: impl Future<Output = T>) -> Result<T, SessionError> {
        let (limit, answer) = (self.limit, timeout(self.limit, asked).await);
        answer.map_err(|_| SessionError::Coordinator(format!("reading {path}: no answer within {limit:?}")))
    }
}

fn root_of(id: StoreId, roots: &[RootName]) -> Option<RootName> {
    Some(RootName::from(id)).filter(|root| roots.contains(root))
}
