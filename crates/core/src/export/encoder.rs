//! What a format makes of nodes and relationships.

use super::{
    chunk::Chunk,
    reader::{Edge, Graph},
};
use neo4j_format::store::value::Value;

/// Turns entities into text; used by several threads at once. Properties are in the order of the ids of their keys.
pub(super) trait Encoder: Sync {
    /// Appends a node.
    fn node(&self, chunk: &mut Chunk, id: u64, labels: &[&str], properties: &[(u32, Value)]);

    /// Appends a relationship.
    fn relationship(&self, chunk: &mut Chunk, id: u64, edge: &Edge, properties: &[(u32, Value)]);
}

/// The name of a key; all keys of properties that were read have one.
pub(super) fn key_name(graph: &Graph, key: u32) -> &str {
    graph.keys.get(key.into()).map_or("", |name| name.text.as_str())
}
