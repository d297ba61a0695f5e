//! The 16 bytes at the start of a log file (`docs/formats/transaction-log.md` §4).
//!
//! ```text
//! 0  u8   format
//! 1  u56  log version
//! 8  i64  last transaction committed before this log's first
//! ```

use super::{error::LogProblem, format::LogFormat};
use crate::ids::{LogVersion, TxId};

/// The header of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHeader {
    /// Format of the entries that follow.
    pub format: LogFormat,
    /// Version of this log, 56 bits; part of its name once it is archived.
    pub version: LogVersion,
    /// Last transaction committed before the first new one of this log; −1 makes no statement (§8.4).
    pub previous_last_tx: TxId,
}

impl LogHeader {
    /// Bytes of a header.
    pub const SIZE: usize = 16;
    /// Where the first entry of a log begins.
    pub const END: u64 = 16;
    /// The largest version a header can hold.
    pub const VERSION_MAX: LogVersion = LogVersion((1 << 56) - 1);

    /// Reads a header.
    ///
    /// # Errors
    /// [`LogProblem::UnknownFormat`].
    pub fn decode(bytes: [u8; LogHeader::SIZE]) -> Result<LogHeader, LogProblem> {
        let [format, v @ .., l0, l1, l2, l3, l4, l5, l6, l7] = bytes;
        let [v0, v1, v2, v3, v4, v5, v6] = v;
        Ok(LogHeader {
            format: LogFormat::from_byte(format).ok_or(LogProblem::UnknownFormat(format))?,
            version: LogVersion(u64::from_be_bytes([0, v0, v1, v2, v3, v4, v5, v6])),
            previous_last_tx: TxId(i64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7])),
        })
    }

    /// The bytes of this header; of a version too large for it, the low 56 bits.
    pub fn encode(self) -> [u8; LogHeader::SIZE] {
        let [_, v0, v1, v2, v3, v4, v5, v6] = self.version.0.to_be_bytes();
        let [l0, l1, l2, l3, l4, l5, l6, l7] = self.previous_last_tx.0.to_be_bytes();
        let format = self.format.byte();
        [format, v0, v1, v2, v3, v4, v5, v6, l0, l1, l2, l3, l4, l5, l6, l7]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_worked_example_decode_and_encode() {
        // docs/formats/transaction-log.md §14.1
        for (byte, format) in [(1, LogFormat::V1), (2, LogFormat::V2)] {
            let bytes = [byte, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 42];
            let header = LogHeader {
                format,
                version: LogVersion(5),
                previous_last_tx: TxId(42),
            };
            assert_eq!(LogHeader::decode(bytes), Ok(header));
            assert_eq!(header.encode(), bytes);
        }
    }

    #[test]
    fn no_statement_about_the_last_transaction_survives() {
        let header = LogHeader {
            format: LogFormat::V2,
            version: LogHeader::VERSION_MAX,
            previous_last_tx: TxId(-1),
        };
        assert_eq!(LogHeader::decode(header.encode()), Ok(header));
    }

    #[test]
    fn an_unknown_format_is_refused() {
        assert_eq!(LogHeader::decode([3; 16]), Err(LogProblem::UnknownFormat(3)));
        assert_eq!(LogHeader::decode([0; 16]), Err(LogProblem::UnknownFormat(0)));
    }
}
