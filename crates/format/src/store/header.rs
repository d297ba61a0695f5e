//! The records of `neostore` (`docs/formats/store-format.md` §4).
//!
//! ```text
//! neostore, record n at 9·n: u8 01, i64 value
//!   0 creation time   1 random id   2 logical log version   3 last transaction   4 store version (1.5+)
//!   5 first property of the graph itself (1.6+)
//! ```

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use super::{
    StoreFile, StoreFormat,
    record::{Pointer, RecordId},
};
use crate::{
    DirHandle,
    ids::{LogVersion, StoreId, TxId},
};

/// "v0.A.0" as a number: length in the lowest byte, characters upward (§4).
pub const CURRENT_VERSION: i64 = 0x0030_2E41_2E30_7606;

const RECORD: u64 = 9;
const LOG_VERSION: u64 = 2;
const LAST_TRANSACTION: u64 = 3;
const STORE_VERSION: u64 = 4;
const GRAPH_PROPERTY: u64 = 5;

/// What is wrong with a header file.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The header file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A record is missing or not in use.
    #[error("{}: {what} at offset {offset} is missing", path.display())]
    Missing {
        /// The header file.
        path: PathBuf,
        /// The record's meaning.
        what: &'static str,
        /// Its place.
        offset: u64,
    },
    /// Neither of the two store formats.
    #[error("{}: not a store of format v0.9.9 or v0.A.0 (store version {found:#018x})", path.display())]
    UnknownFormat {
        /// The header file.
        path: PathBuf,
        /// Record 4.
        found: i64,
    },
}

/// The header file of one data source, read and changed in place.
#[derive(Debug)]
pub struct Header {
    file: File,
    path: PathBuf,
}

impl Header {
    /// Opens `neostore` in the store directory `dir`.
    ///
    /// # Errors
    /// [`HeaderError::Io`].
    pub fn open(dir: &DirHandle) -> Result<Header, HeaderError> {
        let name = StoreFile::Neostore.name();
        Header::of(dir, dir.open_to_change(name))
    }

    /// The same for somebody who may only read; the records cannot be set.
    ///
    /// # Errors
    /// [`HeaderError::Io`].
    pub fn open_read_only(dir: &DirHandle) -> Result<Header, HeaderError> {
        Header::of(dir, dir.open_file(StoreFile::Neostore.name()))
    }

    fn of(dir: &DirHandle, opened: io::Result<File>) -> Result<Header, HeaderError> {
        let path = dir.join(StoreFile::Neostore.name());
        match opened {
            Ok(file) => Ok(Header { file, path }),
            Err(source) => Err(HeaderError::Io { path, source }),
        }
    }

    /// The format: a legacy `neostore` has four records, or a trailer that says so; a current one holds its version (§3.5).
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn format(&self) -> Result<StoreFormat, HeaderError> {
        let length = self.length()?;
        let trailer = StoreFile::Neostore.trailer(StoreFormat::Legacy);
        let mut found = vec![0; trailer.len()];
        let at = 4 * RECORD;
        if length == at || (self.file.read_exact_at(&mut found, at).is_ok() && found == trailer.as_bytes()) {
            return Ok(StoreFormat::Legacy);
        }
        match self.record(STORE_VERSION, "the store version")? {
            CURRENT_VERSION => Ok(StoreFormat::Current),
            found => Err(HeaderError::UnknownFormat {
                path: self.path.clone(),
                found,
            }),
        }
    }

    /// How many records it has: 4 in the legacy format, 5 in 1.5, 6 from 1.6 on.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn records(&self) -> Result<u64, HeaderError> {
        Ok(match self.format()? {
            StoreFormat::Legacy => 4,
            StoreFormat::Current if self.record(GRAPH_PROPERTY, "").is_ok() => 6,
            StoreFormat::Current => 5,
        })
    }

    /// Which database it is.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn store_id(&self) -> Result<StoreId, HeaderError> {
        let store_version = match self.format()? {
            StoreFormat::Legacy => None,
            StoreFormat::Current => Some(CURRENT_VERSION),
        };
        let creation_time = self.record(0, "the creation time")?;
        Ok(StoreId {
            creation_time,
            random: self.record(1, "the random id")?,
            store_version,
        })
    }

    /// Version of the current or next logical log.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn log_version(&self) -> Result<LogVersion, HeaderError> {
        Ok(LogVersion(self.record(LOG_VERSION, "the log version")?.cast_unsigned()))
    }

    /// Last committed transaction.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn last_transaction(&self) -> Result<TxId, HeaderError> {
        Ok(TxId(self.record(LAST_TRANSACTION, "the last transaction")?))
    }

    /// First property of the graph itself; `None` also where the header has no such record.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn graph_property(&self) -> Result<Pointer, HeaderError> {
        if self.records()? <= GRAPH_PROPERTY {
            return Ok(None);
        }
        let first = self.record(GRAPH_PROPERTY, "the first graph property")?;
        Ok(u64::try_from(first).ok().map(RecordId))
    }

    /// Sets the log version.
    ///
    /// # Errors
    /// [`HeaderError::Io`].
    pub fn set_log_version(&self, version: LogVersion) -> Result<(), HeaderError> {
        self.set(LOG_VERSION, version.0.cast_signed())
    }

    /// Sets the last transaction.
    ///
    /// # Errors
    /// [`HeaderError::Io`].
    pub fn set_last_transaction(&self, id: TxId) -> Result<(), HeaderError> {
        self.set(LAST_TRANSACTION, id.0)
    }

    /// Sets the first property of the graph itself; the file grows to six records.
    ///
    /// # Errors
    /// [`HeaderError::Io`].
    pub fn set_graph_property(&self, property: Pointer) -> Result<(), HeaderError> {
        self.set(GRAPH_PROPERTY, property.map_or(-1, |RecordId(id)| id.cast_signed()))
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// [`HeaderError::Io`].
    pub fn sync(&self) -> Result<(), HeaderError> {
        self.file.sync_data().map_err(|source| self.io(source))
    }

    fn record(&self, n: u64, what: &'static str) -> Result<i64, HeaderError> {
        let offset = n * RECORD;
        let mut record = [0; 9];
        match self.file.read_exact_at(&mut record, offset) {
            Ok(()) if record[0] == 1 => {}
            Err(source) if source.kind() != io::ErrorKind::UnexpectedEof => return Err(self.io(source)),
            _ => {
                return Err(HeaderError::Missing {
                    path: self.path.clone(),
                    what,
                    offset,
                });
            }
        }
        let [_, value @ ..] = record;
        Ok(i64::from_be_bytes(value))
    }

    fn set(&self, n: u64, value: i64) -> Result<(), HeaderError> {
        let mut record = [1; 9];
        record[1..].copy_from_slice(&value.to_be_bytes());
        self.file
            .write_all_at(&record, n * RECORD)
            .map_err(|source| self.io(source))
    }

    fn length(&self) -> Result<u64, HeaderError> {
        Ok(self.file.metadata().map_err(|source| self.io(source))?.len())
    }

    fn io(&self, source: io::Error) -> HeaderError {
        HeaderError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;

    const EMPTY_1_8: &str = "01 0000013A52453C00 01 0123456789ABCDEF 01 0000000000000001 01 0000000000000001
        01 00302E412E307606 01 FFFFFFFFFFFFFFFF 4E656F53746F72652076302E412E30";

    fn neostore(bytes: &[u8]) -> (tempfile::TempDir, Header) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("neostore"), bytes).unwrap();
        let header = Header::open(&DirHandle::open(dir.path()).unwrap()).unwrap();
        (dir, header)
    }

    #[test]
    fn the_documented_header_is_read_and_changed_in_place() {
        let (dir, header) = neostore(&hex(EMPTY_1_8));
        assert_eq!(header.format().unwrap(), StoreFormat::Current);
        assert_eq!(header.records().unwrap(), 6);
        assert_eq!(header.store_id().unwrap().random, 0x0123_4567_89AB_CDEF);
        header.set_last_transaction(TxId(42)).unwrap();
        header.set_log_version(LogVersion(7)).unwrap();
        header.set_graph_property(Some(RecordId(12))).unwrap();
        assert_eq!(header.last_transaction().unwrap(), TxId(42));
        assert_eq!(header.log_version().unwrap(), LogVersion(7));
        let bytes = std::fs::read(dir.path().join("neostore")).unwrap();
        assert_eq!(bytes.len(), 69);
        assert_eq!(bytes[45..54], [1, 0, 0, 0, 0, 0, 0, 0, 12]);
        assert_eq!(header.graph_property().unwrap(), Some(RecordId(12)));
        header.set_graph_property(None).unwrap();
        assert_eq!(header.graph_property().unwrap(), None);
    }

    #[test]
    fn releases_are_told_apart_by_the_records_they_have() {
        let all = hex(EMPTY_1_8);
        let (_dir, legacy) = neostore(&all[..36]);
        assert_eq!(
            (legacy.format().unwrap(), legacy.records().unwrap()),
            (StoreFormat::Legacy, 4)
        );
        let closed = [&all[..36], b"NeoStore v0.9.9"].concat();
        assert_eq!(neostore(&closed).1.format().unwrap(), StoreFormat::Legacy);
        assert_eq!(neostore(&all[..45]).1.records().unwrap(), 5);
        assert_eq!(neostore(&[&all[..45], &[0; 4096][..]].concat()).1.records().unwrap(), 5);
        assert_eq!(
            neostore(&[&all[..45], b"NeoStore v0.A.0"].concat())
                .1
                .records()
                .unwrap(),
            5
        );
    }

    #[test]
    fn another_version_and_a_short_file_are_errors() {
        let mut other = hex(EMPTY_1_8);
        other[38] = 0x31;
        assert!(matches!(
            neostore(&other).1.format(),
            Err(HeaderError::UnknownFormat { .. })
        ));
        assert!(matches!(neostore(&[]).1.store_id(), Err(HeaderError::Missing { .. })));
    }
}
