//! The search for a cluster: all coordinators at once, the first that serves is used. Where none does, they are asked
//! again for a while: they may be paused, or be electing a leader.

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
use crate::{
    Error,
    cancel::Cancel,
    retry::{self, Policy, Retry},
    run_id::RunId,
    source::uri::HostPort,
};

/// For the whole search unless another time is set; as long as members are asked again.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// Of the whole time, what one answer may take: a search needs about ten.
const ANSWERS: u32 = 4;
/// Between the first two tries: coordinators elect within one or two seconds where enough of them are left.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between later ones.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where to look for which cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The coordinators.
    pub coordinators: Vec<HostPort>,
    /// The node below which the cluster is, as in [`crate::source::uri::Source::Ha`].
    pub chroot: Option<String>,
    /// Its name. Default: the only cluster registered, else the original tool's default.
    pub cluster: Option<String>,
    /// How long coordinators that do not serve are asked again.
    pub timeout: Duration,
}

/// Finds the cluster, in milliseconds while one coordinator serves and within [`Search::timeout`] otherwise. Has to be
/// called within a tokio runtime.
///
/// # Errors
/// [`DiscoveryError`]; a cancelled run.
pub async fn discover(search: &Search, cancel: &Cancel) -> Result<Cluster, Error> {
    tokio::select! {
        error = cancel.cancelled() => Err(error),
        found = until_one_serves(search, cancel) => found,
    }
}

async fn until_one_serves(search: &Search, cancel: &Cancel) -> Result<Cluster, Error> {
    let deadline = Instant::now() + search.timeout;
    let policy = Policy {
        first: FIRST_PAUSE,
        longest: LONGEST_PAUSE,
        total: search.timeout,
        tries: u32::MAX,
    };
    let mut retry = Retry::new(policy, retry::seed(&RunId::random()?.to_string()), cancel);
    let mut last = None;
    loop {
        let error = match among_coordinators(search, deadline).await {
            Err(error) if error.may_pass() => error,
            found => return Ok(found?),
        };
        // a try that the end of the time has cut short says less than the one before
        let cut_short = Instant::now() >= deadline;
        let error = last.take().filter(|_| cut_short).unwrap_or(error);
        let pause = retry.next_pause().filter(|pause| Instant::now() + *pause < deadline);
        match pause {
            Some(pause) => {
                tracing::info!(%error, ?pause, "the coordinators are asked again");
                last = Some(error);
                sleep(pause).await;
            }
            None => return Err(error.into()),
        }
    }
}

async fn among_coordinators(search: &Search, deadline: Instant) -> Result<Cluster, DiscoveryError> {
    let limit = search.timeout / ANSWERS;
    let mut probes = JoinSet::new();
    for (index, host) in search.coordinators.iter().cloned().enumerate() {
        probes.spawn(async move {
            let found = coordinators::probe(&host, limit).await;
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
        let reading = session::read(address, search.chroot.as_deref(), search.cluster.as_deref(), limit);
        let what = match timeout_at(deadline, reading).await {
            Ok(Ok(cluster)) => {
                tracing::info!(%host, cluster = cluster.label(), members = cluster.members.len(), "cluster found");
                return Ok(cluster);
            }
            Ok(Err(SessionError::Answer(answer))) => return Err(*answer),
            Ok(Err(SessionError::Coordinator(what))) => what,
            Err(_) => format!("no answer within {:?}", search.timeout),
        };
        let error = CoordinatorError::Session { host, what };
        tracing::info!(%error, "coordinator passed over");
        causes.push((index, error));
    }
    for (index, host) in search.coordinators.iter().enumerate() {
        if causes.iter().all(|(known, _)| *known != index) {
            let error = CoordinatorError::Session {
                host: host.clone(),
                what: format!("not reached within {:?}", search.timeout),
            };
            causes.push((index, error));
        }
    }
    causes.sort_by_key(|(index, _)| *index);
    Err(DiscoveryError::coordinators(
        causes.into_iter().map(|(_, cause)| cause).collect(),
    ))
}
