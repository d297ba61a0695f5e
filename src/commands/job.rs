//! One backup: which kind of it, and of which member.

use std::{
    num::NonZeroU64,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use tokio::{runtime::Handle, time::timeout};

use crate::args::{
    quantity::Keep,
    request::{BackupRequest, Existing, Fallback, History, Mode, Verify},
};
use neo4j_backup_core::{
    Error, ErrorKind,
    cancel::Cancel,
    consistency::Checks,
    context::BackupContext,
    full::{Full, full},
    incremental::{Incremental, incremental},
    outcome::{BackupOutcome, Verdict},
    progress::{Phase, Progress},
    receive::{database::require_database, proof::Unproven},
    replace::Replace,
    replay::apply::Growth,
    retry::{self, Policy, Retry},
    source::{
        client::{ClientError, Member, Settings},
        confirm::Authority,
        discovery::{self, Base, Candidate, PassedOver, Role, Search},
        failover::{Attempt, Cluster, Failover, Served},
        uri::Source,
    },
    target::archived_logs::KeepLogs,
};
use neo4j_format::{
    ids::MemberId,
    store::{Header, StoreFile},
};

/// How one server is asked again whose connection broke; where it is gone, connecting tells it at once.
const BROKEN: Policy = Policy {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(1),
    total: Duration::from_secs(10),
    tries: 3,
};

/// For each address of a member's host: others can be asked.
const CONNECT_TO_MEMBER: Duration = Duration::from_secs(2);

/// For seeing, once the backup is done or all of it has arrived, who the master is.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// How a run went.
pub(crate) struct Done {
    /// The backup, or why there is none.
    pub(crate) result: Result<BackupOutcome, Error>,
    /// Where the source is a cluster: whom the backup is of, and of whom not.
    pub(crate) members: Option<Members>,
}

impl From<Result<BackupOutcome, Error>> for Done {
    fn from(result: Result<BackupOutcome, Error>) -> Done {
        Done { result, members: None }
    }
}

/// What the report says of the members of a cluster.
#[derive(Debug, Serialize)]
pub(crate) struct Members {
    /// Who gave the backup.
    pub(crate) served: Option<Served>,
    /// Who was asked before and failed, in this order.
    pub(crate) failed: Vec<Attempt>,
    /// Who was not asked.
    #[serde(serialize_with = "with_reasons")]
    pub(crate) passed_over: Vec<PassedOver>,
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

/// What is taken of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full(Replace),
    Incremental,
}

/// A backup to take. Everything runs inside the runtime's context, on a thread that may block.
pub(crate) struct Job<'a> {
    pub(crate) request: &'a BackupRequest,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a Cancel,
    run_id: String,
}

impl<'a> Job<'a> {
    pub(crate) fn new(request: &'a BackupRequest, progress: &'a dyn Progress, cancel: &'a Cancel) -> Job<'a> {
        let drawn = format!("{:?} {}", SystemTime::now(), std::process::id());
        let run_id = blake3::hash(drawn.as_bytes()).to_hex();
        Job {
            request,
            progress,
            cancel,
            run_id: run_id.chars().take(32).collect(),
        }
    }

    /// Takes the backup, and a full one where an incremental one cannot go on and that is asked for.
    pub(crate) fn run(&self) -> Done {
        let kind = self.kind();
        let done = self.take(kind);
        match &done.result {
            Err(error) if kind == Kind::Incremental && self.falls_back(error) => {
                self.progress
                    .warning(&format!("{error}; a full backup is taken instead"));
                self.take(Kind::Full(Replace::SameDatabase))
            }
            _ => done,
        }
    }

    fn kind(&self) -> Kind {
        let replace = match self.request.existing {
            Existing::Refuse => Replace::Never,
            Existing::Replace => Replace::SameDatabase,
        };
        let has_database = self.request.target.join(StoreFile::Neostore.name()).exists();
        if self.request.mode == Mode::Full || (self.request.mode == Mode::Auto && !has_database) {
            Kind::Full(replace)
        } else {
            Kind::Incremental
        }
    }

    /// Whether a full backup of the same database is the way on.
    fn falls_back(&self, error: &Error) -> bool {
        self.request.fallback == Fallback::Full
            && matches!(
                error.kind(),
                // a transaction that cannot be applied is part of the files of a full backup
                ErrorKind::FullNeeded | ErrorKind::NotOurs | ErrorKind::Protocol
            )
    }

    fn take(&self, kind: Kind) -> Done {
        self.progress.phase(Phase::Connecting);
        match &self.request.source {
            Source::Single { host, port } => self.of_one(host, *port, kind).into(),
            Source::Ha { coordinators, chroot } => {
                let search = Search {
                    coordinators: coordinators.clone(),
                    chroot: chroot.clone(),
                    cluster: self.request.cluster.name.clone(),
                };
                self.of_cluster(&search, kind)
            }
        }
    }

    fn of_one(&self, host: &str, port: u16, kind: Kind) -> Result<BackupOutcome, Error> {
        let member = self.find(host, port, Settings::default().connect_timeout)?;
        Retry::new(BROKEN, retry::seed(&self.run_id), self.cancel).run(
            || self.transfer(kind, &member, None, self.progress),
            |error| matches!(error.cause(), Some(ClientError::Broken { .. } | ClientError::Closed(_))),
            |error| self.progress.warning(&format!("{error}; trying again")),
        )
    }

    fn of_cluster(&self, search: &Search, kind: Kind) -> Done {
        let base = match kind {
            Kind::Full(_) => None,
            Kind::Incremental => self.base(),
        };
        let wanted = self.request.cluster.wanted(base);
        let cluster = Cluster {
            run_id: &self.run_id,
            base,
            clock: self.cancel,
            progress: self.progress,
            cancel: self.cancel,
        };
        let look = || Handle::current().block_on(discovery::look(search, &wanted, self.cancel));
        let ask = |found: &Candidate, expected, progress: &dyn Progress| {
            let member = self.find(&found.at.host, found.at.port, CONNECT_TO_MEMBER)?;
            if let (Kind::Full(_), Some(expected)) = (kind, expected) {
                require_database(&member, expected)?;
            }
            let find = || self.master_beside(search, found.id);
            let authority = (found.role != Role::Master).then_some(Authority {
                find: &find,
                max_lag: wanted.max_lag,
            });
            self.transfer(kind, &member, authority, progress)
        };
        let mut taken = cluster.back_up(look, ask);
        self.judge_source(search, &mut taken);
        Done {
            result: taken.result,
            members: Some(Members {
                served: taken.served,
                failed: taken.failures,
                passed_over: taken.passed_over,
            }),
        }
    }

    /// The master of the cluster as it is now, if that is another member than the one that gave the backup.
    fn master_beside(&self, search: &Search, served: MemberId) -> Result<Option<Member>, Error> {
        let look = timeout(LAST_LOOK, discovery::discover(search, self.cancel));
        let cluster = Handle::current()
            .block_on(look)
            .map_err(|_| Error::new(ErrorKind::NoMember, format!("no answer within {LAST_LOOK:?}")))??;
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
            max_rate: None,
        };
        let found = Member::find(host, port, settings, self.cancel.clone());
        Ok(Some(Handle::current().block_on(found)?))
    }

    /// A master that lost its role while it sent may have sent what the cluster will not have.
    fn judge_source(&self, search: &Search, taken: &mut Failover<BackupOutcome>) {
        let (Ok(outcome), Some(served)) = (&mut taken.result, &taken.served) else {
            return;
        };
        if !served.was_master {
            return;
        }
        let look = timeout(LAST_LOOK, discovery::discover(search, self.cancel));
        match Handle::current().block_on(look) {
            Ok(Ok(now)) if served.lost_the_master_role(now.master) && outcome.verdict == Verdict::Good => {
                outcome.verdict = Verdict::SourceDemoted;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.not_seen(&error.to_string()),
            Err(_) => self.not_seen(&format!("no answer within {LAST_LOOK:?}")),
        }
    }

    fn not_seen(&self, cause: &str) {
        let text = format!("whether the source is still the master cannot be seen: {cause}");
        self.progress.warning(&text);
    }

    fn find(&self, host: &str, port: u16, connect_timeout: Duration) -> Result<Member, Error> {
        let settings = Settings {
            connect_timeout,
            silence_timeout: self.request.silence_timeout,
            max_rate: self.request.max_rate.map(NonZeroU64::get),
        };
        Handle::current().block_on(Member::find(host, port, settings, self.cancel.clone()))
    }

    /// What an incremental backup would go on from. Where that cannot be read the transfer says why.
    fn base(&self) -> Option<Base> {
        let header = Header::open(&self.request.target).ok()?;
        Some(Base {
            store_id: header.store_id().ok()?,
            last: header.last_transaction().ok()?,
        })
    }

    fn transfer(
        &self,
        kind: Kind,
        member: &Member,
        authority: Option<Authority<'_>>,
        progress: &dyn Progress,
    ) -> Result<BackupOutcome, Error> {
        let request = self.request;
        let order = BackupContext {
            member,
            authority,
            source: &request.from,
            target: &request.target,
            growth: match request.max_growth {
                None => Growth::Usual,
                Some(bytes) => Growth::Bytes(bytes.get()),
            },
            checks: match request.verify {
                Verify::Off => Checks::None,
                Verify::On => Checks::Usual,
                Verify::Full => Checks::Whole,
            },
            run_id: &self.run_id,
        };
        match kind {
            Kind::Full(replace) => full(&Full { order, replace }, progress, self.cancel),
            Kind::Incremental => {
                let request = Incremental {
                    order,
                    unproven: match request.history {
                        History::Reported => Unproven::Reported,
                        History::Required => Unproven::Refused,
                    },
                    keep: match request.keep {
                        None => KeepLogs::All,
                        Some(Keep::Time(limit)) => KeepLogs::Time(limit),
                        Some(Keep::Bytes(limit)) => KeepLogs::Bytes(limit.get()),
                    },
                };
                incremental(&request, progress, self.cancel)
            }
        }
    }
}
