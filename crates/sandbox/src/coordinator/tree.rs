//! Nodes and sessions: what an ensemble agrees on, here behind one lock. `watches` tells clients of its changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use super::{
    message::{Answer, Connect, Event, Operation, Refused, Stat},
    watches::{ConnectionId, Outbox, Watched, Watches},
    wire,
};

/// A session is taken for dead after what its client asked for, within these.
const SESSION_MIN: Duration = Duration::from_secs(1);
const SESSION_MAX: Duration = Duration::from_secs(40);

/// Most bytes of a path.
const PATH_MAX: usize = 1024;

#[derive(Debug, Clone, Default)]
struct Znode {
    data: Vec<u8>,
    stat: Stat,
    /// Names of its children.
    children: BTreeSet<String>,
    /// How many children it ever had: the next sequence number.
    sequence: i32,
}

#[derive(Debug)]
struct Session {
    /// `None` for one of this process, which never expires.
    timeout: Option<Duration>,
    seen: Instant,
    connection: Option<ConnectionId>,
}

/// The tree of all nodes.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Znode>,
    changes: i64,
    sessions: BTreeMap<i64, Session>,
    last_session: i64,
    watches: Watches,
}

impl Tree {
    /// The root and nothing else.
    pub(super) fn new() -> Tree {
        Tree {
            nodes: BTreeMap::from([(String::new(), Znode::default())]),
            changes: 0,
            sessions: BTreeMap::new(),
            last_session: 0x0100_0000_0000,
            watches: Watches::default(),
        }
    }

    /// The last change.
    pub(super) fn changes(&self) -> i64 {
        self.changes
    }

    /// Number of nodes.
    pub(super) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A session that lives until it is closed or told when to expire.
    pub(super) fn open_session(&mut self) -> i64 {
        self.add_session(None, None)
    }

    /// Lets a session of this process be taken for dead after `timeout` from now, or never; says whether it is there.
    pub(super) fn set_timeout(&mut self, session: i64, timeout: Option<Duration>) -> bool {
        let found = self.sessions.get_mut(&session);
        found
            .map(|session| {
                session.timeout = timeout;
                session.seen = Instant::now();
            })
            .is_some()
    }

    /// Takes a client in: a new session, or the one it had. Session and time limit are 0 if that one has expired.
    pub(super) fn connect(&mut self, connect: Connect, outbox: Outbox) -> (ConnectionId, i64, Duration) {
        let connection = self.watches.number();
        let session = if connect.session == 0 {
            let asked = Duration::from_millis(u64::try_from(connect.timeout).unwrap_or(0));
            self.add_session(Some(asked.clamp(SESSION_MIN, SESSION_MAX)), Some(connection))
        } else {
            connect.session
        };
        let Some(found) = self.sessions.get_mut(&session) else {
            return (connection, 0, Duration::ZERO);
        };
        found.seen = Instant::now();
        found.connection = Some(connection);
        let timeout = found.timeout.unwrap_or(SESSION_MAX);
        self.watches.connect(connection, outbox);
        (connection, session, timeout)
    }

    /// A connection is gone; its session lives on for a while.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.watches.disconnect(connection);
    }

    /// Removes a session and its ephemeral nodes.
    pub(super) fn close_session(&mut self, session: i64) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        let of_session = |(path, node): (&String, &Znode)| (node.stat.owner == session).then(|| path.clone());
        let owned: Vec<String> = self.nodes.iter().filter_map(of_session).collect();
        for path in owned {
            // an ephemeral node has no children, so it can always go
            let _ = self.delete(&path, -1);
        }
    }

    /// Closes the sessions that were not heard of for their time limit.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_dead = |session: &Session| {
            session
                .timeout
                .is_some_and(|limit| now.duration_since(session.seen) > limit)
        };
        let dead: Vec<i64> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_dead(session))
            .map(|(id, _)| *id)
            .collect();
        for session in dead {
            if let Some(connection) = self.sessions.get(&session).and_then(|session| session.connection) {
                self.disconnect(connection);
            }
            self.close_session(session);
        }
    }

    /// Does what a client asks for and puts the reply into its outbox, behind the events that came before it. Says
    /// whether the connection goes on.
    pub(super) fn serve(&mut self, connection: ConnectionId, session: i64, xid: i32, operation: Operation) -> bool {
        let Some(found) = self.sessions.get_mut(&session) else {
            return false;
        };
        found.seen = Instant::now();
        let goes_on = operation != Operation::Close;
        if !goes_on {
            self.close_session(session);
        }
        let answer = self.answer(connection, session, operation);
        self.watches.post(connection, wire::reply(xid, self.changes, &answer)) && goes_on
    }

    fn answer(&mut self, connection: ConnectionId, session: i64, operation: Operation) -> Result<Answer, Refused> {
        match operation {
            Operation::Create {
                path,
                data,
                ephemeral,
                sequential,
                stat,
            } => {
                let owner = if ephemeral { session } else { 0 };
                let path = self.create(&path, data, owner, sequential)?;
                let made = self.stat(&path)?;
                Ok(if stat {
                    Answer::PathAndStat(path, made)
                } else {
                    Answer::Path(path)
                })
            }
            Operation::Delete { path, version } => self.delete(&path, version).map(|()| Answer::Nothing),
            Operation::SetData { path, data, version } => self.set_data(&path, data, version).map(Answer::Stat),
            Operation::Exists { path, watch } => {
                self.watches.add_if(watch, connection, &path, Watched::Node);
                self.stat(&path).map(Answer::Stat)
            }
            Operation::GetData { path, watch } => {
                let (data, stat) = self.get_data(&path)?;
                self.watches.add_if(watch, connection, &path, Watched::Node);
                Ok(Answer::Data(data, stat))
            }
            Operation::GetChildren { path, watch, stat } => {
                let (names, found) = self.children(&path)?;
                self.watches.add_if(watch, connection, &path, Watched::Children);
                Ok(if stat {
                    Answer::ChildrenAndStat(names, found)
                } else {
                    Answer::Children(names)
                })
            }
            Operation::Sync { path } => Ok(Answer::Path(path)),
            Operation::SetWatches {
                seen,
                data,
                exists,
                children,
            } => {
                self.take_up_watches(connection, seen, &data, &exists, &children);
                Ok(Answer::Nothing)
            }
            Operation::Ping | Operation::Auth | Operation::Close => Ok(Answer::Nothing),
            Operation::Other => Err(Refused::Unimplemented),
        }
    }

    /// Makes a node; gives its path, which is longer than `path` if it is a sequential one.
    pub(super) fn create(
        &mut self,
        path: &str,
        data: Vec<u8>,
        owner: i64,
        sequential: bool,
    ) -> Result<String, Refused> {
        let (parent_path, name) = split(path)?;
        if name.is_empty() && !sequential {
            return Err(Refused::BadArguments);
        }
        let change = self.changes + 1;
        let parent = self.nodes.get_mut(parent_path).ok_or(Refused::NoNode)?;
        if parent.stat.owner != 0 {
            return Err(Refused::NoChildrenForEphemerals);
        }
        let name = if sequential {
            format!("{name}{:010}", parent.sequence)
        } else {
            name.to_owned()
        };
        if !parent.children.insert(name.clone()) {
            return Err(Refused::NodeExists);
        }
        // a number is used up by every child, not by the sequential ones alone
        parent.sequence += 1;
        parent.stat.children_version += 1;
        parent.stat.children_modified = change;
        let (parent_path, path) = (parent_path.to_owned(), format!("{parent_path}/{name}"));
        let now = milliseconds();
        let node = Znode {
            stat: Stat {
                created: change,
                modified: change,
                created_at: now,
                modified_at: now,
                owner,
                children_modified: change,
                ..Stat::default()
            },
            data,
            ..Znode::default()
        };
        self.changes = change;
        self.nodes.insert(path.clone(), node);
        self.watches.tell(&path, Watched::Node, Event::Created);
        self.watches
            .tell(&parent_path, Watched::Children, Event::ChildrenChanged);
        Ok(path)
    }

    /// Removes a node without children.
    pub(super) fn delete(&mut self, path: &str, version: i32) -> Result<(), Refused> {
        let (parent_path, name) = split(path)?;
        let node = self.nodes.get(path).ok_or(Refused::NoNode)?;
        node.check(version)?;
        if !node.children.is_empty() {
            return Err(Refused::NotEmpty);
        }
        self.changes += 1;
        self.nodes.remove(path);
        if let Some(parent) = self.nodes.get_mut(parent_path) {
            parent.children.remove(name);
            parent.stat.children_version += 1;
            parent.stat.children_modified = self.changes;
        }
        let parent_path = parent_path.to_owned();
        self.watches.tell(path, Watched::Node, Event::Deleted);
        self.watches.tell(path, Watched::Children, Event::Deleted);
        self.watches
            .tell(&parent_path, Watched::Children, Event::ChildrenChanged);
        Ok(())
    }

    /// Replaces the data of a node.
    pub(super) fn set_data(&mut self, path: &str, data: Vec<u8>, version: i32) -> Result<Stat, Refused> {
        let change = self.changes + 1;
        let node = self.nodes.get_mut(trimmed(path)).ok_or(Refused::NoNode)?;
        node.check(version)?;
        node.data = data;
        node.stat.version += 1;
        node.stat.modified = change;
        node.stat.modified_at = milliseconds();
        self.changes = change;
        self.watches.tell(path, Watched::Node, Event::DataChanged);
        self.stat(path)
    }

    /// Data of a node.
    pub(super) fn get_data(&self, path: &str) -> Result<(Vec<u8>, Stat), Refused> {
        let node = self.nodes.get(trimmed(path)).ok_or(Refused::NoNode)?;
        Ok((node.data.clone(), node.full_stat()))
    }

    /// Names of a node's children.
    pub(super) fn children(&self, path: &str) -> Result<(Vec<String>, Stat), Refused> {
        let node = self.nodes.get(trimmed(path)).ok_or(Refused::NoNode)?;
        Ok((node.children.iter().cloned().collect(), node.full_stat()))
    }

    fn stat(&self, path: &str) -> Result<Stat, Refused> {
        Ok(self.nodes.get(trimmed(path)).ok_or(Refused::NoNode)?.full_stat())
    }

    fn add_session(&mut self, timeout: Option<Duration>, connection: Option<ConnectionId>) -> i64 {
        self.last_session += 1;
        let session = Session {
            timeout,
            seen: Instant::now(),
            connection,
        };
        self.sessions.insert(self.last_session, session);
        self.last_session
    }

    fn take_up_watches(
        &mut self,
        connection: ConnectionId,
        seen: i64,
        data: &[String],
        exists: &[String],
        children: &[String],
    ) {
        let missed = |path: &String, stat: Result<Stat, Refused>, watched: Watched, was_there: bool| {
            let event = match (stat, watched) {
                (Err(_), _) if was_there => Event::Deleted,
                (Ok(_), _) if !was_there => Event::Created,
                (Ok(stat), Watched::Node) if stat.modified > seen => Event::DataChanged,
                (Ok(stat), Watched::Children) if stat.children_modified > seen => Event::ChildrenChanged,
                _ => return None,
            };
            Some(wire::event(event, path))
        };
        let all = [
            (data, Watched::Node, true),
            (exists, Watched::Node, false),
            (children, Watched::Children, true),
        ];
        for (paths, watched, was_there) in all {
            for path in paths {
                match missed(path, self.stat(path), watched, was_there) {
                    Some(event) => drop(self.watches.post(connection, event)),
                    None => self.watches.add_if(true, connection, path, watched),
                }
            }
        }
    }
}

impl Znode {
    fn check(&self, version: i32) -> Result<(), Refused> {
        if version == -1 || version == self.stat.version {
            Ok(())
        } else {
            Err(Refused::BadVersion)
        }
    }

    fn full_stat(&self) -> Stat {
        Stat {
            data_length: i32::try_from(self.data.len()).unwrap_or(i32::MAX),
            children: i32::try_from(self.children.len()).unwrap_or(i32::MAX),
            ..self.stat
        }
    }
}

/// Path of the parent, and the node's own name.
fn split(path: &str) -> Result<(&str, &str), Refused> {
    if !path.starts_with('/') || path.len() > PATH_MAX || path.contains("//") || path.contains('\0') {
        return Err(Refused::BadArguments);
    }
    path.rsplit_once('/').ok_or(Refused::BadArguments)
}

/// The root is kept under the empty path.
fn trimmed(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

fn milliseconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
