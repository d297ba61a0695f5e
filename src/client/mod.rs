//! The peer's side of a backup: connect, find the dialect, send one request, hand on its response.
//!
//! Knows the peer and never the disk.
