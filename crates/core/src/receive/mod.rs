//! What arrives: files, transaction logs, their validation and the proof of a common history.

pub mod database;
pub(crate) mod files;
pub(crate) mod missing_indexes;
pub mod proof;
pub(crate) mod transactions;
pub(crate) mod validation;
pub(crate) mod writer;
