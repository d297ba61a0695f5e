//! How a cluster is made, what its members look like from outside, and what can be wrong with it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{database::DatabaseError, member::MemberError, registration::Generation};
use neo4j_backup_core::{Error, ErrorKind};
use neo4j_format::ids::{MemberId, TxId};

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder for the members' databases; made if it is not there.
    pub dir: PathBuf,
    /// The releases it behaves like.
    pub generation: Generation,
    /// Name of the cluster.
    pub name: String,
    /// Number of members.
    pub members: u16,
    /// Where the coordinators listen; port 0 takes a free one.
    pub coordinators: Vec<SocketAddr>,
    /// Port of the first member's backup service, the others follow; 0 takes free ones.
    pub first_port: u16,
    /// Seed of the transactions.
    pub seed: u64,
    /// Transactions before the cluster starts.
    pub transactions: u32,
    /// Transactions a second that the master commits.
    pub rate: u32,
    /// How long a dead member stays registered.
    pub session_timeout: Duration,
}

impl Plan {
    /// Three members and one coordinator on free ports, in `dir`.
    pub fn new(dir: &Path) -> Plan {
        Plan {
            dir: dir.to_owned(),
            generation: Generation::Neo4j18,
            name: "neo4j.ha".to_owned(),
            members: 3,
            coordinators: vec![loopback(0)],
            first_port: 0,
            seed: 1,
            transactions: 500,
            rate: 20,
            session_timeout: Duration::from_secs(5),
        }
    }
}

/// A cluster could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A folder or port of it.
    #[error("{what}: {cause}")]
    Io {
        /// What was to be done.
        what: String,
        /// Why it was not.
        cause: io::Error,
    },
    /// A member.
    #[error("member {id}: {cause}")]
    Member {
        /// Which one.
        id: MemberId,
        /// Why.
        cause: MemberError,
    },
    /// There is no such member.
    #[error("there is no member {0}")]
    Unknown(MemberId),
    /// There is no such coordinator.
    #[error("there is no coordinator {0}")]
    NoCoordinator(usize),
    /// It does not run, or runs already.
    #[error("member {id} is {state}")]
    State {
        /// Which one.
        id: MemberId,
        /// What it is.
        state: MemberState,
    },
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Error {
        Error::new(ErrorKind::Failed, error)
    }
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It works.
    Running,
    /// It hangs: connections stay open, nothing moves.
    Stalled,
    /// Its process is gone.
    Down,
}

impl std::fmt::Display for MemberState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MemberState::Running => "running",
            MemberState::Stalled => "stalled",
            MemberState::Down => "down",
        })
    }
}

/// A member as the sandbox knows it; `neo4j-backup members` shows what the coordinators know.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its id.
    pub id: MemberId,
    /// What it does.
    pub state: MemberState,
    /// Whether it has the master's role.
    pub is_master: bool,
    /// Its backup service.
    pub backup: SocketAddr,
    /// Last transaction of its graph.
    pub last: TxId,
    /// Its database.
    pub dir: PathBuf,
    /// Bytes that its backup service has sent.
    pub sent: u64,
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(super) fn in_member(id: MemberId, cause: DatabaseError) -> ClusterError {
    ClusterError::Member {
        id,
        cause: cause.into(),
    }
}

pub(super) fn io_error(what: &str, cause: io::Error) -> ClusterError {
    ClusterError::Io {
        what: what.to_owned(),
        cause,
    }
}
