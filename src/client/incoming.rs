//! One response: a task reads and decodes it, a plain thread pulls it.

use std::{io::Read, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, sleep_until, timeout},
};

use super::{
    ClientError, Member,
    batch::{Batch, Item},
    connect::connect,
    probe,
};
use crate::{
    Error, ErrorKind,
    ids::{StoreId, TxId},
    wire::{Decoder, Dialect, PeerPath, WireError, request},
};

/// Batches under way between the two sides; with their buffers about 2 MiB.
const QUEUE: usize = 6;

/// Bytes asked of the socket at once.
const READ: usize = 256 * 1024;

/// What comes next in a response.
#[derive(Debug)]
pub enum Received<'a> {
    /// A file begins.
    File(PeerPath),
    /// The next bytes of the file or transaction.
    Data(&'a [u8]),
    /// The file has ended.
    FileEnd,
    /// The store id; in a full backup all files have been sent.
    StoreId(StoreId),
    /// A transaction of this data source begins.
    Transaction(Arc<str>, TxId),
    /// The transaction has ended.
    TransactionEnd,
    /// The response is complete.
    End,
}

/// A response that is arriving.
#[derive(Debug)]
pub struct Incoming {
    batches: Receiver<Result<Batch, Error>>,
    used: Sender<Batch>,
    current: Batch,
    next: usize,
    address: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Full,
    Incremental,
}

impl Incoming {
    /// Pulls the next event; blocks until it is there.
    ///
    /// # Errors
    /// [`ClientError`]; a cancelled run. The response cannot be read on.
    pub fn next(&mut self) -> Result<Received<'_>, Error> {
        while self.next >= self.current.items.len() {
            let batch = match self.batches.blocking_recv() {
                Some(batch) => batch?,
                None => return Err(ClientError::Lost { address: self.address.clone() }.into()),
            };
            let mut used = std::mem::replace(&mut self.current, batch);
            used.clear();
            // a reader that has ended needs no more buffers
            let _ = self.used.try_send(used);
            self.next = 0;
        }
        let item = self.current.items.get(self.next).unwrap_or(&Item::End);
        self.next += 1;
        Ok(match item {
            Item::File(path) => Received::File(path.clone()),
            Item::Data(range) => Received::Data(self.current.data.get(range.clone()).unwrap_or_default()),
            Item::FileEnd => Received::FileEnd,
            Item::StoreId(id) => Received::StoreId(*id),
            Item::Transaction(source, id) => Received::Transaction(Arc::clone(source), *id),
            Item::TransactionEnd => Received::TransactionEnd,
            Item::End => Received::End,
        })
    }

    /// The response in these recorded bytes.
    pub fn replay(mut decoder: Decoder, mut bytes: impl Read + Send + 'static) -> Incoming {
        let (incoming, mut out) = Incoming::pair("recorded response".to_owned());
        std::thread::spawn(move || {
            let mut buffer = vec![0; READ];
            while !out.ended {
                let n = bytes.read(&mut buffer).unwrap_or(0);
                let input = buffer.get(..n).unwrap_or_default();
                let fed = if n == 0 { Err(WireError::Short(decoder.place())) } else { out.feed(&mut decoder, input) };
                if let Err(error) = fed {
                    let _ = out.batches.blocking_send(Err(error.into()));
                    return;
                }
            }
        });
        incoming
    }

    pub(super) fn start(member: Member, frame: Vec<u8>, decoder: Decoder, asked: Asked) -> Incoming {
        let (incoming, out) = Incoming::pair(member.address.clone());
        let runtime = member.runtime.clone();
        runtime.spawn(async move {
            let errors = out.batches.clone();
            let cancel = member.cancel.clone();
            let reader = Reader { member, decoder, out, asked, offset: 0, file: None };
            let ended = tokio::select! {
                error = cancel.cancelled() => Err(error),
                ended = reader.run(frame) => ended,
            };
            if let Err(error) = ended {
                let _ = errors.send(Err(error)).await;
            }
        });
        incoming
    }

    fn pair(address: String) -> (Incoming, Out) {
        let (batches, receiver) = channel(QUEUE);
        let (used, spare) = channel(QUEUE + 2);
        let incoming = Incoming { batches: receiver, used, current: Batch::default(), next: 0, address };
        (incoming, Out { batches, spare, batch: Batch::default(), ended: false })
    }
}

/// The filling side of the queue.
#[derive(Debug)]
struct Out {
    batches: Sender<Result<Batch, Error>>,
    spare: Receiver<Batch>,
    batch: Batch,
    ended: bool,
}

impl Out {
    /// Decodes input into the current batch; whether it is time to flush.
    fn fill(&mut self, decoder: &mut Decoder, input: &mut &[u8]) -> Result<bool, WireError> {
        self.batch.fill(decoder, input)?;
        Ok(self.batch.is_full() || (self.batch.is_last() && !self.ended))
    }

    fn take(&mut self) -> Batch {
        self.ended = self.batch.is_last();
        std::mem::replace(&mut self.batch, self.spare.try_recv().unwrap_or_default())
    }

    async fn flush(&mut self) -> Result<(), ()> {
        let batch = self.take();
        self.batches.send(Ok(batch)).await.map_err(|_| ())
    }

    /// Decodes and hands on all of `input`, on a plain thread; ends early where nobody pulls any more.
    fn feed(&mut self, decoder: &mut Decoder, mut input: &[u8]) -> Result<(), WireError> {
        while !self.ended && self.fill(decoder, &mut input)? {
            let batch = self.take();
            self.ended |= self.batches.blocking_send(Ok(batch)).is_err();
        }
        Ok(())
    }
}

struct Reader {
    member: Member,
    decoder: Decoder,
    out: Out,
    asked: Asked,
    offset: u64,
    /// The file that is arriving, for messages.
    file: Option<PeerPath>,
}

impl Reader {
    async fn run(mut self, frame: Vec<u8>) -> Result<(), Error> {
        let mut stream = connect(&self.member.host, self.member.port, self.member.settings.connect_timeout).await?;
        stream.write_all(&frame).await.map_err(|source| self.broken(source))?;
        let mut pace = self.member.settings.max_rate.map(Pace::new);
        let mut buffer = vec![0; READ];
        while !self.out.ended {
            let n = self.read(&mut stream, &mut buffer).await?;
            if self.offset == 0 {
                tracing::debug!(address = self.member.address, "first bytes received");
            }
            self.offset += n as u64;
            let mut input = buffer.get(..n).unwrap_or_default();
            while self.out.fill(&mut self.decoder, &mut input).map_err(|source| self.wire(source))? {
                self.remember_file();
                if self.out.flush().await.is_err() {
                    return Ok(()); // nobody pulls any more
                }
                if self.out.ended {
                    break;
                }
            }
            if let Some(pace) = &mut pace {
                pace.after(n).await;
            }
        }
        tracing::info!(address = self.member.address, bytes = self.offset, "response complete");
        Ok(())
    }

    async fn read(&self, stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, Error> {
        let limit = self.member.silence_limit();
        match timeout(limit, stream.read(buffer)).await {
            Ok(Ok(0)) => Err(self.closed().await),
            Ok(Ok(n)) => Ok(n),
            Ok(Err(source)) => Err(self.broken(source)),
            Err(_) => Err(ClientError::Silence {
                address: self.member.address.clone(),
                limit,
                place: self.decoder.place(),
                offset: self.offset,
                file: self.file_text(),
                dialect: self.member.dialect,
            }
            .into()),
        }
    }

    /// A closed connection: of a one-byte server that was asked for transactions it is the only sign of missing logs,
    /// provided that the server is alive.
    async fn closed(&self) -> Error {
        let (member, address) = (&self.member, self.member.address.clone());
        if self.asked == Asked::Incremental && matches!(member.dialect, Dialect::D13 | Dialect::D14) {
            let frame = request::incremental(member.dialect, &[]);
            let limits = (member.settings.connect_timeout, Duration::from_secs(2));
            let answer = probe::ask(&member.host, member.port, limits.0, &frame, limits.1).await;
            if answer.is_ok_and(|answer| probe::store_id(member.dialect, &answer).is_some()) {
                return ClientError::Refused { address, dialect: member.dialect }.into();
            }
        }
        let (place, offset, file) = (self.decoder.place(), self.offset, self.file_text());
        ClientError::Closed { address, place, offset, file }.into()
    }

    fn broken(&self, source: std::io::Error) -> Error {
        let (address, place, offset) = (self.member.address.clone(), self.decoder.place(), self.offset);
        ClientError::Broken { address, place, offset, file: self.file_text(), source }.into()
    }

    fn wire(&self, source: WireError) -> Error {
        let (address, offset, file) = (self.member.address.clone(), self.offset, self.file_text());
        ClientError::Wire { address, source, offset, file }.into()
    }

    fn remember_file(&mut self) {
        let newest = self.out.batch.items.iter().rev().find_map(|item| match item {
            Item::File(path) => Some(Some(path.clone())),
            Item::StoreId(_) => Some(None),
            _ => None,
        });
        if let Some(file) = newest {
            self.file = file;
        }
    }

    fn file_text(&self) -> String {
        let open = self.out.batch.items.iter().rev().find_map(|item| match item {
            Item::File(path) => Some(path),
            _ => None,
        });
        open.or(self.file.as_ref()).map_or(String::new(), |path| format!(", file {path}"))
    }
}

/// Keeps the average rate below a limit.
struct Pace {
    per_second: u64,
    start: Instant,
    bytes: u64,
}

impl Pace {
    fn new(per_second: u64) -> Pace {
        Pace { per_second: per_second.max(1), start: Instant::now(), bytes: 0 }
    }

    async fn after(&mut self, n: usize) {
        self.bytes += n as u64;
        let nanos = u128::from(self.bytes) * 1_000_000_000 / u128::from(self.per_second);
        let due = self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        sleep_until(due).await;
        if due.elapsed() > Duration::from_secs(1) {
            // a pause of the server gives no right to a burst
            *self = Pace::new(self.per_second);
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Error {
        Error::new(ErrorKind::Protocol, error)
    }
}
