//! A store directory: which files there are, what their bytes mean (`docs/formats/store-format.md`).
//!
//! This folder says what bytes mean; the engine says when they change.

pub mod header;
pub mod index_config;
pub mod lucene_store;
pub mod names;
pub mod neo4j_lock;
pub mod record;
pub mod value;

pub use header::{Header, HeaderError};
pub use index_config::{IndexConfig, IndexKey, IndexKind, IndexName};
pub use lucene_store::LuceneStore;
pub use names::{StoreFile, StoreFormat};
