//! The two formats of logs (`docs/formats/transaction-log.md` §1).

use crate::{ids::DataSource, store::StoreFormat};

/// Format of a log file, or of a transaction in a stream, where nothing in the bytes says which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Format 1: Neo4j 1.3 and 1.4.
    V1,
    /// Format 2: Neo4j 1.5 – 1.9.
    V2,
}

impl LogFormat {
    /// The first byte of a log's header.
    pub fn byte(self) -> u8 {
        match self {
            LogFormat::V1 => 1,
            LogFormat::V2 => 2,
        }
    }

    /// The format of a log whose header begins with `byte`, `None` for one that does not exist.
    pub fn from_byte(byte: u8) -> Option<LogFormat> {
        match byte {
            1 => Some(LogFormat::V1),
            2 => Some(LogFormat::V2),
            _ => None,
        }
    }
}

impl From<StoreFormat> for LogFormat {
    fn from(store: StoreFormat) -> LogFormat {
        match store {
            StoreFormat::Legacy => LogFormat::V1,
            StoreFormat::Current => LogFormat::V2,
        }
    }
}

/// All one has to know to find the end of an entry: which entries there are and which commands are in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Format of the entries.
    pub format: LogFormat,
    /// Whose commands they hold.
    pub source: DataSource,
}
