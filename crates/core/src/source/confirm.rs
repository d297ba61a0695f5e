//! The master's word on what another member gave.
//!
//! A slave goes on serving a history that its cluster has discarded until it notices: an old master came back and took its
//! role again, and what an interim one had committed is lost (`docs/formats/zookeeper-discovery.md` §6.3). Store ids are
//! equal and transaction ids tell nothing, so where a backup is going to end is asked for at the master and compared. How
//! much the master has behind that is asked as well: a slave that does not follow it any more serves as if nothing had
//! happened since.

use std::fmt;

use super::questions::{count_behind, fingerprint_at};
use crate::{
    Error, ErrorKind,
    error::{Condition, Setting},
    progress::Progress,
    source::client::Member,
};
use neo4j_format::{
    ids::{DataSource, TxId},
    log::{Fingerprint, LogFormat},
    wire::Dialect,
};

/// Finds who has the last word on a history.
#[derive(Clone, Copy)]
pub struct Authority<'a> {
    /// The master as it is once the transactions have arrived; `None` if it is the source itself by then.
    pub find: &'a dyn Fn() -> Result<Option<Member>, Error>,
    /// How many transactions of the graph the source may lack that the master has.
    pub max_lag: u64,
}

impl fmt::Debug for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// What the source gave is not what its cluster has.
#[derive(Debug, thiserror::Error)]
enum Discarded {
    #[error(
        "discarded history: transaction {last} is {theirs} at the source and {masters} at the master, {master}, which the \
         source does not follow any more"
    )]
    Differs {
        last: TxId,
        theirs: Fingerprint,
        masters: Fingerprint,
        master: String,
    },
    #[error(
        "discarded history: the source has transaction {last} and the master, {master}, does not, so that the source does \
         not follow it any more"
    )]
    Unknown { last: TxId, master: String },
}

impl From<Discarded> for Error {
    fn from(discarded: Discarded) -> Error {
        Error::new(ErrorKind::NotOurs, discarded)
            .with_hint("restart that member, which makes it copy the master's store, and ask the master meanwhile")
    }
}

/// The source has far less than its cluster.
#[derive(Debug, thiserror::Error)]
#[error(
    "the source has transactions up to {last} only: the master, {master}, has more than {max_lag} that came after that"
)]
pub struct TooFarBehind {
    last: TxId,
    master: String,
    max_lag: u64,
}

impl From<TooFarBehind> for Error {
    fn from(behind: TooFarBehind) -> Error {
        Error::new(ErrorKind::NoMember, behind)
            .with_condition(Condition::BehindMaster)
            .with_hint("find out why that member does not follow the master, ask the master, or allow a larger lag")
            .see(&[Setting::MaxLag])
    }
}

impl Authority<'_> {
    /// Compares the transaction with which the backup is going to end with the master's, and gives how many the master has
    /// behind it. Where that cannot be done the source is believed, and a warning says so: it may be all that is left of
    /// its cluster.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::NotOurs`] where the master has another one, or none; of kind [`ErrorKind::NoMember`] where the
    /// source lacks too many.
    pub(crate) fn confirm(
        self,
        format: LogFormat,
        last: TxId,
        theirs: Option<Fingerprint>,
        progress: &dyn Progress,
    ) -> Result<Option<u64>, Error> {
        let not_seen = |what: &str, cause: &Error| {
            progress.warning(&format!(
                "the backup ends with transaction {last}; could not verify {what}: {cause}"
            ));
        };
        let master = match (self.find)() {
            Ok(Some(master)) => master,
            Ok(None) => return Ok(None),
            Err(cause) => {
                not_seen(WHETHER_SHARED, &cause);
                return Ok(None);
            }
        };
        match compare(&master, format, last, theirs) {
            Ok(discarded) => discarded.map_or(Ok(()), Err)?,
            Err(cause) => {
                not_seen(WHETHER_SHARED, &cause);
                // one that has dropped its logs of that time can be asked for what it has now
                let is_gone = matches!(cause.kind(), ErrorKind::Unreachable | ErrorKind::TimeLimit);
                if is_gone || master.dialect() == Dialect::D13 {
                    return Ok(None);
                }
            }
        }
        match count_behind(&master, last, self.max_lag) {
            Ok(Some(behind)) => Ok(Some(behind)),
            Ok(None) => Err(TooFarBehind {
                last,
                master: master.address().to_owned(),
                max_lag: self.max_lag,
            }
            .into()),
            Err(cause) => {
                not_seen("how many more the master has", &cause);
                Ok(None)
            }
        }
    }
}

const WHETHER_SHARED: &str = "that the master has it too";

/// How the master's transaction differs from the one with which the backup is going to end; all begin alike.
///
/// # Errors
/// Where that cannot be seen.
fn compare(
    master: &Member,
    format: LogFormat,
    last: TxId,
    theirs: Option<Fingerprint>,
) -> Result<Option<Discarded>, Error> {
    if last <= TxId::BASE {
        return Ok(None);
    }
    let address = || master.address().to_owned();
    let unproven = |why: &str| Error::new(ErrorKind::NotOurs, format!("{}: {why}", master.address()));
    if master.dialect() == Dialect::D13 {
        return Err(unproven("1.3 looks for old transactions for minutes"));
    }
    let theirs = theirs.ok_or_else(|| unproven("the source did not send that transaction"))?;
    Ok(match fingerprint_at(master, format, DataSource::Graph, last)? {
        Some(masters) if masters == theirs => None,
        Some(masters) => Some(Discarded::Differs {
            last,
            theirs,
            masters,
            master: address(),
        }),
        None => Some(Discarded::Unknown {
            last,
            master: address(),
        }),
    })
}
