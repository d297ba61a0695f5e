//! The ten files of the graph: how large, how many records, how they were left
//! (`docs/formats/store-format.md` §3, §5.5, §6).

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::Serialize;

use super::bounded;
use neo4j_format::{
    DirHandle,
    store::{StoreFile, StoreFormat},
};

/// The largest block of a dynamic store that a release creates (§5.5).
const MAX_BLOCK: i32 = 65_535 + 13;

/// Longer than any trailer.
const TRAILER_ROOM: u64 = 64;

/// How a store file was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seal {
    /// Whole records and a trailer: closed cleanly.
    Closed,
    /// No trailer: open, crashed, or a copy of one.
    Open,
    /// A trailer behind a part of a record, which no release opens.
    Misaligned,
    /// The trailer of another format.
    OtherFormat,
}

/// How its `.id` file was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdFile {
    /// Clean, for as many records as the store has or more.
    Clean,
    /// Clean, and for fewer records than the store has: releases before 1.9 cut the others off.
    TooLow,
    /// In use when it was left.
    InUse,
    /// Too short to be read.
    Short,
    /// Not there.
    Missing,
}

/// One store file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreSummary {
    /// File name.
    pub name: &'static str,
    /// Bytes; `None` where it is missing or unreadable.
    pub bytes: Option<u64>,
    /// Records it has room for, used or not.
    pub records: Option<u64>,
    /// How it was left.
    pub seal: Option<Seal>,
    /// How its `.id` file was left.
    pub id_file: Option<IdFile>,
    /// Ids that the `.id` file offers for reuse.
    pub free_ids: Option<u64>,
}

impl StoreSummary {
    /// Whether Neo4j opens it without looking for the last record first.
    pub fn is_clean(&self) -> bool {
        self.seal == Some(Seal::Closed) && matches!(self.id_file, Some(IdFile::Clean | IdFile::TooLow))
    }
}

/// Looks at all ten; `format` is unknown where `neostore` cannot be read, and then taken from each trailer.
pub fn look(dir: &DirHandle, format: Option<StoreFormat>, problems: &mut Vec<String>) -> Vec<StoreSummary> {
    let mut look = |kind| one(dir, kind, format, problems);
    StoreFile::ALL.into_iter().map(&mut look).collect()
}

fn one(dir: &DirHandle, kind: StoreFile, format: Option<StoreFormat>, problems: &mut Vec<String>) -> StoreSummary {
    let mut store = StoreSummary {
        name: kind.name(),
        bytes: None,
        records: None,
        seal: None,
        id_file: None,
        free_ids: None,
    };
    match bounded::open(dir, kind.name()) {
        Ok(Some((file, found))) => {
            store.bytes = Some(found.len());
            if let Err(error) = records(&mut store, kind, format, &file, found.len()) {
                problems.push(format!("{}: {error}", kind.name()));
            }
        }
        Ok(None) => problems.push(format!("{}: is missing", kind.name())),
        Err(error) => problems.push(format!("{}: {error}", kind.name())),
    }
    if let Err(error) = ids(&mut store, kind, dir) {
        problems.push(format!("{}: {error}", kind.id_name()));
    }
    store
}

fn records(
    store: &mut StoreSummary,
    kind: StoreFile,
    format: Option<StoreFormat>,
    file: &File,
    length: u64,
) -> io::Result<()> {
    let end = bounded::tail(file, length, TRAILER_ROOM)?;
    let formats = [StoreFormat::Current, StoreFormat::Legacy];
    let sealed = formats
        .into_iter()
        .find(|format| end.ends_with(kind.trailer(*format).as_bytes()));
    let trailer = sealed.map_or(0, |format| kind.trailer(format).len() as u64);
    let Some(format) = format.or(sealed) else {
        return Ok(());
    };
    let data = length - trailer;
    let size = match kind.record_size(format) {
        Some(size) => size,
        None if data == 0 => 1,
        None => block_size(file)?,
    };
    store.records = Some(data / size);
    store.seal = Some(match sealed {
        None => Seal::Open,
        Some(found) if found != format => Seal::OtherFormat,
        Some(_) if data.is_multiple_of(size) => Seal::Closed,
        Some(_) => Seal::Misaligned,
    });
    Ok(())
}

fn block_size(file: &File) -> io::Result<u64> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 0)?;
    let size = i32::from_be_bytes(bytes);
    match u64::try_from(size) {
        Ok(found) if found > 0 && size <= MAX_BLOCK => Ok(found),
        _ => Err(io::Error::other(format!("has an invalid block size of {size} bytes"))),
    }
}

fn ids(store: &mut StoreSummary, kind: StoreFile, dir: &DirHandle) -> io::Result<()> {
    let Some((file, found)) = bounded::open(dir, &kind.id_name())? else {
        store.id_file = Some(IdFile::Missing);
        return Ok(());
    };
    let mut header = [0; 9];
    if found.len() < header.len() as u64 {
        store.id_file = Some(IdFile::Short);
        return Ok(());
    }
    file.read_exact_at(&mut header, 0)?;
    let [state, high @ ..] = header;
    let high = i64::from_be_bytes(high);
    store.free_ids = Some((found.len() - header.len() as u64) / 8);
    store.id_file = Some(match state {
        0 if store
            .records
            .is_some_and(|records| i64::try_from(records).is_ok_and(|records| high < records)) =>
        {
            IdFile::TooLow
        }
        0 => IdFile::Clean,
        _ => IdFile::InUse,
    });
    Ok(())
}
