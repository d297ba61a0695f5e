//! Requests, encoded and decoded (`docs/formats/wire-protocol.md` §4, §7). Each fits one frame.
//!
//! ```text
//! chunk header   u8 type   [i64 session]  i32 machine  i32 event   i8 n  n × { str32 name, i64 last }   [i32, i64]
//!                          not in D13                                                               D18 only
//! ```

use super::{Dialect, frame::APPLICATION, limits};
use crate::ids::TxId;

const FULL: u8 = 0;
const INCREMENTAL: u8 = 1;

/// The count of data sources is read as a signed byte.
const MOST_SOURCES: u8 = 127;

/// The 23 bytes that every release but 1.3 answers at once: an incremental request of D14 for no data source (§7.2).
pub fn probe() -> Vec<u8> {
    incremental(Dialect::D14, &[])
}

/// A full backup.
pub fn full(dialect: Dialect) -> Vec<u8> {
    frame(dialect, FULL, &[])
}

/// The transactions after the given ids, per data source and in this order; none named returns just the store id.
pub fn incremental(dialect: Dialect, asked: &[(&str, TxId)]) -> Vec<u8> {
    frame(dialect, INCREMENTAL, asked)
}

/// What a client asks for, and in which dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The dialect to answer in.
    pub dialect: Dialect,
    /// What is asked for.
    pub wanted: RequestKind,
}

/// The two kinds of request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// All files, and what is committed meanwhile.
    Full,
    /// The transactions after these ids, per data source and in this order.
    Incremental(Vec<(String, TxId)>),
}

/// A request that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Of a version that is not spoken (§7.1); the text is what the originals say.
    #[error("Unexpected {} protocol version {}, expected {}", .0.layer(), .0.found(), .0.expected())]
    Version(OtherVersion),
    /// Not a request in any dialect.
    #[error("not a request of the backup protocol: {what}")]
    Malformed {
        /// The dialect, where the header names one.
        dialect: Option<Dialect>,
        /// What is wrong.
        what: &'static str,
    },
}

/// The versions in the header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherVersion {
    internal: u8,
    application: u8,
}

impl OtherVersion {
    fn is_internal(self) -> bool {
        Dialect::from_internal_version(self.internal).is_none()
    }

    fn layer(self) -> &'static str {
        if self.is_internal() { "internal" } else { "application" }
    }

    fn found(self) -> u8 {
        if self.is_internal() {
            self.internal
        } else {
            self.application
        }
    }

    fn expected(self) -> u8 {
        if self.is_internal() {
            Dialect::D18.internal_version().expect("1.8 has internal versions")
        } else {
            APPLICATION
        }
    }
}

impl Request {
    /// Reads a request from what stands in its one frame. The header tells the two-byte dialects apart, the length the
    /// one-byte ones: their layouts cannot both fit (§7.3).
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(chunk: &[u8]) -> Result<Request, RequestError> {
        let (first, rest) = chunk.split_first().ok_or(malformed(None, "an empty frame"))?;
        let (internal, more) = (first >> 2 & 0x1f, first & 1 == 1);
        if *first <= 1 {
            if more {
                return Err(malformed(None, "it does not fit one chunk"));
            }
            let fitting = |dialect| Request::fields(dialect, rest).filter(|(_, left)| left.is_empty());
            let (request, _) = fitting(Dialect::D14)
                .or_else(|| fitting(Dialect::D13))
                .ok_or(malformed(None, "its length fits no dialect of 1.3 and 1.4"))?;
            return Ok(request);
        }
        let (application, rest) = rest.split_first().ok_or(malformed(None, "half a header"))?;
        let other = OtherVersion {
            internal,
            application: *application,
        };
        let dialect = Dialect::from_internal_version(internal).ok_or(RequestError::Version(other))?;
        if *application != APPLICATION {
            return Err(RequestError::Version(other));
        }
        if more {
            return Err(malformed(Some(dialect), "it does not fit one chunk"));
        }
        // later releases put more behind it, which servers of this age ignore
        let (request, _) = Request::fields(dialect, rest).ok_or(malformed(Some(dialect), "its fields"))?;
        Ok(request)
    }

    /// The request, and what stands behind it.
    fn fields(dialect: Dialect, bytes: &[u8]) -> Option<(Request, &[u8])> {
        let (kind, bytes) = bytes.split_first()?;
        let context = if dialect == Dialect::D13 { 8 } else { 16 };
        let (count, mut bytes) = bytes.get(context..)?.split_first()?;
        let mut asked = Vec::new();
        for _ in 0..(*count <= MOST_SOURCES).then_some(*count)? {
            let (units, rest) = bytes.split_first_chunk()?;
            let units = usize::try_from(u32::from_be_bytes(*units)).ok()?;
            let (name, rest) = rest.split_at_checked(units.checked_mul(2)?)?;
            let (last, rest) = rest.split_first_chunk()?;
            let name: Vec<u16> = name
                .as_chunks()
                .0
                .iter()
                .map(|unit| u16::from_be_bytes(*unit))
                .collect();
            (units <= limits::SOURCE_NAME_UNITS).then_some(())?;
            asked.push((String::from_utf16(&name).ok()?, TxId(i64::from_be_bytes(*last))));
            bytes = rest;
        }
        if dialect == Dialect::D18 {
            bytes = bytes.get(12..)?;
        }
        let wanted = match *kind {
            FULL => RequestKind::Full,
            INCREMENTAL => RequestKind::Incremental(asked),
            _ => return None,
        };
        Some((Request { dialect, wanted }, bytes))
    }
}

fn malformed(dialect: Option<Dialect>, what: &'static str) -> RequestError {
    RequestError::Malformed { dialect, what }
}

fn frame(dialect: Dialect, kind: u8, asked: &[(&str, TxId)]) -> Vec<u8> {
    let mut chunk = match dialect.internal_version() {
        None => vec![0],
        Some(version) => vec![version << 2, 1],
    };
    chunk.push(kind);
    if dialect != Dialect::D13 {
        chunk.extend([0xff; 8]);
    }
    chunk.extend([0xff; 8]);
    chunk.push(u8::try_from(asked.len()).expect("callers name at most the two data sources of a stock server"));
    for (name, last) in asked {
        let units: Vec<u16> = name.encode_utf16().collect();
        chunk.extend(
            u32::try_from(units.len())
                .expect("names of data sources are short")
                .to_be_bytes(),
        );
        chunk.extend(units.into_iter().flat_map(u16::to_be_bytes));
        chunk.extend(last.0.to_be_bytes());
    }
    if dialect == Dialect::D18 {
        chunk.extend([0xff; 12]);
    }
    let mut frame = u32::try_from(chunk.len())
        .expect("a request is short")
        .to_be_bytes()
        .to_vec();
    frame.append(&mut chunk);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_requests_are_the_documented_bytes() {
        let ones = |n| vec![0xff; n];
        assert_eq!(full(Dialect::D13), [vec![0, 0, 0, 11, 0, 0], ones(8), vec![0]].concat());
        assert_eq!(
            full(Dialect::D14),
            [vec![0, 0, 0, 19, 0, 0], ones(16), vec![0]].concat()
        );
        assert_eq!(
            full(Dialect::D15),
            [vec![0, 0, 0, 20, 4, 1, 0], ones(16), vec![0]].concat()
        );
        assert_eq!(
            full(Dialect::D18),
            [vec![0, 0, 0, 32, 8, 1, 0], ones(16), vec![0], ones(12)].concat()
        );
        assert_eq!(probe(), [vec![0, 0, 0, 19, 0, 1], ones(16), vec![0]].concat());
    }

    #[test]
    fn the_documented_incremental_request_comes_out_byte_for_byte() {
        let bytes = incremental(Dialect::D18, &[("nioneodb", TxId(1234)), ("lucene-index", TxId(56))]);
        assert_eq!(bytes.len(), 100);
        assert_eq!(bytes[..7], [0, 0, 0, 96, 8, 1, 1]);
        assert_eq!(bytes[23..28], [2, 0, 0, 0, 8]);
        assert_eq!(bytes[44..52], [0, 0, 0, 0, 0, 0, 4, 0xd2]);
        assert_eq!(bytes[88..], [0xff; 12]);
    }

    proptest::proptest! {
        #[test]
        fn every_request_is_read_back_in_its_own_dialect(
            dialect in proptest::sample::select(&Dialect::ALL),
            asked in proptest::collection::vec((".{0,20}", proptest::num::i64::ANY), 0..6),
        ) {
            let names: Vec<(&str, TxId)> = asked.iter().map(|(name, id)| (name.as_str(), TxId(*id))).collect();
            let request = Request::decode(&incremental(dialect, &names)[4..]).unwrap();
            let asked = asked.iter().map(|(name, id)| (name.clone(), TxId(*id))).collect();
            proptest::prop_assert_eq!(request, Request { dialect, wanted: RequestKind::Incremental(asked) });
            let full = Request::decode(&full(dialect)[4..]).unwrap();
            proptest::prop_assert_eq!(full, Request { dialect, wanted: RequestKind::Full });
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Request::decode(&bytes);
        }
    }

    #[test]
    fn a_request_cut_or_lengthened_is_an_error_in_the_one_byte_dialects() {
        for dialect in [Dialect::D13, Dialect::D14] {
            let whole = incremental(dialect, &[("nioneodb", TxId(7)), ("lucene-index", TxId(-1))]);
            for cut in 0..whole.len() - 4 {
                assert!(Request::decode(&whole[4..4 + cut]).is_err(), "{dialect}, {cut} bytes");
            }
            assert!(Request::decode(&[&whole[4..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn what_later_releases_put_behind_a_request_is_ignored() {
        let longer = [&full(Dialect::D18)[4..], &[1]].concat();
        assert_eq!(Request::decode(&longer).unwrap().wanted, RequestKind::Full);
    }

    #[test]
    fn other_versions_are_told_apart_from_garbage() {
        let error = |bytes: &[u8]| Request::decode(bytes).unwrap_err().to_string();
        assert_eq!(error(&[12, 1, 0]), "Unexpected internal protocol version 3, expected 2");
        assert_eq!(
            error(&[8, 2, 0]),
            "Unexpected application protocol version 2, expected 1"
        );
        assert!(error(&[8, 1, 2]).contains("not a request"));
        assert!(error(&[9, 1, 0]).contains("one chunk"));
        assert!(error(&[1, 0]).contains("one chunk"));
        assert!(error(b"GET / HTTP/1.1").contains("version"));
        assert!(error(&[]).contains("empty"));
        let many = [&[8, 1, 1][..], &[0xff; 16], &[0x80]].concat();
        assert!(error(&many).contains("fields"));
    }
}
