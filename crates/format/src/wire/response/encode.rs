//! A response put together chunk by chunk: the counterpart of [`super::Decoder`].
//!
//! The caller appends items – names, store id, pieces of data – and, whenever [`Encoder::is_full`] says so, sends the
//! chunk and goes on. No item straddles two chunks, which receivers in Java need (`docs/formats/wire-protocol.md` §2.3).

use crate::{
    ids::{StoreId, TxId},
    wire::{
        Dialect, PeerPath, exception,
        frame::{APPLICATION, ResponseStatus},
    },
};

/// Payload at which a chunk is sent: large enough for the socket, small enough to have one per client.
pub const CHUNK: usize = 256 * 1024;

/// Room behind that for what is appended at once: the longest path, or the names of all data sources.
const ROOM: usize = 16 * 1024;

/// Data bytes of a block.
const BLOCK: usize = 255;

/// Whether a chunk is the last one of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// More chunks follow.
    More,
    /// It is the last.
    Nothing,
}

/// Encodes one response after the other, in the memory of one chunk.
#[derive(Debug)]
pub struct Encoder {
    dialect: Dialect,
    /// Room for the frame's length and the chunk header, then the payload.
    chunk: Vec<u8>,
    /// Bytes of `chunk` at which it is sent.
    full: usize,
    /// Where the length byte of the last block stands, while it is not known whether another block follows.
    open: Option<usize>,
}

impl Encoder {
    /// Encodes in `dialect`, in chunks of [`CHUNK`] bytes.
    pub fn new(dialect: Dialect) -> Encoder {
        Encoder::with_chunks_of(dialect, CHUNK)
    }

    /// Encodes in chunks of about `payload` bytes; fewer than 256 are too few for receivers in Java.
    pub fn with_chunks_of(dialect: Dialect, payload: usize) -> Encoder {
        let mut chunk = Vec::with_capacity(payload.saturating_add(ROOM));
        chunk.resize(head(dialect), 0);
        Encoder {
            dialect,
            full: chunk.len().saturating_add(payload),
            chunk,
            open: None,
        }
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether the chunk is to be sent before anything else is appended.
    pub fn is_full(&self) -> bool {
        self.chunk.len() >= self.full && self.open.is_none()
    }

    /// Begins a file of a full backup; data and [`Encoder::end`] follow, or, where it is empty, nothing.
    pub fn file(&mut self, path: &PeerPath, length: u64) {
        let name = self.chunk.len();
        self.chunk.extend([0; 2]);
        self.chunk
            .extend(path.as_str().encode_utf16().flat_map(u16::to_be_bytes));
        let units = self.chunk.len().saturating_sub(name).saturating_sub(2) / 2;
        let units = u16::try_from(units).expect("a path has at most 4095 bytes, and never more units than bytes");
        if let Some(place) = self.chunk.get_mut(name..).and_then(<[u8]>::first_chunk_mut) {
            *place = units.to_be_bytes();
        }
        self.chunk.push(u8::from(length > 0));
    }

    /// Ends the list of files.
    pub fn files_end(&mut self) {
        self.chunk.extend([0; 2]);
    }

    /// The store id, as wide as the dialect has it.
    pub fn store_id(&mut self, id: StoreId) {
        self.chunk.extend(id.creation_time.to_be_bytes());
        self.chunk.extend(id.random.to_be_bytes());
        if self.dialect.has_store_version() {
            // -1: not known
            self.chunk.extend(id.store_version.unwrap_or(-1).to_be_bytes());
        }
    }

    /// Announces transactions of these data sources, which are numbered from 1 on in this order.
    pub fn sources<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) {
        self.chunk
            .push(u8::try_from(names.len()).expect("a server has two data sources"));
        for name in names {
            let units: Vec<u16> = name.encode_utf16().collect();
            let count = u32::try_from(units.len()).expect("names of data sources are short");
            self.chunk.extend(count.to_be_bytes());
            self.chunk.extend(units.into_iter().flat_map(u16::to_be_bytes));
        }
    }

    /// Begins a transaction of the data source with this number; data and [`Encoder::end`] follow.
    pub fn transaction(&mut self, number: u8, id: TxId) {
        self.chunk.push(number);
        self.chunk.extend(id.0.to_be_bytes());
    }

    /// Ends the transactions, or says that there are none.
    pub fn transactions_end(&mut self) {
        self.chunk.push(0);
    }

    /// Appends data of the file or transaction until `input` is used up or the chunk is full.
    pub fn data(&mut self, input: &mut &[u8]) {
        while !input.is_empty() {
            let filled = match self.open {
                Some(at) => self.chunk.len().saturating_sub(at).saturating_sub(1),
                None => BLOCK,
            };
            if filled < BLOCK {
                self.append(input, BLOCK.saturating_sub(filled));
                continue;
            }
            // the length byte of a full block that another one follows is 0, as it was written
            self.open = None;
            if self.is_full() {
                return;
            }
            self.whole_blocks(input);
            if !input.is_empty() && !self.is_full() {
                self.open = Some(self.chunk.len());
                self.chunk.push(0);
                self.append(input, BLOCK);
            }
        }
    }

    /// Ends a file or transaction that has data.
    pub fn end(&mut self) {
        if let Some(at) = self.open.take() {
            let length = self.chunk.len().saturating_sub(at).saturating_sub(1);
            if let Some(place) = self.chunk.get_mut(at) {
                *place = u8::try_from(length).expect("a block has at most 255 bytes");
            }
        }
    }

    /// The chunk as a frame.
    pub fn frame(&mut self, follows: Follows) -> &[u8] {
        self.head(follows, ResponseStatus::Success);
        &self.chunk
    }

    /// Begins the next chunk, of this response or of another.
    pub fn next_chunk(&mut self) {
        self.chunk.truncate(head(self.dialect));
        self.open = None;
    }

    /// A failure; replaces what was not sent yet. `None` in the one-byte dialects, which have no failures: the
    /// connection is to be closed there (§6.4).
    pub fn failure(&mut self, text: &str) -> Option<&[u8]> {
        self.dialect.internal_version()?;
        self.next_chunk();
        exception::append(text, &mut self.chunk);
        self.head(Follows::Nothing, ResponseStatus::Failure);
        Some(&self.chunk)
    }

    /// The answer to a request of other versions (§7.1): flagged as a success, told by its header.
    pub fn mismatch(&mut self, text: &str) -> &[u8] {
        self.next_chunk();
        exception::append(text, &mut self.chunk);
        self.frame(Follows::Nothing)
    }

    /// Appends blocks that are full and followed by more data.
    fn whole_blocks(&mut self, input: &mut &[u8]) {
        let room = self.full.saturating_sub(self.chunk.len()).div_ceil(BLOCK + 1);
        let blocks = (input.len().saturating_sub(1) / BLOCK).min(room);
        let (now, later) = input.split_at(blocks.saturating_mul(BLOCK));
        for block in now.chunks_exact(BLOCK) {
            self.chunk.push(0);
            self.chunk.extend_from_slice(block);
        }
        *input = later;
    }

    fn append(&mut self, input: &mut &[u8], most: usize) {
        let (now, later) = input.split_at(input.len().min(most));
        self.chunk.extend_from_slice(now);
        *input = later;
    }

    fn head(&mut self, follows: Follows, outcome: ResponseStatus) {
        let length = u32::try_from(self.chunk.len().saturating_sub(4)).expect("a frame is limited");
        let more = u8::from(follows == Follows::More);
        let [a, b, c, d] = length.to_be_bytes();
        match self.dialect.internal_version() {
            None => {
                if let Some(head) = self.chunk.first_chunk_mut() {
                    *head = [a, b, c, d, more];
                }
            }
            Some(version) => {
                let failed = u8::from(outcome == ResponseStatus::Failure) << 1;
                if let Some(head) = self.chunk.first_chunk_mut() {
                    *head = [a, b, c, d, version << 2 | failed | more, APPLICATION];
                }
            }
        }
    }
}

/// Bytes before the payload.
fn head(dialect: Dialect) -> usize {
    dialect.header_width().saturating_add(4)
}
