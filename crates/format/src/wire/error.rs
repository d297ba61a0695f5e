//! What can be wrong with a response, and where.

use std::{fmt, sync::Arc};

use super::{PeerPath, failure, frame::FrameError, path::PathError};
use crate::ids::TxId;

/// What a peer may get wrong, or tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Framing.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A file name.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The server reports a failure of its own.
    #[error("{0}")]
    Server(failure::ServerFailure),
    /// The message ended inside something.
    #[error("the response ends within {0}")]
    Short(MessagePart),
    /// Bytes behind the end of the transactions.
    #[error("the response continues after its end")]
    Trailing,
    /// Two files of one name.
    #[error("the file {0} was sent twice")]
    Twice(PeerPath),
    /// More files than a database has.
    #[error("the list of files is too long")]
    TooManyFiles,
    /// A text with an impossible length.
    #[error("{what} of {units} UTF-16 units exceeds the limit of {limit}")]
    TooLong {
        /// Whose length.
        what: &'static str,
        /// As announced.
        units: i64,
        /// Limit.
        limit: usize,
    },
    /// A data source's name that cannot be.
    #[error("invalid data source names: {0:?}")]
    SourceName(String),
    /// A byte that is neither 0 nor 1.
    #[error("invalid data flag {0:#04x} of a file")]
    HasData(u8),
    /// A number that names no data source.
    #[error("data source number {number} is out of range ({count} data sources)")]
    SourceNumber {
        /// The number.
        number: u8,
        /// How many there are.
        count: usize,
    },
    /// Transactions out of order.
    #[error("transaction {found} of {source_name}, expected {expected}")]
    Order {
        /// Data source.
        source_name: Arc<str>,
        /// The id that had to come.
        expected: TxId,
        /// The id that came.
        found: TxId,
    },
    /// Transactions of a data source that was not named in the request.
    #[error("transactions of {0}, which was not requested")]
    Unasked(Arc<str>),
    /// Transactions of one data source in two places.
    #[error("transactions of {0} appear in two separate groups")]
    Regrouped(Arc<str>),
}

/// Where in a response something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePart {
    /// Between files.
    FileList,
    /// In the name or data of this file; `None` while its name is not complete.
    File(Option<PeerPath>),
    /// In the store id.
    StoreId,
    /// In the names of the data sources.
    Sources,
    /// Between transactions.
    TransactionList,
    /// In this transaction.
    Transaction(Arc<str>, TxId),
    /// Behind the last transaction.
    Tail,
}

impl fmt::Display for MessagePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessagePart::FileList => f.write_str("the list of files"),
            MessagePart::File(None) => f.write_str("a file name"),
            MessagePart::File(Some(path)) => write!(f, "file {path}"),
            MessagePart::StoreId => f.write_str("the store id"),
            MessagePart::Sources => f.write_str("the names of the data sources"),
            MessagePart::TransactionList => f.write_str("the list of transactions"),
            MessagePart::Transaction(source, id) => write!(f, "transaction {id} of {source}"),
            MessagePart::Tail => f.write_str("the last chunk"),
        }
    }
}
