//! The one error type at the public border: what kind it is decides exit code, hint and whether another member is tried.

use std::{error, fmt};

/// The closed set of ways in which a run can end badly; exit codes are the interface of a backup tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// None of the others.
    Failed,
    /// A consistency check could not run to its end.
    NotChecked,
    /// The source cannot be reached, or went away.
    Unreachable,
    /// Another run, or Neo4j, holds the target.
    TargetInUse,
    /// Coordinators unreachable, no such cluster, no usable member.
    NoMember,
    /// The target is not this source's to continue or to replace.
    NotOurs,
    /// Only a full backup can go on from here.
    FullNeeded,
    /// The peer speaks something that is not understood.
    Protocol,
    /// The server reported an error of its own.
    Server,
    /// A time limit passed.
    TimeLimit,
    /// The disk is full.
    NoSpace,
    /// The disk failed.
    Disk,
    /// `verify` found damage.
    Damaged,
    /// `verify`: Neo4j opened the directory since the backup.
    Changed,
    /// The command line is wrong.
    Usage,
    /// The surroundings are wrong: a mount point as target, an unreadable configuration.
    Configuration,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl ErrorKind {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Failed => 1,
            ErrorKind::NotChecked => 2,
            ErrorKind::Unreachable => 10,
            ErrorKind::TargetInUse => 11,
            ErrorKind::NoMember => 12,
            ErrorKind::NotOurs => 13,
            ErrorKind::FullNeeded => 14,
            ErrorKind::Protocol => 15,
            ErrorKind::Server => 16,
            ErrorKind::TimeLimit => 17,
            ErrorKind::NoSpace => 18,
            ErrorKind::Disk => 19,
            ErrorKind::Damaged => 20,
            ErrorKind::Changed => 21,
            ErrorKind::Usage => 64,
            ErrorKind::Configuration => 78,
            ErrorKind::Interrupted => 130,
            ErrorKind::Terminated => 143,
        }
    }

    /// The word for this kind in the JSON report.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Failed => "failed",
            ErrorKind::NotChecked => "not-checked",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::TargetInUse => "target-in-use",
            ErrorKind::NoMember => "no-member",
            ErrorKind::NotOurs => "not-ours",
            ErrorKind::FullNeeded => "full-needed",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Server => "server",
            ErrorKind::TimeLimit => "time-limit",
            ErrorKind::NoSpace => "no-space",
            ErrorKind::Disk => "disk",
            ErrorKind::Damaged => "damaged",
            ErrorKind::Changed => "changed",
            ErrorKind::Usage => "usage",
            ErrorKind::Configuration => "configuration",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Terminated => "terminated",
        }
    }

    /// Whether another member, or the same one a little later, may do better.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            ErrorKind::Unreachable | ErrorKind::Server | ErrorKind::Protocol | ErrorKind::TimeLimit
        )
    }
}

/// What went wrong, in the words of the module where it happened, with what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    cause: Box<dyn error::Error + Send + Sync>,
    hint: Option<String>,
    /// What earlier tries of the same ended with.
    earlier: Vec<String>,
}

impl Error {
    /// An error of `kind` caused by `cause`.
    pub fn new(kind: ErrorKind, cause: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
        Error {
            kind,
            cause: cause.into(),
            hint: None,
            earlier: Vec::new(),
        }
    }

    /// The same error with advice on what to do next: one sentence, lower case, no full stop.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The same error as the last one of several tries; the others ended with these.
    #[must_use]
    pub fn after(mut self, earlier: Vec<String>) -> Error {
        self.earlier = earlier;
        self
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened, where it is told as a `T`: the error of the module that found it.
    pub fn cause<T: error::Error + 'static>(&self) -> Option<&T> {
        self.cause.downcast_ref()
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        if self.earlier.is_empty() {
            return Ok(());
        }
        let (times, earlier) = (self.earlier.len().saturating_add(1), self.earlier.join("; "));
        write!(f, " (tried {times} times, before: {earlier})")
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.source()
    }
}
