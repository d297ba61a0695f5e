//! Which members of a cluster can give the backup that is wanted, and which of them is asked first
//! (`docs/formats/zookeeper-discovery.md` §10 steps 5 and 6). Pure: what was seen of the cluster and of its members
//! comes in, candidates and the reason for each member that is none go out.
//!
//! | preference | order |
//! |---|---|
//! | master | master, then slaves, most up-to-date first |
//! | slave | slaves near the most up-to-date member, then those of 1.8, which do not say, then the master, then the rest |
//! | any | most up-to-date first, slaves before an equal master, then the master, then the rest |
//!
//! Equal ones are told apart by who answered sooner (any), who registered earlier and who has the lower id. Members that
//! are just registering come last in each.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use super::cluster::{Cluster, Last, Layout, Member, Registration, Role};
use crate::source::uri::HostPort;
use neo4j_format::{
    ids::{MemberId, StoreId, TxId},
    wire::Dialect,
};

/// Who is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// The master, as the original does.
    #[default]
    Master,
    /// A slave, which takes load off the master.
    Slave,
    /// The most up-to-date, then the quickest.
    Any,
}

impl Preference {
    /// All of them with their names.
    pub const ALL: [(&str, Preference); 3] = [
        ("master", Preference::Master),
        ("slave", Preference::Slave),
        ("any", Preference::Any),
    ];

    /// The preference of this name.
    pub fn from_name(name: &str) -> Option<Preference> {
        let found = Preference::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, preference)| preference)
    }
}

/// What is wanted of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberCriteria {
    /// Who is asked first.
    pub preference: Preference,
    /// Only this one may be asked.
    pub member: Option<MemberId>,
    /// How many transactions a slave may lack; where slaves are but a second choice, that is seen when one serves.
    pub max_lag: u64,
    /// The backup that is to be brought up to date.
    pub base: Option<Base>,
}

impl Default for MemberCriteria {
    fn default() -> MemberCriteria {
        MemberCriteria {
            preference: Preference::default(),
            member: None,
            max_lag: 1000,
            base: None,
        }
    }
}

/// A backup that is to be brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Whose backup it is.
    pub store_id: StoreId,
    /// Its last transaction of the graph.
    pub last: TxId,
}

/// What a member's backup service said when it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Alive {
        /// Where; the host is the one of [`super::Service::hosts`] that took the connection.
        at: HostPort,
        /// What it speaks.
        dialect: Dialect,
        /// Whose copy it serves, where it said so.
        store_id: Option<StoreId>,
        /// Its last transaction, where it was asked for.
        last: Option<TxId>,
        /// How long it took to answer.
        took: Duration,
    },
    /// It is not.
    Dead(Dead),
}

/// Why a backup service does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// In the words of the attempts to reach it.
    pub cause: String,
    /// Whether nothing listens at one of its addresses.
    pub is_refused: bool,
}

/// What the backup services said, for members that were tried.
pub type Answers = BTreeMap<MemberId, Answer>;

/// A member that can give the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which one it is.
    pub id: MemberId,
    /// What it does.
    pub role: Role,
    /// Its backup service.
    pub at: HostPort,
    /// Its last transaction, where it is known.
    pub last: Option<TxId>,
    /// What it speaks, if it was tried.
    pub dialect: Option<Dialect>,
    /// Whose copy it serves, if it said so.
    pub store_id: Option<StoreId>,
    /// Whether it is just registering, so that its service may be about to restart.
    pub settled: bool,
}

/// A member that is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which one it is.
    pub id: MemberId,
    /// What it does.
    pub role: Role,
    /// Why it is not asked.
    pub reason: Reason,
}

/// Why a member is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Another member is wanted.
    #[error("another member was asked for")]
    NotWanted,
    /// It has no address.
    #[error("it is leaving or has not registered its address yet")]
    NoAddress,
    /// Its address is not understood.
    #[error("its registration is not understood: {0}")]
    Damaged(String),
    /// Its backup service is off.
    #[error("its backup service is off (setting enable_online_backup)")]
    BackupOff,
    /// Its backup service does not answer.
    #[error("{}", .0.cause)]
    Dead(Dead),
    /// It serves another database.
    #[error("it serves another database: store id {found}, the cluster's is {expected}")]
    OtherStore {
        /// What it serves.
        found: StoreId,
        /// What was expected.
        expected: StoreId,
    },
    /// It lacks what the backup already has.
    #[error("it is behind the backup: its last transaction is {last}, the backup's is {base}")]
    Behind {
        /// Its last transaction.
        last: TxId,
        /// The backup's last transaction.
        base: TxId,
    },
    /// It lacks too much of what others have.
    #[error("its last transaction is {last} and another member's is {highest}: more than {max_lag} behind")]
    Lags {
        /// Its last transaction.
        last: TxId,
        /// The last transaction of the most up-to-date member.
        highest: TxId,
        /// The limit.
        max_lag: u64,
    },
}

/// Who is asked, in this order, and who is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranking {
    /// The database that they have to serve; `None` where only the master knows and was not asked.
    pub database: Option<StoreId>,
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// By id.
    pub passed_over: Vec<PassedOver>,
}

/// Ranks the members. One that was not tried is taken at its registration's word.
pub fn rank(cluster: &Cluster, answers: &Answers, wanted: &MemberCriteria) -> Ranking {
    let last = |member: &Member| match answers.get(&member.id) {
        Some(Answer::Alive { last: Some(last), .. }) => Some(*last),
        _ => member.last.known(),
    };
    let highest = cluster.members.iter().filter_map(last).max();
    let database = cluster.database().or_else(|| served_by_master(cluster, answers));
    let mut ranked = Vec::new();
    let mut passed_over = Vec::new();
    for member in &cluster.members {
        let role = cluster.role(member.id);
        let answer = answers.get(&member.id);
        match judge(cluster, database, member, answer, wanted, last(member), highest) {
            Ok(candidate) => ranked.push((key(cluster, member, answer, wanted, &candidate), candidate)),
            Err(reason) => passed_over.push(PassedOver {
                id: member.id,
                role,
                reason,
            }),
        }
    }
    ranked.sort_by_key(|(key, _)| *key);
    Ranking {
        database,
        candidates: ranked.into_iter().map(|(_, candidate)| candidate).collect(),
        passed_over,
    }
}

/// The member as a candidate, or why it is none.
fn judge(
    cluster: &Cluster,
    database: Option<StoreId>,
    member: &Member,
    answer: Option<&Answer>,
    wanted: &MemberCriteria,
    last: Option<TxId>,
    highest: Option<TxId>,
) -> Result<Candidate, Reason> {
    if wanted.member.is_some_and(|id| id != member.id) {
        return Err(Reason::NotWanted);
    }
    let service = match &member.server {
        None => return Err(Reason::NoAddress),
        Some(Err(error)) => return Err(Reason::Damaged(error.to_string())),
        Some(Ok(service)) => service,
    };
    let port = service.port.ok_or(Reason::BackupOff)?;
    let host = service.hosts.first().ok_or(Reason::NoAddress)?.clone();
    let mut candidate = Candidate {
        id: member.id,
        role: cluster.role(member.id),
        at: HostPort { host, port },
        last,
        dialect: None,
        store_id: None,
        settled: member.registration == Registration::Complete,
    };
    match answer {
        None => {}
        Some(Answer::Dead(dead)) => return Err(Reason::Dead(dead.clone())),
        Some(Answer::Alive {
            at, dialect, store_id, ..
        }) => {
            candidate.at = at.clone();
            candidate.dialect = Some(*dialect);
            candidate.store_id = *store_id;
        }
    }
    if let (Some(found), Some(expected)) = (candidate.store_id, database)
        && !found.is_same_database(expected)
    {
        return Err(Reason::OtherStore { found, expected });
    }
    if let (Some(base), Some(last)) = (wanted.base, last)
        && last < base.last
    {
        return Err(Reason::Behind { last, base: base.last });
    }
    if let (Some(last), Some(highest)) = (last, highest)
        && wanted.preference != Preference::Master
        && candidate.role != Role::Master
        && lag(last, highest) > wanted.max_lag
    {
        return Err(Reason::Lags {
            last,
            highest,
            max_lag: wanted.max_lag,
        });
    }
    Ok(candidate)
}

/// Whose copy the master serves, if it was asked.
fn served_by_master(cluster: &Cluster, answers: &Answers) -> Option<StoreId> {
    match answers.get(&cluster.master.id()?)? {
        Answer::Alive { store_id, .. } => *store_id,
        Answer::Dead(_) => None,
    }
}

fn lag(last: TxId, highest: TxId) -> u64 {
    highest.0.abs_diff(last.0.min(highest.0))
}

/// The group of a candidate, lowest first, and its place within the group.
type Key = (bool, u8, Reverse<Option<TxId>>, bool, Duration, i32, MemberId);

fn key(
    cluster: &Cluster,
    member: &Member,
    answer: Option<&Answer>,
    wanted: &MemberCriteria,
    candidate: &Candidate,
) -> Key {
    let is_master = candidate.role == Role::Master;
    let (is_known, is_hidden) = (candidate.last.is_some(), member.last == Last::Unpublished);
    let preference = if wanted.base.is_some() && hides_pulled_transactions(member) && cluster.master.id().is_some() {
        Preference::Master
    } else {
        wanted.preference
    };
    let group = match preference {
        Preference::Master => u8::from(!is_master),
        Preference::Slave if is_master => 2,
        Preference::Slave | Preference::Any if is_known => 0,
        Preference::Slave if is_hidden => 1,
        Preference::Slave => 3,
        Preference::Any if is_master => 1,
        Preference::Any => 2,
    };
    let took = match answer {
        _ if preference != Preference::Any => Duration::ZERO,
        Some(Answer::Alive { took, .. }) => *took,
        _ => Duration::MAX,
    };
    (
        !candidate.settled,
        group,
        Reverse(candidate.last),
        is_master,
        took,
        member.sequence.unwrap_or(i32::MAX),
        member.id,
    )
}

/// Slaves of 1.4 – 1.6 cannot send what they pulled and have not written yet, and 1.3 lacks logs from before it copied
/// the store; 1.7 registers like 1.6 (§7.7). Their masters are asked first for what a backup lacks.
fn hides_pulled_transactions(member: &Member) -> bool {
    member.layout != Layout::V1_8
}
