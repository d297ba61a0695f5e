//! What a fault in Neo4j's bytes, or of the file system, means for a run: its kind and the hint.

use std::io;

use crate::{Error, ErrorKind, file_system, target::staging::TargetError};
use neo4j_format::{
    DiskError,
    log::{LogError, LogProblem, TransactionRangeError, error::VALUE_LENGTH},
    store::{HeaderError, index_config::IndexConfigError, neo4j_lock::LockError},
};

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Error {
        file_system::failed(error)
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Error {
        match error {
            LockError::Disk(error) if file_system::cannot_lock(error.cause()) => {
                let (path, source) = (error.path().to_owned(), file_system::copy(error.cause()));
                TargetError::NoLocks { path, source }.into()
            }
            LockError::Disk(error) => error.into(),
            LockError::Held { .. } => Error::new(ErrorKind::TargetInUse, error)
                .with_hint("shut Neo4j down, or let the other run end, and run again"),
        }
    }
}

impl From<HeaderError> for Error {
    fn from(error: HeaderError) -> Error {
        match error {
            HeaderError::Io { path, source } if source.kind() != io::ErrorKind::NotFound => {
                DiskError::new(path, source).into()
            }
            error => Error::new(ErrorKind::FullNeeded, error).with_hint("take a full backup into another directory"),
        }
    }
}

impl From<IndexConfigError> for Error {
    fn from(error: IndexConfigError) -> Error {
        Error::new(ErrorKind::FullNeeded, error).with_hint("take a full backup")
    }
}

impl From<TransactionRangeError> for Error {
    fn from(error: TransactionRangeError) -> Error {
        match error {
            TransactionRangeError::Missing { .. } | TransactionRangeError::Disorder { .. } => {
                Error::new(ErrorKind::NoSuchMoment, error)
                    .with_hint("the archived logs of the backup do not reach back so far: restore another moment")
            }
            TransactionRangeError::Disk(error) => error.into(),
            TransactionRangeError::Log(error) => error.into(),
        }
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Error {
        // a stream that is cut, cancelled or out of time says so with an error of its own, which must not be hidden
        let error = match error {
            LogError::Read {
                source_name,
                offset,
                cause,
            } => match cause.downcast::<Error>() {
                Ok(own) => return own,
                Err(cause) => LogError::Read {
                    source_name,
                    offset,
                    cause,
                },
            },
            other => other,
        };
        let kind = kind_of(&error);
        let result = Error::new(kind, error);
        match kind {
            ErrorKind::Protocol => {
                result.with_hint("nothing was changed; another member, or a later run, may do better")
            }
            ErrorKind::FullNeeded => result.with_hint("take a full backup"),
            _ => result,
        }
    }
}

fn kind_of(error: &LogError) -> ErrorKind {
    match error {
        // the files of a full backup hold it, and no command has to be looked at
        LogError::Malformed {
            problem: LogProblem::Limit {
                field: VALUE_LENGTH, ..
            },
            ..
        } => ErrorKind::FullNeeded,
        LogError::Malformed { .. } => ErrorKind::Protocol,
        LogError::File { cause, .. } => match kind_of(cause) {
            ErrorKind::Protocol => ErrorKind::FullNeeded,
            kind => kind,
        },
        LogError::Read { cause, .. } | LogError::Write { cause, .. } => file_system::kind(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo4j_format::{
        ids::{DataSource, TxId},
        log::LogElement,
    };

    fn unknown_entry() -> LogError {
        LogError::Malformed {
            source_name: DataSource::Graph,
            transaction: Some(TxId(43)),
            place: LogElement::EntryType,
            offset: 16,
            problem: LogProblem::UnknownEntry(0x55),
        }
    }

    #[test]
    fn malformed_bytes_are_the_peers_fault_on_the_wire_and_need_a_full_backup_on_disk() {
        assert_eq!(Error::from(unknown_entry()).kind(), ErrorKind::Protocol);
        let error = Error::from(unknown_entry().in_file("nioneo_logical.log.1"));
        assert_eq!(error.kind(), ErrorKind::FullNeeded);
    }

    #[test]
    fn an_error_of_the_stream_keeps_its_own_kind() {
        let own = Error::new(ErrorKind::Unreachable, "gone");
        let error = Error::from(LogError::Read {
            source_name: DataSource::Graph,
            offset: 0,
            cause: io::Error::other(own),
        });
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Unreachable, "gone")
        );
    }
}
