//! Source URIs: `single://host[:port]` and `ha://zk1[:port],zk2[:port],…[/chroot]` (`docs/formats/wire-protocol.md`
//! §13). Pure; no name is looked up here.
//!
//! `url` takes `ha://h1,h2:2181` for one host of that name and `single:h` for a URI without any, so only the outer
//! shape is cut here, by hand and strictly, and each member of the list is given to `url` alone. The original ignores
//! user information, path and query; a part that would be ignored is refused instead, with the place where it stands.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod member;
mod problem;
mod source;

pub use member::HostPort;
pub use problem::{UriError, UriProblem};
pub use source::Source;
