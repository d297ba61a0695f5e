//! Which dialect a server speaks (`docs/formats/wire-protocol.md` §7.2).
//!
//! Every release from 1.4 on answers the 23-byte probe at once: 1.4 with its store id, the later ones with a header that
//! names their version. 1.3 keeps silent, and answers an empty request of its own dialect instead. A probe rotates no
//! log. Nothing is decided on silence alone.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    ClientError,
    connect::{address, connect},
};
use crate::{
    ids::StoreId,
    wire::{Decoder, Dialect, Event, request},
};

/// How long the first probe may stay unanswered; servers that know it answer in milliseconds.
const FIRST: Duration = Duration::from_secs(1);

/// How long 1.3 may take for its own; it answers in milliseconds when it is not busy.
const SECOND: Duration = Duration::from_secs(5);

/// Longest answer that is looked at.
const ANSWER: usize = 64;

pub(super) struct Found {
    pub(super) dialect: Dialect,
    pub(super) store_id: Option<StoreId>,
}

pub(super) async fn dialect(host: &str, port: u16, connect_limit: Duration) -> Result<Found, ClientError> {
    let first = ask(host, port, connect_limit, &request::probe(), FIRST).await?;
    if first.is_empty() {
        tracing::debug!("no answer to the probe, trying the dialect of 1.3");
        let second = ask(host, port, connect_limit, &request::incremental(Dialect::D13, &[]), SECOND).await?;
        return match store_id(Dialect::D13, &second) {
            Some(store_id) => Ok(Found { dialect: Dialect::D13, store_id: Some(store_id) }),
            None if second.is_empty() => Err(ClientError::Mute { address: address(host, port) }),
            None => Err(ClientError::NotNeo4j { address: address(host, port), first: second }),
        };
    }
    if let Some(store_id) = store_id(Dialect::D14, &first) {
        return Ok(Found { dialect: Dialect::D14, store_id: Some(store_id) });
    }
    // a two-byte server names its version in the chunk header, application version 1 behind it
    let found = match first.get(4..8) {
        Some([4 | 6, 1, 0xac, 0xed]) => Dialect::D15,
        Some([8 | 10, 1, 0xac, 0xed]) => Dialect::D18,
        _ => return Err(ClientError::NotNeo4j { address: address(host, port), first }),
    };
    Ok(Found { dialect: found, store_id: None })
}

/// Sends a frame and returns the first bytes of the answer; none where there is silence or the connection is closed.
pub(super) async fn ask(
    host: &str,
    port: u16,
    connect_limit: Duration,
    frame: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, ClientError> {
    let mut stream = connect(host, port, connect_limit).await?;
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(frame).await?;
        let mut part = [0; ANSWER];
        while answer.len() < ANSWER && !complete(&answer) {
            match stream.read(&mut part).await? {
                0 => break,
                n => answer.extend(part.iter().take(n)),
            }
        }
        Ok::<(), std::io::Error>(())
    };
    if let Ok(Err(cause)) = timeout(limit, exchange).await {
        tracing::debug!(%cause, "probe ended");
    }
    answer.truncate(ANSWER);
    tracing::debug!(answer = format!("{answer:02x?}"), "probe answered");
    Ok(answer)
}

fn complete(answer: &[u8]) -> bool {
    let length = answer.first_chunk().map_or(usize::MAX, |b| usize::try_from(u32::from_be_bytes(*b)).unwrap_or(usize::MAX));
    answer.len() >= length.saturating_add(4)
}

/// The store id in the answer of a one-byte server to an empty request.
pub(super) fn store_id(dialect: Dialect, answer: &[u8]) -> Option<StoreId> {
    let (mut decoder, mut input) = (Decoder::incremental(dialect), answer);
    match (decoder.next(&mut input), decoder.next(&mut input)) {
        (Ok(Some(Event::StoreId(id))), Ok(Some(Event::End))) => Some(id),
        _ => None,
    }
}
