//! One file per command: arguments become one call of the library and an outcome.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod cluster_plan;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod drill;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod invocation;
pub(crate) mod members;
pub(crate) mod repo;
pub(crate) mod restore;
pub(crate) mod run;
#[cfg(feature = "demo")]
pub(crate) mod sandbox;
#[cfg(feature = "demo")]
pub(crate) mod scratch;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod verify;
