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
enum State {
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
    state: State,
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
        Decoder::new(dialect, State::PathLength)
    }

    /// For the response to an incremental backup.
    pub fn incremental(dialect: Dialect) -> Decoder {
        Decoder::new(dialect, State::StoreId)
    }

    /// Makes transactions an error that do not begin right after these ids, or are of other data sources (§9.3).
    #[must_use]
    pub fn after(mut self, asked: &[(&str, TxId)]) -> Decoder {
        self.sources = Sources::after(asked);
        self
    }

    fn new(dialect: Dialect, state: State) -> Decoder {
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
            State::PathLength => MessagePart::FileList,
            State::Path(_) => MessagePart::File(None),
            State::HasData
            | State::BlockLength(Body::File)
            | State::Block(_, _, Body::File)
            | State::BodyEnd(Body::File) => MessagePart::File(self.file.clone()),
            State::StoreId => MessagePart::StoreId,
            State::SourceCount | State::NameLength(_) | State::Name(..) => MessagePart::Sources,
            State::SourceNumber | State::TxId(_) => MessagePart::TransactionList,
            State::BlockLength(_) | State::Block(..) | State::BodyEnd(_) => self.sources.place(),
            State::Tail | State::End => MessagePart::Tail,
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
                State::BodyEnd(body) => return Ok(Some(self.end_body(body))),
                State::End => return Ok(Some(Event::End)),
                State::Block(left, ..) => left,
                State::Tail => usize::MAX,
                _ => self.width().saturating_sub(self.field.len()),
            };
            let piece = match self.frames.next_at_most(input, want)? {
                Piece::Payload(ResponseStatus::Success, piece) => piece,
                Piece::Payload(ResponseStatus::Failure, piece) => {
                    self.collect_failure(piece);
                    continue;
                }
                Piece::NeedInput => return Ok(None),
                Piece::End if self.state == State::Tail => {
                    self.state = State::End;
                    continue;
                }
                Piece::End => return Err(WireError::Short(self.place())),
            };
            match self.state {
                State::Block(left, after, body) => {
                    self.state = match (left.saturating_sub(piece.len()), after) {
                        (0, After::Another) => State::BlockLength(body),
                        (0, After::End) => State::BodyEnd(body),
                        (left, _) => State::Block(left, after, body),
                    };
                    return Ok(Some(Event::Data(piece)));
                }
                // no server sends any: a damaged count or tag has ended the response too early (§5)
                State::Tail => return Err(WireError::Trailing),
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
            State::PathLength => 2,
            State::Path(units) | State::Name(_, units) => units.saturating_mul(2),
            State::NameLength(_) => 4,
            State::TxId(_) => 8,
            State::StoreId if self.dialect.has_store_version() => 24,
            State::StoreId => 16,
            State::HasData | State::BlockLength(_) | State::SourceCount | State::SourceNumber => 1,
            State::Block(..) | State::BodyEnd(_) | State::Tail | State::End => 0,
        }
    }

    fn field_complete(&mut self, field: &[u8]) -> Result<Option<Event<&'static [u8]>>, WireError> {
        let first = field.first().copied().unwrap_or_default();
        match self.state {
            State::PathLength => {
                self.state = match usize::from(u16::from_be_bytes(array(field))) {
                    0 => State::StoreId,
                    units if units <= limits::PATH_UNITS => State::Path(units),
                    units => {
                        return Err(too_long(
                            "a file name",
                            i64::try_from(units).unwrap_or(i64::MAX),
                            limits::PATH_UNITS,
                        ));
                    }
                };
            }
            State::Path(_) => {
                let path = self.file_begins(&utf16(field))?;
                self.state = State::HasData;
                return Ok(Some(Event::File(path)));
            }
            State::HasData => {
                self.state = match first {
                    0 => State::BodyEnd(Body::File),
                    1 => State::BlockLength(Body::File),
                    other => return Err(WireError::HasData(other)),
                }
            }
            State::BlockLength(body) => {
                self.state = match first {
                    0 => State::Block(255, After::Another, body),
                    length => State::Block(usize::from(length), After::End, body),
                }
            }
            State::StoreId => {
                let id = StoreId {
                    creation_time: i64::from_be_bytes(array(field)),
                    random: i64::from_be_bytes(array(field.get(8..).expect("a store id has 16 bytes"))),
                    store_version: field.get(16..24).map(|bytes| i64::from_be_bytes(array(bytes))),
                };
                self.state = State::SourceCount;
                return Ok(Some(Event::StoreId(id)));
            }
            State::SourceCount => {
                self.state = match usize::from(first) {
                    0 => State::Tail,
                    count => State::NameLength(count),
                }
            }
            State::NameLength(count) => {
                let units = i32::from_be_bytes(array(field));
                match usize::try_from(units) {
                    Ok(units @ 1..=limits::SOURCE_NAME_UNITS) => self.state = State::Name(count, units),
                    _ => {
                        return Err(too_long(
                            "a data source's name",
                            i64::from(units),
                            limits::SOURCE_NAME_UNITS,
                        ));
                    }
                }
            }
            State::Name(count, _) => {
                self.state = if self.sources.add(&utf16(field))? == count {
                    State::SourceNumber
                } else {
                    State::NameLength(count)
                }
            }
            State::SourceNumber => {
                self.state = match self.sources.numbered(first)? {
                    Some(source) => State::TxId(source),
                    None => State::Tail,
                }
            }
            State::TxId(source) => {
                let id = TxId(i64::from_be_bytes(array(field)));
                let name = self.sources.begin(source, id)?;
                self.state = State::BlockLength(Body::Transaction);
                return Ok(Some(Event::Transaction(name, id)));
            }
            State::Block(..) | State::BodyEnd(_) | State::Tail | State::End => {}
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
                self.state = State::PathLength;
                Event::FileEnd
            }
            Body::Transaction => {
                self.state = State::SourceNumber;
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
