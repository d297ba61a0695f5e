//! What a preparation is given.

use std::{collections::BTreeSet, fs::File, io, path::Path};

use neo4j_format::{
    ids::TxId,
    store::{IndexKey, record::RecordId},
};

/// Start and end node of a relationship, from the relationship store after all graph transactions were applied; of a
/// deleted one too, as its bytes stay. `None` if there is no such record.
pub type Ends<'a> = dyn FnMut(RecordId) -> io::Result<Option<(i64, i64)>> + 'a;

/// What the release that will start on the directory can replay.
pub enum IndexRules<'a> {
    /// 1.3, for which every pending log is rewritten and defused. [`super::prepare()`] must come after the graph was applied.
    Neo4j13 {
        /// Where to find end nodes.
        ends: &'a mut Ends<'a>,
    },
    /// 1.4 – 1.9.
    Later,
}

/// Received transactions.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// A log that [`neo4j_format::log::LogWriter`] wrote.
    pub log: &'a File,
    /// Its path, for messages.
    pub path: &'a Path,
    /// What of it is wanted.
    pub keep: Keep<'a>,
}

/// What of an input is wanted.
#[derive(Debug, Clone, Copy)]
pub enum Keep<'a> {
    /// All transactions that the pending log does not have yet.
    All,
    /// For indexes that a full copy from 1.3 lacks (`docs/formats/neo4j-1.3.md` §6.2): their commands.
    Only {
        /// The indexes.
        indexes: &'a BTreeSet<IndexKey>,
        /// Transactions with smaller ids: the first of the full copy's own stream.
        before: TxId,
    },
}

impl Keep<'_> {
    pub(super) fn wants(&self, index: &IndexKey) -> bool {
        match self {
            Keep::All => true,
            Keep::Only { indexes, .. } => indexes.contains(index),
        }
    }
}
