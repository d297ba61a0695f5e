//! Requests, encoded (`docs/formats/wire-protocol.md` §4, §7.2). Each fits one frame.

use super::Dialect;
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
    // callers name at most the two stock data sources
    chunk.push(u8::try_from(asked.len()).unwrap_or(MOST_SOURCES));
    for (name, last) in asked {
        let units: Vec<u16> = name.encode_utf16().collect();
        chunk.extend(u32::try_from(units.len()).unwrap_or(u32::MAX).to_be_bytes());
        chunk.extend(units.into_iter().flat_map(u16::to_be_bytes));
        chunk.extend(last.0.to_be_bytes());
    }
    if dialect == Dialect::D18 {
        chunk.extend([0xff; 12]);
    }
    let mut frame = u32::try_from(chunk.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
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
}
