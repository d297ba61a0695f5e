//! What the failure of one member means for the others.

use crate::{
    Error, ErrorKind,
    receive::proof::LogsDropped,
    source::{client::ClientError, confirm::TooFarBehind},
    target::staging::TargetError,
};

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Other members may do better, and this one too, a little later.
    MayPass,
    /// Other members may do better, this one never will.
    RuledOut,
    /// It would meet every member: the target, the disk or the run itself.
    Final,
}

impl RetryDecision {
    /// What an error of a transfer means.
    pub fn of(error: &Error) -> RetryDecision {
        let is_the_members = || error.cause::<ClientError>().is_some() || error.cause::<LogsDropped>().is_some();
        let may_come = || error.cause::<LogsDropped>().is_some_and(LogsDropped::may_come);
        let is_the_targets = || error.cause::<TargetError>().is_some();
        match error.kind() {
            // a slave that comes level is a matter of minutes, and the master can be asked now
            ErrorKind::NoMember if error.cause::<TooFarBehind>().is_some() => RetryDecision::RuledOut,
            ErrorKind::Unreachable | ErrorKind::Server | ErrorKind::TimeLimit | ErrorKind::NoMember => {
                RetryDecision::MayPass
            }
            // what it sends is not understood, and it would send it again
            ErrorKind::Protocol => RetryDecision::RuledOut,
            // until something is committed through it
            ErrorKind::FullNeeded if may_come() => RetryDecision::MayPass,
            // slaves may lack logs that the master has (`docs/formats/zookeeper-discovery.md` §7.7); a missing base is
            // missing for all
            ErrorKind::FullNeeded if is_the_members() => RetryDecision::RuledOut,
            // behind, branched off, another database; or a target that is nobody's to continue
            ErrorKind::NotOurs if !is_the_targets() => RetryDecision::RuledOut,
            ErrorKind::FullNeeded
            | ErrorKind::NotOurs
            | ErrorKind::Failed
            | ErrorKind::NotChecked
            | ErrorKind::TargetInUse
            | ErrorKind::NoSpace
            | ErrorKind::Disk
            | ErrorKind::Damaged
            | ErrorKind::Changed
            | ErrorKind::Usage
            | ErrorKind::Configuration
            | ErrorKind::Interrupted
            | ErrorKind::Terminated => RetryDecision::Final,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io};

    use super::*;
    use crate::source::client::Place;
    use neo4j_format::{
        ids::{DataSource, TxId},
        wire::{self, Dialect, failure::ServerFailure},
    };

    fn client(error: ClientError) -> Error {
        error.into()
    }

    #[test]
    fn failures_of_a_member_leave_the_others_their_chance() {
        let address = || "db:6362".to_owned();
        let refused = client(ClientError::Connect {
            address: address(),
            causes: "refused".into(),
        });
        assert_eq!(RetryDecision::of(&refused), RetryDecision::MayPass);
        let pruned = client(ClientError::Refused {
            address: address(),
            dialect: Dialect::D14,
        });
        assert_eq!(
            (pruned.kind(), RetryDecision::of(&pruned)),
            (ErrorKind::FullNeeded, RetryDecision::RuledOut)
        );
        // what an incremental backup makes of that
        let had = BTreeMap::from([(DataSource::Graph, TxId(41))]);
        let dropped = Error::new(ErrorKind::FullNeeded, LogsDropped::new(&pruned, &had));
        assert_eq!(RetryDecision::of(&dropped), RetryDecision::RuledOut);
        let not_written = client(ClientError::Hole {
            place: Place {
                address: address(),
                dialect: Dialect::D15,
                offset: 0,
                place: wire::MessagePart::TransactionList,
            },
            failure: ServerFailure {
                exceptions: vec![("java.lang.RuntimeException".into(), None)],
            },
        });
        let not_written = Error::new(ErrorKind::FullNeeded, LogsDropped::new(&not_written, &had));
        assert_eq!(RetryDecision::of(&not_written), RetryDecision::MayPass);
        for (kind, retry_decision) in [
            (ErrorKind::Server, RetryDecision::MayPass),
            (ErrorKind::TimeLimit, RetryDecision::MayPass),
            (ErrorKind::Protocol, RetryDecision::RuledOut),
            (ErrorKind::NotOurs, RetryDecision::RuledOut),
        ] {
            assert_eq!(
                RetryDecision::of(&Error::new(kind, "said by a member")),
                retry_decision,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_here_is_wrong_for_every_member() {
        let exists = Error::from(TargetError::Exists { path: "/b".into() });
        assert_eq!(
            (exists.kind(), RetryDecision::of(&exists)),
            (ErrorKind::NotOurs, RetryDecision::Final)
        );
        let no_base = Error::new(ErrorKind::FullNeeded, "no database there");
        assert_eq!(RetryDecision::of(&no_base), RetryDecision::Final);
        for kind in [
            ErrorKind::NoSpace,
            ErrorKind::Disk,
            ErrorKind::TargetInUse,
            ErrorKind::Interrupted,
        ] {
            assert_eq!(
                RetryDecision::of(&Error::new(kind, io::Error::other("x"))),
                RetryDecision::Final,
                "{kind:?}"
            );
        }
    }
}
