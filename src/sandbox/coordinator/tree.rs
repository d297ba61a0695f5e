//! Nodes, sessions and watches: what an ensemble agrees on, here behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;

use super::wire::{self, Answer, Event, Operation, Refused, Stat};

/// A session is taken for dead after what its client asked for, within these.
const SESSION_MIN: Duration = Duration::from_secs(1);
const SESSION_MAX: Duration = Duration::from_secs(40);

/// Most bytes of a path.
const PATH_MAX: usize = 1024;

/// Messages for a client, in the order in which they go out; one that reads too slowly is cut off.
pub(super) type Outbox = mpsc::Sender<Vec<u8>>;

/// Number of a connection; watches belong to one.
pub(super) type ConnectionId = u64;

/// Which watches a change of a node sets off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Watched {
    /// The node itself, also one that does not exist yet.
    Node,
    /// Its list of children.
    Children,
}

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
    watches: BTreeMap<(String, Watched), BTreeSet<ConnectionId>>,
    outboxes: BTreeMap<ConnectionId, Outbox>,
    last_connection: ConnectionId,
}

impl Tree {
    /// The root and nothing else.
    pub(super) fn new() -> Tree {
        Tree {
            nodes: BTreeMap::from([(String::new(), Znode::default())]),
            changes: 0,
            sessions: BTreeMap::new(),
            last_session: 0x0100_0000_0000,
            watches: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            last_connection: 0,
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
    pub(super) fn connect(&mut self, connect: wire::Connect, outbox: Outbox) -> (ConnectionId, i64, Duration) {
        self.last_connection += 1;
        let connection = self.last_connection;
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
        self.outboxes.insert(connection, outbox);
        (connection, session, timeout)
    }

    /// A connection is gone; its session lives on for a while.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.outboxes.remove(&connection);
        self.watches.retain(|_, watchers| {
            watchers.remove(&connection);
            !watchers.is_empty()
        });
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
        self.post(connection, wire::reply(xid, self.changes, &answer)) && goes_on
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
                self.watch_if(watch, connection, &path, Watched::Node);
                self.stat(&path).map(Answer::Stat)
            }
            Operation::GetData { path, watch } => {
                let (data, stat) = self.get_data(&path)?;
                self.watch_if(watch, connection, &path, Watched::Node);
                Ok(Answer::Data(data, stat))
            }
            Operation::GetChildren { path, watch, stat } => {
                let (names, found) = self.children(&path)?;
                self.watch_if(watch, connection, &path, Watched::Children);
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
        self.tell(&path, Watched::Node, Event::Created);
        self.tell(&parent_path, Watched::Children, Event::ChildrenChanged);
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
        self.tell(path, Watched::Node, Event::Deleted);
        self.tell(path, Watched::Children, Event::Deleted);
        self.tell(&parent_path, Watched::Children, Event::ChildrenChanged);
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
        self.tell(path, Watched::Node, Event::DataChanged);
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

    fn watch_if(&mut self, wanted: bool, connection: ConnectionId, path: &str, watched: Watched) {
        if wanted {
            self.watches
                .entry((path.to_owned(), watched))
                .or_default()
                .insert(connection);
        }
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
                    Some(event) => drop(self.post(connection, event)),
                    None => self.watch_if(true, connection, path, watched),
                }
            }
        }
    }

    /// Sets off the watches of a node; each serves once.
    fn tell(&mut self, path: &str, watched: Watched, event: Event) {
        let path = if path.is_empty() { "/" } else { path };
        for connection in self.watches.remove(&(path.to_owned(), watched)).unwrap_or_default() {
            self.post(connection, wire::event(event, path));
        }
    }

    /// Says whether the client takes it.
    fn post(&mut self, connection: ConnectionId, message: Vec<u8>) -> bool {
        let taken = self
            .outboxes
            .get(&connection)
            .is_some_and(|outbox| outbox.try_send(message).is_ok());
        if !taken {
            self.disconnect(connection);
        }
        taken
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_with_client() -> (Tree, ConnectionId, i64, mpsc::Receiver<Vec<u8>>) {
        let mut tree = Tree::new();
        let (outbox, inbox) = mpsc::channel(16);
        let connect = wire::Connect {
            timeout: 5000,
            session: 0,
            knows_read_only: false,
        };
        let (connection, session, timeout) = tree.connect(connect, outbox);
        assert_eq!(timeout, Duration::from_secs(5));
        (tree, connection, session, inbox)
    }

    #[test]
    fn children_are_numbered_and_ephemeral_ones_go_with_their_session() {
        let mut tree = Tree::new();
        let session = tree.open_session();
        tree.create("/a", Vec::new(), 0, false).unwrap();
        assert_eq!(tree.create("/a/x_", vec![1], session, true).unwrap(), "/a/x_0000000000");
        tree.create("/a/y", Vec::new(), 0, false).unwrap();
        assert_eq!(tree.create("/a/x_", vec![1], session, true).unwrap(), "/a/x_0000000002");
        assert_eq!(tree.create("/a/y", Vec::new(), 0, false), Err(Refused::NodeExists));
        assert_eq!(tree.create("/b/c", Vec::new(), 0, false), Err(Refused::NoNode));
        assert_eq!(
            tree.create("/a/x_0000000000/z", Vec::new(), 0, false),
            Err(Refused::NoChildrenForEphemerals)
        );
        assert_eq!(tree.delete("/a", -1), Err(Refused::NotEmpty));
        tree.close_session(session);
        assert_eq!(tree.children("/a").unwrap().0, ["y"]);
        assert_eq!(tree.children("/").unwrap().0, ["a"]);
    }

    #[test]
    fn data_are_set_only_at_the_version_that_is_expected() {
        let mut tree = Tree::new();
        tree.create("/a", vec![1], 0, false).unwrap();
        let stat = tree.set_data("/a", vec![2, 3], 0).unwrap();
        assert_eq!((stat.version, stat.data_length), (1, 2));
        assert_eq!(tree.set_data("/a", vec![4], 0), Err(Refused::BadVersion));
        assert_eq!(tree.set_data("/a", vec![4], -1).unwrap().version, 2);
        assert_eq!(tree.set_data("/b", vec![4], -1), Err(Refused::NoNode));
    }

    #[test]
    fn a_watch_is_told_once_and_before_the_next_reply() {
        let (mut tree, connection, session, mut inbox) = tree_with_client();
        let exists = Operation::Exists {
            path: "/a".to_owned(),
            watch: true,
        };
        assert!(tree.serve(connection, session, 1, exists));
        inbox.try_recv().unwrap();
        tree.create("/a", Vec::new(), 0, false).unwrap();
        tree.set_data("/a", vec![1], -1).unwrap();
        assert!(tree.serve(connection, session, 2, Operation::Ping));
        assert_eq!(inbox.try_recv().unwrap(), wire::event(Event::Created, "/a"));
        assert_eq!(inbox.try_recv().unwrap(), wire::reply(2, 2, &Ok(Answer::Nothing)));
        inbox.try_recv().unwrap_err();
    }

    #[test]
    fn watches_taken_up_again_tell_what_was_missed() {
        let (mut tree, connection, session, mut inbox) = tree_with_client();
        tree.create("/a", Vec::new(), 0, false).unwrap();
        let seen = tree.changes();
        tree.create("/b", Vec::new(), 0, false).unwrap();
        let watches = Operation::SetWatches {
            seen,
            data: vec!["/a".to_owned(), "/gone".to_owned()],
            exists: vec!["/b".to_owned()],
            children: vec!["/".to_owned()],
        };
        assert!(tree.serve(connection, session, -8, watches));
        for (event, path) in [
            (Event::Deleted, "/gone"),
            (Event::Created, "/b"),
            (Event::ChildrenChanged, "/"),
        ] {
            assert_eq!(inbox.try_recv().unwrap(), wire::event(event, path));
        }
        inbox.try_recv().unwrap();
        tree.set_data("/a", vec![1], -1).unwrap();
        assert_eq!(inbox.try_recv().unwrap(), wire::event(Event::DataChanged, "/a"));
    }

    #[test]
    fn silent_sessions_expire_and_cannot_be_taken_up() {
        let (mut tree, _, session, _inbox) = tree_with_client();
        tree.create("/a", Vec::new(), session, false).unwrap();
        tree.expire(Instant::now() + Duration::from_secs(4));
        assert!(tree.get_data("/a").is_ok());
        tree.expire(Instant::now() + Duration::from_secs(6));
        assert_eq!(tree.get_data("/a"), Err(Refused::NoNode));
        let again = wire::Connect {
            timeout: 5000,
            session,
            knows_read_only: false,
        };
        let (_, found, timeout) = tree.connect(again, mpsc::channel(1).0);
        assert_eq!((found, timeout), (0, Duration::ZERO));
    }
}
