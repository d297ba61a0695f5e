//! What is this directory? Read from headers, ends and names alone, so that it takes the same time at any size.
//!
//! [`stores`] looks at the ten files of the graph, [`logs`] at the logs of both data sources, [`indexes`] at what is
//! indexed, [`releases`] says who opens it, and [`start`] what the first start will do. Each part that cannot be read
//! says so in [`Inspection::problems`] and keeps none of the others from being told. Nothing is counted by reading
//! records: a number of records is the highest id that the file has room for.

mod bounded;
pub mod directory;
pub mod indexes;
pub mod logs;
pub mod releases;
pub mod start;
pub mod stores;

pub use directory::{DirectoryKind, Inspection, VerificationSummary, inspect};
