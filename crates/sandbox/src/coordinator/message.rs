//! What clients of a coordinator ask for and what they are told, as values; `wire` has their bytes.

/// A session: what the client shows to take it up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connect {
    /// Milliseconds after which it wants to be taken for dead.
    pub(super) timeout: i32,
    /// 0 for a new one.
    pub(super) session: i64,
    /// Whether it knows read-only servers; the answer is one byte longer then.
    pub(super) knows_read_only: bool,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Create {
        path: String,
        data: Vec<u8>,
        ephemeral: bool,
        sequential: bool,
        /// Whether the node's stat is wanted too.
        stat: bool,
    },
    Delete {
        path: String,
        version: i32,
    },
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    SetData {
        path: String,
        data: Vec<u8>,
        version: i32,
    },
    GetChildren {
        path: String,
        watch: bool,
        stat: bool,
    },
    Sync {
        path: String,
    },
    /// After a lost connection: what was watched, and the last change that the client has seen.
    SetWatches {
        seen: i64,
        data: Vec<String>,
        exists: Vec<String>,
        children: Vec<String>,
    },
    Ping,
    Auth,
    Close,
    /// One that is not spoken here.
    Other,
}

/// Number, time and versions of a node's changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stat {
    /// Change that created it.
    pub created: i64,
    /// Change that last set its data.
    pub modified: i64,
    /// Milliseconds since 1970 at which it was created.
    pub created_at: i64,
    /// Milliseconds since 1970 at which its data were last set.
    pub modified_at: i64,
    /// How often its data were set.
    pub version: i32,
    /// How often a child came or went.
    pub children_version: i32,
    /// Session it goes away with, 0 for none.
    pub owner: i64,
    /// Bytes of its data.
    pub data_length: i32,
    /// Number of children.
    pub children: i32,
    /// Change that last added or removed a child.
    pub children_modified: i64,
}

/// Why a request is not fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such node, or no parent for it.
    #[error("no such node")]
    NoNode,
    /// There is one already.
    #[error("the node exists")]
    NodeExists,
    /// Its data were set meanwhile.
    #[error("another version")]
    BadVersion,
    /// Ephemeral nodes have no children.
    #[error("an ephemeral node can have no children")]
    NoChildrenForEphemerals,
    /// It has children.
    #[error("the node has children")]
    NotEmpty,
    /// A path that no node can have.
    #[error("not a path")]
    BadArguments,
    /// The session has expired or was closed.
    #[error("the session has expired")]
    SessionExpired,
    /// Not spoken here.
    #[error("not implemented")]
    Unimplemented,
}

impl Refused {
    /// The number that `ZooKeeper` has for it.
    pub(super) fn code(self) -> i32 {
        match self {
            Refused::Unimplemented => -6,
            Refused::BadArguments => -8,
            Refused::NoNode => -101,
            Refused::BadVersion => -103,
            Refused::NoChildrenForEphemerals => -108,
            Refused::NodeExists => -110,
            Refused::NotEmpty => -111,
            Refused::SessionExpired => -112,
        }
    }
}

/// What happened to a watched node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Created,
    Deleted,
    DataChanged,
    ChildrenChanged,
}

/// What a fulfilled request answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Path(String),
    PathAndStat(String, Stat),
    Stat(Stat),
    Data(Vec<u8>, Stat),
    Children(Vec<String>),
    ChildrenAndStat(Vec<String>, Stat),
}
