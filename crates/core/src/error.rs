//! The error type of the library. Its kind decides the exit code; kind, scope and condition decide whether another member
//! is asked.

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
    /// No `ZooKeeper` server can be used.
    NoZooKeeper,
    /// The `ZooKeeper` servers do not let us read.
    NotAuthorized,
    /// The `ZooKeeper` servers know no such cluster.
    UnknownCluster,
    /// No member of the cluster can be used.
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
    /// The system denies this user a file or directory.
    PermissionDenied,
    /// `verify` found damage.
    Damaged,
    /// `verify`: Neo4j opened the directory since the backup.
    Changed,
    /// `restore`: the backups do not reach the requested moment.
    NoSuchMoment,
    /// There is no repository, or it cannot be opened with this password.
    NoRepository,
    /// `export`: the target cannot hold everything, or a record is damaged and the export is strict.
    Unexportable,
    /// The command line is wrong.
    Usage,
    /// The surroundings are wrong: a mount point as target, an unreadable configuration.
    Configuration,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// An exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// The code.
    pub code: u8,
    /// The word for it in JSON reports, where one kind of error has it.
    pub name: &'static str,
    /// What it means: a phrase for tables.
    pub meaning: &'static str,
}

/// The table of exit codes: a constant for each, and [`EXIT_STATUSES`] with all of them in the order of the codes.
macro_rules! exit_statuses {
    ($($constant:ident = $code:literal, $name:literal, $meaning:literal;)*) => {
        $(pub(crate) const $constant: ExitStatus = ExitStatus { code: $code, name: $name, meaning: $meaning };)*

        /// Every exit code, lowest first: of errors, of [`crate::outcome::Verdict`] and of [`crate::verify::VerifyVerdict`].
        pub const EXIT_STATUSES: &[ExitStatus] = &[$($constant),*];
    };
}

exit_statuses! {
    SUCCESS = 0, "success", "success; a backup is complete and durable";
    FAILED = 1, "failed", "failed for a reason that no other code covers; diff: the graphs differ";
    NOT_CHECKED = 2, "not-checked", "backup or restore complete, but the consistency check could not run";
    INCONSISTENT = 3, "inconsistent", "backup or restore complete, but inconsistent or without some of its indexes";
    SOURCE_DEMOTED = 4, "source-demoted", "backup complete, but its source lost the master role during the backup";
    NOT_ARCHIVED = 5, "not-archived", "backup complete, but it could not be archived in the repository";
    UNREACHABLE = 10, "unreachable", "source unreachable";
    TARGET_IN_USE = 11, "target-in-use", "target in use by another run or by Neo4j";
    NO_MEMBER = 12, "no-member", "no ZooKeeper server reachable, unknown cluster, or no eligible member";
    NOT_OURS = 13, "not-ours", "the target holds another database or a different history";
    FULL_NEEDED = 14, "full-needed", "a full backup is needed";
    PROTOCOL = 15, "protocol", "protocol or version not supported";
    SERVER = 16, "server", "the server reported an error";
    TIME_LIMIT = 17, "time-limit", "time limit exceeded";
    NO_SPACE = 18, "no-space", "no space left on the device, or a file size limit was reached";
    DISK = 19, "disk", "disk error";
    DAMAGED = 20, "damaged", "verify, restore: the backup is damaged";
    CHANGED = 21, "changed", "verify, restore: no damage, but changed by Neo4j or by an interrupted update";
    NO_SUCH_MOMENT = 22, "no-such-moment", "restore: the requested moment cannot be reached";
    STALE = 23, "stale", "status: no good backup, an old one, or one whose last run failed";
    UNEXPORTABLE = 24, "unexportable", "export: the target cannot hold every value, or a record is damaged (-strict)";
    NO_REPOSITORY = 25, "no-repository", "there is no such repository, or the password is wrong";
    USAGE = 64, "usage", "usage error";
    PERMISSION_DENIED = 77, "permission-denied", "permission denied";
    CONFIGURATION = 78, "configuration", "configuration error";
    INTERRUPTED = 130, "interrupted", "interrupted (SIGINT)";
    TERMINATED = 143, "terminated", "terminated (SIGTERM)";
}

impl ErrorKind {
    /// The exit code of a program that ends with an error of this kind.
    pub const fn exit_status(self) -> ExitStatus {
        match self {
            ErrorKind::Failed => FAILED,
            ErrorKind::NotChecked => NOT_CHECKED,
            ErrorKind::Unreachable => UNREACHABLE,
            ErrorKind::TargetInUse => TARGET_IN_USE,
            ErrorKind::NoZooKeeper | ErrorKind::NotAuthorized | ErrorKind::UnknownCluster | ErrorKind::NoMember => {
                NO_MEMBER
            }
            ErrorKind::NotOurs => NOT_OURS,
            ErrorKind::FullNeeded => FULL_NEEDED,
            ErrorKind::Protocol => PROTOCOL,
            ErrorKind::Server => SERVER,
            ErrorKind::TimeLimit => TIME_LIMIT,
            ErrorKind::NoSpace => NO_SPACE,
            ErrorKind::Disk => DISK,
            ErrorKind::PermissionDenied => PERMISSION_DENIED,
            ErrorKind::Damaged => DAMAGED,
            ErrorKind::Changed => CHANGED,
            ErrorKind::NoSuchMoment => NO_SUCH_MOMENT,
            ErrorKind::NoRepository => NO_REPOSITORY,
            ErrorKind::Unexportable => UNEXPORTABLE,
            ErrorKind::Usage => USAGE,
            ErrorKind::Configuration => CONFIGURATION,
            ErrorKind::Interrupted => INTERRUPTED,
            ErrorKind::Terminated => TERMINATED,
        }
    }

    /// The process exit code.
    pub const fn exit_code(self) -> u8 {
        self.exit_status().code
    }

    /// The word for this kind in the JSON report: that of its exit code, unless kinds share one.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::NoZooKeeper => "no-zookeeper",
            ErrorKind::NotAuthorized => "not-authorized",
            ErrorKind::UnknownCluster => "unknown-cluster",
            kind => kind.exit_status().name,
        }
    }
}

/// Whom an error concerns. Failover asks another member where it concerns one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorScope {
    /// The member that was asked: another one may give the backup.
    Member,
    /// The target directory or its disk: no member can change that.
    Target,
    /// The run itself.
    Run,
}

impl ErrorScope {
    /// Whom an error of this kind concerns if it does not say.
    const fn of(kind: ErrorKind) -> ErrorScope {
        match kind {
            ErrorKind::Unreachable
            | ErrorKind::Server
            | ErrorKind::Protocol
            | ErrorKind::TimeLimit
            | ErrorKind::NoZooKeeper
            | ErrorKind::NotAuthorized
            | ErrorKind::UnknownCluster
            | ErrorKind::NoMember
            | ErrorKind::NotOurs => ErrorScope::Member,
            ErrorKind::FullNeeded
            | ErrorKind::TargetInUse
            | ErrorKind::NoSpace
            | ErrorKind::Disk
            | ErrorKind::PermissionDenied
            | ErrorKind::Damaged
            | ErrorKind::Changed => ErrorScope::Target,
            ErrorKind::Failed
            | ErrorKind::NotChecked
            | ErrorKind::NoSuchMoment
            | ErrorKind::NoRepository
            | ErrorKind::Usage
            | ErrorKind::Configuration
            | ErrorKind::Interrupted
            | ErrorKind::Unexportable
            | ErrorKind::Terminated => ErrorScope::Run,
        }
    }
}

/// What is known beyond the kind, where it decides whether and when a server is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing listens at the server's address.
    ConnectionRefused,
    /// The connection broke within a response.
    ConnectionBroken,
    /// The server closed the connection within a response, or without one.
    ConnectionClosed,
    /// The server failed within its response for want of transactions.
    ResponseFailed,
    /// The server will have the transactions that are missing once something is committed through it.
    NotYetWritten,
    /// The server's last transaction is older than the target's.
    BehindTarget,
    /// The server lacks too many transactions of its master.
    BehindMaster,
    /// The server serves another database than the target holds.
    OtherDatabase,
}

/// A setting that a hint is about. The library names none of them, since each caller has its own name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// The source.
    Source,
    /// The target directory.
    Target,
    /// [`crate::Mode::Incremental`].
    Incremental,
    /// [`crate::Backup::overwrite`].
    Overwrite,
    /// [`crate::Backup::allow_shared_directory`], [`crate::Restore::allow_shared_directory`].
    AllowShared,
    /// [`crate::Backup::require_history`].
    RequireHistory,
    /// [`crate::Backup::time_limit`].
    TimeLimit,
    /// [`crate::Backup::silence_timeout`].
    SilenceTimeout,
    /// [`crate::Backup::min_rate`].
    MinRate,
    /// [`crate::ClusterOptions::name`].
    ClusterName,
    /// [`crate::ClusterOptions::zookeeper_timeout`].
    ZooKeeperTimeout,
    /// [`crate::ClusterOptions::max_lag`].
    MaxLag,
    /// [`crate::members()`].
    Members,
    /// Restoring while members of the cluster are registered.
    RegisteredMembers,
    /// [`crate::adopt()`].
    Adopt,
    /// [`crate::Restore::replace`].
    Replace,
    /// [`crate::repository::Repository::create`].
    CreateRepository,
    /// [`crate::repository::Password`].
    RepositoryPassword,
    /// [`crate::repository::Repository::generations`].
    Generations,
    /// [`crate::Serve::release`].
    Release,
    /// [`crate::Serve::listen`].
    Listen,
    /// [`crate::Export::strict`].
    Strict,
    /// [`crate::Export::format`].
    ExportFormat,
}

/// What went wrong, whom it concerns, and what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    scope: ErrorScope,
    condition: Option<Condition>,
    cause: Box<dyn error::Error + Send + Sync>,
    advice: Advice,
    /// What earlier tries of the same ended with.
    earlier: Vec<String>,
}

/// What to do about an error.
#[derive(Debug, Clone, Default)]
pub(crate) struct Advice {
    hint: Option<String>,
    settings: &'static [Setting],
}

impl Error {
    /// An error of `kind` caused by `cause`; it concerns whom errors of this kind usually concern.
    pub fn new(kind: ErrorKind, cause: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
        Error {
            kind,
            scope: ErrorScope::of(kind),
            condition: None,
            cause: cause.into(),
            advice: Advice::default(),
            earlier: Vec::new(),
        }
    }

    /// The same error, which concerns `scope`.
    #[must_use]
    pub(crate) fn with_scope(self, scope: ErrorScope) -> Error {
        Error { scope, ..self }
    }

    /// The same error under this condition.
    #[must_use]
    pub(crate) fn with_condition(self, condition: Condition) -> Error {
        Error {
            condition: Some(condition),
            ..self
        }
    }

    /// The same error with advice on what to do next: one sentence, lower case, no full stop.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.advice.hint = Some(hint.into());
        self
    }

    /// The same error, whose hint is about these settings.
    #[must_use]
    pub(crate) fn see(mut self, settings: &'static [Setting]) -> Error {
        self.advice.settings = settings;
        self
    }

    /// The same error with the advice of another one.
    #[must_use]
    pub(crate) fn with_advice(self, advice: Advice) -> Error {
        Error { advice, ..self }
    }

    /// The same error as the last one of several tries; the others ended with these.
    #[must_use]
    pub(crate) fn after(mut self, earlier: Vec<String>) -> Error {
        self.earlier = earlier;
        self
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whom it concerns.
    pub fn scope(&self) -> ErrorScope {
        self.scope
    }

    /// What is known beyond the kind.
    pub fn condition(&self) -> Option<Condition> {
        self.condition
    }

    /// What to do next, if there is something to do.
    pub fn hint(&self) -> Option<&str> {
        self.advice.hint.as_deref()
    }

    /// The settings that the hint is about.
    pub fn settings(&self) -> &'static [Setting] {
        self.advice.settings
    }

    /// Hint and settings, for an error that this one explains.
    pub(crate) fn advice(&self) -> Advice {
        self.advice.clone()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_and_names_are_unique_and_in_order() {
        for pair in EXIT_STATUSES.windows(2) {
            assert!(pair[0].code < pair[1].code, "{pair:?}");
        }
        let mut names: Vec<_> = EXIT_STATUSES.iter().map(|status| status.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EXIT_STATUSES.len());
    }
}
