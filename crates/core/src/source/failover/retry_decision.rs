//! What the failure of one member means for the others.

use crate::{
    Error, ErrorKind,
    error::{Condition, ErrorScope},
};

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    /// Other members may do better, and this one too, a little later.
    MayPass,
    /// Other members may do better, this one never will.
    RuledOut,
    /// It would meet every member: the target, the disk or the run itself.
    Final,
}

impl RetryDecision {
    /// What an error of a transfer means.
    pub(crate) fn of(error: &Error) -> RetryDecision {
        if error.scope() != ErrorScope::Member {
            return RetryDecision::Final;
        }
        match (error.kind(), error.condition()) {
            // a slave that catches up takes minutes, and the master can be asked now
            (ErrorKind::NoMember, Some(Condition::BehindMaster)) => RetryDecision::RuledOut,
            (ErrorKind::FullNeeded, Some(Condition::NotYetWritten)) => RetryDecision::MayPass,
            (ErrorKind::Unreachable | ErrorKind::Server | ErrorKind::TimeLimit | ErrorKind::NoMember, _) => {
                RetryDecision::MayPass
            }
            // a slave may lack logs that the master has (`docs/formats/zookeeper-discovery.md` §7.7), be behind, have
            // branched off, or be of another database; what is not understood would be sent again
            (ErrorKind::FullNeeded | ErrorKind::NotOurs | ErrorKind::Protocol, _) => RetryDecision::RuledOut,
            _ => RetryDecision::Final,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io};

    use super::*;
    use crate::{
        receive::proof::needing,
        source::client::{ClientError, ResponsePosition},
        target::staging::TargetError,
    };
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
            is_refused: true,
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
        let dropped = needing(&pruned, &had);
        assert_eq!(RetryDecision::of(&dropped), RetryDecision::RuledOut);
        let not_written = client(ClientError::Hole {
            place: ResponsePosition {
                address: address(),
                dialect: Dialect::D15,
                offset: 0,
                place: wire::MessagePart::TransactionList,
            },
            failure: ServerFailure {
                exceptions: vec![("java.lang.RuntimeException".into(), None)],
            },
        });
        let not_written = needing(&not_written, &had);
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
