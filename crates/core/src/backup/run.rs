//! One run: full or incremental, and a full one where an incremental one cannot continue.

use std::{num::NonZeroU64, path::Path, time::Duration};

use tokio::runtime::Handle;

use super::{AskedMembers, Backup, BackupFailure, Mode};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    context::{BackupContext, now},
    error::Condition,
    full::{Announcement, Full, full},
    incremental::{Incremental, incremental},
    outcome::{BackupOutcome, Verdict},
    preflight::{self, Preflight, RepositoryAccess},
    progress::{Phase, Progress},
    replace::Replace,
    repository::Archived,
    retry::{self, Policy, Retry},
    source::{
        client::{Member, Settings},
        confirm::Authority,
        discovery::{Base, Search},
        uri::Source,
    },
    target::staging::Target,
};
use neo4j_format::{
    DirHandle,
    store::{Header, StoreFile, neo4j_lock::Neo4jLock},
};

/// How often a server is asked again after its connection broke. A server that is gone refuses the connection at once.
const BROKEN: Policy = Policy {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(1),
    total: Duration::from_secs(10),
    tries: 3,
};

/// The pipeline that a member is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipeline {
    Full(Replace),
    Incremental,
}

/// What is done with a member, and with the master that has the last word where it is another one.
pub(super) type Attempt<'a, T> = &'a dyn Fn(&Member, Option<Authority<'_>>, &dyn Progress) -> Result<T, Error>;

/// One run. Everything happens inside the runtime's context, on a thread that may block.
pub(super) struct BackupRun<'a> {
    pub(super) backup: &'a Backup,
    pub(super) progress: &'a dyn Progress,
    pub(super) cancel: &'a Cancel,
    pub(super) run_id: String,
}

impl BackupRun<'_> {
    /// Adds the backup to the repository, under a lock, so that no other run changes it meanwhile.
    pub(super) fn archive(&self, outcome: &mut BackupOutcome) {
        let Some(repository) = &self.backup.repository else {
            return;
        };
        self.progress.phase(Phase::Archiving);
        let source = self.backup.named_source();
        // what was not checked is not kept as a good one
        let verdict = match (outcome.verdict, &outcome.check) {
            (Verdict::Good, None) => Verdict::NotChecked,
            (verdict, _) => verdict,
        };
        let locked = Target::lock(&outcome.target, &self.run_id, now(), self.backup.shared);
        let archived = locked.and_then(|target| {
            let archived = target.site().open().and_then(|dir| {
                let _lock = Neo4jLock::take(&dir)?;
                Ok(repository.archive(&dir, &source, verdict, self.cancel))
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

    /// Takes the backup, and a full one if an incremental one cannot continue and that is asked for.
    pub(super) fn take_or_fall_back(&self) -> Result<BackupOutcome, BackupFailure> {
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
        let (mut outcome, members) = self.ask(pipeline, &|member, authority, progress| {
            self.transfer(pipeline, announcement, member, authority, progress)
        })?;
        let served = members.as_ref().and_then(|members| members.served);
        if let (Some(served), Some(search)) = (served, self.search()) {
            self.judge_source(&search, served, &mut outcome);
        }
        Ok(BackupOutcome { members, ..outcome })
    }

    /// What the backup would do, or the full one if an incremental one could not continue and that is asked for.
    pub(super) fn preflight(&self) -> Result<Preflight, BackupFailure> {
        let pipeline = self.pipeline();
        let mut found = match self.preflight_of(pipeline) {
            Err(failure) if pipeline == Pipeline::Incremental && self.falls_back(&failure.error) => {
                match self.preflight_of(Pipeline::Full(Replace::SameDatabase)) {
                    Ok(found) => Ok(Preflight {
                        fallback: Some(failure.error.to_string()),
                        ..found
                    }),
                    Err(refused) => Err(BackupFailure {
                        error: not_even_full(&failure.error, &refused.error),
                        ..refused
                    }),
                }
            }
            found => found,
        }?;
        if let Some(repository) = &self.backup.repository {
            self.progress.phase(Phase::Archiving);
            found.repository = Some(match repository.require_usable(self.cancel) {
                Ok(()) => RepositoryAccess::Usable,
                Err(error) => RepositoryAccess::failed(&error),
            });
        }
        Ok(found)
    }

    fn preflight_of(&self, pipeline: Pipeline) -> Result<Preflight, BackupFailure> {
        let source = self.backup.named_source();
        let (found, members) = self.ask(pipeline, &|member, authority, progress| {
            let context = self.context(&source, member, authority);
            match pipeline {
                Pipeline::Full(replace) => preflight::full(&context, replace, progress),
                Pipeline::Incremental => preflight::incremental(&context, self.backup.unproven, progress, self.cancel),
            }
        })?;
        Ok(Preflight { members, ..found })
    }

    /// Makes `attempt` with the server, or with the members of the cluster in turn.
    fn ask<T>(&self, pipeline: Pipeline, attempt: Attempt<'_, T>) -> Result<(T, Option<AskedMembers>), BackupFailure> {
        self.progress.phase(Phase::Connecting);
        if let Source::Single { host, port } = &self.backup.source {
            return Ok((self.ask_server(host, *port, attempt)?, None));
        }
        let search = self.search().expect("every other source is a cluster");
        let taken = self.ask_cluster(&search, pipeline, attempt);
        let members = AskedMembers {
            served: taken.served,
            failed: taken.failures,
            skipped: taken.passed_over,
        };
        match taken.result {
            Ok(done) => Ok((done, Some(members))),
            Err(error) => Err(BackupFailure {
                error,
                members: Some(Box::new(members)),
            }),
        }
    }

    /// How the cluster is found; `None` if the source is a single server.
    fn search(&self) -> Option<Search> {
        let Source::Ha { coordinators, chroot } = &self.backup.source else {
            return None;
        };
        Some(Search {
            coordinators: coordinators.clone(),
            chroot: chroot.clone(),
            cluster: self.backup.cluster.name.clone(),
            timeout: self.backup.cluster.zookeeper_timeout,
        })
    }

    fn ask_server<T>(&self, host: &str, port: u16, attempt: Attempt<'_, T>) -> Result<T, Error> {
        let member = self.find(host, port, Settings::default().connect_timeout)?;
        Retry::new(BROKEN, retry::seed(&self.run_id), self.cancel).run(
            || attempt(&member, None, self.progress),
            |error| {
                matches!(
                    error.condition(),
                    Some(Condition::ConnectionBroken | Condition::ConnectionClosed)
                )
            },
            |error| self.progress.warning(&format!("{error}; trying again")),
        )
    }

    pub(super) fn find(&self, host: &str, port: u16, connect_timeout: Duration) -> Result<Member, Error> {
        let settings = Settings {
            connect_timeout,
            silence_timeout: self.backup.silence_timeout,
            max_rate: self.backup.max_rate.map(NonZeroU64::get),
            min_rate: self.backup.min_rate,
        };
        Handle::current().block_on(Member::find(host, port, settings, self.cancel.clone()))
    }

    fn context<'c>(
        &'c self,
        source: &'c str,
        member: &'c Member,
        authority: Option<Authority<'c>>,
    ) -> BackupContext<'c> {
        BackupContext {
            member,
            authority,
            source,
            target: &self.backup.target,
            growth: self.backup.growth,
            checks: self.backup.checks,
            shared: self.backup.shared,
            run_id: &self.run_id,
        }
    }

    fn transfer(
        &self,
        pipeline: Pipeline,
        announcement: &Announcement,
        member: &Member,
        authority: Option<Authority<'_>>,
        progress: &dyn Progress,
    ) -> Result<BackupOutcome, Error> {
        let source = self.backup.named_source();
        let context = self.context(&source, member, authority);
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

/// The error of a fallback that was refused before anything was received.
fn not_even_full(incremental: &Error, refused: &Error) -> Error {
    let text = format!("{incremental}; a full backup cannot be taken instead: {refused}");
    Error::new(refused.kind(), text)
        .with_scope(refused.scope())
        .with_advice(refused.advice())
}

/// What an incremental backup continues. If it cannot be read, the transfer reports why.
pub(super) fn base(target: &Path) -> Option<Base> {
    let header = Header::open_read_only(&DirHandle::open(target).ok()?).ok()?;
    Some(Base {
        store_id: header.store_id().ok()?,
        last: header.last_transaction().ok()?,
    })
}
