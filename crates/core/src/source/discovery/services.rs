//! The members' backup services, asked themselves: whether each is there, whose copy it serves and how far that is.
//!
//! A registration proves none of these (`docs/formats/zookeeper-discovery.md` §3.4, §5, §6.3). Which transaction is the
//! last of a service can be found out without anybody's cooperation: it answers a request for what follows a
//! transaction that it has not reached with nothing.

use std::time::Duration;

use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, timeout, timeout_at},
};

use super::{
    cluster::{Cluster, Last, Member},
    ranking::{Answer, Answers, Dead, MemberCriteria, PassedOver, Preference, Ranking, Reason, rank},
    search::{Search, discover},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Condition,
    source::{
        client::{self, Settings},
        uri::HostPort,
    },
};
use neo4j_format::{
    ids::{DataSource, MemberId, StoreId, TxId},
    wire::{Dialect, Event},
};

/// For each address of a member.
const CONNECT: Duration = Duration::from_secs(2);
/// For a member with all its addresses and questions; a 1.3 answers after a second.
const MEMBER: Duration = Duration::from_secs(8);
/// For the answer to one question behind the first.
const QUESTION: Duration = Duration::from_secs(2);
/// For finding the last transaction: forty questions of a millisecond, a few of more.
const SEARCH: Duration = Duration::from_secs(2);
/// More transactions than any store of that time has: a million a second for a fortnight.
const NEVER_REACHED: i64 = 1 << 40;
/// What the others still get once one is known that could be asked for the backup. All of a cluster that is well answer in
/// tens of milliseconds; on a busy one a member that has hardly anything, as an emptied one, must not be taken for the
/// most up-to-date because it answers first.
const GRACE: Duration = Duration::from_secs(1);

/// Whose answers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Everybody's, with their last transactions.
    Everybody,
    /// Those that the choice of the best candidate depends on.
    BestCandidate,
}

/// Finds the cluster and ranks its members. Their services are asked only where the ranking depends on what they say:
/// where the master is not simply the first, and where by their registrations all are behind the backup, which may be
/// too low.
///
/// # Errors
/// Those of [`discover`].
pub async fn look(search: &Search, wanted: &MemberCriteria, cancel: &Cancel) -> Result<(Cluster, Ranking), Error> {
    let cluster = discover(search, cancel).await?;
    let ranking = rank(&cluster, &Answers::new(), wanted);
    let is_behind = |member: &PassedOver| matches!(member.reason, Reason::Behind { .. });
    let all_are_behind = ranking.candidates.is_empty() && ranking.passed_over.iter().any(is_behind);
    if wanted.preference == Preference::Master && !all_are_behind {
        return Ok((cluster, ranking));
    }
    let answers = ask_members(&cluster, wanted, Patience::BestCandidate, cancel).await?;
    let ranking = rank(&cluster, &answers, wanted);
    Ok((cluster, ranking))
}

/// Asks the services of all members at once. Members whose answer was not waited for are not in the result.
///
/// # Errors
/// A cancelled run.
pub async fn ask_members(
    cluster: &Cluster,
    wanted: &MemberCriteria,
    patience: Patience,
    cancel: &Cancel,
) -> Result<Answers, Error> {
    let mut asked = JoinSet::new();
    for member in &cluster.members {
        if wanted.member.is_none_or(|id| id == member.id)
            && let Some(question) = Question::of(member, wanted, patience, cancel)
        {
            let id = member.id;
            asked.spawn(async move { (id, question.ask().await) });
        }
    }
    tokio::select! {
        error = cancel.cancelled() => Err(error),
        answers = collect(cluster, wanted, patience, &mut asked) => Ok(answers),
    }
}

async fn collect(
    cluster: &Cluster,
    wanted: &MemberCriteria,
    patience: Patience,
    asked: &mut JoinSet<(MemberId, Answer)>,
) -> Answers {
    let mut answers = Answers::new();
    let mut deadline = None;
    loop {
        let next = match deadline {
            None => asked.join_next().await,
            Some(deadline) => timeout_at(deadline, asked.join_next()).await.ok().flatten(),
        };
        let Some(answered) = next else { return answers };
        // a question neither panics nor is it aborted
        answers.extend(answered);
        if patience == Patience::BestCandidate && deadline.is_none() {
            let ranking = rank(cluster, &answers, wanted);
            let best = ranking.candidates.first();
            if best.is_some_and(|best| answers.contains_key(&best.id)) {
                deadline = Some(Instant::now() + GRACE);
            }
        }
    }
}

/// What has to be found out about one member.
struct Question {
    hosts: Vec<String>,
    port: u16,
    far: HowFar,
    settings: Settings,
    cancel: Cancel,
}

/// What is to be known of the last transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HowFar {
    /// Nothing, or it is known.
    NotAsked,
    /// Whether it is this one at least: what is registered may be too low (§5).
    AtLeast(TxId),
    /// Which one it is.
    Exactly,
}

impl Question {
    fn of(member: &Member, wanted: &MemberCriteria, patience: Patience, cancel: &Cancel) -> Option<Question> {
        let service = member.service()?;
        let settings = Settings {
            connect_timeout: CONNECT,
            silence_timeout: Some(QUESTION),
            ..Settings::default()
        };
        let depends_on_it = patience == Patience::Everybody || wanted.preference != Preference::Master;
        Some(Question {
            hosts: service.hosts.clone(),
            port: service.port?,
            far: match (&member.last, wanted.base) {
                (Last::Live(last), Some(base)) if *last < base.last => HowFar::AtLeast(base.last),
                (Last::Live(_), _) => HowFar::NotAsked,
                _ if depends_on_it => HowFar::Exactly,
                _ => HowFar::NotAsked,
            },
            settings,
            cancel: cancel.clone(),
        })
    }

    async fn ask(self) -> Answer {
        let (mut causes, mut is_refused) = (Vec::new(), false);
        for host in &self.hosts {
            match timeout(MEMBER, self.ask_at(host)).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => {
                    is_refused |= error.condition() == Some(Condition::ConnectionRefused);
                    causes.push(error.to_string());
                }
                Err(_) => causes.push(format!("{host}: no answer within {MEMBER:?}")),
            }
        }
        Answer::Dead(Dead {
            cause: causes.join("; "),
            is_refused,
        })
    }

    async fn ask_at(&self, host: &str) -> Result<Answer, Error> {
        let begin = Instant::now();
        let member = client::Member::find(host, self.port, self.settings.clone(), self.cancel.clone()).await?;
        let took = begin.elapsed();
        let store_id = match member.store_id() {
            Some(known) => Some(known),
            None => first_of(&member, None).await?.store_id,
        };
        let last = match self.far {
            HowFar::NotAsked => None,
            HowFar::AtLeast(base) => has_transaction(&member, base).await?.then_some(base),
            HowFar::Exactly => last_transaction(&member).await,
        };
        Ok(Answer::Alive {
            at: HostPort {
                host: host.to_owned(),
                port: self.port,
            },
            dialect: member.dialect(),
            store_id,
            last,
            took,
        })
    }
}

/// How an answer begins.
struct Beginning {
    store_id: Option<StoreId>,
    has_transactions: bool,
}

/// The beginning of the answer to a request for what follows a transaction of the graph, or for nothing.
async fn first_of(member: &client::Member, last: Option<TxId>) -> Result<Beginning, Error> {
    let asked: Vec<_> = last.iter().map(|last| (DataSource::Graph, *last)).collect();
    let mut incoming = member.incremental(&asked);
    let pulled = spawn_blocking(move || {
        let mut beginning = Beginning {
            store_id: None,
            has_transactions: false,
        };
        loop {
            match incoming.next()? {
                Event::StoreId(id) => beginning.store_id = Some(id),
                Event::End => return Ok(beginning),
                _ => {
                    beginning.has_transactions = true;
                    return Ok(beginning);
                }
            }
        }
    });
    pulled
        .await
        .unwrap_or_else(|error| Err(Error::new(ErrorKind::Failed, error)))
}

async fn has_transaction(member: &client::Member, id: TxId) -> Result<bool, Error> {
    // 1.3 looks for old transactions for minutes, and every store has the first
    if member.dialect() == Dialect::D13 || id <= TxId::BASE {
        return Ok(id <= TxId::BASE);
    }
    has_after(member, id.previous()).await
}

/// Whether the member has transactions after `last`; one that has dropped its logs of that time does.
async fn has_after(member: &client::Member, last: TxId) -> Result<bool, Error> {
    match first_of(member, Some(last)).await {
        Ok(beginning) => Ok(beginning.has_transactions),
        Err(error) if error.kind() == ErrorKind::FullNeeded => Ok(true),
        Err(error) => Err(error),
    }
}

/// The member's last transaction, searched for; `None` if it cannot be found in time.
async fn last_transaction(member: &client::Member) -> Option<TxId> {
    if member.dialect() == Dialect::D13 {
        return None;
    }
    match timeout(SEARCH, search(member)).await {
        Ok(Ok(last)) => Some(last),
        Ok(Err(error)) => {
            tracing::info!(address = member.address(), %error, "the last transaction cannot be found out");
            None
        }
        Err(_) => {
            tracing::info!(address = member.address(), "the last transaction was not found in time");
            None
        }
    }
}

/// Halves the distance, from above: what has not been reached yet is answered with a few bytes, while a question far
/// below the last transaction makes the member send all that follows until it notices that nobody listens.
async fn search(member: &client::Member) -> Result<TxId, Error> {
    let mut beyond = TxId(NEVER_REACHED);
    let mut reached = TxId(NEVER_REACHED / 2);
    while reached > TxId::BASE && !has_after(member, reached).await? {
        beyond = reached;
        reached = TxId(reached.0 / 2);
    }
    if reached <= TxId::BASE && !has_after(member, TxId::BASE).await? {
        return Ok(TxId::BASE);
    }
    // something follows `reached`, nothing follows `beyond`
    while beyond.0.abs_diff(reached.0) > 1 {
        let middle = TxId(i64::midpoint(reached.0, beyond.0));
        if has_after(member, middle).await? {
            reached = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(beyond)
}
