//! The identifiers that cross folders, each its own type so that none can stand in for another.

use std::fmt;

/// Id of a committed transaction, counted per data source; 1 is the initial state of an empty store, the first real
/// transaction is 2 (`docs/formats/transaction-log.md` §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub i64);

impl TxId {
    /// The state of an empty store, before any transaction.
    pub const BASE: TxId = TxId(1);

    /// The id that follows this one, saturating at the largest.
    #[must_use]
    pub fn next(self) -> TxId {
        TxId(self.0.saturating_add(1))
    }

    /// The id before this one, saturating at the smallest.
    #[must_use]
    pub fn previous(self) -> TxId {
        TxId(self.0.saturating_sub(1))
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Version of a logical log, unsigned 56-bit in its header (`docs/formats/transaction-log.md` §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogVersion(pub u64);

impl LogVersion {
    /// The version that follows this one, saturating.
    #[must_use]
    pub fn next(self) -> LogVersion {
        LogVersion(self.0.saturating_add(1))
    }
}

impl fmt::Display for LogVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What ties an incremental backup to its full one: records 0, 1 and, from 1.5 on, 4 of `neostore`
/// (`docs/formats/wire-protocol.md` §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId {
    /// Milliseconds since 1970 at which the database was created.
    pub creation_time: i64,
    /// Random number drawn then.
    pub random: i64,
    /// Store version, packed as in `neostore` record 4; `None` in the one-byte dialects and the legacy store format.
    pub store_version: Option<i64>,
}

impl StoreId {
    /// Whether both belong to one database. The store version is not compared, since an upgrade changes it.
    pub fn is_same_database(self, other: StoreId) -> bool {
        (self.creation_time, self.random) == (other.creation_time, other.random)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the random half is negative in every second store
        let (creation_time, random) = (self.creation_time.cast_unsigned(), self.random.cast_unsigned());
        write!(f, "{creation_time:x}-{random:016x}")
    }
}

/// Number of a server in its cluster, `ha.server_id` or `ha.machine_id` in its settings
/// (`docs/formats/zookeeper-discovery.md` §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub i32);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The transactional data sources of a stock installation (`docs/formats/transaction-log.md` §2). Others, of plug-ins,
/// have commands that cannot be delimited: transactions of theirs are an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataSource {
    /// `nioneodb`, the graph store.
    Graph,
    /// `lucene-index`, the Lucene index provider.
    Lucene,
}

impl DataSource {
    /// Both, in the order in which they are asked for: the graph before its indexes, so that an index never gets ahead.
    pub const ALL: [DataSource; 2] = [DataSource::Graph, DataSource::Lucene];

    /// The name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            DataSource::Graph => "nioneodb",
            DataSource::Lucene => "lucene-index",
        }
    }

    /// The data source of this name, `None` for one of a plug-in.
    pub fn from_name(name: &str) -> Option<DataSource> {
        DataSource::ALL.into_iter().find(|source| source.name() == name)
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_id_has_one_dash_also_when_its_random_half_is_negative() {
        let id = StoreId {
            creation_time: 1_340_000_000_000,
            random: -7,
            store_version: None,
        };
        assert_eq!(id.to_string(), "137fe395800-fffffffffffffff9".to_owned());
    }
}
