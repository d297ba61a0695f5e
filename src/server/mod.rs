//! The backup service: the other side of [`crate::client`], over whatever is a [`Source`].

mod source;

pub use source::{Content, Copy, Identity, Moment, Offered, Refusal, Release, Source};
