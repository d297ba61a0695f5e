//! One test per row of the tables in the module's documentation, and a crash between any two steps.

mod append;
mod crash;
mod deletes;
mod fresh;
mod neo4j_1_3;
mod refused;
mod support;
