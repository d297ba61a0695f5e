//! The ten files of a store, opened for reading: record sizes, how many records, how each file ends
//! (`docs/formats/store-format.md` §3).

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    error::CheckError,
    finding::{Collector, RecordRef},
    rules::Rule,
};
use neo4j_format::{
    DirHandle,
    directory::NotUsable,
    store::{
        Header, HeaderError, StoreFile, StoreFormat,
        record::{DynamicHeader, RecordId},
    },
    width::to_usize,
};

/// One store file.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) kind: StoreFile,
    pub(crate) path: PathBuf,
    /// `None` where it is missing.
    file: Option<File>,
    /// Bytes of a record or block.
    pub(crate) size: u64,
    /// Whole records before the trailer or the end.
    pub(crate) records: u64,
}

/// The store files of one directory.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) dir: DirHandle,
    pub(crate) format: StoreFormat,
    /// First property of the graph itself.
    pub(crate) graph_property: Option<RecordId>,
    neostore: Store,
    others: Vec<Store>,
}

impl Store {
    /// Where a record stands.
    pub(crate) fn place(&self, record: u64) -> RecordRef {
        RecordRef {
            file: self.kind.name().into(),
            record: Some(record),
            offset: record.saturating_mul(self.size),
        }
    }

    /// Reads whole records from `first` on; they must be there.
    pub(crate) fn read(&self, first: u64, buffer: &mut [u8]) -> Result<(), CheckError> {
        match &self.file {
            Some(file) => file
                .read_exact_at(buffer, first.saturating_mul(self.size))
                .map_err(CheckError::at(&self.path)),
            None => Ok(()),
        }
    }

    /// Bytes of a record, for slices.
    pub(crate) fn width(&self) -> usize {
        to_usize(self.size)
    }
}

impl Stores {
    /// Opens the files and judges how they are framed.
    pub(crate) fn open(dir: &DirHandle, findings: &mut Collector<'_>) -> Result<Stores, CheckError> {
        match dir.status_of(StoreFile::Neostore.name()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CheckError::NoStore(dir.path().to_owned()));
            }
            Err(error) => return Err(CheckError::at(&dir.join(StoreFile::Neostore.name()))(error)),
        }
        let format = format(dir, findings)?;
        let others = StoreFile::ALL
            .into_iter()
            .filter(|kind| *kind != StoreFile::Neostore)
            .map(|kind| open(dir, kind, format, findings))
            .collect::<Result<_, _>>()?;
        Ok(Stores {
            dir: dir.clone(),
            format,
            graph_property: None,
            neostore: open(dir, StoreFile::Neostore, format, findings)?,
            others,
        })
    }

    /// One of the ten.
    pub(crate) fn get(&self, kind: StoreFile) -> &Store {
        let other = self.others.iter().find(|store| store.kind == kind);
        other.unwrap_or(&self.neostore)
    }

    /// All but `neostore`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Store> {
        self.others.iter()
    }

    /// Bytes of data in a full block.
    pub(crate) fn room(&self, kind: StoreFile) -> u32 {
        let header = u64::try_from(self.format.dynamic_header()).unwrap_or_default();
        u32::try_from(self.get(kind).size.saturating_sub(header)).unwrap_or(u32::MAX)
    }

    /// Header and data of a block; `None` where it is not in use. Data are cut at the end of the block.
    pub(crate) fn block<'a>(&self, bytes: &'a [u8]) -> Option<(DynamicHeader, &'a [u8])> {
        block(self.format, bytes)
    }
}

/// See [`Stores::block`].
pub(crate) fn block(format: StoreFormat, bytes: &[u8]) -> Option<(DynamicHeader, &[u8])> {
    let (header, rest) = match format {
        StoreFormat::Legacy => {
            let (header, rest) = bytes.split_first_chunk::<{ DynamicHeader::LEGACY_SIZE }>()?;
            (DynamicHeader::decode_legacy(header)?, rest)
        }
        StoreFormat::Current => {
            let (header, rest) = bytes.split_first_chunk::<{ DynamicHeader::SIZE }>()?;
            (DynamicHeader::decode(header)?, rest)
        }
    };
    let length = to_usize(u64::from(header.length));
    Some((header, rest.get(..length).unwrap_or(rest)))
}

/// The format as `neostore` has it or, where that is damaged, as the other files have it.
fn format(dir: &DirHandle, findings: &mut Collector<'_>) -> Result<StoreFormat, CheckError> {
    let header = match Header::open_read_only(dir) {
        Ok(header) => header,
        Err(HeaderError::Io { path, source }) => return Err(CheckError::at(&path)(source)),
        Err(error) => return Err(CheckError::Header(error)),
    };
    let error = match header.format() {
        Ok(format) => return Ok(format),
        Err(HeaderError::Io { path, source }) => return Err(CheckError::at(&path)(source)),
        Err(error) => error,
    };
    let others = |format: StoreFormat| {
        let names = [StoreFile::RelationshipTypeName, StoreFile::PropertyKeyName];
        let blocks = names.into_iter().filter(|kind| {
            let first = first_word(dir, *kind);
            first.is_ok_and(|size| Some(size) == usual_block(*kind, format))
        });
        blocks.count()
    };
    let (legacy, current) = (others(StoreFormat::Legacy), others(StoreFormat::Current));
    let format = match legacy.cmp(&current) {
        std::cmp::Ordering::Greater => StoreFormat::Legacy,
        std::cmp::Ordering::Less => StoreFormat::Current,
        std::cmp::Ordering::Equal => return Err(CheckError::Header(error)),
    };
    let place = RecordRef {
        file: StoreFile::Neostore.name().into(),
        record: Some(4),
        offset: 36,
    };
    let message = || format!("the other files have version {}; {error}", format.version());
    findings.add(Rule::StoreVersionDiffers, place, message, None);
    Ok(format)
}

/// The block size that every release writes; of strings and arrays, unless it was configured.
fn usual_block(kind: StoreFile, format: StoreFormat) -> Option<u32> {
    let data = match kind {
        StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName => 30,
        StoreFile::String | StoreFile::Array => 120,
        _ => return None,
    };
    Some(data + u32::try_from(format.dynamic_header()).unwrap_or_default())
}

fn first_word(dir: &DirHandle, kind: StoreFile) -> io::Result<u32> {
    let mut bytes = [0; 4];
    dir.open_file(kind.name())?.read_exact_at(&mut bytes, 0)?;
    Ok(u32::from_be_bytes(bytes))
}

fn open(
    dir: &DirHandle,
    kind: StoreFile,
    format: StoreFormat,
    findings: &mut Collector<'_>,
) -> Result<Store, CheckError> {
    let path = dir.join(kind.name());
    let place = |offset| RecordRef {
        file: kind.name().into(),
        record: None,
        offset,
    };
    let opened = dir.open_file(kind.name()).and_then(|file| {
        let length = file.metadata()?.len();
        Ok((file, length))
    });
    let (file, length) = match opened {
        Ok((file, length)) => (Some(file), length),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            findings.add(Rule::StoreMissing, place(0), || "the file is missing".into(), None);
            (None, 0)
        }
        Err(e) if NotUsable::of(&e).is_some() => {
            findings.add(Rule::StoreMissing, place(0), || e.to_string(), None);
            (None, 0)
        }
        Err(e) => return Err(CheckError::at(&path)(e)),
    };
    let size = match (kind.record_size(format), &file) {
        (Some(size), _) => size,
        (None, None) => u64::from(usual_block(kind, format).unwrap_or(1)),
        (None, Some(file)) => block_size(kind, format, file, &path, findings)?,
    };
    let mut store = Store {
        kind,
        path,
        file,
        size,
        records: 0,
    };
    let end = framing(&store, format, length, findings)?;
    store.records = end / size;
    Ok(store)
}

fn block_size(
    kind: StoreFile,
    format: StoreFormat,
    file: &File,
    path: &Path,
    findings: &mut Collector<'_>,
) -> Result<u64, CheckError> {
    let mut bytes = [0; 4];
    match file.read_exact_at(&mut bytes, 0) {
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(CheckError::at(path)(e)),
        _ => {}
    }
    let found = u32::from_be_bytes(bytes);
    let usual = usual_block(kind, format).unwrap_or(1);
    let header = u32::try_from(format.dynamic_header()).unwrap_or_default();
    let is_name = matches!(kind, StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName);
    let possible = found > header && found <= u32::from(u16::MAX) + header;
    if possible && (found == usual || !is_name) {
        return Ok(u64::from(found));
    }
    let place = RecordRef {
        file: kind.name().into(),
        record: Some(0),
        offset: 0,
    };
    let message = || format!("block size {found}; Neo4j writes {usual}, which this check uses");
    findings.add(Rule::BlockSize, place, message, None);
    Ok(u64::from(usual))
}

/// Where the records end.
fn framing(store: &Store, format: StoreFormat, length: u64, findings: &mut Collector<'_>) -> Result<u64, CheckError> {
    let Some(file) = &store.file else { return Ok(0) };
    let place = |offset| RecordRef {
        file: store.kind.name().into(),
        record: None,
        offset,
    };
    let trailer = store.kind.trailer(format);
    let other = store.kind.trailer(match format {
        StoreFormat::Legacy => StoreFormat::Current,
        StoreFormat::Current => StoreFormat::Legacy,
    });
    for (text, is_own) in [(trailer, true), (other, false)] {
        let Some(at) = length.checked_sub(text.len() as u64) else {
            continue;
        };
        let mut found = vec![0; text.len()];
        file.read_exact_at(&mut found, at)
            .map_err(CheckError::at(&store.path))?;
        if found != text.as_bytes() {
            continue;
        }
        if !is_own {
            let message = || format!("{text:?}, but the store is {}", format.version());
            findings.add(Rule::TrailerOfOtherVersion, place(at), message, None);
        }
        if store.kind != StoreFile::Neostore && at % store.size != 0 {
            let message = || {
                format!(
                    "{text:?} after {} bytes, which is not a multiple of the record size {}",
                    at, store.size
                )
            };
            findings.add(Rule::TrailerMisaligned, place(at), message, None);
        }
        return Ok(at);
    }
    findings.add(
        Rule::NotClosed,
        place(length),
        || "the trailer with type and version is missing".into(),
        None,
    );
    let rest = length % store.size;
    if rest != 0 && store.kind != StoreFile::Neostore {
        let message = || format!("{rest} bytes after the last whole record of {} bytes", store.size);
        findings.add(Rule::PartialRecord, place(length - rest), message, None);
    }
    Ok(length)
}
