//! The master's word on what another member gave.
//!
//! A slave goes on serving a history that its cluster has discarded until it notices: an old master came back and took its
//! role again, and what an interim one had committed is lost (`docs/formats/zookeeper-discovery.md` §6.3). Store ids are
//! equal and transaction ids tell nothing, so where a backup is going to end is asked for at the master and compared.

use std::fmt;

use super::transactions::fingerprint_at;
use crate::{
    Error, ErrorKind,
    client::Member,
    ids::TxId,
    log::{Fingerprint, LogFormat},
    progress::Progress,
    wire::Dialect,
};

/// Finds who has the last word on a history.
#[derive(Clone, Copy)]
pub struct Authority<'a> {
    /// The master as it is once the transactions have arrived; `None` if it is the source itself by then.
    pub find: &'a dyn Fn() -> Result<Option<Member>, Error>,
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

impl Authority<'_> {
    /// Compares the transaction with which the backup is going to end with the master's. Where that cannot be done the
    /// source is believed, and a warning says so: it may be all that is left of its cluster.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::NotOurs`] where the master has another one, or none.
    pub(super) fn confirm(
        self,
        format: LogFormat,
        last: TxId,
        theirs: Option<Fingerprint>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        if last <= TxId::BASE {
            return Ok(());
        }
        match self.ask(format, last, theirs) {
            Ok(answer) => answer.map_err(Error::from),
            Err(cause) => {
                progress.warning(&format!(
                    "the backup ends with transaction {last}; whether the master has it too cannot be seen: {cause}"
                ));
                Ok(())
            }
        }
    }

    fn ask(self, format: LogFormat, last: TxId, theirs: Option<Fingerprint>) -> Result<Result<(), Discarded>, Error> {
        let Some(master) = (self.find)()? else {
            return Ok(Ok(()));
        };
        let unproven = |why: &str| Error::new(ErrorKind::NotOurs, format!("{}: {why}", master.address()));
        if master.dialect() == Dialect::D13 {
            return Err(unproven("1.3 looks for old transactions for minutes"));
        }
        let theirs = theirs.ok_or_else(|| unproven("the source did not send that transaction"))?;
        let address = || master.address().to_owned();
        Ok(match fingerprint_at(&master, format, last)? {
            Some(masters) if masters == theirs => Ok(()),
            Some(masters) => Err(Discarded::Differs {
                last,
                theirs,
                masters,
                master: address(),
            }),
            None => Err(Discarded::Unknown {
                last,
                master: address(),
            }),
        })
    }
}
