//! The ten files of a store, opened for reading: record sizes, how many records, how each file ends
//! (`docs/formats/store-format.md` §3).

use neo4j_format::width::to_usize;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    error::CheckError,
    finding::{Collector, RecordRef},
    rules::Rule,
};
use neo4j_format::store::{
    Header, HeaderError, StoreFile, StoreFormat,
    record::{DynamicHeader, RecordId},
};

/// One store file.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) kind: StoreFile,
    pub(super) path: PathBuf,
    /// `None` where it is missing.
    file: Option<File>,
    /// Bytes of a record or block.
    pub(super) size: u64,
    /// Whole records before the trailer or the end.
    pub(super) records: u64,
}

/// The store files of one directory.
#[derive(Debug)]
pub(super) struct Stores {
    pub(super) dir: PathBuf,
    pub(super) format: StoreFormat,
    /// First property of the graph itself.
    pub(super) graph_property: Option<RecordId>,
    neostore: Store,
    others: Vec<Store>,
}

impl Store {
    /// Where a record stands.
    pub(super) fn place(&self, record: u64) -> RecordRef {
        RecordRef {
            file: self.kind.name().into(),
            record: Some(record),
            offset: record.saturating_mul(self.size),
        }
    }

    /// Reads whole records from `first` on; they must be there.
    pub(super) fn read(&self, first: u64, buffer: &mut [u8]) -> Result<(), CheckError> {
        match &self.file {
            Some(file) => file
                .read_exact_at(buffer, first.saturating_mul(self.size))
                .map_err(CheckError::at(&self.path)),
            None => Ok(()),
        }
    }

    /// Bytes of a record, for slices.
    pub(super) fn width(&self) -> usize {
        to_usize(self.size)
    }
}

impl Stores {
    /// Opens the files and judges how they are framed.
    pub(super) fn open(dir: &Path, findings: &mut Collector<'_>) -> Result<Stores, CheckError> {
        let neostore = dir.join(StoreFile::Neostore.name());
        if !neostore.try_exists().map_err(CheckError::at(&neostore))? {
            return Err(CheckError::NoStore(dir.to_owned()));
        }
        let format = format(dir, findings)?;
        let others = StoreFile::ALL
            .into_iter()
            .filter(|kind| *kind != StoreFile::Neostore)
            .map(|kind| open(dir, kind, format, findings))
            .collect::<Result<_, _>>()?;
        Ok(Stores {
            dir: dir.to_owned(),
            format,
            graph_property: None,
            neostore: open(dir, StoreFile::Neostore, format, findings)?,
            others,
        })
    }

    /// One of the ten.
    pub(super) fn get(&self, kind: StoreFile) -> &Store {
        let other = self.others.iter().find(|store| store.kind == kind);
        other.unwrap_or(&self.neostore)
    }

    /// All but `neostore`.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Store> {
        self.others.iter()
    }

    /// Bytes of data in a full block.
    pub(super) fn room(&self, kind: StoreFile) -> u32 {
        let header = u64::try_from(self.format.dynamic_header()).unwrap_or_default();
        u32::try_from(self.get(kind).size.saturating_sub(header)).unwrap_or(u32::MAX)
    }

    /// Header and data of a block; `None` where it is not in use. Data are cut at the end of the block.
    pub(super) fn block<'a>(&self, bytes: &'a [u8]) -> Option<(DynamicHeader, &'a [u8])> {
        block(self.format, bytes)
    }
}

/// See [`Stores::block`].
pub(super) fn block(format: StoreFormat, bytes: &[u8]) -> Option<(DynamicHeader, &[u8])> {
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
fn format(dir: &Path, findings: &mut Collector<'_>) -> Result<StoreFormat, CheckError> {
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
            let first = first_word(&dir.join(kind.name()));
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

fn first_word(path: &Path) -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open(path)?.read_exact_at(&mut bytes, 0)?;
    Ok(u32::from_be_bytes(bytes))
}

fn open(dir: &Path, kind: StoreFile, format: StoreFormat, findings: &mut Collector<'_>) -> Result<Store, CheckError> {
    let path = dir.join(kind.name());
    let place = |offset| RecordRef {
        file: kind.name().into(),
        record: None,
        offset,
    };
    let opened = fs::metadata(&path).and_then(|found| {
        if found.is_file() {
            Ok((File::open(&path)?, found.len()))
        } else {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
    });
    let (file, length) = match opened {
        Ok((file, length)) => (Some(file), length),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            findings.add(Rule::StoreMissing, place(0), || "the file is missing".into(), None);
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
