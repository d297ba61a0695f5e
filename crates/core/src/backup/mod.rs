//! One backup: which kind, from which member, and what happens when that fails.
//!
//! ```text
//! Backup::run ─▶ full or incremental? ─▶ single://  one server, asked again when its connection breaks
//!      ▲                             └─▶ ha://      members in order of preference (source::failover)
//!      └── fallback: a full backup ◀── an incremental one cannot continue
//! ```

mod cluster;
mod run;

use std::{error, fmt, num::NonZeroU64, path::PathBuf, time::Duration};

use serde::{Serialize, Serializer};

use self::run::BackupRun;
use crate::{
    Error,
    cancel::Cancel,
    cluster_options::ClusterOptions,
    consistency::Checks,
    journal::{Recorder, RunKind},
    outcome::BackupOutcome,
    preflight::Preflight,
    progress::Progress,
    receive::proof::Unproven,
    replace::Replace,
    replay::apply::Growth,
    repository::{KeepPolicy, Repository},
    run_id::RunId,
    runtime,
    source::{
        client::MIN_RATE,
        discovery::PassedOver,
        failover::{Attempt, Served},
        uri::Source,
    },
    target::{archived_logs::KeepLogs, owners::SharedDirectories},
};

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
    repository: Option<Repository>,
    keep_generations: Option<KeepPolicy>,
    cluster: ClusterOptions,
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
            repository: None,
            keep_generations: None,
            cluster: ClusterOptions::default(),
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

    /// Limit on the time of the whole run, which then ends with [`crate::ErrorKind::TimeLimit`].
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
        let shared = SharedDirectories::if_allowed(allow);
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

    /// Which cluster of `ha://`, and which of its members.
    #[must_use]
    pub fn cluster(self, cluster: ClusterOptions) -> Backup {
        Backup { cluster, ..self }
    }

    /// How the manifest names the source; default: its URI.
    #[must_use]
    pub fn source_name(self, name: impl Into<String>) -> Backup {
        Backup {
            source_name: Some(name.into()),
            ..self
        }
    }

    /// The source, as the manifest names it.
    fn named_source(&self) -> String {
        let name = self.source_name.clone();
        name.unwrap_or_else(|| self.source.to_string())
    }

    /// Takes the backup. When it returns `Ok`, the backup is in place and durable. Either way the run is recorded in the
    /// [`crate::journal`] of the target.
    ///
    /// Blocks the thread until then. The run has a tokio runtime of its own; a caller that is inside a runtime may call
    /// this too, best by `spawn_blocking`.
    ///
    /// # Errors
    /// There is no new backup; the target is what it was before, or holds a newer prefix of the source's history, and the
    /// next run needs no clean-up.
    pub fn run(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<BackupOutcome, BackupFailure> {
        let run_id = RunId::random()?.to_string();
        let mut recorder = Recorder::begin(RunKind::Backup, run_id.clone());
        let taken = self.in_run(run_id, progress, cancel, |run| {
            let mut taken = run.take_or_fall_back();
            if let Ok(outcome) = &mut taken {
                run.archive(outcome);
            }
            taken
        });
        recorder.entry.source = Some(self.named_source());
        match &taken {
            Ok(outcome) => recorder.backup(outcome),
            Err(failure) => {
                recorder.entry.mode = Some(self.mode.name().to_owned());
                recorder.failed(&failure.error);
            }
        }
        recorder.record(&self.target, progress);
        taken
    }

    /// Finds out what [`Backup::run`] would do: who would serve, whether the history can be continued, what would be
    /// replaced, whether there is space, permission and a repository. Writes nothing.
    ///
    /// # Errors
    /// As [`Backup::run`], as far as that can be known before anything is received.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is not general enough"
    )]
    pub fn preflight(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<Preflight, BackupFailure> {
        let run_id = RunId::random()?.to_string();
        self.in_run(run_id, progress, cancel, |run| run.preflight())
    }

    fn in_run<T: Send>(
        &self,
        run_id: String,
        progress: &dyn Progress,
        cancel: &Cancel,
        work: impl FnOnce(&BackupRun<'_>) -> Result<T, BackupFailure> + Send,
    ) -> Result<T, BackupFailure> {
        let cancel = match self.time_limit {
            Some(limit) => cancel.limited(limit),
            None => cancel.clone(),
        };
        let done = cancel.check().and_then(|()| {
            runtime::block_on(|| {
                Ok(work(&BackupRun {
                    backup: self,
                    progress,
                    cancel: &cancel,
                    run_id,
                }))
            })
        });
        done.unwrap_or_else(|error| Err(error.into()))
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
