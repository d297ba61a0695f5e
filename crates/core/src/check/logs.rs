//! Logs and markers against each other and against the headers (`docs/formats/store-format.md` §8).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    error::CheckError,
    finding::{Collector, RecordRef},
    header::{self, Header},
    rules::Rule,
};
use crate::cancel::Cancel;
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, TxId},
    log::{
        Buffer, Layout, LogError, LogFormat, LogHeader, SlotReader, archived_logs,
        files::{self, Marker, Slot},
    },
    store::{
        IndexConfig, IndexKind, StoreFormat, index_config,
        lucene_store::{self, LuceneStore},
    },
};

/// Which logs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Every log.
    All,
    /// Of the graph the newest archived one, of the indexes none: time follows what is new.
    Newest,
}

/// Checks the logs of both data sources and what belongs to them.
pub(super) fn check(
    dir: &DirHandle,
    format: StoreFormat,
    graph: &Header,
    which: Which,
    findings: &mut Collector<'_>,
    cancel: &Cancel,
) -> Result<(), CheckError> {
    let lucene = lucene_store(dir, findings)?;
    index_config(dir, findings)?;
    transaction_manager(dir, findings)?;
    for source in DataSource::ALL {
        if which == Which::Newest && source == DataSource::Lucene {
            continue;
        }
        let next_version = match source {
            DataSource::Graph => graph.log_version,
            DataSource::Lucene => lucene.map(|store| store.version),
        };
        let mut logs = Logs {
            dir,
            layout: Layout {
                format: LogFormat::from(format),
                source,
            },
            next_version,
            which,
            findings: &mut *findings,
            cancel,
        };
        logs.archived(graph)?;
        logs.active()?;
    }
    Ok(())
}

fn place(file: impl Into<String>, offset: u64) -> RecordRef {
    RecordRef {
        file: file.into().into(),
        record: None,
        offset,
    }
}

/// Content of a small file; `None` if it is missing.
fn small(dir: &DirHandle, name: &str, limit: u64) -> Result<Option<Vec<u8>>, CheckError> {
    let mut bytes = Vec::new();
    match dir
        .open_file(name)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
    {
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(CheckError::at(&dir.join(name))(e)),
    }
}

fn lucene_store(dir: &DirHandle, findings: &mut Collector<'_>) -> Result<Option<LuceneStore>, CheckError> {
    let Some(bytes) = small(dir, lucene_store::PATH, lucene_store::SIZE_MAX)? else {
        return Ok(None);
    };
    match LuceneStore::decode(&bytes) {
        Ok(store) => Ok(Some(store)),
        Err(error) => {
            let at = place(lucene_store::PATH, 0);
            findings.add(Rule::LuceneStoreUnreadable, at, || error.to_string(), None);
            Ok(None)
        }
    }
}

fn index_config(dir: &DirHandle, findings: &mut Collector<'_>) -> Result<(), CheckError> {
    let at = || place(index_config::PATH, 0);
    match small(dir, index_config::PATH, index_config::FILE_MAX + 1)? {
        Some(bytes) => {
            if let Err(error) = IndexConfig::decode(&bytes) {
                findings.add(Rule::IndexConfigUnreadable, at(), || error.to_string(), None);
            }
        }
        None => {
            if small(dir, index_config::OLD_PATH, 1)?.is_none() && has_lucene_files(dir) {
                let explain = || format!("the file is missing, but {} is not empty", index_config::LUCENE_DIR);
                findings.add(Rule::IndexConfigMissing, at(), explain, None);
            }
        }
    }
    Ok(())
}

/// Whether there is a directory of an index with something in it.
fn has_lucene_files(dir: &DirHandle) -> bool {
    IndexKind::ALL.iter().any(|kind| {
        let indexes = Path::new(index_config::LUCENE_DIR).join(kind.directory());
        let Ok(indexes) = dir.folder(indexes) else { return false };
        let names = indexes.entries().into_iter().flatten();
        names
            .filter_map(|index| indexes.folder(index.name).ok()?.entries().ok())
            .any(|files| !files.is_empty())
    })
}

/// `active_tx_log` and the file it names are there, or neither.
fn transaction_manager(dir: &DirHandle, findings: &mut Collector<'_>) -> Result<(), CheckError> {
    let Some(name) = small(dir, "active_tx_log", 64)? else {
        if dir.has("tm_tx_log.1") {
            let message = || "tm_tx_log.1 exists, but active_tx_log does not".to_owned();
            findings.add(Rule::TransactionManager, place("active_tx_log", 0), message, None);
        }
        return Ok(());
    };
    let known = ["tm_tx_log.1", "tm_tx_log.2"];
    let named = known.into_iter().find(|known| name == known.as_bytes());
    if named.is_none_or(|named| !dir.has(named)) {
        let message = || format!("names {:?}, which does not exist", String::from_utf8_lossy(&name));
        findings.add(Rule::TransactionManager, place("active_tx_log", 0), message, None);
    }
    Ok(())
}

/// The logs of one data source.
struct Logs<'a, 'l> {
    dir: &'a DirHandle,
    layout: Layout,
    next_version: Option<LogVersion>,
    which: Which,
    findings: &'a mut Collector<'l>,
    cancel: &'a Cancel,
}

/// What is in a log.
struct Content {
    header: LogHeader,
    first: Option<TxId>,
    last: Option<TxId>,
}

impl Logs<'_, '_> {
    fn archived(&mut self, graph: &Header) -> Result<(), CheckError> {
        let mut before: Option<(LogVersion, TxId)> = None;
        for (version, name) in self.versions()? {
            let Some(content) = self.read(&name, true)? else {
                before = None;
                continue;
            };
            if content.header.version != version {
                let message = || format!("its header has version {}", content.header.version);
                self.findings
                    .add(Rule::LogVersionDiffers, place(name.clone(), 1), message, None);
            }
            if Some(version) == self.next_version {
                let message = || format!("the next log will get version {version} too");
                self.findings
                    .add(Rule::LogVersionTaken, place(name.clone(), 0), message, None);
            }
            if let (Some((_, last)), Some(first)) = (before.filter(|(v, _)| v.next() == version), content.first)
                && first > last.next()
            {
                let message = || format!("begins with transaction {first}, but the previous log ends with {last}");
                self.findings
                    .add(Rule::LogOutOfOrder, place(name.clone(), LogHeader::END), message, None);
            }
            if let (DataSource::Graph, Some(last), Some(store)) =
                (self.layout.source, content.last, graph.last_transaction)
                && last > store
            {
                let message =
                    || format!("ends with transaction {last}, but the last transaction of neostore is {store}");
                self.findings.add(
                    Rule::LogAheadOfStore,
                    place(name.clone(), 0),
                    message,
                    Some(header::place(3)),
                );
            }
            before = content.last.map(|last| (version, last));
        }
        Ok(())
    }

    /// Archived logs by version.
    fn versions(&self) -> Result<BTreeMap<LogVersion, String>, CheckError> {
        let source = self.layout.source;
        let logs = archived_logs(self.dir, source)?;
        let mut versions: BTreeMap<_, _> = logs.into_iter().map(|log| (log.version, log.name)).collect();
        if self.which == Which::Newest
            && let Some((newest, _)) = versions.last_key_value()
        {
            let newest = *newest;
            return Ok(versions.split_off(&newest));
        }
        Ok(versions)
    }

    fn active(&mut self) -> Result<(), CheckError> {
        let source = self.layout.source;
        let marker_name = files::marker(source);
        let bytes = small(self.dir, marker_name, 64)?;
        let marker = bytes.as_deref().and_then(Marker::decode);
        if let (Some(bytes), None) = (bytes, marker) {
            let message = || format!("its bytes are {bytes:02x?}");
            self.findings.add(Rule::LogMarker, place(marker_name, 0), message, None);
            return Ok(());
        }
        let slot = match marker {
            Some(Marker::Clean) => return Ok(()),
            Some(Marker::Active(slot)) => slot,
            None => Slot::One,
        };
        let name = files::slot(source, slot);
        let length = self.dir.status_of(name).map(|found| found.length());
        let problem = match (length, marker) {
            (Ok(0), _) => return Ok(()),
            (Err(e), None) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => Some("the file is missing".to_owned()),
            (Err(e), _) => return Err(CheckError::at(&self.dir.join(name))(e)),
            (Ok(length), _) if length < LogHeader::END => Some(format!("{length} bytes are too short for a header")),
            (Ok(_), _) => None,
        };
        if let Some(problem) = problem {
            self.findings.add(
                Rule::ActiveLogMissing,
                place(name, 0),
                || problem,
                Some(place(marker_name, 0)),
            );
            return Ok(());
        }
        let Some(content) = self.read(name, false)? else {
            return Ok(());
        };
        if let Some(expected) = self.next_version.filter(|version| *version != content.header.version) {
            let message = || {
                format!(
                    "its header has version {}, but the store expects {expected}",
                    content.header.version
                )
            };
            self.findings
                .add(Rule::LogVersionDiffers, place(name, 1), message, None);
        }
        if let (DataSource::Graph, Some(last)) = (source, content.last) {
            let message = || format!("transactions up to {last} are applied at the next start of Neo4j");
            self.findings.add(Rule::UnrecoveredLog, place(name, 0), message, None);
        }
        Ok(())
    }

    /// Reads a log to its end; the end of one that was active may be torn.
    fn read(&mut self, name: &str, is_archived: bool) -> Result<Option<Content>, CheckError> {
        let path = self.dir.join(name);
        let file = self.dir.open_file(name).map_err(CheckError::at(&path))?;
        let mut buffer = Buffer::new();
        let result = self.scan(&file, &mut buffer);
        let (content, end) = match result {
            Ok(found) => found,
            Err(Stopped::Cancelled(error)) => return Err(error),
            Err(Stopped::Log(LogError::Read { cause, .. })) => return Err(CheckError::at(&path)(cause)),
            Err(Stopped::Log(error)) => {
                let offset = match &error {
                    LogError::Malformed { offset, .. } => *offset,
                    _ => 0,
                };
                self.findings
                    .add(Rule::LogUnreadable, place(name, offset), || error.to_string(), None);
                return Ok(None);
            }
        };
        if is_archived && let Some(offset) = torn(&file, end, self.cancel, &path)? {
            let message = || format!("no valid entry at byte {end}");
            self.findings
                .add(Rule::LogUnreadable, place(name, offset), message, None);
        }
        Ok(Some(content))
    }

    fn scan(&mut self, file: &File, buffer: &mut Buffer) -> Result<(Content, u64), Stopped> {
        let mut reader = SlotReader::open(file, self.layout, buffer).map_err(Stopped::Log)?;
        let mut content = Content {
            header: reader.header(),
            first: None,
            last: None,
        };
        while let Some(committed) = reader.next().map_err(Stopped::Log)? {
            self.cancel
                .check()
                .map_err(|error| Stopped::Cancelled(CheckError::Cancelled(Box::new(error))))?;
            content.first = content.first.or(Some(committed.tx));
            content.last = content.last.max(Some(committed.tx));
        }
        let end = reader.finish().map_err(Stopped::Log)?;
        Ok((content, end.logical_end))
    }
}

enum Stopped {
    Log(LogError),
    Cancelled(CheckError),
}

/// The first byte behind `end` that is not zero.
fn torn(file: &File, end: u64, cancel: &Cancel, path: &Path) -> Result<Option<u64>, CheckError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut at = end;
    loop {
        cancel.check().map_err(|error| CheckError::Cancelled(Box::new(error)))?;
        let count = file.read_at(&mut buffer, at).map_err(CheckError::at(path))?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
            return Ok(None);
        };
        if let Some(index) = read.iter().position(|byte| *byte != 0) {
            return Ok(Some(at + index as u64));
        }
        at += count as u64;
    }
}
