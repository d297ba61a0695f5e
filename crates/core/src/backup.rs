//! One backup: which kind, from which member, and what happens when that fails.
//!
//! ```text
//! Backup::run ─▶ full or incremental? ─▶ single://  one server, asked again when its connection breaks
//!      ▲                             └─▶ ha://      members in order of preference (source::failover)
//!      └── fallback: a full backup ◀── an incremental one cannot continue
//! ```

use std::{
    error, fmt,
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, Serializer};
use tokio::runtime::Handle;

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    cluster_options::ClusterOptions,
    consistency::Checks,
    context::{BackupContext, now},
    error::Condition,
    full::{Announcement, Full, full},
    incremental::{Incremental, incremental},
    outcome::{BackupOutcome, Verdict},
    progress::{Phase, Progress, Total},
    receive::{
        database::{ask_store_id, require_database},
        proof::Unproven,
    },
    replace::Replace,
    replay::apply::Growth,
    repository::{Archived, KeepPolicy, Repository},
    retry::{self, Policy, Retry},
    run_id::RunId,
    runtime,
    source::{
        client::{MIN_RATE, Member, Settings},
        confirm::Authority,
        discovery::{self, Base, Candidate, PassedOver, Role, Search},
        failover::{Attempt, Cluster, Failover, Served},
        uri::Source,
    },
    target::{archived_logs::KeepLogs, owners::SharedDirectories, staging::Target},
};
use neo4j_format::{
    DirHandle,
    ids::MemberId,
    store::{Header, StoreFile, neo4j_lock::Neo4jLock},
};

/// How often a server is asked again after its connection broke. A server that is gone refuses the connection at once.
const BROKEN: Policy = Policy {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(1),
    total: Duration::from_secs(10),
    tries: 3,
};

/// Limit for connecting to each address of a member's host: other members can be asked.
const CONNECT_TO_MEMBER: Duration = Duration::from_secs(2);

/// Limit for connecting to the master after the backup has arrived.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// Limit for another look at the cluster while members are asked again: the next one follows soon.
const LOOK_AGAIN: Duration = Duration::from_secs(8);

/// Which backup to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All store files.
    Full,
    /// Only the transactions since the last backup.
    Incremental,
    /// Full if the target holds no database or an incremental one cannot continue it, incremental otherwise.
    Auto,
}

impl Mode {
    /// The word for it in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Incremental => "incremental",
            Mode::Auto => "auto",
        }
    }
}

/// A backup to take: of a server or a cluster, into a directory.
///
/// Without further options it is a full backup, which is checked and replaces nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    source: Source,
    source_name: Option<String>,
    target: PathBuf,
    mode: Mode,
    replace: Replace,
    fallback_full: bool,
    unproven: Unproven,
    checks: Checks,
    keep: KeepLogs,
    growth: Growth,
    time_limit: Option<Duration>,
    silence_timeout: Option<Duration>,
    max_rate: Option<NonZeroU64>,
    directory_mode: Option<u32>,
    shared: SharedDirectories,
    min_rate: u64,
    cluster: ClusterOptions,
    repository: Option<Repository>,
    keep_generations: Option<KeepPolicy>,
}

impl Backup {
    /// A full backup of `source` into the directory `target`.
    pub fn new(source: Source, target: impl Into<PathBuf>) -> Backup {
        Backup {
            source,
            source_name: None,
            target: target.into(),
            mode: Mode::Full,
            replace: Replace::Never,
            fallback_full: false,
            unproven: Unproven::Reported,
            checks: Checks::Usual,
            keep: KeepLogs::All,
            growth: Growth::Usual,
            time_limit: None,
            silence_timeout: None,
            max_rate: None,
            directory_mode: None,
            shared: SharedDirectories::Refused,
            min_rate: MIN_RATE,
            cluster: ClusterOptions::default(),
            repository: None,
            keep_generations: None,
        }
    }

    /// Which backup to take; default: [`Mode::Full`].
    #[must_use]
    pub fn mode(self, mode: Mode) -> Backup {
        Backup { mode, ..self }
    }

    /// Whether a full backup may replace an older backup of the same database, in one step and only when it is complete.
    #[must_use]
    pub fn overwrite(self, overwrite: bool) -> Backup {
        let replace = if overwrite {
            Replace::SameDatabase
        } else {
            Replace::Never
        };
        Backup { replace, ..self }
    }

    /// Whether to take a full backup, replacing the old one, if an incremental one cannot continue. [`Mode::Auto`] does so
    /// by itself.
    #[must_use]
    pub fn fallback_full(self, fallback_full: bool) -> Backup {
        Backup { fallback_full, ..self }
    }

    /// Whether an incremental backup is refused if nothing proves that the source still has the target's history.
    #[must_use]
    pub fn require_history(self, require: bool) -> Backup {
        let unproven = if require { Unproven::Refused } else { Unproven::Reported };
        Backup { unproven, ..self }
    }

    /// How much of the finished backup is checked for consistency; default: [`Checks::Usual`].
    #[must_use]
    pub fn checks(self, checks: Checks) -> Backup {
        Backup { checks, ..self }
    }

    /// Which archived logs an incremental backup keeps; default: all.
    #[must_use]
    pub fn keep_logs(self, keep: KeepLogs) -> Backup {
        Backup { keep, ..self }
    }

    /// By how much transactions may make a store file grow.
    #[must_use]
    pub fn max_growth(self, growth: Growth) -> Backup {
        Backup { growth, ..self }
    }

    /// Limit on the time of the whole run, which then ends with [`ErrorKind::TimeLimit`].
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Backup {
        Backup {
            time_limit: Some(limit),
            ..self
        }
    }

    /// How long a server may send nothing; default: 60 seconds, longer for old releases.
    #[must_use]
    pub fn silence_timeout(self, limit: Duration) -> Backup {
        Backup {
            silence_timeout: Some(limit),
            ..self
        }
    }

    /// The most bytes received per second.
    #[must_use]
    pub fn max_rate(self, bytes: NonZeroU64) -> Backup {
        Backup {
            max_rate: Some(bytes),
            ..self
        }
    }

    /// The permission bits of a directory that a full backup creates, such as `0o750`; its files get those to read and
    /// write. Default: 0700 and 0600, narrowed by the umask. A directory that exists keeps its own.
    #[must_use]
    pub fn directory_mode(self, mode: u32) -> Backup {
        Backup {
            directory_mode: Some(mode & 0o777),
            ..self
        }
    }

    /// Whether root works in a directory in which a user can rename files who is neither root nor the owner of the backup;
    /// by default it refuses.
    #[must_use]
    pub fn allow_shared_directory(self, allow: bool) -> Backup {
        let shared = if allow {
            SharedDirectories::Allowed
        } else {
            SharedDirectories::Refused
        };
        Backup { shared, ..self }
    }

    /// The least bytes per second that a server may send, on the average over the time that it may send nothing; 0 is no
    /// limit; default: 1024.
    #[must_use]
    pub fn min_rate(self, bytes: u64) -> Backup {
        Backup {
            min_rate: bytes,
            ..self
        }
    }

    /// Which cluster of `ha://`, and which of its members.
    #[must_use]
    pub fn cluster(self, cluster: ClusterOptions) -> Backup {
        Backup { cluster, ..self }
    }

    /// Where the finished backup is archived as a new generation. If that fails, the backup is as good as without, and
    /// [`BackupOutcome::archive`] says why.
    #[must_use]
    pub fn repository(self, repository: Repository) -> Backup {
        Backup {
            repository: Some(repository),
            ..self
        }
    }

    /// Which generations stay in the repository once the backup was archived; default: all.
    #[must_use]
    pub fn keep_generations(self, policy: KeepPolicy) -> Backup {
        Backup {
            keep_generations: Some(policy),
            ..self
        }
    }

    /// How the manifest names the source; default: its URI.
    #[must_use]
    pub fn source_name(self, name: impl Into<String>) -> Backup {
        Backup {
            source_name: Some(name.into()),
            ..self
        }
    }

    /// Takes the backup. When it returns `Ok`, the backup is in place and durable.
    ///
    /// Blocks the thread until then. The run has a tokio runtime of its own; a caller that is inside a runtime may call
    /// this too, best by `spawn_blocking`.
    ///
    /// # Errors
    /// There is no new backup; the target is what it was before, or holds a newer prefix of the source's history, and the
    /// next run needs no clean-up.
    pub fn run(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<BackupOutcome, BackupFailure> {
        let cancel = match self.time_limit {
            Some(limit) => cancel.limited(limit),
            None => cancel.clone(),
        };
        let taken = cancel.check().and_then(|()| RunId::random()).and_then(|run_id| {
            runtime::block_on(|| {
                let run = BackupRun {
                    backup: self,
                    progress,
                    cancel: &cancel,
                    run_id: run_id.to_string(),
                };
                let mut taken = run.take_or_fall_back();
                if let Ok(outcome) = &mut taken {
                    run.archive(outcome);
                }
                Ok(taken)
            })
        });
        taken.unwrap_or_else(|error| Err(error.into()))
    }
}

/// What the report says of the members of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AskedMembers {
    /// Who gave the backup.
    pub served: Option<Served>,
    /// Who was asked before and failed, in this order.
    pub failed: Vec<Attempt>,
    /// Who was not asked.
    #[serde(rename = "passed_over", serialize_with = "with_reasons")]
    pub skipped: Vec<PassedOver>,
}

fn with_reasons<S: Serializer>(members: &[PassedOver], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row {
        id: i32,
        role: &'static str,
        reason: String,
    }
    serializer.collect_seq(members.iter().map(|member| Row {
        id: member.id.0,
        role: member.role.name(),
        reason: member.reason.to_string(),
    }))
}

/// Why there is no backup, and which members of the cluster were asked.
#[derive(Debug)]
#[non_exhaustive]
pub struct BackupFailure {
    /// Why.
    pub error: Error,
    /// Who was asked; `None` if the source is a single server or no run began.
    pub members: Option<Box<AskedMembers>>,
}

impl fmt::Display for BackupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl error::Error for BackupFailure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Error> for BackupFailure {
    fn from(error: Error) -> BackupFailure {
        BackupFailure { error, members: None }
    }
}

impl From<BackupFailure> for Error {
    fn from(failure: BackupFailure) -> Error {
        failure.error
    }
}

/// The pipeline that a member is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pipeline {
    Full(Replace),
    Incremental,
}

/// One run. Everything happens inside the runtime's context, on a thread that may block.
struct BackupRun<'a> {
    backup: &'a Backup,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    run_id: String,
}

impl BackupRun<'_> {
    /// Adds the backup to the repository, under a lock, so that no other run changes it meanwhile.
    fn archive(&self, outcome: &mut BackupOutcome) {
        let Some(repository) = &self.backup.repository else {
            return;
        };
        self.progress.phase(Phase::Archiving);
        let source = self.source_name();
        let locked = Target::lock(&outcome.target, &self.run_id, now(), self.backup.shared);
        let archived = locked.and_then(|target| {
            let archived = target.open().and_then(|dir| {
                let _lock = Neo4jLock::take(&dir)?;
                Ok(repository.archive(&dir, &source, outcome.verdict, self.cancel))
            });
            target.release(&Ok(()));
            archived
        });
        let archived = archived.unwrap_or_else(|error| Archived::failed(&error));
        if let Archived::Failed { reason, .. } = &archived {
            self.progress
                .warning(&format!("the backup is complete, but was not archived: {reason}"));
        }
        if let (Archived::New { .. } | Archived::Unchanged, Some(policy)) = (&archived, self.backup.keep_generations) {
            match repository.forget(policy, false, self.cancel) {
                Ok(done) => {
                    let removed = done.generations.iter().filter(|one| one.keep.is_empty());
                    outcome.forgotten = removed.count() as u64;
                }
                Err(error) => self
                    .progress
                    .warning(&format!("old generations were not removed: {error}")),
            }
        }
        outcome.archive = Some(archived);
    }

    /// The source, as the manifest names it.
    fn source_name(&self) -> String {
        let name = self.backup.source_name.clone();
        name.unwrap_or_else(|| self.backup.source.to_string())
    }

    /// Takes the backup, and a full one if an incremental one cannot continue and that is asked for.
    fn take_or_fall_back(&self) -> Result<BackupOutcome, BackupFailure> {
        let pipeline = self.pipeline();
        match self.take(pipeline, &Announcement::default()) {
            Err(failure) if pipeline == Pipeline::Incremental && self.falls_back(&failure.error) => {
                let announcement = Announcement::of(format!("{}; a full backup is taken instead", failure.error));
                match self.take(Pipeline::Full(Replace::SameDatabase), &announcement) {
                    Err(refused) if announcement.is_waiting() => Err(BackupFailure {
                        error: not_even_full(&failure.error, &refused.error),
                        ..refused
                    }),
                    done => done,
                }
            }
            done => done,
        }
    }

    fn pipeline(&self) -> Pipeline {
        let has_database = self.backup.target.join(StoreFile::Neostore.name()).exists();
        match self.backup.mode {
            Mode::Full => Pipeline::Full(self.backup.replace),
            Mode::Auto if !has_database => Pipeline::Full(self.backup.replace),
            Mode::Auto | Mode::Incremental => Pipeline::Incremental,
        }
    }

    /// Whether a full backup of the same database can succeed where an incremental one failed.
    fn falls_back(&self, error: &Error) -> bool {
        // no full backup replaces another database, or one that has more
        let is_lasting = matches!(
            error.condition(),
            Some(Condition::OtherDatabase | Condition::BehindTarget)
        );
        (self.backup.fallback_full || self.backup.mode == Mode::Auto)
            && !is_lasting
            && matches!(
                error.kind(),
                // a transaction that cannot be applied is part of the files of a full backup
                ErrorKind::FullNeeded | ErrorKind::NotOurs | ErrorKind::Protocol
            )
    }

    fn take(&self, pipeline: Pipeline, announcement: &Announcement) -> Result<BackupOutcome, BackupFailure> {
        self.progress.phase(Phase::Connecting);
        match &self.backup.source {
            Source::Single { host, port } => Ok(self.ask_server(host, *port, pipeline, announcement)?),
            Source::Ha { coordinators, chroot } => {
                let search = Search {
                    coordinators: coordinators.clone(),
                    chroot: chroot.clone(),
                    cluster: self.backup.cluster.name.clone(),
                    timeout: self.backup.cluster.zookeeper_timeout,
                };
                self.ask_cluster(&search, pipeline, announcement)
            }
        }
    }

    fn ask_server(
        &self,
        host: &str,
        port: u16,
        pipeline: Pipeline,
        announcement: &Announcement,
    ) -> Result<BackupOutcome, Error> {
        let member = self.find(host, port, Settings::default().connect_timeout)?;
        Retry::new(BROKEN, retry::seed(&self.run_id), self.cancel).run(
            || self.transfer(pipeline, announcement, &member, None, self.progress),
            |error| {
                matches!(
                    error.condition(),
                    Some(Condition::ConnectionBroken | Condition::ConnectionClosed)
                )
            },
            |error| self.progress.warning(&format!("{error}; trying again")),
        )
    }

    fn ask_cluster(
        &self,
        search: &Search,
        pipeline: Pipeline,
        announcement: &Announcement,
    ) -> Result<BackupOutcome, BackupFailure> {
        let base = match pipeline {
            Pipeline::Full(_) => None,
            Pipeline::Incremental => base(&self.backup.target),
        };
        let wanted = self.backup.cluster.wanted(base);
        let cluster = Cluster {
            run_id: &self.run_id,
            base,
            clock: self.cancel,
            progress: self.progress,
            cancel: self.cancel,
        };
        let mut search_again = search.clone();
        let look = || {
            let found = Handle::current().block_on(discovery::look(&search_again, &wanted, self.cancel));
            search_again.timeout = search.timeout.min(LOOK_AGAIN);
            found
        };
        let ask = |found: &Candidate, expected, progress: &dyn Progress| {
            let member = self.find(&found.at.host, found.at.port, CONNECT_TO_MEMBER)?;
            if let (Pipeline::Full(_), Some(expected)) = (pipeline, expected) {
                require_database(&member, expected)?;
            }
            if let (Some(base), Some(last)) = (base, found.last) {
                let missing = u64::try_from(last.0.saturating_sub(base.last.0)).unwrap_or_default();
                progress.expected(Total::Transactions(missing));
            }
            let find = || self.other_master(search, found.id, &member);
            let authority = (found.role != Role::Master).then_some(Authority {
                find: &find,
                max_lag: wanted.max_lag,
            });
            self.transfer(pipeline, announcement, &member, authority, progress)
        };
        let mut taken = cluster.back_up(look, ask);
        self.judge_source(search, &mut taken);
        let members = Some(AskedMembers {
            served: taken.served,
            failed: taken.failures,
            skipped: taken.passed_over,
        });
        match taken.result {
            Ok(outcome) => Ok(BackupOutcome { members, ..outcome }),
            Err(error) => Err(BackupFailure {
                error,
                members: members.map(Box::new),
            }),
        }
    }

    /// The master of the cluster as it is now; `None` if it is the member that gave the backup. Whoever is at the address
    /// where the master is registered has to serve the database of `source`: a stranger knows nothing of its history.
    fn other_master(&self, search: &Search, served: MemberId, source: &Member) -> Result<Option<Member>, Error> {
        let cluster = self.look_at_last(search)?;
        let Some(master) = cluster.master.id() else {
            return Err(Error::new(ErrorKind::NoMember, "there is no master at the moment"));
        };
        if master == served {
            return Ok(None);
        }
        let service = cluster.member(master).and_then(discovery::Member::service);
        let address = service.and_then(|service| Some((service.hosts.first()?, service.port?)));
        let Some((host, port)) = address else {
            let text = format!("member {master}, the master, has no backup service");
            return Err(Error::new(ErrorKind::NoMember, text));
        };
        let settings = Settings {
            connect_timeout: CONNECT_TO_MEMBER,
            silence_timeout: Some(LAST_LOOK),
            ..Settings::default()
        };
        let found = Member::find(host, port, settings, self.cancel.clone());
        let found = Handle::current().block_on(found)?;
        let (ours, theirs) = (ask_store_id(source)?, ask_store_id(&found)?);
        if !theirs.is_same_database(ours) {
            let text = format!(
                "{} is registered as the address of member {master}, the master, but serves another database: {theirs}, the \
                 source's is {ours}",
                found.address()
            );
            return Err(Error::new(ErrorKind::NoMember, text));
        }
        Ok(Some(found))
    }

    /// A master that lost its role during the backup may have sent transactions that the cluster will discard.
    fn judge_source(&self, search: &Search, taken: &mut Failover<BackupOutcome>) {
        let (Ok(outcome), Some(served)) = (&mut taken.result, &taken.served) else {
            return;
        };
        if !served.was_master {
            return;
        }
        match self.look_at_last(search) {
            Ok(now) => {
                if served.lost_the_master_role(now.master) && outcome.verdict == Verdict::Good {
                    outcome.verdict = Verdict::SourceDemoted;
                }
            }
            Err(error) => self.progress.warning(&format!(
                "could not verify that the source is still the master: {error}"
            )),
        }
    }

    /// The cluster as it is after the backup has arrived.
    fn look_at_last(&self, search: &Search) -> Result<discovery::Cluster, Error> {
        let search = Search {
            timeout: search.timeout.min(LOOK_AGAIN),
            ..search.clone()
        };
        Handle::current().block_on(discovery::discover(&search, self.cancel))
    }

    fn find(&self, host: &str, port: u16, connect_timeout: Duration) -> Result<Member, Error> {
        let settings = Settings {
            connect_timeout,
            silence_timeout: self.backup.silence_timeout,
            max_rate: self.backup.max_rate.map(NonZeroU64::get),
            min_rate: self.backup.min_rate,
        };
        Handle::current().block_on(Member::find(host, port, settings, self.cancel.clone()))
    }

    fn transfer(
        &self,
        pipeline: Pipeline,
        announcement: &Announcement,
        member: &Member,
        authority: Option<Authority<'_>>,
        progress: &dyn Progress,
    ) -> Result<BackupOutcome, Error> {
        let source = self.source_name();
        let context = BackupContext {
            member,
            authority,
            source: &source,
            target: &self.backup.target,
            growth: self.backup.growth,
            checks: self.backup.checks,
            shared: self.backup.shared,
            run_id: &self.run_id,
        };
        match pipeline {
            Pipeline::Full(replace) => {
                let request = Full {
                    context,
                    replace,
                    mode: self.backup.directory_mode,
                    announcement,
                };
                full(&request, progress, self.cancel)
            }
            Pipeline::Incremental => {
                let request = Incremental {
                    context,
                    unproven: self.backup.unproven,
                    keep: self.backup.keep,
                };
                incremental(&request, progress, self.cancel)
            }
        }
    }
}

/// Why there is no full backup either where an incremental one cannot continue; nothing was received for it.
fn not_even_full(incremental: &Error, refused: &Error) -> Error {
    let text = format!("{incremental}; a full backup cannot be taken instead: {refused}");
    Error::new(refused.kind(), text)
        .with_scope(refused.scope())
        .with_advice(refused.advice())
}

/// What an incremental backup continues. If it cannot be read, the transfer reports why.
fn base(target: &Path) -> Option<Base> {
    let header = Header::open_read_only(&DirHandle::open(target).ok()?).ok()?;
    Some(Base {
        store_id: header.store_id().ok()?,
        last: header.last_transaction().ok()?,
    })
}
