//! The backup protocol as bytes ↔ values (`docs/formats/wire-protocol.md`): no socket, no clock, no disk.
//!
//! ```text
//! response = frames ─▶ chunks (frame::Frames) ─▶ one byte stream ─▶ files, store id, transactions (response::Decoder)
//! request  = one frame (request::full, request::incremental) ─▶ request::Request
//! ```
//!
//! [`response::Encoder`], [`Request::decode`] and [`exception`] are the server's half.

#![warn(clippy::indexing_slicing, clippy::as_conversions)]

pub mod dialect;
pub mod error;
pub mod exception;
pub mod failure;
pub mod frame;
pub mod limits;
pub mod modified_utf8;
pub mod path;
pub mod request;
pub mod response;
mod serialized;

pub use dialect::Dialect;
pub use error::{MessagePart, WireError};
pub use path::PeerPath;
pub use request::{Request, RequestError, RequestKind};
pub use response::{Decoder, Encoder, Event, Follows};
