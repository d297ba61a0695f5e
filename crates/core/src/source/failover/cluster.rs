//! Members of a cluster, asked in the order in which discovery ranks them.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use super::{
    RetryDecision,
    attempts::{Attempt, AttemptLoop, AttemptsEnd, summary},
    rounds::Ranked,
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::{Condition, Setting},
    progress::Progress,
    retry::{Clock, Policy, Retry, seed},
    source::discovery::{
        Base, Candidate, Cluster as Members, Master, NO_BACKUP_SERVICE, PassedOver, Ranking, Reason, Role,
    },
};
use neo4j_format::ids::{MemberId, StoreId};

/// Long enough for an election: a dead master stays registered for five seconds, and a member that changes its role or
/// copies a store closes its service for up to two (`docs/formats/zookeeper-discovery.md` §6.3).
const POLICY: Policy = Policy {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(3),
    total: Duration::from_secs(20),
    tries: u32::MAX,
};

/// For a master that is behind the backup: one that has just taken the role, or is just losing it, may catch up within
/// seconds from a member that served before.
const LEVEL: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(1),
    total: Duration::from_secs(5),
    tries: u32::MAX,
};

/// Who is there, and who of them is asked in which order.
pub(crate) type Discovered = (Members, Ranking);

/// A backup of a cluster that is to be taken.
pub(crate) struct Cluster<'a> {
    /// A random id of this run.
    pub(crate) run_id: &'a str,
    /// The backup that is brought up to date; `None` for a full one.
    pub(crate) base: Option<Base>,
    /// Time for pauses.
    pub(crate) clock: &'a dyn Clock,
    /// Receives what happens.
    pub(crate) progress: &'a dyn Progress,
    /// The end of the run.
    pub(crate) cancel: &'a Cancel,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Failover<T> {
    /// The backup, or why there is none; every member's cause is in the error.
    pub(crate) result: Result<T, Error>,
    /// Who gave it.
    pub(crate) served: Option<Served>,
    /// Who was asked before, in this order.
    pub(crate) failures: Vec<Attempt>,
    /// Who was not asked, by the last ranking.
    pub(crate) passed_over: Vec<PassedOver>,
}

/// The member that gave the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Its number in the cluster.
    #[serde(serialize_with = "number")]
    pub id: MemberId,
    /// What it did when it was asked.
    #[serde(serialize_with = "name")]
    pub role: Role,
    /// Whether the cluster had announced it as its master.
    #[serde(skip)]
    pub was_master: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn number<S: Serializer>(id: &MemberId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32(id.0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn name<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role.name())
}

impl Served {
    /// Whether the cluster, as it is after the backup, may lose what this member had committed: it was the master and is
    /// none any more. A slave has nothing that did not come from a master.
    pub(crate) fn lost_the_master_role(self, now: Master) -> bool {
        self.was_master && now.id() != Some(self.id)
    }
}

impl Cluster<'_> {
    /// Takes the backup that `attempt` takes of the first member that can give it, of the database that all members have to
    /// serve, where that is known. `look` sees who is there.
    ///
    /// What goes wrong is in [`Failover::result`].
    pub(crate) fn back_up<T>(
        &self,
        mut look: impl FnMut() -> Result<Discovered, Error>,
        mut attempt: impl FnMut(&Candidate, Option<StoreId>, &dyn Progress) -> Result<T, Error>,
    ) -> Failover<T> {
        let mut failover = Failover {
            result: Err(Error::new(ErrorKind::NoMember, "no member was looked for")),
            served: None,
            failures: Vec::new(),
            passed_over: Vec::new(),
        };
        let mut seen = match look() {
            Ok(seen) => seen,
            Err(error) => {
                failover.result = Err(error);
                return failover;
            }
        };
        let first = ranked(&seen.1);
        if let Err(error) = seen.1.require_candidates(&seen.0, self.base)
            && (error.kind() == ErrorKind::NotOurs || !first.more_may_come)
        {
            failover.result = Err(error);
            failover.passed_over = seen.1.passed_over;
            return failover;
        }
        let expected = seen.1.database;
        let mut asking = AttemptLoop {
            retry: Retry::new(POLICY, seed(self.run_id), self.clock),
            clock: self.clock,
            cancel: self.cancel,
            progress: self.progress,
            failures: Vec::new(),
        };
        let look_again = || match look() {
            Ok(again) => {
                seen = again;
                Some(ranked(&seen.1))
            }
            Err(error) => {
                self.progress
                    .warning(&format!("{error}; going on with the members found before"));
                None
            }
        };
        let end = asking.ask(
            first,
            look_again,
            |member, progress| self.until_level(member.0.role, || attempt(&member.0, expected, progress)),
            |member, error| self.retry_decision(&member.0, error),
        );
        failover.failures = asking.failures;
        failover.result = match end {
            AttemptsEnd::Done(RankedMember(member), done) => {
                failover.served = Some(Served {
                    id: member.id,
                    role: member.role,
                    was_master: seen.0.master == Master::Announced(member.id),
                });
                Ok(done)
            }
            AttemptsEnd::Final(error) => Err(error.after(failover.failures.iter().map(Attempt::to_string).collect())),
            AttemptsEnd::NoMember(verdict) => Err(self.nobody(&seen, &failover.failures, verdict)),
        };
        failover.passed_over = seen.1.passed_over;
        failover
    }

    /// Gives a master that is behind the backup a little time.
    fn until_level<T>(&self, role: Role, attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        Retry::new(LEVEL, seed(self.run_id), self.clock).run(
            attempt,
            |error| role == Role::Master && error.condition() == Some(Condition::BehindTarget),
            |error| tracing::info!(%error, "the master is asked again"),
        )
    }

    /// What the failure of a member means. A backup whose history the master does not share is refused: a slave that
    /// would still continue it has not been branched off yet, and will lose what it has
    /// (`docs/formats/zookeeper-discovery.md` §6.3).
    fn retry_decision(&self, member: &Candidate, error: &Error) -> RetryDecision {
        let continues = self.base.is_some();
        if continues && member.role == Role::Master && error.kind() == ErrorKind::NotOurs {
            return RetryDecision::Final;
        }
        RetryDecision::of(error)
    }

    fn nobody(&self, (cluster, ranking): &Discovered, failures: &[Attempt], verdict: Option<ErrorKind>) -> Error {
        if failures.is_empty() {
            return match ranking.require_candidates(cluster, self.base) {
                Err(error) => error,
                Ok(()) => Error::new(ErrorKind::NoMember, NoMember::new(cluster, ranking, failures)),
            };
        }
        let error = Error::new(
            verdict.unwrap_or(ErrorKind::NoMember),
            NoMember::new(cluster, ranking, failures),
        );
        match verdict {
            Some(ErrorKind::FullNeeded) => error.with_hint("take a full backup"),
            Some(ErrorKind::NotOurs) => error
                .with_hint("check source and target, or take a full backup into another directory")
                .see(&[Setting::Source, Setting::Target]),
            _ if nobody_listens(ranking, failures) => error.with_hint(NO_BACKUP_SERVICE).see(&[Setting::Members]),
            _ => error
                .with_hint("look at the members of the cluster")
                .see(&[Setting::Members]),
        }
    }
}

/// Whether no member that is there has a backup service: it is off, or its port is closed.
fn nobody_listens(ranking: &Ranking, failures: &[Attempt]) -> bool {
    let is_absent = |reason: &Reason| match reason {
        Reason::BackupOff | Reason::NotWanted => true,
        Reason::Dead(dead) => dead.is_refused,
        _ => false,
    };
    let mut conditions = failures.iter().map(|failed| failed.condition);
    conditions.all(|condition| condition == Some(Condition::ConnectionRefused))
        && ranking.passed_over.iter().all(|member| is_absent(&member.reason))
}

/// Every member was asked and failed, or was skipped.
#[derive(Debug, thiserror::Error)]
#[error("no member of cluster {cluster} gave the backup: {asked}{passed_over}")]
struct NoMember {
    cluster: String,
    asked: String,
    passed_over: String,
}

impl NoMember {
    fn new(cluster: &Members, ranking: &Ranking, failures: &[Attempt]) -> NoMember {
        let not_asked = ranking
            .passed_over
            .iter()
            .filter(|member| member.reason != Reason::NotWanted);
        let not_asked = not_asked.map(|member| format!("; member {} was skipped: {}", member.id, member.reason));
        NoMember {
            cluster: cluster.label(),
            asked: summary(failures),
            passed_over: not_asked.collect(),
        }
    }
}

/// A candidate as one remembers it: what it had committed when it was ranked does not matter.
#[derive(Debug, Clone)]
struct RankedMember(Candidate);

impl PartialEq for RankedMember {
    fn eq(&self, other: &RankedMember) -> bool {
        let key = |RankedMember(member): &RankedMember| (member.id, member.role, member.at.clone());
        key(self) == key(other)
    }
}

impl fmt::Display for RankedMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RankedMember(Candidate { id, role, .. }) = self;
        match role {
            Role::Unknown => write!(f, "member {id}"),
            role => write!(f, "member {id} ({})", role.name()),
        }
    }
}

fn ranked(ranking: &Ranking) -> Ranked<RankedMember> {
    // a member whose service is closed may be changing its role, one without an address may be registering
    let may_come = |reason: &Reason| matches!(reason, Reason::Dead(_) | Reason::NoAddress);
    Ranked {
        members: ranking.candidates.iter().cloned().map(RankedMember).collect(),
        more_may_come: ranking.passed_over.iter().any(|member| may_come(&member.reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{progress::Quiet, receive::proof::Behind, retry::tests::PausedClock};
    use neo4j_format::ids::{DataSource, TxId};

    #[test]
    fn a_master_that_is_behind_is_asked_again_for_some_seconds() {
        let (clock, cancel) = (PausedClock::new(), Cancel::default());
        let cluster = Cluster {
            run_id: "1",
            base: None,
            clock: &clock,
            progress: &Quiet,
            cancel: &cancel,
        };
        let behind = || {
            Error::from(Behind {
                source_name: DataSource::Graph,
                last: TxId(273),
                newest: Some(TxId(272)),
            })
        };
        let begun = clock.now();
        let mut asked = 0;
        let level_at_last = cluster.until_level(Role::Master, || {
            asked += 1;
            if asked < 4 { Err(behind()) } else { Ok(()) }
        });
        assert!(level_at_last.is_ok());
        assert!(clock.now() - begun < Duration::from_secs(4));

        let begun = clock.now();
        let error = cluster
            .until_level(Role::Master, || Err::<(), _>(behind()))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotOurs);
        assert_eq!(clock.now() - begun, LEVEL.total);

        // others are asked at once instead
        let begun = clock.now();
        let branched = || Error::new(ErrorKind::NotOurs, "branched history");
        for (role, error) in [
            (Role::Slave, behind as fn() -> Error),
            (Role::Master, branched as fn() -> Error),
        ] {
            assert!(cluster.until_level(role, || Err::<(), _>(error())).is_err());
        }
        assert_eq!(clock.now(), begun);
    }
}
