//! Which dialect a server speaks (`docs/formats/wire-protocol.md` §7.2).
//!
//! Every release from 1.4 on answers the 23-byte probe at once: 1.4 with its store id, the later ones with a header that
//! names their version. 1.3 keeps silent, and answers an empty request of its own dialect instead. A probe rotates no
//! log. Nothing is decided on silence alone, and a server that is paused gets as long for its first answer as it gets
//! later on.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    ClientError,
    connect::{address, connect},
};
use neo4j_format::{
    ids::StoreId,
    width::to_usize,
    wire::{Decoder, Dialect, Event, frame, limits, request},
};

/// How long the first probe may stay unanswered; servers that know it answer in milliseconds.
const FIRST: Duration = Duration::from_secs(1);

/// How long is read on when the time is over: a process or machine that was stopped finds it over before it sees what
/// arrived meanwhile.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(100);

/// What a probe finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DetectedPeer {
    pub(super) dialect: Dialect,
    /// In the answer of a one-byte dialect.
    pub(super) store_id: Option<StoreId>,
}

/// Finds the dialect; at most two connections and, beside connecting, a second and the silence limit.
pub(super) async fn dialect(
    host: &str,
    port: u16,
    connect_limit: Duration,
    silence_limit: Duration,
) -> Result<DetectedPeer, ClientError> {
    let mut first = Exchange::begin(host, port, connect_limit, &request::probe()).await?;
    if timeout(FIRST, first.is_answered()).await == Ok(true) {
        return judge(host, port, Dialect::D14, &first.answer);
    }
    tracing::debug!(
        address = address(host, port),
        "no answer to the probe, trying the dialect of 1.3"
    );
    let heard = timeout(silence_limit, either(&mut first, host, port, connect_limit));
    let (dialect, answer) = match heard.await {
        Ok(heard) => heard?,
        Err(_) => match timeout(LAST_LOOK, first.is_answered()).await {
            Ok(true) => (Dialect::D14, first.answer),
            _ if !first.answer.is_empty() => (Dialect::D14, first.answer),
            _ => {
                return Err(ClientError::Mute {
                    address: address(host, port),
                    limit: silence_limit,
                });
            }
        },
    };
    judge(host, port, dialect, &answer)
}

/// Waits for an answer to the first probe or to an empty request of 1.3, and says which it is. Only the first one counts
/// where a server that was paused answers both at once.
async fn either(
    first: &mut Exchange,
    host: &str,
    port: u16,
    connect_limit: Duration,
) -> Result<(Dialect, Vec<u8>), ClientError> {
    let empty_list = request::incremental(Dialect::D13, &[]);
    let mut second = Exchange::begin(host, port, connect_limit, &empty_list).await;
    if let Err(error) = &second {
        // a server that is paused takes no more connections once its queue is full
        tracing::debug!(%error, "the dialect of 1.3 cannot be tried");
    }
    let second_is_answered = async {
        match &mut second {
            Ok(second) => second.is_answered().await,
            Err(_) => false,
        }
    };
    let heard = tokio::select! {
        biased;
        true = first.is_answered() => Some(Dialect::D14),
        true = second_is_answered => Some(Dialect::D13),
        else => None,
    };
    match (heard, second) {
        (Some(Dialect::D13), Ok(second)) => Ok((Dialect::D13, second.answer)),
        (Some(_), _) => Ok((Dialect::D14, std::mem::take(&mut first.answer))),
        (None, Ok(_)) => Err(ClientError::Closing {
            address: address(host, port),
        }),
        (None, Err(error)) => Err(error),
    }
}

/// Whether a one-byte server answers an empty request of its dialect with its store id.
pub(super) async fn is_alive(
    host: &str,
    port: u16,
    connect_limit: Duration,
    dialect: Dialect,
    limit: Duration,
) -> bool {
    let empty_list = request::incremental(dialect, &[]);
    let Ok(mut exchange) = Exchange::begin(host, port, connect_limit, &empty_list).await else {
        return false;
    };
    let _ = timeout(limit, exchange.is_answered()).await;
    store_id(dialect, &exchange.answer).is_some()
}

/// A request and the first bytes of its answer.
struct Exchange {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Exchange {
    async fn begin(host: &str, port: u16, limit: Duration, frame: &[u8]) -> Result<Exchange, ClientError> {
        let mut stream = connect(host, port, limit).await?;
        match timeout(limit, stream.write_all(frame)).await {
            Ok(Ok(())) => {}
            // reading tells the same
            Ok(Err(cause)) => tracing::debug!(%cause, "the probe cannot be sent"),
            Err(_) => tracing::debug!("the probe cannot be sent in time"),
        }
        Ok(Exchange {
            stream,
            answer: Vec::new(),
        })
    }

    /// Reads until as much is there as is needed to judge, or the peer closes; whether it said anything. May be
    /// dropped and called again.
    async fn is_answered(&mut self) -> bool {
        let mut part = [0; limits::PROBE_ANSWER];
        while !is_enough(&self.answer) {
            match self.stream.read(&mut part).await {
                Ok(0) => break,
                Ok(n) => self.answer.extend(part.iter().take(n)),
                Err(cause) => {
                    tracing::debug!(%cause, "the probe ended");
                    break;
                }
            }
        }
        tracing::debug!(bytes = self.answer.len(), begins = %shown(&self.answer).escape_ascii(), "the probe's answer");
        !self.answer.is_empty()
    }
}

/// Whether it is a whole frame, or as much as is read of one, or the beginning of none.
fn is_enough(answer: &[u8]) -> bool {
    let Some(length) = answer.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
        return false;
    };
    let frame = to_usize(u64::from(length)).saturating_add(4);
    length > limits::FRAME_ONE_BYTE || answer.len() >= frame.min(limits::PROBE_ANSWER)
}

/// As much of an answer as a message has room for.
fn shown(answer: &[u8]) -> &[u8] {
    answer.get(..limits::PROBE_SHOWN).unwrap_or(answer)
}

/// What the answer to an empty request of `asked` says of the server.
fn judge(host: &str, port: u16, asked: Dialect, answer: &[u8]) -> Result<DetectedPeer, ClientError> {
    if let Some(store_id) = store_id(asked, answer) {
        return Ok(DetectedPeer {
            dialect: asked,
            store_id: Some(store_id),
        });
    }
    let address = address(host, port);
    // a two-byte server names its versions in the chunk header of any answer (§7.1)
    if let Some([first, application, 0xac, 0xed]) = answer.get(4..8)
        && first & 0x80 == 0
    {
        let (internal, application) = (first >> 2, *application);
        return match Dialect::from_internal_version(internal) {
            Some(dialect) if application == frame::APPLICATION => Ok(DetectedPeer {
                dialect,
                store_id: None,
            }),
            // no backup service up to 3.x is above 2 (wire-protocol.md, appendix A)
            Some(_) if application > 2 => Err(ClientError::HaPort { address }),
            _ => Err(ClientError::OtherVersion {
                address,
                internal,
                application,
            }),
        };
    }
    Err(ClientError::NotNeo4j {
        address,
        first: shown(answer).to_vec(),
    })
}

/// The store id in the answer of a one-byte server to an empty request.
fn store_id(dialect: Dialect, answer: &[u8]) -> Option<StoreId> {
    let (mut decoder, mut input) = (Decoder::incremental(dialect), answer);
    match (decoder.next(&mut input), decoder.next(&mut input)) {
        (Ok(Some(Event::StoreId(id))), Ok(Some(Event::End))) => Some(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_frame_is_read_and_no_more_than_the_limit() {
        let answer = |length: u32, there: usize| [&length.to_be_bytes()[..], &vec![0; there]].concat();
        assert!(!is_enough(&[0, 0, 0]));
        assert!(!is_enough(&answer(2580, 2579)) && is_enough(&answer(2580, 2580)));
        assert!(!is_enough(&answer(10_000, 4000)) && is_enough(&answer(10_000, 4092)));
        assert!(is_enough(b"HTTP/1.1 400 Bad Request"));
    }

    #[test]
    fn answers_tell_the_dialect() {
        let found = |asked, answer: &[u8]| judge("h", 1, asked, answer);
        let id = [&[0, 0, 0, 18, 0][..], &[1; 16], &[0]].concat();
        assert_eq!(found(Dialect::D14, &id).unwrap().dialect, Dialect::D14);
        assert_eq!(
            found(Dialect::D13, &id).unwrap().store_id.unwrap().random,
            0x0101_0101_0101_0101
        );
        assert_eq!(
            found(Dialect::D14, &[0, 0, 2, 0, 4, 1, 0xac, 0xed]).unwrap().dialect,
            Dialect::D15
        );
        assert_eq!(
            found(Dialect::D13, &[0, 0, 2, 0, 8, 1, 0xac, 0xed]).unwrap().dialect,
            Dialect::D18
        );
        assert_eq!(
            found(Dialect::D13, &[0, 0, 2, 0, 10, 1, 0xac, 0xed]).unwrap().dialect,
            Dialect::D18
        );
        for newer in [[12, 1], [8, 2]] {
            let answer = [&[0, 0, 2, 0][..], &newer, &[0xac, 0xed]].concat();
            assert!(matches!(
                found(Dialect::D14, &answer),
                Err(ClientError::OtherVersion { .. })
            ));
        }
        assert!(matches!(
            found(Dialect::D14, &[0, 0, 2, 0, 8, 4, 0xac, 0xed]),
            Err(ClientError::HaPort { .. })
        ));
        for foreign in [&b"HTTP/1.1 400 Bad Request"[..], b"x", &id[..21], &[0; 22]] {
            assert!(matches!(
                found(Dialect::D14, foreign),
                Err(ClientError::NotNeo4j { .. })
            ));
        }
    }
}
