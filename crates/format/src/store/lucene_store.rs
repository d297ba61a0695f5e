//! `index/lucene-store.db`: log version and last transaction of the Lucene data source
//! (`docs/formats/store-format.md` §7.1).
//!
//! ```text
//!  0  i64  creation time
//!  8  i64  random
//! 16  i64  log version
//! 24  i64  last transaction; may be missing up to 1.5
//! 32  i64  index version; from 1.6 on
//! ```

use thiserror::Error;

use crate::ids::{LogVersion, TxId};

/// Path relative to the store directory.
pub const PATH: &str = "index/lucene-store.db";
/// Where the log version stands.
pub const VERSION_AT: u64 = 16;
/// Where the last transaction stands.
pub const LAST_TX_AT: u64 = 24;
/// More than any release writes; extra bytes are ignored.
pub const SIZE_MAX: u64 = 4096;

/// What matters of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LuceneStore {
    /// Version of the active log.
    pub version: LogVersion,
    /// Last transaction when the file was written, which releases do rarely: a pending log knows better.
    pub last_tx: TxId,
}

/// A file that is there but cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LuceneStoreError {
    /// Fewer than 24 bytes.
    #[error("lucene-store.db has only {0} bytes")]
    Short(usize),
    /// A negative log version.
    #[error("lucene-store.db has log version {0}")]
    Version(i64),
}

impl Default for LuceneStore {
    /// What a server writes when the file is missing.
    fn default() -> LuceneStore {
        LuceneStore {
            version: LogVersion(0),
            last_tx: TxId::BASE,
        }
    }
}

impl LuceneStore {
    /// Reads the content of the file.
    ///
    /// # Errors
    /// See [`LuceneStoreError`].
    pub fn decode(bytes: &[u8]) -> Result<LuceneStore, LuceneStoreError> {
        let (longs, _) = bytes.as_chunks::<8>();
        let long = |index: usize| longs.get(index).map(|bytes| i64::from_be_bytes(*bytes));
        let version = long(2).ok_or(LuceneStoreError::Short(bytes.len()))?;
        Ok(LuceneStore {
            version: LogVersion(u64::try_from(version).map_err(|_| LuceneStoreError::Version(version))?),
            last_tx: long(3).map_or(TxId::BASE, TxId),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_lengths_are_read() {
        let mut bytes = [
            [0, 0, 1, 2, 3, 4, 5, 6],
            [7; 8],
            [0, 0, 0, 0, 0, 0, 0, 3],
            [0, 0, 0, 0, 0, 0, 0, 8],
        ]
        .concat();
        let mut expected = LuceneStore {
            version: LogVersion(3),
            last_tx: TxId(8),
        };
        assert_eq!(LuceneStore::decode(&bytes), Ok(expected));
        bytes.extend([0, 0, 0, 0, 0x35, 0x2E, 0x33, 3]);
        assert_eq!(LuceneStore::decode(&bytes), Ok(expected));
        bytes.truncate(24);
        expected.last_tx = TxId::BASE;
        assert_eq!(LuceneStore::decode(&bytes), Ok(expected));
    }

    #[test]
    fn short_files_and_negative_versions_are_refused() {
        assert_eq!(LuceneStore::decode(&[0; 23]), Err(LuceneStoreError::Short(23)));
        assert_eq!(LuceneStore::decode(&[0xFF; 32]), Err(LuceneStoreError::Version(-1)));
    }
}
