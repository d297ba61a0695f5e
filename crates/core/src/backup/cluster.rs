//! A run that asks the members of a cluster, and what the cluster says of it afterwards.

use std::time::Duration;

use tokio::runtime::Handle;

use super::run::{Attempt, BackupRun, Pipeline, base};
use crate::{
    Error, ErrorKind,
    outcome::{BackupOutcome, Verdict},
    progress::{Progress, Total},
    receive::database::{ask_store_id, require_database},
    source::{
        client::{Member, Settings},
        confirm::Authority,
        discovery::{self, Candidate, Role, Search},
        failover::{Cluster, Failover, Served},
    },
};
use neo4j_format::ids::MemberId;

/// Limit for connecting to each address of a member's host: other members can be asked.
const CONNECT_TO_MEMBER: Duration = Duration::from_secs(2);

/// Limit for connecting to the master after the backup has arrived.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// Limit for another look at the cluster while members are asked again: the next one follows soon.
const LOOK_AGAIN: Duration = Duration::from_secs(8);

impl BackupRun<'_> {
    /// Makes `attempt` with the members in turn until one succeeds.
    pub(super) fn ask_cluster<T>(&self, search: &Search, pipeline: Pipeline, attempt: Attempt<'_, T>) -> Failover<T> {
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
            attempt(&member, authority, progress)
        };
        cluster.back_up(look, ask)
    }

    /// The current master of the cluster; `None` if it is the member that gave the backup. The server at the master's
    /// registered address must serve the same database as `source`: another database proves nothing about its history.
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
    pub(super) fn judge_source(&self, search: &Search, served: Served, outcome: &mut BackupOutcome) {
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
}
