//! Replays transactions onto the store files: blind positioned writes of complete after-images, so that repeating them
//! does no harm (`docs/formats/transaction-log.md` §9.5).

use std::{
    collections::BTreeMap,
    mem,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{DiskError, open_store::OpenStore, sums::CHUNK};
use crate::{
    Error, ErrorKind,
    log::Change,
    store::{
        HeaderError, StoreFile, StoreFormat,
        record::{DynamicHeader, Pointer, Property, RecordId, RelationshipType, TooWide},
    },
};

/// By how much the transactions of one run may make a store file grow. Ids have gaps, of rolled-back transactions and of
/// ranges handed out in HA, and what lies in them costs no space; a damaged id could ask for terabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// 1 GiB, or four times the length of the file where that is more.
    Usual,
    /// That many bytes.
    Bytes(u64),
}

impl Growth {
    /// The last place at which a record of a file of this length may begin.
    fn end(self, length: u64) -> u64 {
        let growth = match self {
            Growth::Usual => length.saturating_mul(4).max(1 << 30),
            Growth::Bytes(bytes) => bytes,
        };
        length.saturating_add(growth)
    }
}

/// Why a change was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// `neostore` does not tell what is asked of it.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A pointer is wider than the format allows.
    #[error("{}, record {id}: {source}", file.name())]
    TooWide {
        /// Store file.
        file: StoreFile,
        /// Record.
        id: RecordId,
        /// Which pointer.
        source: TooWide,
    },
    /// A record so far behind the end of its file that its id cannot be right.
    #[error("{}, record {id}: lies at byte {offset}, far behind the {length} bytes of the file", file.name())]
    TooFar {
        /// Store file.
        file: StoreFile,
        /// Record.
        id: RecordId,
        /// Its place.
        offset: u64,
        /// Bytes of the file when the run began.
        length: u64,
    },
    /// Data that do not fit a block, or a change to the block that holds the block size.
    #[error("{}, block {id}: {length} bytes of data cannot stand there (block size {block})", file.name())]
    Block {
        /// Store file.
        file: StoreFile,
        /// Block.
        id: RecordId,
        /// Bytes of data.
        length: usize,
        /// Bytes of a block, header included.
        block: u64,
    },
    /// A change that the format does not have.
    #[error("record {id}: a property of the other store format")]
    Format {
        /// Record.
        id: RecordId,
    },
    /// A chain of dynamic records that leads elsewhere.
    #[error("{}, block {id}: the value goes on in block {next}, which does not follow", file.name())]
    Chain {
        /// Store file.
        file: StoreFile,
        /// The block that points there.
        id: RecordId,
        /// Where it points to.
        next: RecordId,
    },
    /// The first block of a dynamic store does not hold a block size.
    #[error("{}: {size} is not a block size", path.display())]
    BlockSize {
        /// Store file.
        path: PathBuf,
        /// As found.
        size: u32,
    },
}

impl From<ApplyError> for Error {
    fn from(error: ApplyError) -> Error {
        match error {
            ApplyError::Disk(error) => error.into(),
            ApplyError::Header(error) => error.into(),
            ApplyError::BlockSize { .. } => {
                Error::new(ErrorKind::FullNeeded, error).with_hint("take a full backup into another directory")
            }
            ApplyError::TooFar { .. } => Error::new(ErrorKind::Protocol, error).with_hint(
                "the transactions were damaged on the way, or by a defect of the server: run again; where the source's \
                 own file is about as large, raise -max-growth",
            ),
            error => Error::new(ErrorKind::Protocol, error)
                .with_hint("the transactions were damaged on the way, or by a defect of the server: run again"),
        }
    }
}

/// What was written to one store file.
#[derive(Debug, Default, Clone)]
pub struct Touched {
    /// One more than the highest record written or deleted.
    pub high_id: u64,
    /// Chunks of [`CHUNK`] bytes that changed, one bit each.
    chunks: Vec<u64>,
}

impl Touched {
    /// Notes that the bytes from `offset` on changed.
    pub fn note(&mut self, offset: u64, length: u64) {
        for chunk in offset / CHUNK..=(offset + length.max(1) - 1) / CHUNK {
            let (word, bit) = (usize::try_from(chunk / 64).unwrap_or(usize::MAX), chunk % 64);
            if word >= self.chunks.len() {
                self.chunks.resize(word.saturating_add(1), 0);
            }
            if let Some(word) = self.chunks.get_mut(word) {
                *word |= 1 << bit;
            }
        }
    }

    /// Adds what another replay wrote.
    pub fn merge(&mut self, other: &Touched) {
        self.high_id = self.high_id.max(other.high_id);
        self.chunks.resize(self.chunks.len().max(other.chunks.len()), 0);
        for (word, more) in self.chunks.iter_mut().zip(&other.chunks) {
            *word |= more;
        }
    }

    /// Whether this chunk changed.
    pub fn has(&self, chunk: u64) -> bool {
        let word = usize::try_from(chunk / 64).ok().and_then(|word| self.chunks.get(word));
        word.is_some_and(|word| word >> (chunk % 64) & 1 == 1)
    }
}

/// A store file to which changes are applied.
#[derive(Debug)]
struct Target {
    store: OpenStore,
    /// Bytes of a record or block.
    size: u64,
    /// Bytes when the run began.
    length: u64,
    touched: Touched,
}

/// Applies changes to the store files of one directory.
#[derive(Debug)]
pub struct Applier {
    format: StoreFormat,
    growth: Growth,
    stores: BTreeMap<StoreFile, Target>,
    /// First property of the graph itself, as the newest transaction has it.
    graph_property: Option<Pointer>,
    /// The bytes of one change; kept to be used again.
    image: Vec<u8>,
}

impl Applier {
    /// Opens the ten store files in `dir`.
    ///
    /// # Errors
    /// [`ApplyError::Disk`], [`ApplyError::BlockSize`].
    pub fn open(dir: &Path, format: StoreFormat, growth: Growth) -> Result<Applier, ApplyError> {
        let mut stores = BTreeMap::new();
        for kind in StoreFile::ALL.into_iter().filter(|kind| *kind != StoreFile::Neostore) {
            let store = OpenStore::open(dir, kind, format)?;
            let target = Target {
                size: store.record_size()?,
                length: store.length()?,
                store,
                touched: Touched::default(),
            };
            stores.insert(kind, target);
        }
        Ok(Applier {
            format,
            growth,
            stores,
            graph_property: None,
            image: Vec::new(),
        })
    }

    /// Applies one change.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing is written then.
    pub fn apply(&mut self, change: &Change<'_>) -> Result<(), ApplyError> {
        if let Change::GraphProperty(property) = *change {
            self.graph_property = Some(property);
            return Ok(());
        }
        let mut image = mem::take(&mut self.image);
        let result = self.write(change, &mut image);
        self.image = image;
        result
    }

    fn write(&mut self, change: &Change<'_>, image: &mut Vec<u8>) -> Result<(), ApplyError> {
        let place = self.place(change, image)?;
        let Some(target) = self.stores.get_mut(&place.file) else {
            return Err(ApplyError::Format { id: place.id });
        };
        let OpenStore { file, path, .. } = &target.store;
        file.write_all_at(image, place.offset).map_err(DiskError::at(path))?;
        target.touched.note(place.offset, image.len() as u64);
        target.touched.high_id = target.touched.high_id.max(place.id.0 + 1);
        Ok(())
    }

    /// Where a change goes, and in `image` the bytes to write there; nothing is written.
    ///
    /// # Errors
    /// [`ApplyError`]: it can go nowhere.
    pub(super) fn place(&self, change: &Change<'_>, image: &mut Vec<u8>) -> Result<Place, ApplyError> {
        let legacy = self.format == StoreFormat::Legacy;
        image.clear();
        let mut within = 0;
        let (file, id) = match *change {
            Change::Node(id, node) => {
                let file = StoreFile::Node;
                put(image, node.map(|node| node.encode()), file, id)?;
                (file, id)
            }
            Change::Relationship(id, relationship) => {
                let file = StoreFile::Relationship;
                put(image, relationship.map(|r| r.encode()), file, id)?;
                (file, id)
            }
            Change::RelationshipType(id, kind) => {
                let file = StoreFile::RelationshipType;
                put(image, kind.map(|kind| kind.encode()), file, id)?;
                if legacy && kind.is_none() {
                    image.resize(RelationshipType::SIZE, 0);
                }
                (file, id)
            }
            Change::PropertyKey(id, key) => {
                let file = StoreFile::PropertyKey;
                put(image, key.map(|key| key.encode()), file, id)?;
                (file, id)
            }
            Change::Property(id, _) if legacy => return Err(ApplyError::Format { id }),
            Change::Property(id, None) => {
                within = Property::PAYLOAD as u64;
                image.resize(8, 0);
                (StoreFile::Property, id)
            }
            Change::Property(id, Some(property)) => {
                let (bytes, written) = property.encode().map_err(wide(StoreFile::Property, id))?;
                image.extend_from_slice(bytes.get(..written).unwrap_or_default());
                (StoreFile::Property, id)
            }
            Change::LegacyProperty(id, _) if !legacy => return Err(ApplyError::Format { id }),
            Change::LegacyProperty(id, property) => {
                let file = StoreFile::Property;
                put(image, property.map(|p| p.encode()), file, id)?;
                (file, id)
            }
            Change::Dynamic(file, id, block) => {
                self.dynamic(file, id, block, image)?;
                (file, id)
            }
            // `neostore` is no file of this kind
            Change::GraphProperty(first) => {
                return Err(ApplyError::Format {
                    id: first.unwrap_or(RecordId(0)),
                });
            }
        };
        let Some(target) = self.stores.get(&file) else {
            return Err(ApplyError::Format { id });
        };
        let offset = id.0.saturating_mul(target.size).saturating_add(within);
        if offset > self.growth.end(target.length) {
            return Err(ApplyError::TooFar {
                file,
                id,
                offset,
                length: target.length,
            });
        }
        Ok(Place { file, id, offset })
    }

    /// First property of the graph itself, where a transaction set it; it belongs into `neostore`.
    pub fn graph_property(&self) -> Option<Pointer> {
        self.graph_property
    }

    /// What was written, per store file.
    pub fn touched(&self) -> BTreeMap<StoreFile, Touched> {
        self.stores
            .iter()
            .map(|(kind, store)| (*kind, store.touched.clone()))
            .collect()
    }

    fn dynamic(
        &self,
        file: StoreFile,
        id: RecordId,
        block: Option<(DynamicHeader, &[u8])>,
        image: &mut Vec<u8>,
    ) -> Result<(), ApplyError> {
        let size = self.stores.get(&file).map_or(0, |store| store.size);
        let header_size = self.format.dynamic_header();
        let length = block.map_or(0, |(_, data)| data.len());
        if id.0 == 0 || (header_size + length) as u64 > size {
            return Err(ApplyError::Block {
                file,
                id,
                length,
                block: size,
            });
        }
        let Some((header, data)) = block else {
            image.push(0);
            return Ok(());
        };
        match self.format {
            StoreFormat::Legacy => put(image, Some(header.encode_legacy()), file, id)?,
            StoreFormat::Current => put(image, Some(header.encode()), file, id)?,
        }
        image.extend_from_slice(data);
        Ok(())
    }
}

/// Where a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: StoreFile,
    pub(super) id: RecordId,
    pub(super) offset: u64,
}

/// Appends a record, or the byte that takes one out of use.
fn put<const N: usize>(
    image: &mut Vec<u8>,
    record: Option<Result<[u8; N], TooWide>>,
    file: StoreFile,
    id: RecordId,
) -> Result<(), ApplyError> {
    match record {
        None => image.push(0),
        Some(record) => image.extend_from_slice(&record.map_err(wide(file, id))?),
    }
    Ok(())
}

fn wide(file: StoreFile, id: RecordId) -> impl FnOnce(TooWide) -> ApplyError {
    move |source| ApplyError::TooWide { file, id, source }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::record::Node;

    /// Empty store files, the dynamic ones with their first block.
    pub(in crate::transfer) fn empty_store(format: StoreFormat) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for kind in StoreFile::ALL {
            let block: u32 = match (kind, format) {
                (StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName, StoreFormat::Current) => 38,
                (StoreFile::String | StoreFile::Array, StoreFormat::Current) => 128,
                (StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName, StoreFormat::Legacy) => 43,
                (StoreFile::String | StoreFile::Array, StoreFormat::Legacy) => 133,
                _ => 0,
            };
            let mut bytes = vec![0; usize::try_from(block).unwrap()];
            if block > 0 {
                bytes[..4].copy_from_slice(&block.to_be_bytes());
            }
            std::fs::write(dir.path().join(kind.name()), bytes).unwrap();
        }
        dir
    }

    fn read(dir: &tempfile::TempDir, kind: StoreFile) -> Vec<u8> {
        std::fs::read(dir.path().join(kind.name())).unwrap()
    }

    fn block(next: Pointer, length: u32) -> DynamicHeader {
        DynamicHeader {
            previous: None,
            next,
            length,
        }
    }

    #[test]
    fn the_documented_operations_leave_the_documented_bytes() {
        let dir = empty_store(StoreFormat::Current);
        let mut applier = Applier::open(dir.path(), StoreFormat::Current, Growth::Usual).unwrap();
        let node = Node {
            first_relationship: None,
            first_property: None,
        };
        let name = block(None, 5);
        for change in [
            Change::Node(RecordId(1), Some(node)),
            Change::Dynamic(StoreFile::RelationshipTypeName, RecordId(1), Some((name, b"KNOWS"))),
            Change::Property(
                RecordId(0),
                Some(Property {
                    previous: None,
                    next: None,
                    payload: [0xC74D_808A_7B00_0000, 0x12, 0, 0],
                    used: 2,
                }),
            ),
        ] {
            applier.apply(&change).unwrap();
        }
        assert_eq!(
            read(&dir, StoreFile::Node)[9..],
            [1, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        assert_eq!(
            read(&dir, StoreFile::RelationshipTypeName)[38..51],
            *b"\x10\0\0\x05\xff\xff\xff\xffKNOWS"
        );
        let property = read(&dir, StoreFile::Property);
        assert_eq!(property.len(), 33);
        assert_eq!(property[9..17], 0xC74D_808A_7B00_0000_u64.to_be_bytes());
        assert_eq!(applier.touched()[&StoreFile::Node].high_id, 2);
        assert!(applier.touched()[&StoreFile::Node].has(0));
        assert!(!applier.touched()[&StoreFile::Node].has(1));
    }

    #[test]
    fn deleting_leaves_everything_but_the_in_use_information() {
        let dir = empty_store(StoreFormat::Current);
        std::fs::write(dir.path().join(StoreFile::Node.name()), [0xff; 27]).unwrap();
        std::fs::write(dir.path().join(StoreFile::Property.name()), [0xff; 41]).unwrap();
        let mut applier = Applier::open(dir.path(), StoreFormat::Current, Growth::Usual).unwrap();
        applier.apply(&Change::Node(RecordId(1), None)).unwrap();
        applier.apply(&Change::Property(RecordId(0), None)).unwrap();
        let mut node = [0xff; 27];
        node[9] = 0;
        assert_eq!(read(&dir, StoreFile::Node), node);
        let mut property = [0xff; 41];
        property[9..17].fill(0);
        assert_eq!(read(&dir, StoreFile::Property), property);
    }

    #[test]
    fn what_cannot_stand_in_a_store_is_refused_and_nothing_is_written() {
        let dir = empty_store(StoreFormat::Current);
        let before: Vec<_> = StoreFile::ALL.into_iter().map(|kind| read(&dir, kind)).collect();
        let mut applier = Applier::open(dir.path(), StoreFormat::Current, Growth::Usual).unwrap();
        let far = Change::Node(RecordId(1 << 34), None);
        assert!(matches!(applier.apply(&far), Err(ApplyError::TooFar { .. })));
        let first = Change::Dynamic(StoreFile::String, RecordId(0), None);
        assert!(matches!(applier.apply(&first), Err(ApplyError::Block { .. })));
        let long = Change::Dynamic(StoreFile::String, RecordId(1), Some((block(None, 121), &[0; 121])));
        assert!(matches!(applier.apply(&long), Err(ApplyError::Block { .. })));
        let other = Change::LegacyProperty(RecordId(1), None);
        assert!(matches!(applier.apply(&other), Err(ApplyError::Format { .. })));
        let wide = Node {
            first_relationship: Some(RecordId(1 << 35)),
            first_property: None,
        };
        let wide = Change::Node(RecordId(1), Some(wide));
        assert!(matches!(applier.apply(&wide), Err(ApplyError::TooWide { .. })));
        let after: Vec<_> = StoreFile::ALL.into_iter().map(|kind| read(&dir, kind)).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn files_grow_as_far_as_is_allowed_and_no_further() {
        let dir = empty_store(StoreFormat::Current);
        let mut applier = Applier::open(dir.path(), StoreFormat::Current, Growth::Bytes(9000)).unwrap();
        applier.apply(&Change::Node(RecordId(1000), None)).unwrap();
        assert_eq!(read(&dir, StoreFile::Node).len(), 9001);
        let beyond = applier.apply(&Change::Node(RecordId(1001), None)).unwrap_err();
        let error = Error::from(beyond);
        assert!(error.hint().is_some_and(|hint| hint.contains("-max-growth")), "{error}");
        assert_eq!(Growth::Usual.end(1 << 20), (1 << 30) + (1 << 20));
        assert_eq!(Growth::Usual.end(1 << 30), 5 << 30);
    }

    #[test]
    fn a_dynamic_store_without_block_size_is_refused() {
        let dir = empty_store(StoreFormat::Legacy);
        std::fs::write(dir.path().join(StoreFile::Array.name()), [0, 0, 0, 5]).unwrap();
        let opened = Applier::open(dir.path(), StoreFormat::Legacy, Growth::Usual);
        assert!(matches!(opened, Err(ApplyError::BlockSize { size: 5, .. })));
    }

    #[test]
    fn a_write_across_two_chunks_touches_both() {
        let mut touched = Touched::default();
        touched.note(CHUNK - 1, 2);
        assert_eq!([0, 1, 2].map(|chunk| touched.has(chunk)), [true, true, false]);
        let mut other = Touched::default();
        other.note(1000 * CHUNK, 1);
        touched.merge(&other);
        assert!(touched.has(0) && touched.has(1000) && !touched.has(999));
    }
}
