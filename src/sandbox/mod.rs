//! Databases to try things on, without Java: real in every byte, written to while they are read, thrown away afterwards.
//!
//! [`database`] is one live database, [`generator`] a reproducible stream of transactions for it.

pub mod database;
pub mod generator;
pub mod value;
