//! Which cluster, and which of its members.

use std::time::Duration;

use crate::source::discovery::{Base, MemberCriteria, Preference, TIMEOUT};
use neo4j_format::ids::MemberId;

/// Which cluster of an `ha://` source, and which of its members are asked first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterOptions {
    /// Its name; `None` is enough if the coordinators know one cluster only, or one called `neo4j.ha`.
    pub name: Option<String>,
    /// Who is asked first; default: the master.
    pub preference: Preference,
    /// Only this member may be asked.
    pub member: Option<MemberId>,
    /// How many transactions a slave may be behind the master; default: 1000.
    pub max_lag: u64,
    /// How long coordinators that do not serve are asked again; default: 20 seconds.
    pub zookeeper_timeout: Duration,
}

impl Default for ClusterOptions {
    fn default() -> ClusterOptions {
        let MemberCriteria {
            preference,
            member,
            max_lag,
            base: _,
        } = MemberCriteria::default();
        ClusterOptions {
            name: None,
            preference,
            member,
            max_lag,
            zookeeper_timeout: TIMEOUT,
        }
    }
}

impl ClusterOptions {
    /// The request to members: to bring `base` up to date, or for a full backup.
    pub(crate) fn wanted(&self, base: Option<Base>) -> MemberCriteria {
        MemberCriteria {
            preference: self.preference,
            member: self.member,
            max_lag: self.max_lag,
            base,
        }
    }
}
