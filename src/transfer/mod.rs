//! The disk's side of a backup: staging, receiving, replay, seal, manifest, publish.
//!
//! Knows the disk and pulls from a stream it is given.

pub mod pending_index;
