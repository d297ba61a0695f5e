//! A response as a sequence of events (`docs/formats/wire-protocol.md` §5), without copying a byte of it.
//!
//! ```text
//! full         { u16 units, path; u8 hasData; blocks }*  u16 0   store id   transactions
//! incremental                                             store id   transactions
//! transactions u8 sources (0: nothing follows)  { str32 name }*  { u8 source, i64 id, blocks }*  u8 0
//! blocks       { 00, 255 bytes }*  { n = 1…255, n bytes }
//! ```

mod encode;
mod sources;

use std::{collections::HashSet, sync::Arc};

use self::sources::Sources;
pub use encode::{CHUNK, Encoder, Follows};

use super::{
    Dialect, PeerPath,
    error::{MessagePart, WireError},
    failure,
    frame::{Frames, Piece, ResponseStatus},
    limits,
};
use crate::ids::{StoreId, TxId};

/// What comes next in a response; `D` is how bytes of files and transactions are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<D> {
    /// A file begins.
    File(PeerPath),
    /// The next bytes of the file or transaction.
    Data(D),
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

impl<D> Event<D> {
    /// The same event with its bytes held in another way.
    pub fn map<T>(self, hold: impl FnOnce(D) -> T) -> Event<T> {
        match self {
            Event::File(path) => Event::File(path),
            Event::Data(bytes) => Event::Data(hold(bytes)),
            Event::FileEnd => Event::FileEnd,
            Event::StoreId(id) => Event::StoreId(id),
            Event::Transaction(source, id) => Event::Transaction(source, id),
            Event::TransactionEnd => Event::TransactionEnd,
            Event::End => Event::End,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderState {
    PathLength,
    Path(usize),
    HasData,
    BlockLength(Body),
    Block(usize, After, Body),
    BodyEnd(Body),
    StoreId,
    SourceCount,
    NameLength(usize),
    Name(usize, usize),
    SourceNumber,
    TxId(usize),
    Tail,
    End,
}

/// Whether a block is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Another,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    File,
    Transaction,
}

/// Decodes one response.
#[derive(Debug)]
pub struct Decoder {
    dialect: Dialect,
    frames: Frames,
    state: DecoderState,
    /// Bytes of a field that a split has cut.
    field: Vec<u8>,
    files: HashSet<PeerPath>,
    /// What remembering the files has cost.
    file_names: usize,
    file: Option<PeerPath>,
    sources: Sources,
    failure: Option<Vec<u8>>,
}

impl Decoder {
    /// For the response to a full backup.
    pub fn full(dialect: Dialect) -> Decoder {
        Decoder::new(dialect, DecoderState::PathLength)
    }

    /// For the response to an incremental backup.
    pub fn incremental(dialect: Dialect) -> Decoder {
        Decoder::new(dialect, DecoderState::StoreId)
    }

    /// Makes transactions an error that do not begin right after these ids, or are of other data sources (§9.3).
    #[must_use]
    pub fn after(mut self, asked: &[(&str, TxId)]) -> Decoder {
        self.sources = Sources::after(asked);
        self
    }

    fn new(dialect: Dialect, state: DecoderState) -> Decoder {
        Decoder {
            dialect,
            frames: Frames::new(dialect),
            state,
            field: Vec::new(),
            files: HashSet::new(),
            file_names: 0,
            file: None,
            sources: Sources::default(),
            failure: None,
        }
    }

    /// Where in the response the decoder stands, for messages.
    pub fn place(&self) -> MessagePart {
        match self.state {
            DecoderState::PathLength => MessagePart::FileList,
            DecoderState::Path(_) => MessagePart::File(None),
            DecoderState::HasData
            | DecoderState::BlockLength(Body::File)
            | DecoderState::Block(_, _, Body::File)
            | DecoderState::BodyEnd(Body::File) => MessagePart::File(self.file.clone()),
            DecoderState::StoreId => MessagePart::StoreId,
            DecoderState::SourceCount | DecoderState::NameLength(_) | DecoderState::Name(..) => MessagePart::Sources,
            DecoderState::SourceNumber | DecoderState::TxId(_) => MessagePart::TransactionList,
            DecoderState::BlockLength(_) | DecoderState::Block(..) | DecoderState::BodyEnd(_) => self.sources.place(),
            DecoderState::Tail | DecoderState::End => MessagePart::Tail,
        }
    }

    /// What it means that the input has ended here.
    pub fn cut_off(&mut self) -> WireError {
        match self.failure.take() {
            Some(object) => WireError::Server(failure::read(&object)),
            None => WireError::Short(self.place()),
        }
    }

    /// Takes the next event off `input`; `None` once the input is used up.
    ///
    /// # Errors
    /// [`WireError`]; the stream cannot be read on.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<&'a [u8]>>, WireError> {
        loop {
            if self.failure.is_some() {
                return self.read_failure(input);
            }
            let want = match self.state {
                DecoderState::BodyEnd(body) => return Ok(Some(self.end_body(body))),
                DecoderState::End => return Ok(Some(Event::End)),
                DecoderState::Block(left, ..) => left,
                DecoderState::Tail => usize::MAX,
                _ => self.width().saturating_sub(self.field.len()),
            };
            let piece = match self.frames.next_at_most(input, want)? {
                Piece::Payload(ResponseStatus::Success, piece) => piece,
                Piece::Payload(ResponseStatus::Failure, piece) => {
                    self.collect_failure(piece);
                    continue;
                }
                Piece::NeedInput => return Ok(None),
                Piece::End if self.state == DecoderState::Tail => {
                    self.state = DecoderState::End;
                    continue;
                }
                Piece::End => return Err(WireError::Short(self.place())),
            };
            match self.state {
                DecoderState::Block(left, after, body) => {
                    self.state = match (left.saturating_sub(piece.len()), after) {
                        (0, After::Another) => DecoderState::BlockLength(body),
                        (0, After::End) => DecoderState::BodyEnd(body),
                        (left, _) => DecoderState::Block(left, after, body),
                    };
                    return Ok(Some(Event::Data(piece)));
                }
                // no server sends any: a damaged count or tag has ended the response too early (§5)
                DecoderState::Tail => return Err(WireError::Trailing),
                _ => {
                    if let Some(event) = self.field_piece(piece)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Adds to the field that is waited for.
    fn field_piece(&mut self, piece: &[u8]) -> Result<Option<Event<&'static [u8]>>, WireError> {
        let width = self.width();
        if self.field.is_empty() && piece.len() == width {
            return self.field_complete(piece);
        }
        self.field.extend_from_slice(piece);
        if self.field.len() < width {
            return Ok(None);
        }
        let mut field = std::mem::take(&mut self.field);
        let event = self.field_complete(&field)?;
        field.clear();
        self.field = field;
        Ok(event)
    }

    /// Reads on in a failure. Its later chunks may be flagged as a success (§6.1).
    fn read_failure<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<&'a [u8]>>, WireError> {
        while self
            .failure
            .as_ref()
            .is_some_and(|object| object.len() < limits::FAILURE_BYTES)
        {
            match self.frames.next_at_most(input, usize::MAX)? {
                Piece::Payload(_, piece) => self.collect_failure(piece),
                Piece::NeedInput => return Ok(None),
                Piece::End => break,
            }
        }
        Err(self.cut_off())
    }

    fn collect_failure(&mut self, piece: &[u8]) {
        let object = self.failure.get_or_insert_default();
        let room = limits::FAILURE_BYTES.saturating_sub(object.len());
        object.extend(piece.iter().take(room));
    }

    /// Bytes of the field that the decoder waits for.
    fn width(&self) -> usize {
        match self.state {
            DecoderState::PathLength => 2,
            DecoderState::Path(units) | DecoderState::Name(_, units) => units.saturating_mul(2),
            DecoderState::NameLength(_) => 4,
            DecoderState::TxId(_) => 8,
            DecoderState::StoreId if self.dialect.has_store_version() => 24,
            DecoderState::StoreId => 16,
            DecoderState::HasData
            | DecoderState::BlockLength(_)
            | DecoderState::SourceCount
            | DecoderState::SourceNumber => 1,
            DecoderState::Block(..) | DecoderState::BodyEnd(_) | DecoderState::Tail | DecoderState::End => 0,
        }
    }

    fn field_complete(&mut self, field: &[u8]) -> Result<Option<Event<&'static [u8]>>, WireError> {
        let first = field.first().copied().unwrap_or_default();
        match self.state {
            DecoderState::PathLength => {
                self.state = match usize::from(u16::from_be_bytes(array(field))) {
                    0 => DecoderState::StoreId,
                    units if units <= limits::PATH_UNITS => DecoderState::Path(units),
                    units => {
                        return Err(too_long(
                            "a file name",
                            i64::try_from(units).unwrap_or(i64::MAX),
                            limits::PATH_UNITS,
                        ));
                    }
                };
            }
            DecoderState::Path(_) => {
                let path = self.file_begins(&utf16(field))?;
                self.state = DecoderState::HasData;
                return Ok(Some(Event::File(path)));
            }
            DecoderState::HasData => {
                self.state = match first {
                    0 => DecoderState::BodyEnd(Body::File),
                    1 => DecoderState::BlockLength(Body::File),
                    other => return Err(WireError::HasData(other)),
                }
            }
            DecoderState::BlockLength(body) => {
                self.state = match first {
                    0 => DecoderState::Block(255, After::Another, body),
                    length => DecoderState::Block(usize::from(length), After::End, body),
                }
            }
            DecoderState::StoreId => {
                let id = StoreId {
                    creation_time: i64::from_be_bytes(array(field)),
                    random: i64::from_be_bytes(array(field.get(8..).expect("a store id has 16 bytes"))),
                    store_version: field.get(16..24).map(|bytes| i64::from_be_bytes(array(bytes))),
                };
                self.state = DecoderState::SourceCount;
                return Ok(Some(Event::StoreId(id)));
            }
            DecoderState::SourceCount => {
                self.state = match usize::from(first) {
                    0 => DecoderState::Tail,
                    count => DecoderState::NameLength(count),
                }
            }
            DecoderState::NameLength(count) => {
                let units = i32::from_be_bytes(array(field));
                match usize::try_from(units) {
                    Ok(units @ 1..=limits::SOURCE_NAME_UNITS) => self.state = DecoderState::Name(count, units),
                    _ => {
                        return Err(too_long(
                            "a data source's name",
                            i64::from(units),
                            limits::SOURCE_NAME_UNITS,
                        ));
                    }
                }
            }
            DecoderState::Name(count, _) => {
                self.state = if self.sources.add(&utf16(field))? == count {
                    DecoderState::SourceNumber
                } else {
                    DecoderState::NameLength(count)
                }
            }
            DecoderState::SourceNumber => {
                self.state = match self.sources.numbered(first)? {
                    Some(source) => DecoderState::TxId(source),
                    None => DecoderState::Tail,
                }
            }
            DecoderState::TxId(source) => {
                let id = TxId(i64::from_be_bytes(array(field)));
                let name = self.sources.begin(source, id)?;
                self.state = DecoderState::BlockLength(Body::Transaction);
                return Ok(Some(Event::Transaction(name, id)));
            }
            DecoderState::Block(..) | DecoderState::BodyEnd(_) | DecoderState::Tail | DecoderState::End => {}
        }
        Ok(None)
    }

    fn file_begins(&mut self, name: &[u16]) -> Result<PeerPath, WireError> {
        let path = PeerPath::new(name)?;
        let cost = path.as_str().len().saturating_add(limits::FILE_OVERHEAD);
        self.file_names = self.file_names.saturating_add(cost);
        if self.file_names > limits::FILE_NAMES {
            return Err(WireError::TooManyFiles);
        }
        if !self.files.insert(path.clone()) {
            return Err(WireError::Twice(path));
        }
        self.file = Some(path.clone());
        Ok(path)
    }

    fn end_body(&mut self, body: Body) -> Event<&'static [u8]> {
        match body {
            Body::File => {
                self.state = DecoderState::PathLength;
                Event::FileEnd
            }
            Body::Transaction => {
                self.state = DecoderState::SourceNumber;
                Event::TransactionEnd
            }
        }
    }
}

fn too_long(what: &'static str, units: i64, limit: usize) -> WireError {
    WireError::TooLong { what, units, limit }
}

/// The first bytes of a field whose width was waited for.
fn array<const N: usize>(field: &[u8]) -> [u8; N] {
    *field.first_chunk().expect("a field is as wide as what was waited for")
}

fn utf16(field: &[u8]) -> Vec<u16> {
    field
        .chunks_exact(2)
        .map(|unit| u16::from_be_bytes(array(unit)))
        .collect()
}

#[cfg(test)]
mod encode_tests;
#[cfg(test)]
mod tests;
