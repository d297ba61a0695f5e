//! How a member of a cluster shows itself in the coordinators (`docs/formats/zookeeper-discovery.md` §4, §12).

use std::time::Duration;

use super::coordinator::{Refused, Session};
use neo4j_backup_core::source::discovery::znodes::{self, MemberName, MemberRecord, NO_FLUSH, RootName, ServerRecord};
use neo4j_format::{
    ids::{MemberId, StoreId, TxId},
    store::{StoreFormat, header::CURRENT_VERSION},
};

/// What stands in `master-notify` and `master-rebound` before anybody was master.
const NOBODY: i32 = -1;

/// What a member of 1.8 publishes while nobody wants to know.
const UNPUBLISHED: MemberRecord = MemberRecord {
    last: -2,
    master: Some(-2),
};

/// Releases that register alike and have the same store format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// 1.3
    Neo4j13,
    /// 1.4
    Neo4j14,
    /// 1.5.0
    Neo4j15,
    /// 1.5.1 – 1.7
    Neo4j16,
    /// 1.8
    Neo4j18,
}

impl Generation {
    /// All of them, oldest first.
    pub const ALL: [Generation; 5] = [
        Generation::Neo4j13,
        Generation::Neo4j14,
        Generation::Neo4j15,
        Generation::Neo4j16,
        Generation::Neo4j18,
    ];

    /// A release of it.
    pub fn release(self) -> &'static str {
        match self {
            Generation::Neo4j13 => "1.3",
            Generation::Neo4j14 => "1.4.2",
            Generation::Neo4j15 => "1.5",
            Generation::Neo4j16 => "1.6.1",
            Generation::Neo4j18 => "1.8",
        }
    }

    /// The generation of a release such as `1.7.2`; `None` for 1.9, whose clusters have no coordinators, and others.
    pub fn of_release(release: &str) -> Option<Generation> {
        let mut numbers = release.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().map_or(Some(0), Result::ok);
        match (next()?, next()?, next()?) {
            (1, 3, _) => Some(Generation::Neo4j13),
            (1, 4, _) => Some(Generation::Neo4j14),
            (1, 5, 0) => Some(Generation::Neo4j15),
            (1, 5..=7, _) => Some(Generation::Neo4j16),
            (1, 8, _) => Some(Generation::Neo4j18),
            _ => None,
        }
    }

    /// Its store format.
    pub fn format(self) -> StoreFormat {
        if self < Generation::Neo4j15 {
            StoreFormat::Legacy
        } else {
            StoreFormat::Current
        }
    }

    /// Whether `/<cluster name>` leads to the cluster; before, the one root there was is it.
    fn has_cluster_node(self) -> bool {
        self >= Generation::Neo4j16
    }
}

/// What a member says of itself.
#[derive(Debug, Clone)]
pub(super) struct Announcement {
    pub(super) id: MemberId,
    /// `ha.server`.
    pub(super) address: String,
    pub(super) backup_port: u16,
}

/// The nodes of one member.
#[derive(Debug)]
pub(super) struct Registration {
    session: Session,
    generation: Generation,
    root: String,
    id: MemberId,
    /// Path of the member's own node.
    node: String,
    /// What stands in it.
    published: MemberRecord,
}

impl Registration {
    /// Registers in the order of a real member; `last` and `master` are those of its store.
    pub(super) fn register(
        session: Session,
        generation: Generation,
        cluster: &str,
        store: StoreId,
        announcement: &Announcement,
        last: TxId,
        master: i32,
    ) -> Result<Registration, Refused> {
        let root_name = RootName {
            creation_time: store.creation_time,
            random: store.random,
        };
        let (root, id) = (format!("/{root_name}"), announcement.id);
        if generation.has_cluster_node() {
            let numbers = [store.creation_time, store.random, CURRENT_VERSION];
            let data: Vec<u8> = numbers.into_iter().flat_map(i64::to_be_bytes).collect();
            session.ensure(&format!("/{cluster}"), &data)?;
        }
        session.ensure(&root, &[])?;
        for child in session.children(&root)? {
            if MemberName::parse(&child).is_some_and(|name| name.id == id) {
                session.delete(&format!("{root}/{child}"))?;
            }
        }
        let servers = format!("{root}/{}", znodes::SERVERS);
        session.ensure(&servers, &[])?;
        if generation == Generation::Neo4j18 {
            let marks = format!("{root}/{}", znodes::MARKS_OF_1_8);
            session.ensure(&marks, &[])?;
            replace(&session, &format!("{marks}/{id}"), &[])?;
        }
        let record = ServerRecord {
            backup_port: announcement.backup_port.into(),
            address: announcement.address.clone(),
        };
        let (server, data) = (format!("{servers}/{id}"), record.encode().unwrap_or_default());
        replace(&session, &server, &data)?;
        session.set(&server, &data)?;
        let published = record_of(generation, last, master);
        let node = session.create_numbered(&format!("{root}/{id}_"), &published.encode())?;
        for name in [znodes::MASTER_NOTIFY, znodes::MASTER_REBOUND] {
            session.ensure(&format!("{root}/{name}"), &NOBODY.to_be_bytes())?;
        }
        Ok(Registration {
            session,
            generation,
            root,
            id,
            node,
            published,
        })
    }

    /// The number that the coordinators gave it: of two members with equal transactions the lower one is elected.
    pub(super) fn sequence(&self) -> i32 {
        let name = self.node.rsplit('/').next().and_then(MemberName::parse);
        name.map_or(i32::MAX, |name| name.sequence)
    }

    /// Tells where the member's store is, as far as its release does so: always up to 1.7; in 1.8 while somebody wants to
    /// know.
    pub(super) fn publish(&mut self, last: TxId, master: i32) -> Result<(), Refused> {
        let now = if self.generation == Generation::Neo4j18 && !self.is_flush_requested() {
            UNPUBLISHED
        } else {
            record_of(self.generation, last, master)
        };
        if now != self.published {
            self.session.set(&self.node, &now.encode())?;
            self.published = now;
        }
        Ok(())
    }

    /// The member has taken the master's role.
    pub(super) fn lead(&self) -> Result<(), Refused> {
        self.tell(znodes::MASTER_REBOUND, self.id.0)
    }

    /// The member follows another one.
    pub(super) fn follow(&self, master: MemberId) -> Result<(), Refused> {
        self.tell(znodes::MASTER_NOTIFY, master.0)
    }

    /// Nothing is heard of the member any more: its nodes go after `timeout`.
    pub(super) fn fall_silent(&self, timeout: Duration) {
        self.session.expire_after(timeout);
    }

    /// The member is heard of again; says whether its nodes are still there.
    pub(super) fn speak_again(&self) -> bool {
        self.session.revive()
    }

    /// All nodes are gone at once, as after a clean shutdown.
    pub(super) fn close(self) {
        self.session.close();
    }

    /// All nodes go after `timeout`, as when the process was killed.
    pub(super) fn abandon(self, timeout: Duration) {
        self.session.expire_after(timeout);
    }

    fn is_flush_requested(&self) -> bool {
        let wanted = self.session.get(&format!("{}/{}", self.root, znodes::FLUSH_REQUESTED));
        wanted.is_ok_and(|data| znodes::number(&data).is_ok_and(|number| number != NO_FLUSH))
    }

    /// Equal values are not written again, as from 1.5.1 on.
    fn tell(&self, name: &str, member: i32) -> Result<(), Refused> {
        let (path, data) = (format!("{}/{name}", self.root), member.to_be_bytes());
        if self.session.get(&path)? == data {
            return Ok(());
        }
        self.session.set(&path, &data)
    }
}

fn record_of(generation: Generation, last: TxId, master: i32) -> MemberRecord {
    MemberRecord {
        last: last.0,
        master: (generation != Generation::Neo4j13).then_some(master),
    }
}

/// Creates an ephemeral node; replaces one that an older session left.
fn replace(session: &Session, path: &str, data: &[u8]) -> Result<(), Refused> {
    match session.create_ephemeral(path, data) {
        Err(Refused::NodeExists) => {
            session.delete(path)?;
            session.create_ephemeral(path, data)
        }
        done => done,
    }
}
