//! How a search for members ends without any.

use super::{
    cluster::Cluster,
    ranking::{Base, PassedOver, Ranking, Reason},
};
use crate::{Error, ErrorKind, ids::StoreId};

/// Why there is nobody to ask.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The cluster is there and nobody is registered.
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
        if let Some(base) = base.filter(|base| !cluster.root().names(base.store_id)) {
            return Err(DiscoveryError::OtherDatabase {
                cluster: label,
                found: cluster.store_id,
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
            DiscoveryError::NoMembers(_) => (
                ErrorKind::NoMember,
                "start the members; one that does not register can be named itself, as in -from single://host:port",
            ),
            DiscoveryError::NoneUsable { passed_over, .. } => {
                let all = |is: fn(&Reason) -> bool| passed_over.iter().all(|member| is(&member.reason));
                if all(|reason| matches!(reason, Reason::Behind { .. })) {
                    (
                        ErrorKind::NotOurs,
                        "the cluster was restored or has lost transactions: take a full backup into another directory",
                    )
                } else if all(|reason| matches!(reason, Reason::BackupOff)) {
                    (
                        ErrorKind::NoMember,
                        "set enable_online_backup=true on the members and restart them",
                    )
                } else {
                    (
                        ErrorKind::NoMember,
                        "neo4j-backup members -from ha://… shows the cluster; members that are starting or change roles \
                         answer a moment later",
                    )
                }
            }
            DiscoveryError::OtherDatabase { .. } => (
                ErrorKind::NotOurs,
                "check -cluster and -to: another cluster's backup is there",
            ),
        };
        Error::new(kind, error).with_hint(hint)
    }
}
