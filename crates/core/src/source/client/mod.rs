//! The peer's side of a backup: connect, find the dialect, send one request, hand on its response.
//!
//! Knows the peer and never the disk. Sockets are driven by a tokio runtime; code that works on the disk pulls from an
//! [`Incoming`] on a plain thread, and the bounded queue between the two is the back-pressure.

mod batch;
mod connect;
mod error;
mod incoming;
mod pace;
mod probe;
mod reader;
mod request_kind;

use std::time::Duration;

use tokio::runtime::Handle;

pub(crate) use connect::connect;
pub use error::{ClientError, Liveness, ResponsePosition};
pub use incoming::Incoming;

use self::request_kind::RequestKind;
use crate::{Error, cancel::Cancel};
use neo4j_format::{
    ids::{DataSource, StoreId, TxId},
    wire::{Decoder, Dialect, request},
};

/// Limits of a connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For each address of the host.
    pub connect_timeout: Duration,
    /// How long a connection may stay quiet while a response is under way; `None` is the dialect's own limit.
    pub silence_timeout: Option<Duration>,
    /// Bytes per second that are taken at most; 0 counts as 1.
    pub max_rate: Option<u64>,
    /// Bytes per second that a response has at least, on the average over the time that a connection may stay quiet;
    /// 0 means no limit. Time in which nothing is read from the connection does not count.
    pub min_rate: u64,
}

/// How long the first answer may take where nothing else is set: the dialect, which has a limit of its own, is not known
/// yet.
const FIRST_ANSWER: Duration = Duration::from_mins(1);

/// No network on which databases are backed up is slower for a minute.
pub(crate) const MIN_RATE: u64 = 1024;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connect_timeout: Duration::from_secs(5),
            silence_timeout: None,
            max_rate: None,
            min_rate: MIN_RATE,
        }
    }
}

/// A backup service whose dialect is known.
#[derive(Debug, Clone)]
pub struct Member {
    host: String,
    port: u16,
    address: String,
    dialect: Dialect,
    store_id: Option<StoreId>,
    settings: Settings,
    runtime: Handle,
    cancel: Cancel,
}

impl Member {
    /// Connects and finds out which dialect is spoken, in one round trip from 1.4 on and in about a second below. A server
    /// that is paused is waited for.
    ///
    /// # Errors
    /// [`ClientError`]: no server, silence, or another kind of service; a cancelled run.
    pub async fn find(host: &str, port: u16, settings: Settings, cancel: Cancel) -> Result<Member, Error> {
        let silence_limit = settings.silence_timeout.unwrap_or(FIRST_ANSWER);
        let found = tokio::select! {
            error = cancel.cancelled() => return Err(error),
            found = probe::dialect(host, port, settings.connect_timeout, silence_limit) => found?,
        };
        let address = connect::address(host, port);
        tracing::info!(
            address,
            dialect = found.dialect.name(),
            releases = found.dialect.releases(),
            "dialect found"
        );
        Ok(Member {
            host: host.to_owned(),
            port,
            address,
            dialect: found.dialect,
            store_id: found.store_id,
            settings,
            runtime: Handle::current(),
            cancel,
        })
    }

    /// The dialect it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its store id, where the probe's answer carried it: in the one-byte dialects.
    pub fn store_id(&self) -> Option<StoreId> {
        self.store_id
    }

    /// Asks for a full backup. Failures are returned by [`Incoming::next`].
    pub fn full(&self) -> Incoming {
        tracing::debug!(address = self.address, "asking for a full backup");
        let decoder = Decoder::full(self.dialect);
        reader::start(self.clone(), request::full(self.dialect), decoder, RequestKind::Full)
    }

    /// Asks for the transactions after the highest ids that the client has, per data source and in this order. An
    /// answer that begins elsewhere, or has other data sources' transactions, is an error.
    pub fn incremental(&self, asked: &[(DataSource, TxId)]) -> Incoming {
        let asked: Vec<(&str, TxId)> = asked.iter().map(|(source, last)| (source.name(), *last)).collect();
        tracing::debug!(address = self.address, ?asked, "asking for transactions");
        let decoder = Decoder::incremental(self.dialect).after(&asked);
        reader::start(
            self.clone(),
            request::incremental(self.dialect, &asked),
            decoder,
            RequestKind::Incremental,
        )
    }

    fn silence_limit(&self) -> Duration {
        self.settings
            .silence_timeout
            .unwrap_or_else(|| self.dialect.silence_limit())
    }
}
