//! One client: its requests one after the other, each answered in its own dialect, each with one line in the log.
//!
//! Runs on a thread of its own with a blocking socket. A client is given up when it does not ask, or does not take what
//! it asked for, in time; what it costs until then is its thread and the memory of one chunk.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{
    Identity, Limits, Source,
    counters::Counters,
    line::{Line, Lines},
    pace::Pace,
    respond::{Send, Sent, Unfinished, respond},
};
use neo4j_format::{
    store::StoreFormat,
    width::to_usize,
    wire::{
        Dialect, Encoder,
        limits::REQUEST,
        request::{Request, RequestError, RequestKind},
    },
};

/// For a request that has begun to arrive; real ones come in one piece.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How long a write or a pause lasts at most before it is looked whether it should go on.
const LOOK: Duration = Duration::from_millis(500);

/// How often a client waiting for its turn looks whether the service ends.
const NAP: Duration = Duration::from_millis(100);

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Welcome {
    /// What it asks for.
    Served,
    /// One refusal: connection limit.
    Refused {
        /// How many that is.
        limit: usize,
    },
    /// One refusal: connection limit of its address.
    RefusedAddress {
        /// How many that is.
        limit: usize,
    },
}

impl Welcome {
    /// Why it is refused.
    fn refusal(self) -> Option<String> {
        match self {
            Welcome::Served => None,
            Welcome::Refused { limit } => Some(format!("connection limit ({limit}) reached; try again later")),
            Welcome::RefusedAddress { limit } => Some(format!(
                "connection limit ({limit}) of this address reached; try again later"
            )),
        }
    }
}

/// All that a connection has to know.
pub(super) struct Connection<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) limits: &'a Limits,
    pub(super) pace: &'a Pace,
    pub(super) counters: &'a Counters,
    pub(super) lines: &'a Lines,
    pub(super) line: &'a Line,
    pub(super) peer: SocketAddr,
    pub(super) welcome: Welcome,
}

/// Whether a connection may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Close,
}

impl Connection<'_> {
    /// Answers requests until the client closes, is given up, or the service ends.
    pub(super) fn serve(&self) {
        let _served = matches!(self.welcome, Welcome::Served).then(|| self.counters.serving());
        let mut wait = match self.welcome {
            Welcome::Served => self.limits.first_request,
            Welcome::Refused { .. } | Welcome::RefusedAddress { .. } => REQUEST_LIMIT,
        };
        let prepared = self.line.stream.set_nodelay(true).and_then(|()| {
            // a write that cannot go on comes back, so that its limit is noticed
            self.line.stream.set_write_timeout(Some(LOOK))
        });
        if let Err(cause) = prepared {
            tracing::debug!(client = %self.peer, %cause, "the connection cannot be used");
            return;
        }
        while self.lines.wait(self.line) {
            match self.next_request(wait) {
                Ok(Some(frame)) => {
                    self.line.work();
                    self.counters.requested();
                    if self.answer(&frame) == Then::Close {
                        break;
                    }
                }
                Ok(None) => break,
                Err(cause) => {
                    if !self.line.is_ended() {
                        tracing::info!(client = %self.peer, %cause, "no request");
                    }
                    break;
                }
            }
            wait = self.limits.idle;
        }
    }

    /// The content of the next frame; `None` where the client has closed.
    fn next_request(&self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut stream = &self.line.stream;
        let mut length = [0; 4];
        stream.set_read_timeout(Some(wait))?;
        let n = match stream.read(&mut length) {
            Ok(0) => return Ok(None),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                let text = format!("no request for {} s", wait.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(e) => return Err(e),
        };
        let limit = Instant::now() + REQUEST_LIMIT;
        read_until(stream, &mut length[n..], limit)?;
        let length = u32::from_be_bytes(length);
        if length > REQUEST {
            let text = format!("request too large: {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut frame = vec![0; to_usize(u64::from(length))];
        read_until(stream, &mut frame, limit)?;
        Ok(Some(frame))
    }

    fn answer(&self, frame: &[u8]) -> Then {
        let identity = self.source.identity();
        let request = match Request::decode(frame) {
            Ok(request) if identity.dialects().contains(&request.dialect) => request,
            Ok(request) => {
                let text = format!(
                    "Unexpected internal protocol version {}, expected 2",
                    request.dialect.internal_version().unwrap_or_default()
                );
                return self.other_version(identity, &text, request.dialect.name());
            }
            Err(error @ RequestError::Version(_)) => {
                return self.other_version(identity, &error.to_string(), "unknown");
            }
            Err(error @ RequestError::Malformed { dialect, .. }) => {
                let text = error.to_string();
                tracing::info!(client = %self.peer, outcome = text, "request");
                if let Some(dialect) = dialect.filter(|dialect| identity.dialects().contains(dialect)) {
                    let _ = Encoder::new(dialect).failure(&text).map(|frame| self.send(frame));
                }
                return Then::Close;
            }
        };
        if let Some(text) = self.welcome.refusal() {
            tracing::info!(client = %self.peer, outcome = text, "request");
            let _ = Encoder::new(request.dialect)
                .failure(&text)
                .map(|frame| self.send(frame));
            return Then::Close;
        }
        self.respond(&request)
    }

    /// What a server of this age does with a request that is none of its own (§7.1, §7.2): a two-byte one names its
    /// versions, a one-byte one closes.
    fn other_version(&self, identity: Identity, text: &str, asked: &str) -> Then {
        let speaks_two_byte = identity.format == StoreFormat::Current;
        tracing::info!(client = %self.peer, dialect = asked, outcome = "version mismatch reported", "request");
        if speaks_two_byte && self.send(Encoder::new(Dialect::D18).mismatch(text)).is_ok() {
            Then::GoOn
        } else {
            Then::Close
        }
    }

    fn respond(&self, request: &Request) -> Then {
        let started = Instant::now();
        let (mut encoder, mut sent) = (Encoder::new(request.dialect), Sent::default());
        let mut out = Out(self);
        let result = respond(self.source, request, &mut encoder, &mut out, &mut sent);
        let asked = match &request.wanted {
            RequestKind::Full => "full".to_owned(),
            RequestKind::Incremental(asked) if asked.is_empty() => "store id".to_owned(),
            RequestKind::Incremental(asked) => {
                let asked: Vec<String> = asked.iter().map(|(name, id)| format!("{name} after {id}")).collect();
                asked.join(", ")
            }
        };
        let (outcome, then) = match &result {
            Ok(()) => ("sent".to_owned(), Then::GoOn),
            Err(Unfinished::Refused(refusal)) => (
                format!("refused: {refusal}"),
                // a dialect without failures has no other word for it
                match request.dialect.internal_version() {
                    Some(_) => Then::GoOn,
                    None => Then::Close,
                },
            ),
            Err(Unfinished::Lost(_)) if self.line.is_ended() => ("the service ended".to_owned(), Then::Close),
            Err(Unfinished::Lost(cause)) => (format!("given up: {cause}"), Then::Close),
        };
        tracing::info!(
            client = %self.peer,
            dialect = request.dialect.name(),
            asked,
            files = sent.files,
            transactions = sent.transactions,
            bytes = sent.bytes,
            milliseconds = started.elapsed().as_millis(),
            outcome,
            "request"
        );
        then
    }

    /// Sends bytes at the service's rate; gives up on a client that takes them too slowly.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        for portion in bytes.chunks(self.pace.portion()) {
            if let Some(turn) = self.pace.turn(portion.len()) {
                self.sleep_until(turn)?;
            }
            self.send_portion(portion)?;
        }
        Ok(())
    }

    fn send_portion(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut stream = &self.line.stream;
        let started = Instant::now();
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = &bytes[n..];
                    self.counters.sent(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
            if !bytes.is_empty() && started.elapsed() > self.limits.reader {
                let limit = self.limits.reader.as_secs();
                let text = format!("the client did not read the response within {limit} s");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
        Ok(())
    }

    fn sleep_until(&self, turn: Instant) -> io::Result<()> {
        loop {
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.line.is_ended() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            thread::sleep(left.min(NAP));
        }
    }
}

struct Out<'a, 'b>(&'a Connection<'b>);

impl Send for Out<'_, '_> {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame)
    }
}

/// Fills `buffer` before `limit`, however slowly the bytes drip.
fn read_until(mut stream: &TcpStream, mut buffer: &mut [u8], limit: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = limit.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = "the request did not arrive in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => buffer = &mut buffer[n..],
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_request_that_drips_is_given_up_at_its_limit() {
        let (mut client, server) = pair();
        let dripping = thread::spawn(move || {
            while client.write_all(&[0]).is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let limit = Instant::now() + Duration::from_millis(100);
        let error = read_until(&server, &mut [0; 1000], limit).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= limit);
        drop(server);
        dripping.join().unwrap();
    }

    #[test]
    fn a_request_that_ends_early_is_told_from_one_that_is_late() {
        let (mut client, server) = pair();
        client.write_all(&[0; 10]).unwrap();
        drop(client);
        let limit = Instant::now() + Duration::from_secs(10);
        let error = read_until(&server, &mut [0; 11], limit).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
