//! What the znodes of one cluster say together (`docs/formats/zookeeper-discovery.md` §5, §6, §10 step 4): who is
//! registered, how far each member's copy of the graph is, and who the master is.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::{collections::BTreeMap, fmt};

use super::znodes::{self, MemberName, MemberRecord, RootName, ServerRecord, ZnodeError};
use neo4j_format::ids::{MemberId, StoreId, TxId};

/// The nodes of one cluster as they were read; not one byte of them is judged yet.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Children of the root whose names are those of members, with their data.
    pub members: Vec<Node>,
    /// Children of [`znodes::SERVERS`], with their data.
    pub servers: Vec<Node>,
    /// Names of the children of [`znodes::MARKS_OF_1_8`].
    pub marks_of_1_8: Vec<String>,
    /// [`znodes::MASTER_NOTIFY`].
    pub notify: Option<Node>,
    /// [`znodes::MASTER_REBOUND`].
    pub rebound: Option<Node>,
    /// [`znodes::FLUSH_REQUESTED`].
    pub flush: Option<Node>,
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The last part of its path.
    pub name: String,
    /// Its data.
    pub data: Vec<u8>,
    /// How often the data were set since the node was created.
    pub version: i32,
    /// The change of the whole ensemble that last set them: a later one has a higher number.
    pub changed: i64,
    /// The session that it goes away with; 0 for none.
    pub owner: i64,
}

/// A cluster at one moment, as its coordinators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The name that leads to it; `None` in 1.3 – 1.5.0, where only one cluster can use an ensemble.
    pub name: Option<String>,
    /// The store id that its root is named after. The store version is known where a name leads to the cluster.
    pub store_id: StoreId,
    /// Who leads.
    pub master: Master,
    /// Who is registered, by id.
    pub members: Vec<Member>,
}

/// Who leads a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Master {
    /// The member that last took the role, or that the others last elected, and is still registered.
    Announced(MemberId),
    /// Nobody has said so, but the rule by which members elect names this one: an idle cluster of 1.3 – 1.5.0 stays
    /// like that after its master has died.
    Elected(MemberId),
    /// There is none, or nobody can tell.
    Unknown,
}

impl Master {
    /// The member, however it is known.
    pub fn id(self) -> Option<MemberId> {
        match self {
            Master::Announced(id) | Master::Elected(id) => Some(id),
            Master::Unknown => None,
        }
    }
}

/// What a member does in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Master,
    /// It follows.
    Slave,
    /// No master is known that would tell slaves from it.
    Unknown,
}

impl Role {
    /// The word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Slave => "slave",
            Role::Unknown => "unknown",
        }
    }
}

/// A member that has registered, at least in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number in the cluster.
    pub id: MemberId,
    /// Of its present registration.
    pub sequence: Option<i32>,
    /// How complete that is.
    pub registration: Registration,
    /// Which releases register like this.
    pub layout: Layout,
    /// Its address and the port of its backup service; an error where they cannot be made out.
    pub server: Option<Result<Service, ZnodeError>>,
    /// How far its copy of the graph is.
    pub last: Last,
    /// The master that committed its last transaction, where that is known.
    pub committed_by: Option<MemberId>,
}

/// Where a member can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `ha.server`, for other members.
    pub address: String,
    /// The host in it, and in 1.3 perhaps a second way to name it.
    pub hosts: Vec<String>,
    /// The port of the backup service; `None` if it is off.
    pub port: Option<u16>,
}

/// How complete a registration is. A member registers its address first, and all goes away with its session, but not
/// in one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Both nodes, from one session.
    Complete,
    /// Both nodes, from two sessions.
    Moving,
    /// An address only.
    Starting,
    /// No address.
    Leaving,
}

impl Registration {
    /// The word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            Registration::Complete => "complete",
            Registration::Moving => "moving",
            Registration::Starting => "starting",
            Registration::Leaving => "leaving",
        }
    }
}

/// Which releases register in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 1.3.
    V1_3,
    /// 1.4 – 1.7.
    V1_4,
    /// 1.8, and 1.9 while it replaces 1.8 in a running cluster: last transactions are published on request only.
    V1_8,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::V1_3 => "Neo4j 1.3",
            Layout::V1_4 => "Neo4j 1.4 - 1.7",
            Layout::V1_8 => "Neo4j 1.8",
        })
    }
}

/// How far a member's copy of the graph is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Last {
    /// Its last transaction; a moment old, never ahead of the truth.
    Live(TxId),
    /// Members of 1.8 do not say.
    Unpublished,
    /// It has no member node, or one that is not understood.
    Unknown(Option<ZnodeError>),
}

impl Last {
    /// The last transaction, where it is known.
    pub fn known(&self) -> Option<TxId> {
        match self {
            Last::Live(last) => Some(*last),
            _ => None,
        }
    }
}

impl Cluster {
    /// What the nodes below `root` say; what is not understood costs one member's part, never the whole.
    pub fn assemble(name: Option<String>, root: RootName, store_version: Option<i64>, reading: &Reading) -> Cluster {
        let members = members(reading);
        let master = match announced(reading) {
            Some(id) => Master::Announced(id),
            None => elected(&members).map_or(Master::Unknown, Master::Elected),
        };
        Cluster {
            name,
            store_id: StoreId {
                creation_time: root.creation_time,
                random: root.random,
                store_version,
            },
            master,
            members,
        }
    }

    /// How the cluster is called in messages: by its name, or by its root where it has none.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.root().to_string())
    }

    /// The name of the node that holds it.
    pub fn root(&self) -> RootName {
        RootName::from(self.store_id)
    }

    /// The database that all members serve. `None` in 1.3, where members that were emptied go on below the root of the
    /// old database with a new one (`docs/formats/zookeeper-discovery.md` §3.1); in later releases they take its store id
    /// over, or do not start.
    pub fn database(&self) -> Option<StoreId> {
        let is_of_1_3 = self.members.iter().any(|member| member.layout == Layout::V1_3);
        (!is_of_1_3).then_some(self.store_id)
    }

    /// What this member does.
    pub fn role(&self, id: MemberId) -> Role {
        match self.master.id() {
            None => Role::Unknown,
            Some(master) if master == id => Role::Master,
            Some(_) => Role::Slave,
        }
    }

    /// The member of this id.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

impl Member {
    /// Where it can be reached, if that is known.
    pub fn service(&self) -> Option<&Service> {
        self.server.as_ref().and_then(|server| server.as_ref().ok())
    }
}

fn members(reading: &Reading) -> Vec<Member> {
    let newest = newest_registrations(&reading.members);
    let servers: BTreeMap<MemberId, &Node> = reading
        .servers
        .iter()
        .filter_map(|node| Some((znodes::member_in(&node.name)?, node)))
        .collect();
    let flushing = reading.flush.as_ref().and_then(|node| znodes::number(&node.data).ok());
    let flushing = flushing.is_some_and(|wanted_by| wanted_by != znodes::NO_FLUSH);
    let mut ids: Vec<MemberId> = newest.keys().chain(servers.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let member = |id: MemberId| {
        let (node, server) = (newest.get(&id), servers.get(&id));
        let record = node.map(|(_, node)| MemberRecord::decode(&node.data));
        let is_1_8 = reading
            .marks_of_1_8
            .iter()
            .any(|name| znodes::member_in(name) == Some(id));
        let layout = match &record {
            Some(Ok(MemberRecord { master: None, .. })) => Layout::V1_3,
            _ if is_1_8 => Layout::V1_8,
            _ => Layout::V1_4,
        };
        let was_set = node.is_some_and(|(_, node)| node.version > 0);
        Member {
            id,
            sequence: node.map(|(sequence, _)| *sequence),
            registration: match (node, server) {
                (Some((_, node)), Some(server)) if node.owner == server.owner => Registration::Complete,
                (Some(_), Some(_)) => Registration::Moving,
                (None, _) => Registration::Starting,
                (Some(_), None) => Registration::Leaving,
            },
            layout,
            server: server.map(|node| service(&node.data)),
            committed_by: match &record {
                Some(Ok(record)) => record.master.filter(|master| *master >= 0).map(MemberId),
                _ => None,
            },
            last: last(record, layout, flushing && was_set),
        }
    };
    ids.into_iter().map(member).collect()
}

/// Of each member the node with the highest sequence: a session that has died may leave an older one for a while.
fn newest_registrations(nodes: &[Node]) -> BTreeMap<MemberId, (i32, &Node)> {
    let mut newest: BTreeMap<MemberId, (i32, &Node)> = BTreeMap::new();
    for node in nodes {
        if let Some(name) = MemberName::parse(&node.name) {
            let known = newest.entry(name.id).or_insert((name.sequence, node));
            if name.sequence > known.0 {
                *known = (name.sequence, node);
            }
        }
    }
    newest
}

fn service(data: &[u8]) -> Result<Service, ZnodeError> {
    let record = ServerRecord::decode(data)?;
    Ok(Service {
        hosts: record.hosts()?,
        port: record.port()?,
        address: record.address,
    })
}

/// A member of 1.8 writes its last transaction when it registers and then only while a flush is wanted, so a value says
/// something only if it was set again and the flush still lasts (§5).
fn last(record: Option<Result<MemberRecord, ZnodeError>>, layout: Layout, flushed: bool) -> Last {
    match record {
        None => Last::Unknown(None),
        Some(Err(error)) => Last::Unknown(Some(error)),
        Some(Ok(_)) if layout == Layout::V1_8 && !flushed => Last::Unpublished,
        Some(Ok(record)) if record.last >= 1 => Last::Live(TxId(record.last)),
        Some(Ok(_)) => Last::Unpublished,
    }
}

/// Of the two ids, those of registered members count; where they differ, the one that was written later (§6.2).
fn announced(reading: &Reading) -> Option<MemberId> {
    let is_registered = |id: MemberId| {
        let mut names = reading.servers.iter().map(|node| &node.name);
        names.any(|name| znodes::member_in(name) == Some(id))
    };
    [&reading.rebound, &reading.notify]
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node.changed, MemberId(znodes::number(&node.data).ok()?))))
        .filter(|(_, id)| is_registered(*id))
        .max_by_key(|(changed, _)| *changed)
        .map(|(_, id)| id)
}

/// The rule by which members elect (§6.1), on values that are live: the most up-to-date, of equal ones the one that
/// committed as master, or else the one that registered first.
fn elected(members: &[Member]) -> Option<MemberId> {
    let eligible = members.iter().filter_map(|member| {
        let _ = member.service()?;
        Some((member, member.last.known()?, member.sequence?))
    });
    let best = eligible.max_by_key(|(member, last, sequence)| {
        let was_master = member.committed_by == Some(member.id);
        (*last, was_master, std::cmp::Reverse(*sequence))
    });
    best.map(|(member, ..)| member.id)
}
