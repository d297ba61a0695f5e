//! The task that asks one question and reads the response into an [`Incoming`].

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    ClientError, Member,
    connect::connect,
    error::{Liveness, ResponsePosition},
    incoming::{Incoming, Out, READ},
    pace::{Pace, Slowness},
    probe::{self, LAST_LOOK},
    request_kind::RequestKind,
};
use crate::Error;
use neo4j_format::{
    width::to_u64,
    wire::{Decoder, WireError},
};

/// How long what has been decoded may wait for more before it is handed on.
const LINGER: Duration = Duration::from_millis(200);

/// How long a server has to show on a second connection that it is alive.
const PULSE: Duration = Duration::from_secs(2);

/// Begins to read the response to `frame`.
pub(super) fn start(member: Member, frame: Vec<u8>, decoder: Decoder, asked: RequestKind) -> Incoming {
    let (incoming, out) = Incoming::pair(member.address.clone(), member.cancel.clone());
    let runtime = member.runtime.clone();
    runtime.spawn(async move {
        let (errors, cancel) = (out.errors(), member.cancel.clone());
        let slowness = Slowness::new(member.settings.min_rate, member.silence_limit());
        let reader = Reader {
            member,
            decoder,
            out,
            asked,
            offset: 0,
            slowness,
        };
        let ended = tokio::select! {
            error = cancel.cancelled() => Err(error),
            () = errors.closed() => Ok(()),
            ended = reader.run(frame) => ended,
        };
        if let Err(error) = ended {
            // the receiver may be gone
            let _ = errors.send(Err(error)).await;
        }
    });
    incoming
}

struct Reader {
    member: Member,
    decoder: Decoder,
    out: Out,
    asked: RequestKind,
    /// Bytes of the response that have been decoded.
    offset: u64,
    slowness: Slowness,
}

impl Reader {
    /// Reads to the end; what arrived before an error is handed on before it.
    async fn run(mut self, frame: Vec<u8>) -> Result<(), Error> {
        let ended = self.converse(&frame).await;
        if ended.is_err() {
            self.out.flush().await;
        }
        ended
    }

    async fn converse(&mut self, frame: &[u8]) -> Result<(), Error> {
        let (host, port) = (&self.member.host, self.member.port);
        let mut stream = connect(host, port, self.member.settings.connect_timeout).await?;
        self.write(&mut stream, frame).await?;
        let mut pace = self.member.settings.max_rate.map(Pace::new);
        let portion = pace.as_ref().map_or(READ, |pace| pace.portion().min(READ));
        let mut buffer = vec![0; portion];
        while !self.out.ended() {
            let n = self.read(&mut stream, &mut buffer).await?;
            self.decode(&buffer[..n]).await?;
            if let Some(pace) = &mut pace {
                pace.after(to_u64(n)).await;
            }
        }
        tracing::debug!(address = self.member.address, bytes = self.offset, "response complete");
        Ok(())
    }

    async fn write(&self, stream: &mut TcpStream, frame: &[u8]) -> Result<(), Error> {
        match timeout(self.member.silence_limit(), stream.write_all(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.broken(source)),
            Err(_) => Err(self.silent(Liveness::NotAsked)),
        }
    }

    async fn decode(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.offset == 0 {
            tracing::debug!(address = self.member.address, "the response begins");
        }
        let before = self.offset;
        let mut input = bytes;
        while !self.out.ended() {
            let filled = self.out.fill(&mut self.decoder, &mut input);
            self.offset = before.saturating_add(to_u64(bytes.len().saturating_sub(input.len())));
            if !filled.map_err(|source| self.wire(source))? {
                break;
            }
            self.out.flush().await;
        }
        Ok(())
    }

    async fn read(&mut self, stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, Error> {
        let limit = self.member.silence_limit();
        let mut waited = Stopwatch::default();
        let mut read = waited.during(timeout(LINGER.min(limit), stream.read(buffer))).await;
        if read.is_err() {
            self.out.flush().await;
            let rest = limit.saturating_sub(LINGER);
            read = waited.during(timeout(rest, stream.read(buffer))).await;
        }
        if read.is_err() {
            read = timeout(LAST_LOOK, stream.read(buffer)).await;
        }
        match read {
            Ok(Ok(0)) => Err(self.closed().await),
            Ok(Ok(n)) => match self.slowness.received(to_u64(n), waited.time) {
                None => Ok(n),
                Some((bytes, time)) => Err(self.too_slow(bytes, time)),
            },
            Ok(Err(source)) => Err(self.broken(source)),
            Err(_) => {
                let pulse = self.pulse().await;
                Err(self.silent(pulse))
            }
        }
    }

    /// A closed connection. It is all that 1.4.2 says when the logs it was asked for are gone, so where such a server
    /// took the question, answered no byte and is alive, only a full backup goes on from here.
    async fn closed(&mut self) -> Error {
        if self.offset == 0 && self.pulse().await == Liveness::Alive {
            let (address, dialect) = (self.member.address.clone(), self.member.dialect);
            return ClientError::Refused { address, dialect }.into();
        }
        match self.decoder.cut_off() {
            failure @ WireError::Server(_) => self.wire(failure),
            _ => ClientError::Closed(self.place()).into(),
        }
    }

    /// Whether a one-byte server that says nothing about transactions answers at all.
    async fn pulse(&self) -> Liveness {
        let member = &self.member;
        let one_byte = member.dialect.is_one_byte();
        if self.asked == RequestKind::Full || !one_byte {
            return Liveness::NotAsked;
        }
        let limit = member.settings.connect_timeout;
        if probe::is_alive(&member.host, member.port, limit, member.dialect, PULSE).await {
            Liveness::Alive
        } else {
            Liveness::Gone
        }
    }

    fn place(&self) -> ResponsePosition {
        ResponsePosition {
            address: self.member.address.clone(),
            dialect: self.member.dialect,
            offset: self.offset,
            place: self.decoder.place(),
        }
    }

    fn silent(&self, pulse: Liveness) -> Error {
        let limit = self.member.silence_limit();
        ClientError::Silence {
            place: self.place(),
            limit,
            pulse,
        }
        .into()
    }

    fn too_slow(&self, bytes: u64, time: Duration) -> Error {
        ClientError::TooSlow {
            place: self.place(),
            bytes,
            time,
            min_rate: self.member.settings.min_rate,
        }
        .into()
    }

    fn broken(&self, source: std::io::Error) -> Error {
        ClientError::Broken {
            place: self.place(),
            source,
        }
        .into()
    }

    fn wire(&self, source: WireError) -> Error {
        let (place, asked) = (self.place(), self.asked);
        ClientError::wire(place, source, asked)
    }
}

/// The time that some futures took together.
#[derive(Default)]
struct Stopwatch {
    time: Duration,
}

impl Stopwatch {
    async fn during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let output = future.await;
        self.time += begun.elapsed();
        output
    }
}
