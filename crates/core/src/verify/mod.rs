//! Are these the bytes that were written? Compares a directory with its manifest; writes nothing.
//!
//! [`compare`] reads every byte and finds the chunks that differ, [`traces`] says whether Neo4j opened the directory
//! since, [`explain`] then finds a cause for each difference, and [`outcome`] draws the conclusion:
//!
//! | found | verdict | exit code |
//! |---|---|---|
//! | no difference | [`VerifyVerdict::Intact`] | 0 |
//! | differences, each of which Neo4j makes when it opens a directory, and its traces agree that it did | [`VerifyVerdict::ChangedByNeo4j`] | 21 |
//! | differences, each of which an update makes, and the manifest says that one had begun | [`VerifyVerdict::InterruptedUpdate`] | 21 |
//! | any other difference | [`VerifyVerdict::Damaged`] | 20 |
//!
//! It is not a consistency check: bytes that were wrong when they arrived are verified as they arrived.

pub mod compare;
pub mod explain;
pub mod finding;
pub mod outcome;
pub mod traces;

pub use finding::{Cause, FileFinding, FileProblem};
pub use outcome::{VerifyOutcome, VerifyVerdict, verify};
pub use traces::Traces;
