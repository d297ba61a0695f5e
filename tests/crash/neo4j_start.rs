//! What a start of Neo4j makes of a directory, by the rules of `docs/formats` and without Java: whether it starts at all
//! (store-format §8, §3.2, §6; transaction-log §3.2, §11), and what its graph and its indexes then hold.
//!
//! Where releases differ, the most demanding one is meant.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "panicking is how tests report")]

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::support::copy_dir;
use neo4j_backup_core::replay::apply::{Applier, Growth};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion},
    log::{
        Buffer, Item, Layout, LogFormat, LogHeader, SlotReader,
        files::{self, Marker, Slot},
        lucene::LuceneAction,
        slot,
    },
    store::{Header, IndexConfig, IndexKey, LuceneStore, StoreFile, StoreFormat, lucene_store},
};
use neo4j_sandbox::database::{Contents, Entry, Indexes};

/// An index: Lucene's files as they lie there, and what its log then does to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    pub files: BTreeMap<String, Vec<u8>>,
    pub entries: BTreeMap<i64, Entry>,
}

/// A database that has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Nodes, relationships and graph properties.
    pub graph: Contents,
    pub indexes: BTreeMap<IndexKey, Index>,
}

/// Starts on `dir`, which is not changed; a copy is made at `work` where it has to be.
///
/// # Errors
/// Why Neo4j does not start, or would lose something.
pub fn start(dir: &Path, work: &Path) -> Result<Started, String> {
    let format = Header::open_read_only(&DirHandle::open(dir).unwrap())
        .and_then(|header| header.format())
        .map_err(told)?;
    let graph_log = active(dir, DataSource::Graph)?;
    for kind in StoreFile::ALL {
        if is_clean(dir, kind, format)? && graph_log.is_none() {
            all_is_below_the_high_id(dir, kind, format)?;
        }
    }
    let contents = match &graph_log {
        None => Contents::read(dir),
        Some(log) => {
            if work.exists() {
                fs::remove_dir_all(work).map_err(told)?;
            }
            copy_dir(dir, work);
            recover(work, log, format)?;
            Contents::read(work)
        }
    };
    let mut graph = contents.map_err(told)?;
    graph.indexes = Indexes::default();
    let indexes = indexes(dir, LogFormat::from(format))?;
    Ok(Started { graph, indexes })
}

fn told(error: impl Display) -> String {
    error.to_string()
}

/// The log that is replayed, as the marker or its absence says.
fn active(dir: &Path, source: DataSource) -> Result<Option<PathBuf>, String> {
    let marker = match fs::read(dir.join(files::marker(source))) {
        Ok(bytes) => Some(Marker::decode(&bytes).ok_or("a marker that is none")?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(told(error)),
    };
    let (slot, named) = match marker {
        Some(Marker::Clean) => return left_over(dir, source).map(|()| None),
        Some(Marker::Active(slot)) => (slot, true),
        None => (Slot::One, false),
    };
    let path = dir.join(files::slot(source, slot));
    match fs::metadata(&path).map(|found| found.len()) {
        Err(_) if named => Err(format!("the marker names {}, which is not there", path.display())),
        Err(_) | Ok(0) => Ok(None),
        Ok(length) if length < LogHeader::END => Err(format!("{} has only {length} bytes", path.display())),
        Ok(_) => Ok(Some(path)),
    }
}

/// Slots behind a marker that says that the log was closed are archived under the version they have, and the store's is
/// not raised: where both are equal the next rotation finds its name taken (1.4.2, 1.5.0).
fn left_over(dir: &Path, source: DataSource) -> Result<(), String> {
    let store = match source {
        DataSource::Graph => Header::open_read_only(&DirHandle::open(dir).unwrap())
            .and_then(|header| header.log_version())
            .map_err(told)?,
        DataSource::Lucene => lucene_store(dir)?.version,
    };
    for slot in [Slot::One, Slot::Two] {
        let bytes = fs::read(dir.join(files::slot(source, slot))).unwrap_or_default();
        let header = bytes.first_chunk().and_then(|bytes| LogHeader::decode(*bytes).ok());
        if header.is_some_and(|header| header.version == store) {
            return Err(format!(
                "{source}: a slot of version {store} behind a marker that says closed"
            ));
        }
    }
    Ok(())
}

fn lucene_store(dir: &Path) -> Result<LuceneStore, String> {
    match fs::read(dir.join(lucene_store::PATH)) {
        Ok(bytes) => LuceneStore::decode(&bytes).map_err(told),
        Err(_) => Ok(LuceneStore::default()),
    }
}

/// The rotation after a start needs the version in the log and in the store to be equal, and its name to be free.
fn can_be_archived(dir: &Path, source: DataSource, log: LogHeader, store: LogVersion) -> Result<(), String> {
    if log.version != store {
        return Err(format!(
            "{source}: version {} in the log, {store} in the store",
            log.version
        ));
    }
    let archived = dir.join(files::archived(source, log.version));
    if archived.exists() {
        return Err(format!("{} already exists", archived.display()));
    }
    Ok(())
}

/// Whether a store file and its `.id` file are as a clean shutdown leaves them. Files that are not are rebuilt.
fn is_clean(dir: &Path, kind: StoreFile, format: StoreFormat) -> Result<bool, String> {
    let bytes = fs::read(dir.join(kind.name())).map_err(told)?;
    let Some(records) = bytes.strip_suffix(kind.trailer(format).as_bytes()) else {
        return Ok(false);
    };
    if records.len() % record_size(records, kind, format) != 0 {
        return Err(format!("{}: the trailer is not behind whole records", kind.name()));
    }
    let id_file = fs::read(dir.join(kind.id_name())).unwrap_or_default();
    Ok(id_file.len() >= 9 && id_file.first() == Some(&0))
}

fn record_size(records: &[u8], kind: StoreFile, format: StoreFormat) -> usize {
    let of_blocks = || records.first_chunk().map(|size| u32::from_be_bytes(*size).into());
    let size = kind.record_size(format).or_else(of_blocks).unwrap_or(1);
    usize::try_from(size).unwrap_or(1).max(1)
}

/// A clean store is cut at its high id when it is closed.
fn all_is_below_the_high_id(dir: &Path, kind: StoreFile, format: StoreFormat) -> Result<(), String> {
    let bytes = fs::read(dir.join(kind.name())).map_err(told)?;
    let id_file = fs::read(dir.join(kind.id_name())).map_err(told)?;
    let high = id_file.get(1..9).and_then(|high| high.first_chunk()).copied();
    let high = usize::try_from(u64::from_be_bytes(high.unwrap_or_default())).unwrap_or(usize::MAX);
    let records = bytes.strip_suffix(kind.trailer(format).as_bytes()).unwrap_or(&bytes);
    let end = high.saturating_mul(record_size(records, kind, format));
    match records.get(end..) {
        Some(rest) if rest.iter().any(|byte| *byte != 0) => {
            Err(format!("{}: there are records beyond the high id {high}", kind.name()))
        }
        _ => Ok(()),
    }
}

/// Replays the graph's log.
fn recover(dir: &Path, log: &Path, format: StoreFormat) -> Result<(), String> {
    // an open store has no trailer
    for kind in StoreFile::ALL {
        let path = dir.join(kind.name());
        let bytes = fs::read(&path).map_err(told)?;
        if let Some(records) = bytes.strip_suffix(kind.trailer(format).as_bytes()) {
            fs::write(&path, records).map_err(told)?;
        }
    }
    let layout = Layout {
        format: format.into(),
        source: DataSource::Graph,
    };
    let header = Header::open(&DirHandle::open(dir).unwrap()).map_err(told)?;
    let file = File::open(log).map_err(told)?;
    let (mut scan, mut read) = (Buffer::new(), Buffer::new());
    let mut entries = SlotReader::open(&file, layout, &mut scan).map_err(told)?;
    let version = header.log_version().map_err(told)?;
    can_be_archived(dir, layout.source, entries.header(), version)?;
    let mut applier = Applier::open(&DirHandle::open(dir).unwrap(), format, Growth::Usual).map_err(told)?;
    while let Some(committed) = entries.next().map_err(told)? {
        let mut transaction = slot::transaction(&file, layout, &committed, &mut read);
        while let Some(item) = transaction.next().map_err(told)? {
            if let Item::Change(change) = item {
                applier.apply(&change).map_err(told)?;
            }
        }
    }
    let done = applier.finish().map_err(told)?;
    for kind in StoreFile::ALL {
        // files grow by whole records, of which a block may fill a part
        let path = dir.join(kind.name());
        let mut bytes = fs::read(&path).map_err(told)?;
        bytes.resize(bytes.len().next_multiple_of(record_size(&bytes, kind, format)), 0);
        fs::write(&path, bytes).map_err(told)?;
    }
    match done.graph_property {
        Some(property) => header.set_graph_property(property).map_err(told),
        None => Ok(()),
    }
}

/// Every index with what it holds once its log is replayed.
fn indexes(dir: &Path, format: LogFormat) -> Result<BTreeMap<IndexKey, Index>, String> {
    let mut indexes = BTreeMap::new();
    for key in configured(dir)? {
        let files = lucene_files(dir, &key);
        let entries = BTreeMap::new();
        indexes.insert(key, Index { files, entries });
    }
    let Some(path) = active(dir, DataSource::Lucene)? else {
        return Ok(indexes);
    };
    let layout = Layout {
        format,
        source: DataSource::Lucene,
    };
    let file = File::open(&path).map_err(told)?;
    let (mut scan, mut read) = (Buffer::new(), Buffer::new());
    let mut entries = SlotReader::open(&file, layout, &mut scan).map_err(told)?;
    can_be_archived(dir, layout.source, entries.header(), lucene_store(dir)?.version)?;
    let mut replayed = Indexes::default();
    while let Some(committed) = entries.next().map_err(told)? {
        let mut transaction = slot::transaction(&file, layout, &committed, &mut read);
        while let Some(item) = transaction.next().map_err(told)? {
            let Item::Lucene(command) = item else { continue };
            let key = command.key();
            match command.action {
                LuceneAction::Delete => return Err(format!("{key:?} is deleted in the log, which 1.8 does not do")),
                LuceneAction::Create(_) => {
                    let files = lucene_files(dir, &key);
                    if !files.is_empty() && !indexes.contains_key(&key) {
                        return Err(format!("{key:?} is made anew over the files of one that was deleted"));
                    }
                    indexes.entry(key).or_default();
                }
                LuceneAction::Add { .. } | LuceneAction::Remove { .. } if !indexes.contains_key(&key) => {
                    return Err(format!("{key:?}, of which the log speaks, does not exist"));
                }
                LuceneAction::Add { .. } | LuceneAction::Remove { .. } => {}
            }
            replayed.apply(&command);
        }
    }
    for (key, entries) in replayed.entries() {
        indexes.entry(key.clone()).or_default().entries.clone_from(entries);
    }
    Ok(indexes)
}

fn configured(dir: &Path) -> Result<Vec<IndexKey>, String> {
    let read = |name: &str| match fs::read(dir.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(told),
    };
    let bytes = match read("index.db")? {
        None => read("index.db.old")?,
        bytes => bytes,
    };
    let config = bytes.map_or(Ok(IndexConfig::default()), |bytes| IndexConfig::decode(&bytes));
    let config = config.map_err(told)?;
    Ok(config.iter().map(|(key, _)| key.clone()).collect())
}

fn lucene_files(dir: &Path, key: &IndexKey) -> BTreeMap<String, Vec<u8>> {
    let name = key.name.to_text().unwrap();
    let folder = dir.join("index/lucene").join(key.kind.directory()).join(name);
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}
