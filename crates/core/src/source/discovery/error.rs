//! How a search for members ends without any.

use std::fmt;

use super::{
    cluster::Cluster,
    coordinators::CoordinatorError,
    ranking::{Base, PassedOver, Ranking, Reason},
    znodes::RootName,
};
use crate::{Error, ErrorKind, error::Setting};
use neo4j_format::ids::StoreId;

/// What to do where no member has a backup service.
pub(crate) const NO_BACKUP_SERVICE: &str =
    "no member offers the backup service: is online_backup_enabled (up to 1.6: enable_online_backup) set?";

/// Why no member can be asked.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// No host of the list is a coordinator that can be used.
    #[error("no coordinator can be used: {}", join(.0))]
    NoCoordinator(Vec<CoordinatorError>),
    /// Coordinators run, but too few of them.
    #[error("the coordinators have no quorum: {}", join(.0))]
    NoQuorum(Vec<CoordinatorError>),
    /// A node may not be read.
    #[error("not authorized to read {0}")]
    NotAuthorized(String),
    /// The node below which the cluster should be is not there.
    #[error("the coordinators have no node {0}")]
    NoChroot(String),
    /// No cluster of that name.
    #[error("no cluster {name} is known to the coordinators: {}", known(.clusters))]
    NoCluster {
        /// The name that was looked for.
        name: String,
        /// The clusters that are there.
        clusters: Vec<ClusterSummary>,
    },
    /// More than one cluster, and no name to choose by.
    #[error("no cluster is named neo4j.ha and more than one could be meant: {}", known(.0))]
    SeveralClusters(Vec<ClusterSummary>),
    /// The node of the cluster's name leads nowhere.
    #[error("cluster {name} is damaged, or not yet fully created: {problem}")]
    DamagedCluster {
        /// Its name.
        name: String,
        /// What is wrong with its node.
        problem: String,
    },
    /// The cluster exists and has no registered member.
    #[error("cluster {0} exists, but no member is registered")]
    NoMembers(String),
    /// Members are registered, and none can give the backup.
    #[error("no member of cluster {cluster} can give the backup: {}", list(.passed_over))]
    NoneUsable {
        /// Which cluster.
        cluster: String,
        /// Its members, each with its reason.
        passed_over: Vec<PassedOver>,
    },
    /// The backup belongs to another database.
    #[error("the backup is of another database: its store id is {backup}, cluster {cluster} has {found}")]
    OtherDatabase {
        /// Which cluster.
        cluster: String,
        /// The cluster's.
        found: StoreId,
        /// The backup's.
        backup: StoreId,
    },
}

/// A cluster among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSummary {
    /// Its name; `None` in 1.3 - 1.5.0.
    pub name: Option<String>,
    /// The node that holds it.
    pub root: RootName,
    /// How many members are registered.
    pub members: usize,
}

impl fmt::Display for ClusterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name)?,
            None => self.root.fmt(f)?,
        }
        match self.members {
            1 => f.write_str(" (1 member)"),
            count => write!(f, " ({count} members)"),
        }
    }
}

fn join<T: ToString>(parts: &[T]) -> String {
    let parts: Vec<String> = parts.iter().map(T::to_string).collect();
    parts.join("; ")
}

fn known(clusters: &[ClusterSummary]) -> String {
    if clusters.is_empty() {
        return "none is there".to_owned();
    }
    let clusters: Vec<String> = clusters.iter().map(ClusterSummary::to_string).collect();
    format!("there are {}", clusters.join(", "))
}

impl DiscoveryError {
    /// What it means that all coordinators fail like this.
    pub(super) fn coordinators(causes: Vec<CoordinatorError>) -> DiscoveryError {
        if causes.iter().any(CoordinatorError::is_without_quorum) {
            DiscoveryError::NoQuorum(causes)
        } else {
            DiscoveryError::NoCoordinator(causes)
        }
    }

    /// Whether a coordinator may serve in a moment: one that is paused, is started, elects a leader, or is behind an address
    /// that leads to another one next time.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            DiscoveryError::NoQuorum(causes) | DiscoveryError::NoCoordinator(causes) => {
                causes.iter().any(|cause| !cause.is_lasting())
            }
            _ => false,
        }
    }
}

fn list(passed_over: &[PassedOver]) -> String {
    let members: Vec<String> = passed_over
        .iter()
        .map(|PassedOver { id, role, reason }| match role.name() {
            "unknown" => format!("member {id}: {reason}"),
            role => format!("member {id} ({role}): {reason}"),
        })
        .collect();
    members.join("; ")
}

impl Ranking {
    /// Whether there is anybody to ask in this cluster for what `base`, if any, lacks.
    ///
    /// # Errors
    /// [`DiscoveryError`]: of kind [`ErrorKind::NotOurs`] where the cluster is not the one to ask, of kind
    /// [`ErrorKind::NoMember`] otherwise.
    pub fn require_candidates(&self, cluster: &Cluster, base: Option<Base>) -> Result<(), Error> {
        let label = cluster.label();
        if let (Some(base), Some(found)) = (base, self.database)
            && !base.store_id.is_same_database(found)
        {
            return Err(DiscoveryError::OtherDatabase {
                cluster: label,
                found,
                backup: base.store_id,
            }
            .into());
        }
        if !self.candidates.is_empty() {
            return Ok(());
        }
        if self.passed_over.is_empty() {
            return Err(DiscoveryError::NoMembers(label).into());
        }
        Err(DiscoveryError::NoneUsable {
            cluster: label,
            passed_over: self.passed_over.clone(),
        }
        .into())
    }
}

impl From<DiscoveryError> for Error {
    fn from(error: DiscoveryError) -> Error {
        let (kind, hint) = match &error {
            DiscoveryError::NoCoordinator(causes) => {
                let is_other = |cause: &CoordinatorError| matches!(cause, CoordinatorError::NotZooKeeper { .. });
                let hint = if causes.iter().any(is_other) {
                    "ha:// names coordinators (ZooKeeper servers, default port 2181), not members; clusters of Neo4j 1.9 \
                     have none: name a member, as in single://host:port"
                } else {
                    "check hosts and ports (default 2181); a member can be named itself, as in single://host:port"
                };
                (ErrorKind::NoZooKeeper, hint)
            }
            DiscoveryError::NoQuorum(_) => (
                ErrorKind::NoZooKeeper,
                "start more coordinators, or name a member itself, as in single://host:port",
            ),
            DiscoveryError::NotAuthorized(_) => (
                ErrorKind::NotAuthorized,
                "let the world read that node (setAcl), or name a member itself, as in single://host:port",
            ),
            DiscoveryError::NoChroot(_) => (
                ErrorKind::UnknownCluster,
                "check the path after the hosts of the source",
            ),
            DiscoveryError::NoCluster { .. } | DiscoveryError::SeveralClusters(_) => {
                (ErrorKind::UnknownCluster, "choose one by its name")
            }
            DiscoveryError::DamagedCluster { .. } => (
                ErrorKind::UnknownCluster,
                "wait until its first member has started, or choose another one by its name",
            ),
            DiscoveryError::NoMembers(_) => (
                ErrorKind::NoMember,
                "start the members; one that does not register can be named itself, as in single://host:port",
            ),
            DiscoveryError::NoneUsable { passed_over, .. } => {
                let all = |is: fn(&Reason) -> bool| passed_over.iter().all(|member| is(&member.reason));
                if all(|reason| matches!(reason, Reason::Behind { .. })) {
                    (
                        ErrorKind::NotOurs,
                        "the cluster was restored or has lost transactions: take a full backup into another directory",
                    )
                } else if all(|reason| matches!(reason, Reason::BackupOff)) {
                    (ErrorKind::NoMember, NO_BACKUP_SERVICE)
                } else {
                    (
                        ErrorKind::NoMember,
                        "look at the members of the cluster; those that are starting or changing roles answer a moment later",
                    )
                }
            }
            DiscoveryError::OtherDatabase { .. } => (
                ErrorKind::NotOurs,
                "check cluster and target: the backup there is another cluster's",
            ),
        };
        let settings: &[Setting] = match &error {
            DiscoveryError::NoCoordinator(_) | DiscoveryError::NoQuorum(_) if error.may_pass() => {
                &[Setting::Source, Setting::ZooKeeperTimeout]
            }
            DiscoveryError::NoCoordinator(_)
            | DiscoveryError::NoQuorum(_)
            | DiscoveryError::NotAuthorized(_)
            | DiscoveryError::NoChroot(_)
            | DiscoveryError::NoMembers(_) => &[Setting::Source],
            DiscoveryError::NoCluster { .. }
            | DiscoveryError::SeveralClusters(_)
            | DiscoveryError::DamagedCluster { .. } => &[Setting::ClusterName],
            DiscoveryError::NoneUsable { .. } if kind == ErrorKind::NoMember => &[Setting::Members],
            DiscoveryError::NoneUsable { .. } => &[],
            DiscoveryError::OtherDatabase { .. } => &[Setting::ClusterName, Setting::Target],
        };
        Error::new(kind, error).with_hint(hint).see(settings)
    }
}
