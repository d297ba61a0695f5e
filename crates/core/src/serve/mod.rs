//! The backup service: the other side of [`crate::source::client`], over any [`Source`].
//!
//! ```text
//! listener ─▶ service ─▶ line, connection (one thread per client) ─▶ wire::request
//!                                      │
//!            socket ◀─ pace ◀─ wire::response::Encoder ◀─ respond ◀─ Source: a directory, or a live database
//! ```
//!
//! Every request is answered in its own dialect; a source's format decides which are spoken. The service knows neither
//! what it serves nor who lets it run: limits, networks and the socket are handed in.

mod allow;
mod connection;
mod counters;
mod directory;
mod line;
mod listing;
mod pace;
mod respond;
mod service;
mod settings;
mod settings_file;
mod source;

pub use allow::{Network, NetworkError};
pub use counters::Counters;
pub use directory::Directory;
pub use listing::files as files_of;
pub use service::{Limits, Service, Stop, bind};
pub use settings::{Enabled, Settings, SettingsError};
pub use source::{Content, Copy, Identity, Moment, Offered, Refusal, Release, Source};
