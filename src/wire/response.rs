//! A response as a sequence of events (`docs/formats/wire-protocol.md` §5), without copying a byte of it.
//!
//! ```text
//! full         { u16 units, path; u8 hasData; blocks }*  u16 0   store id   transactions
//! incremental                                             store id   transactions
//! transactions u8 sources (0: nothing follows)  { str32 name }*  { u8 source, i64 id, blocks }*  u8 0
//! blocks       { 00, 255 bytes }*  { n = 1…255, n bytes }
//! ```

use std::sync::Arc;

use super::{
    Dialect, PeerPath, failure,
    frame::{FrameError, Frames, Outcome, Piece},
    limits,
    path::PathError,
};
use crate::ids::{StoreId, TxId};

/// What comes next in a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
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

/// What a peer may get wrong, or tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Framing.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A file name.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The server reports a failure of its own.
    #[error("{0}")]
    Server(failure::ServerFailure),
    /// The message ended inside something.
    #[error("the response ends inside {0}")]
    Short(&'static str),
    /// Two files of one name.
    #[error("the file {0} was sent twice")]
    Twice(PeerPath),
    /// A text with an impossible length.
    #[error("{what} with {units} UTF-16 units was announced; {limit} are possible")]
    TooLong {
        /// Whose length.
        what: &'static str,
        /// As announced.
        units: i64,
        /// Limit.
        limit: usize,
    },
    /// A data source's name that cannot be.
    #[error("the names of the data sources are not usable: {0:?}")]
    SourceName(String),
    /// A byte that is neither 0 nor 1.
    #[error("{0:#04x} says neither that a file has data nor that it is empty")]
    HasData(u8),
    /// A number that names no data source.
    #[error("data source number {number} of {count}")]
    SourceNumber {
        /// The number.
        number: u8,
        /// How many there are.
        count: usize,
    },
    /// Transactions out of order.
    #[error("transaction {found} of {source_name} where {expected} has to follow")]
    Order {
        /// Data source.
        source_name: Arc<str>,
        /// The id that had to come.
        expected: TxId,
        /// The id that came.
        found: TxId,
    },
    /// Transactions of one data source in two places.
    #[error("transactions of {0} in two places")]
    Regrouped(Arc<str>),
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
    End,
}

/// Whether a full block is followed by another.
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
    seen: std::collections::HashSet<PeerPath>,
    sources: Vec<Arc<str>>,
    /// Per source: the id that has to follow, once there was one.
    expected: Vec<Option<TxId>>,
    current: Option<usize>,
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

    fn new(dialect: Dialect, state: State) -> Decoder {
        Decoder {
            dialect,
            frames: Frames::new(dialect),
            state,
            field: Vec::new(),
            seen: std::collections::HashSet::new(),
            sources: Vec::new(),
            expected: Vec::new(),
            current: None,
            failure: None,
        }
    }

    /// Where in a response the decoder stands, for messages.
    pub fn place(&self) -> &'static str {
        match self.state {
            State::PathLength | State::Path(_) | State::HasData => "the list of files",
            State::BlockLength(Body::File) | State::Block(_, _, Body::File) | State::BodyEnd(Body::File) => "a file",
            State::StoreId => "the store id",
            State::SourceCount | State::NameLength(_) | State::Name(..) => "the names of the data sources",
            State::SourceNumber | State::TxId(_) => "the list of transactions",
            State::BlockLength(_) | State::Block(..) | State::BodyEnd(_) => "a transaction",
            State::End => "nothing",
        }
    }

    /// Takes the next event off `input`; `None` once the input is used up.
    ///
    /// # Errors
    /// [`WireError`]; the stream cannot be read on.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, WireError> {
        loop {
            match self.state {
                State::BodyEnd(body) => return Ok(Some(self.end_body(body))),
                State::End => return Ok(Some(Event::End)),
                _ => {}
            }
            if let State::Block(left, after, body) = self.state
                && self.failure.is_none()
            {
                match self.frames.next_at_most(input, left)? {
                    Piece::Payload(Outcome::Success, piece) => {
                        self.state = match (left - piece.len(), after) {
                            (0, After::Another) => State::BlockLength(body),
                            (0, After::End) => State::BodyEnd(body),
                            (left, _) => State::Block(left, after, body),
                        };
                        return Ok(Some(Event::Data(piece)));
                    }
                    Piece::Payload(Outcome::Failure, piece) => self.collect_failure(piece),
                    Piece::NeedInput => return Ok(None),
                    Piece::End => return Err(WireError::Short(self.place())),
                }
                continue;
            }
            let want = if self.failure.is_some() { usize::MAX } else { self.width() - self.field.len() };
            match self.frames.next_at_most(input, want)? {
                Piece::NeedInput => return Ok(None),
                Piece::End => {
                    return Err(match self.failure.take() {
                        Some(object) => WireError::Server(failure::read(&object)),
                        None => WireError::Short(self.place()),
                    });
                }
                Piece::Payload(Outcome::Failure, piece) => self.collect_failure(piece),
                // the continuation of a failure may be flagged as a success
                Piece::Payload(Outcome::Success, piece) if self.failure.is_some() => self.collect_failure(piece),
                Piece::Payload(Outcome::Success, piece) => {
                    self.field.extend_from_slice(piece);
                    if self.field.len() == self.width() {
                        let field = std::mem::take(&mut self.field);
                        let event = self.field_complete(&field)?;
                        self.field = field;
                        self.field.clear();
                        if event.is_some() {
                            return Ok(event);
                        }
                    }
                }
            }
        }
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
            State::Block(..) | State::BodyEnd(_) | State::End => 0,
        }
    }

    fn field_complete(&mut self, field: &[u8]) -> Result<Option<Event<'static>>, WireError> {
        let first = field.first().copied().unwrap_or_default();
        match self.state {
            State::PathLength => {
                self.state = match usize::from(u16::from_be_bytes(array(field))) {
                    0 => State::StoreId,
                    units if units <= limits::PATH_UNITS => State::Path(units),
                    units => return Err(too_long("a file name", units as i64, limits::PATH_UNITS)),
                };
            }
            State::Path(_) => {
                let path = PeerPath::new(&utf16(field))?;
                if !self.seen.insert(path.clone()) {
                    return Err(WireError::Twice(path));
                }
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
                    random: i64::from_be_bytes(array(field.get(8..).unwrap_or_default())),
                    store_version: field.get(16..24).map(|bytes| i64::from_be_bytes(array(bytes))),
                };
                self.state = State::SourceCount;
                return Ok(Some(Event::StoreId(id)));
            }
            State::SourceCount => {
                self.state = match usize::from(first) {
                    0 => State::End,
                    count => State::NameLength(count),
                }
            }
            State::NameLength(count) => {
                let units = i32::from_be_bytes(array(field));
                match usize::try_from(units) {
                    Ok(units @ 1..=limits::SOURCE_NAME_UNITS) => self.state = State::Name(count, units),
                    _ => return Err(too_long("a data source's name", i64::from(units), limits::SOURCE_NAME_UNITS)),
                }
            }
            State::Name(count, _) => self.name_complete(count, field)?,
            State::SourceNumber => {
                let number = usize::from(first);
                let count = self.sources.len();
                self.state = match number.checked_sub(1) {
                    None => State::End,
                    Some(source) if source < count => State::TxId(source),
                    Some(_) => return Err(WireError::SourceNumber { number: first, count }),
                }
            }
            State::TxId(source) => return self.transaction(source, TxId(i64::from_be_bytes(array(field)))).map(Some),
            State::Block(..) | State::BodyEnd(_) | State::End => {}
        }
        Ok(None)
    }

    fn name_complete(&mut self, count: usize, field: &[u8]) -> Result<(), WireError> {
        let name = String::from_utf16_lossy(&utf16(field));
        if name.chars().any(char::is_control) || self.sources.iter().any(|known| **known == *name) {
            return Err(WireError::SourceName(name));
        }
        self.sources.push(name.into());
        self.expected.push(None);
        self.state = if self.sources.len() == count { State::SourceNumber } else { State::NameLength(count) };
        Ok(())
    }

    fn transaction(&mut self, source: usize, found: TxId) -> Result<Event<'static>, WireError> {
        let source_name = self.sources.get(source).cloned().unwrap_or_default();
        let expected = self.expected.get(source).copied().flatten();
        match expected {
            Some(_) if self.current != Some(source) => return Err(WireError::Regrouped(source_name)),
            Some(expected) if expected != found => return Err(WireError::Order { source_name, expected, found }),
            None if found <= TxId::BASE => {
                return Err(WireError::Order { source_name, expected: TxId::BASE.next(), found });
            }
            _ => {}
        }
        if let Some(slot) = self.expected.get_mut(source) {
            *slot = Some(found.next());
        }
        self.current = Some(source);
        self.state = State::BlockLength(Body::Transaction);
        Ok(Event::Transaction(source_name, found))
    }

    fn end_body(&mut self, body: Body) -> Event<'static> {
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
    field.first_chunk().copied().unwrap_or([0; N])
}

fn utf16(field: &[u8]) -> Vec<u16> {
    field.chunks_exact(2).map(|unit| u16::from_be_bytes(array(unit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> Vec<u8> {
        name.encode_utf16().flat_map(u16::to_be_bytes).collect()
    }

    /// One D18 frame around a payload.
    pub(crate) fn framed(header: [u8; 2], payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 2).unwrap();
        [&length.to_be_bytes()[..], &header, payload].concat()
    }

    fn store_id() -> Vec<u8> {
        [[0; 8], [1; 8], [0, 0x30, 0x2e, 0x41, 0x2e, 0x30, 0x76, 6]].concat()
    }

    /// A response with a 300-byte file, an empty file and two transactions.
    fn sample() -> Vec<u8> {
        let data: Vec<u8> = (0..300_u32).map(|i| (i % 256) as u8).collect();
        let mut p = [&[0, 10][..], &text("neostore.a"), &[1, 0], &data[..255], &[45], &data[255..]].concat();
        p.extend([&[0, 10][..], &text("neostore.b"), &[0], &[0, 0]].concat());
        p.extend(store_id());
        p.extend([&[1, 0, 0, 0, 8][..], &text("nioneodb")].concat());
        for id in [5_i64, 6] {
            p.extend([&[1][..], &id.to_be_bytes(), &[3, 7, 8, 9]].concat());
        }
        p.push(0);
        p
    }

    fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> Result<Vec<String>, WireError> {
        let mut out: Vec<String> = Vec::new();
        let mut data: Vec<u8> = Vec::new();
        for mut part in bytes.chunks(step.max(1)) {
            while let Some(event) = decoder.next(&mut part)? {
                match event {
                    Event::Data(piece) => data.extend(piece),
                    event => {
                        if !data.is_empty() {
                            out.push(format!("{} bytes {}", data.len(), blake3::hash(&data)));
                            data.clear();
                        }
                        out.push(format!("{event:?}"));
                        if event == Event::End {
                            return Ok(out);
                        }
                    }
                }
            }
        }
        Err(WireError::Short(decoder.place()))
    }

    #[test]
    fn every_split_and_every_framing_of_a_response_gives_the_same_events() {
        let payload = sample();
        let whole = framed([8, 1], &payload);
        let events = decode(Decoder::full(Dialect::D18), &whole, whole.len()).unwrap();
        assert_eq!(events.len(), 13);
        for step in 1..whole.len() {
            assert_eq!(decode(Decoder::full(Dialect::D18), &whole, step).unwrap(), events);
        }
        for cut in 0..payload.len() {
            let two = [framed([9, 1], &payload[..cut]), framed([8, 1], &payload[cut..])].concat();
            assert_eq!(decode(Decoder::full(Dialect::D18), &two, 64).unwrap(), events, "cut at {cut}");
        }
    }

    #[test]
    fn a_response_cut_anywhere_is_short() {
        let payload = sample();
        for cut in 0..payload.len() {
            let ended = framed([8, 1], &payload[..cut]);
            let result = decode(Decoder::full(Dialect::D18), &ended, 100);
            assert!(matches!(result, Err(WireError::Short(_))), "cut at {cut}: {result:?}");
        }
    }

    #[test]
    fn one_byte_dialects_have_a_short_store_id() {
        let mut bytes = vec![0, 0, 0, 18, 0];
        bytes.extend([7; 16]);
        bytes.push(0);
        let events = decode(Decoder::incremental(Dialect::D13), &bytes, 5).unwrap();
        assert!(events[0].contains("store_version: None"));
        assert_eq!(events[1], "End");
    }

    #[test]
    fn transactions_out_of_order_repeated_or_of_no_source_are_errors() {
        let names = [&[2, 0, 0, 0, 1][..], &text("a"), &[0, 0, 0, 1], &text("b")].concat();
        let tx = |source: u8, id: i64| [&[source][..], &id.to_be_bytes(), &[1, 0]].concat();
        let run = |list: &[Vec<u8>]| {
            let payload = [store_id(), names.clone(), list.concat(), vec![0]].concat();
            decode(Decoder::incremental(Dialect::D18), &framed([8, 1], &payload), 1000)
        };
        assert!(run(&[tx(2, 9), tx(1, 5), tx(1, 6)]).is_ok());
        assert!(matches!(run(&[tx(1, 5), tx(1, 7)]), Err(WireError::Order { .. })));
        assert!(matches!(run(&[tx(1, 5), tx(1, 5)]), Err(WireError::Order { .. })));
        assert!(matches!(run(&[tx(1, 0)]), Err(WireError::Order { .. })));
        assert!(matches!(run(&[tx(1, 5), tx(2, 5), tx(1, 6)]), Err(WireError::Regrouped(_))));
        assert!(matches!(run(&[tx(3, 5)]), Err(WireError::SourceNumber { number: 3, count: 2 })));
    }

    #[test]
    fn impossible_names_lengths_and_flags_are_errors() {
        let full = |payload: &[u8]| decode(Decoder::full(Dialect::D18), &framed([8, 1], payload), 999);
        assert!(matches!(full(&[0xff, 0xff]), Err(WireError::TooLong { .. })));
        assert!(matches!(full(&[&[0, 2][..], &text("..")].concat()), Err(WireError::Path(_))));
        let file = [&[0, 8][..], &text("neostore")].concat();
        assert!(matches!(full(&[&file[..], &[2]].concat()), Err(WireError::HasData(2))));
        assert!(matches!(full(&[&file[..], &[0], &file[..]].concat()), Err(WireError::Twice(_))));
        let incremental = |tail: &[u8]| {
            decode(Decoder::incremental(Dialect::D18), &framed([8, 1], &[&store_id()[..], tail].concat()), 999)
        };
        assert!(matches!(incremental(&[1, 0x80, 0, 0, 0]), Err(WireError::TooLong { .. })));
        assert!(matches!(incremental(&[1, 0, 0, 1, 0]), Err(WireError::TooLong { .. })));
        let twice = [&[2, 0, 0, 0, 1][..], &text("a"), &[0, 0, 0, 1], &text("a")].concat();
        assert!(matches!(incremental(&twice), Err(WireError::SourceName(_))));
    }

    #[test]
    fn a_failure_chunk_anywhere_replaces_what_would_have_followed() {
        let object = failure::tests::sample("No such log version:3");
        let payload = sample();
        for cut in [0, 1, 20, 40, 200, 330, payload.len() - 1] {
            let bytes = [framed([9, 1], &payload[..cut]), framed([10, 1], &object)].concat();
            let result = decode(Decoder::full(Dialect::D18), &bytes, 77);
            assert!(
                matches!(&result, Err(WireError::Server(f)) if f.to_string().contains("No such log version:3")),
                "{result:?}"
            );
            let split = [framed([11, 1], &[]), framed([8, 1], &object)].concat();
            let result = decode(Decoder::full(Dialect::D18), &split, 13);
            assert!(matches!(result, Err(WireError::Server(_))), "{result:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_end_in_an_error_or_an_end(bytes: Vec<u8>, step in 1_usize..50) {
            for dialect in Dialect::ALL {
                let _ = decode(Decoder::full(dialect), &bytes, step);
                let _ = decode(Decoder::incremental(dialect), &framed([8, 1], &bytes), step);
            }
        }
    }
}
