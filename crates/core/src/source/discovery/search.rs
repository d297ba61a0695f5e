//! The search for a cluster: all coordinators at once, the first that serves is used. Where they run without a leader,
//! they may be electing one, and are asked again for a while.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::{
    cluster::Cluster,
    coordinators::{self, CoordinatorError},
    error::DiscoveryError,
    session::{self, SessionError},
};
use crate::{Error, cancel::Cancel, source::uri::HostPort};

/// For the whole search.
const LIMIT: Duration = Duration::from_secs(9);
/// How long coordinators may run and not serve: they elect within one or two seconds where enough of them are left.
const ELECTION: Duration = Duration::from_secs(4);
/// Before they are asked again.
const ELECTION_PAUSE: Duration = Duration::from_millis(100);

/// Where to look for which cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The coordinators.
    pub coordinators: Vec<HostPort>,
    /// The node below which the cluster is, as in [`crate::source::uri::Source::Ha`].
    pub chroot: Option<String>,
    /// Its name; the only one that is there, or the default of the original, unless given.
    pub cluster: Option<String>,
}

/// Finds the cluster, in milliseconds while one coordinator serves and in less than ten seconds otherwise. Has to be
/// called within a tokio runtime.
///
/// # Errors
/// [`DiscoveryError`], of kind [`crate::ErrorKind::NoMember`]; a cancelled run.
pub async fn discover(search: &Search, cancel: &Cancel) -> Result<Cluster, Error> {
    tokio::select! {
        error = cancel.cancelled() => Err(error),
        found = through_an_election(search) => Ok(found?),
    }
}

async fn through_an_election(search: &Search) -> Result<Cluster, DiscoveryError> {
    let begun = Instant::now();
    loop {
        match among_coordinators(search, begun + LIMIT).await {
            Err(error) if error.may_be_an_election() && begun.elapsed() < ELECTION => sleep(ELECTION_PAUSE).await,
            found => return found,
        }
    }
}

async fn among_coordinators(search: &Search, deadline: Instant) -> Result<Cluster, DiscoveryError> {
    let mut probes = JoinSet::new();
    for (index, host) in search.coordinators.iter().cloned().enumerate() {
        probes.spawn(async move {
            let found = coordinators::probe(&host).await;
            (index, host, found)
        });
    }
    let mut causes: Vec<(usize, CoordinatorError)> = Vec::new();
    while let Ok(Some(probed)) = timeout_at(deadline, probes.join_next()).await {
        // a probe neither panics nor is it aborted
        let Ok((index, host, found)) = probed else { continue };
        let address = match found {
            Ok(address) => address,
            Err(error) => {
                tracing::info!(%error, "coordinator passed over");
                causes.push((index, error));
                continue;
            }
        };
        let reading = session::read(address, search.chroot.as_deref(), search.cluster.as_deref());
        let what = match timeout_at(deadline, reading).await {
            Ok(Ok(cluster)) => {
                tracing::info!(%host, cluster = cluster.label(), members = cluster.members.len(), "cluster found");
                return Ok(cluster);
            }
            Ok(Err(SessionError::Answer(answer))) => return Err(*answer),
            Ok(Err(SessionError::Coordinator(what))) => what,
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        let error = CoordinatorError::Session { host, what };
        tracing::info!(%error, "coordinator passed over");
        causes.push((index, error));
    }
    for (index, host) in search.coordinators.iter().enumerate() {
        if causes.iter().all(|(known, _)| *known != index) {
            let error = CoordinatorError::Session {
                host: host.clone(),
                what: format!("not reached within {LIMIT:?}"),
            };
            causes.push((index, error));
        }
    }
    causes.sort_by_key(|(index, _)| *index);
    Err(DiscoveryError::coordinators(
        causes.into_iter().map(|(_, cause)| cause).collect(),
    ))
}
