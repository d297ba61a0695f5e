//! `index.db`: which indexes there are, of all providers (`docs/formats/store-format.md` §7.2).
//!
//! ```text
//! "neo4j-index"  i32 1  node indexes  relationship indexes
//! indexes:  i32 count  count × (str name  i32 n  n × (str key  str value))
//! str:      i32 number of UTF-16 units, units
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use thiserror::Error;

/// Name of the file in the store directory.
pub const PATH: &str = "index.db";
/// What it is called while a new one takes its place; read where the other is missing.
pub const OLD_PATH: &str = "index.db.old";
/// Where the files of Lucene indexes are: a directory for each kind, and in it one for each index.
pub const LUCENE_DIR: &str = "index/lucene";
/// First bytes of the file.
pub const MAGIC: &[u8; 11] = b"neo4j-index";
/// Largest file that is read; each index takes about 100 bytes, and in memory all of them take at most six times this.
pub const FILE_MAX: u64 = 4 * 1024 * 1024;

const VERSION: i32 = 1;

/// What an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKind {
    /// Nodes.
    Node,
    /// Relationships.
    Relationship,
}

impl IndexKind {
    /// Both, in the order of the file.
    pub const ALL: [IndexKind; 2] = [IndexKind::Node, IndexKind::Relationship];

    /// Name of the directory under `index/lucene` in which its indexes lie.
    pub fn directory(self) -> &'static str {
        match self {
            IndexKind::Node => "node",
            IndexKind::Relationship => "relationship",
        }
    }
}

impl fmt::Display for IndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.directory())
    }
}

/// Name of an index: UTF-16 as Java has it, kept exactly even where it is not valid Unicode.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName(Vec<u16>);

impl IndexName {
    /// The name of these UTF-16 units.
    pub fn from_units(units: impl IntoIterator<Item = u16>) -> IndexName {
        IndexName(units.into_iter().collect())
    }

    /// Its UTF-16 units.
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// The name as text, `None` if it has unpaired surrogates.
    pub fn to_text(&self) -> Option<String> {
        String::from_utf16(&self.0).ok()
    }
}

impl From<&str> for IndexName {
    fn from(text: &str) -> IndexName {
        IndexName(text.encode_utf16().collect())
    }
}

/// Without control characters, so that it can be shown.
impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unit in char::decode_utf16(self.0.iter().copied()) {
            let unit = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
            let shown = if unit.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                unit
            };
            fmt::Write::write_char(f, shown)?;
        }
        Ok(())
    }
}

impl fmt::Debug for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// One index among those of both kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey {
    /// Nodes or relationships.
    pub kind: IndexKind,
    /// Its name.
    pub name: IndexName,
}

impl fmt::Display for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} index \"{}\"", self.kind, self.name)
    }
}

/// Configuration of one index: for instance `provider` = `lucene`, `type` = `exact`. Order and exact text are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexProperties(pub Vec<(IndexName, IndexName)>);

impl IndexProperties {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<String> {
        let key = IndexName::from(key);
        let (_, value) = self.0.iter().find(|(name, _)| *name == key)?;
        value.to_text()
    }
}

/// The content of `index.db`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexConfig {
    indexes: BTreeMap<IndexKey, IndexProperties>,
}

/// `index.db` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IndexConfigError {
    /// Another beginning. Files of the time before 1.3 have none at all.
    #[error("index.db does not begin with \"neo4j-index\"")]
    Magic,
    /// Another version.
    #[error("index.db has version {0}, expected 1")]
    Version(i32),
    /// It ends too early, or a length is wrong.
    #[error("index.db is truncated at byte {0}, or an earlier length is wrong")]
    Truncated(usize),
    /// Bytes behind the end.
    #[error("index.db has extra bytes after its end at byte {0}")]
    Trailing(usize),
    /// The same index twice.
    #[error("index.db names {0} twice")]
    Twice(IndexKey),
}

impl IndexConfig {
    /// Reads the content of a whole file. Nothing is allocated for bytes that are not there.
    ///
    /// # Errors
    /// See [`IndexConfigError`].
    pub fn decode(bytes: &[u8]) -> Result<IndexConfig, IndexConfigError> {
        let mut cursor = Cursor { rest: bytes, at: 0 };
        if cursor.take(MAGIC.len()).map_err(|_| IndexConfigError::Magic)? != MAGIC {
            return Err(IndexConfigError::Magic);
        }
        match cursor.int()? {
            VERSION => {}
            other => return Err(IndexConfigError::Version(other)),
        }
        let mut indexes = BTreeMap::new();
        for kind in IndexKind::ALL {
            for _ in 0..cursor.count()? {
                let name = cursor.string()?;
                let mut properties = Vec::new();
                for _ in 0..cursor.count()? {
                    properties.push((cursor.string()?, cursor.string()?));
                }
                let key = IndexKey { kind, name };
                if indexes.contains_key(&key) {
                    return Err(IndexConfigError::Twice(key));
                }
                indexes.insert(key, IndexProperties(properties));
            }
        }
        if cursor.rest.is_empty() {
            Ok(IndexConfig { indexes })
        } else {
            Err(IndexConfigError::Trailing(cursor.at))
        }
    }

    /// The content of a whole file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        for kind in IndexKind::ALL {
            let of_kind = || self.indexes.iter().filter(|(key, _)| key.kind == kind);
            put_count(&mut out, of_kind().count());
            for (key, IndexProperties(properties)) in of_kind() {
                put_string(&mut out, &key.name);
                put_count(&mut out, properties.len());
                for (name, value) in properties {
                    put_string(&mut out, name);
                    put_string(&mut out, value);
                }
            }
        }
        out
    }

    /// All indexes with their configuration, nodes first, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&IndexKey, &IndexProperties)> {
        self.indexes.iter()
    }

    /// The indexes that Lucene keeps.
    pub fn of_lucene(&self) -> impl Iterator<Item = &IndexKey> {
        self.iter()
            .filter(|(_, properties)| properties.get("provider").as_deref() == Some("lucene"))
            .map(|(index, _)| index)
    }

    /// All indexes, of any provider.
    pub fn indexes(&self) -> BTreeSet<IndexKey> {
        self.iter().map(|(index, _)| index.clone()).collect()
    }

    /// Whether the index exists.
    pub fn contains(&self, index: &IndexKey) -> bool {
        self.indexes.contains_key(index)
    }

    /// Adds an index, or changes its configuration.
    pub fn insert(&mut self, index: IndexKey, properties: IndexProperties) {
        self.indexes.insert(index, properties);
    }

    /// Removes an index; says whether it was there.
    pub fn remove(&mut self, index: &IndexKey) -> bool {
        self.indexes.remove(index).is_some()
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], IndexConfigError> {
        let (head, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(IndexConfigError::Truncated(self.at))?;
        self.rest = rest;
        self.at = self.at.saturating_add(length);
        Ok(head)
    }

    fn int(&mut self) -> Result<i32, IndexConfigError> {
        let at = self.at;
        let bytes = self.take(4)?.try_into().map_err(|_| IndexConfigError::Truncated(at))?;
        Ok(i32::from_be_bytes(bytes))
    }

    fn count(&mut self) -> Result<u32, IndexConfigError> {
        let at = self.at;
        u32::try_from(self.int()?).map_err(|_| IndexConfigError::Truncated(at))
    }

    fn string(&mut self) -> Result<IndexName, IndexConfigError> {
        let at = self.at;
        let length = usize::try_from(self.count()?)
            .ok()
            .and_then(|units| units.checked_mul(2));
        let bytes = self.take(length.ok_or(IndexConfigError::Truncated(at))?)?;
        let units = bytes.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit));
        Ok(IndexName::from_units(units))
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(
        &i32::try_from(count)
            .expect("an index configuration fits into memory")
            .to_be_bytes(),
    );
}

fn put_string(out: &mut Vec<u8>, text: &IndexName) {
    put_count(out, text.units().len());
    for unit in text.units() {
        out.extend_from_slice(&unit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `docs/formats/store-format.md` §7.2, from a running 1.8: one exact node index "ix0".
    const EXAMPLE: &str = "6E656F346A2D696E646578 00000001 00000001 00000003 006900780030 00000002 \
                           00000004 0074007900700065 00000005 00650078006100630074 \
                           00000008 00700072006F00760069006400650072 00000006 006C007500630065006E0065 00000000";

    fn example() -> Vec<u8> {
        let digits: Vec<u8> = EXAMPLE.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn the_example_of_the_format_document_decodes_and_encodes() {
        let config = IndexConfig::decode(&example()).unwrap();
        let (key, properties) = config.iter().next().unwrap();
        assert_eq!(key.to_string(), "node index \"ix0\"");
        assert_eq!(properties.get("type").as_deref(), Some("exact"));
        assert_eq!(properties.get("provider").as_deref(), Some("lucene"));
        assert_eq!(config.encode(), example());
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = example();
        for length in 0..bytes.len() {
            assert!(IndexConfig::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn bytes_behind_the_end_are_refused() {
        let mut bytes = example();
        bytes.push(0);
        assert_eq!(
            IndexConfig::decode(&bytes),
            Err(IndexConfigError::Trailing(bytes.len() - 1))
        );
    }

    #[test]
    fn a_removed_index_is_gone_and_the_empty_file_stays_valid() {
        let mut config = IndexConfig::decode(&example()).unwrap();
        let key = IndexKey {
            kind: IndexKind::Node,
            name: "ix0".into(),
        };
        assert!(config.remove(&key));
        assert!(!config.remove(&key));
        assert_eq!(config.encode(), [&MAGIC[..], &[0, 0, 0, 1], &[0; 8]].concat());
    }

    #[test]
    fn control_characters_of_a_name_are_not_shown() {
        assert_eq!(IndexName::from("a\u{1b}[31m").to_string(), "a\u{fffd}[31m");
        assert_eq!(IndexName::from_units([0xD800]).to_string(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = IndexConfig::decode(&bytes);
            let _ = IndexConfig::decode(&[&MAGIC[..], &[0, 0, 0, 1], &bytes].concat());
        }

        #[test]
        fn what_is_encoded_decodes(
            indexes in proptest::collection::vec((any::<bool>(), any::<Vec<u16>>(), any::<Vec<(Vec<u16>, String)>>()), 0..4)
        ) {
            let mut config = IndexConfig::default();
            for (node, name, properties) in indexes {
                let kind = if node { IndexKind::Node } else { IndexKind::Relationship };
                let properties = properties.iter().map(|(k, v)| (IndexName::from_units(k.clone()), v.as_str().into()));
                let key = IndexKey { kind, name: IndexName::from_units(name) };
                config.insert(key, IndexProperties(properties.collect()));
            }
            prop_assert_eq!(IndexConfig::decode(&config.encode()), Ok(config));
        }
    }
}
