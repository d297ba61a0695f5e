//! What was typed and what it means: clap definitions, one-dash spelling, the environment, values.

pub(crate) mod cluster;
pub(crate) mod dashes;
pub(crate) mod definitions;
pub(crate) mod environment;
pub(crate) mod exit_status;
pub(crate) mod help;
pub(crate) mod jobs;
pub(crate) mod quantity;
pub(crate) mod repository;
pub(crate) mod request;
