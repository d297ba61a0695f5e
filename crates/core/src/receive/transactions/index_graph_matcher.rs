//! Which index transactions were received whose graph part was not.
//!
//! Both parts of a transaction have the same global id.

use std::collections::{HashSet, VecDeque};

use super::received_log::Mark;
use neo4j_format::{
    ids::DataSource,
    log::{TransactionSummary, entry::CommitKind},
};

/// Global ids of graph transactions that are remembered, newest first to stay: far more than are in flight at once.
const REMEMBERED: usize = 64 * 1024;

/// The global ids seen so far, hashed.
#[derive(Debug, Default)]
pub(super) struct IndexGraphMatcher {
    graph: HashSet<u64>,
    graph_order: VecDeque<u64>,
    /// Index transactions whose graph part has not been seen.
    unmatched: HashSet<u64>,
    /// End of the last graph transaction that an unmatched index transaction belongs to.
    last_match: Option<Mark>,
}

impl IndexGraphMatcher {
    /// Whether the graph part of every index transaction was seen.
    pub(super) fn is_level(&self) -> bool {
        self.unmatched.is_empty()
    }

    /// From here on the graph is searched for what is unmatched; it ends at `mark` now.
    pub(super) fn search_from(&mut self, mark: Option<Mark>) {
        self.last_match = mark;
    }

    /// The end of the last graph transaction that the indexes know; what was not found is forgotten.
    pub(super) fn end_search(&mut self) -> Option<Mark> {
        self.unmatched.clear();
        self.last_match
    }

    /// Notes a transaction that ends at `mark`.
    pub(super) fn note(&mut self, source: DataSource, summary: &TransactionSummary, mark: Mark) {
        let hash = blake3::hash(&summary.global_id);
        let hash = hash
            .as_bytes()
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes));
        match source {
            DataSource::Graph => {
                if self.unmatched.remove(&hash) {
                    self.last_match = Some(mark);
                }
                self.graph.insert(hash);
                self.graph_order.push_back(hash);
                if self.graph_order.len() > REMEMBERED
                    && let Some(oldest) = self.graph_order.pop_front()
                {
                    self.graph.remove(&oldest);
                }
            }
            DataSource::Lucene => {
                let both = summary.kind == CommitKind::TwoPhase;
                if both && !self.graph.contains(&hash) && self.unmatched.len() < REMEMBERED {
                    self.unmatched.insert(hash);
                }
            }
        }
    }
}
