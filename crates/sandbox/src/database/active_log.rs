//! The active log of one data source: two files that take turns, and the marker that says which one it is.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{DatabaseError, feed::LoggedTransaction};
use neo4j_format::{
    DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{
        Buffer, Item, Layout, LogError, LogHeader, LogWriter, SecondPass, SlotReader, TransactionReader,
        files::{self, Marker, Slot},
    },
    store::Header,
};

/// Where a log is rotated, as the releases do.
const ROTATION: u64 = 25 * 1024 * 1024;

/// The active log of one data source.
#[derive(Debug)]
pub(super) struct ActiveLog {
    layout: Layout,
    slot: Slot,
    version: LogVersion,
    writer: LogWriter<File>,
    /// The same file, for readers.
    file: Arc<File>,
    pub(super) last: TxId,
}

impl ActiveLog {
    /// Begins an empty log.
    pub(super) fn begin(
        dir: &Path,
        layout: Layout,
        slot: Slot,
        version: LogVersion,
        last: TxId,
    ) -> Result<ActiveLog, DatabaseError> {
        let path = dir.join(files::slot(layout.source, slot));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(DiskError::at(&path))?;
        let readers = Arc::new(file.try_clone().map_err(DiskError::at(&path))?);
        let header = LogHeader {
            format: layout.format,
            version,
            previous_last_tx: last,
        };
        let mut writer = LogWriter::create(file, header, layout)?;
        writer.flush()?;
        write_marker(dir, layout.source, Marker::Active(slot))?;
        Ok(ActiveLog {
            layout,
            slot,
            version,
            writer,
            file: readers,
            last,
        })
    }

    /// Goes on with a log that a process left open.
    pub(super) fn recover(
        dir: &Path,
        layout: Layout,
        slot: Slot,
        base: TxId,
        places: &mut Vec<LoggedTransaction>,
        mut each: impl FnMut(Item<'_>) -> Result<(), DatabaseError>,
    ) -> Result<ActiveLog, DatabaseError> {
        let path = dir.join(files::slot(layout.source, slot));
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(DiskError::at(&path))?;
        let readers = Arc::new(file.try_clone().map_err(DiskError::at(&path))?);
        scan(&readers, &path, layout, places, &mut each)?;
        let mut buffer = Buffer::new();
        let log = SlotReader::open(&readers, layout, &mut buffer).map_err(|e| e.in_file(&path))?;
        let version = log.header().version;
        let end = log.finish().map_err(|e| e.in_file(&path))?;
        file.set_len(end.logical_end)
            .and_then(|()| file.seek(SeekFrom::Start(end.logical_end)))
            .map_err(DiskError::at(&path))?;
        let last = end.last_tx.unwrap_or(base);
        Ok(ActiveLog {
            layout,
            slot,
            version,
            writer: LogWriter::resume(file, layout, end.logical_end, end.last_identifier),
            file: readers,
            last,
        })
    }

    /// Its file.
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(files::slot(self.layout.source, self.slot))
    }

    /// Whether it is time to begin the next one.
    pub(super) fn is_full(&self) -> bool {
        self.writer.position() >= ROTATION
    }

    /// Writes a transaction to its end.
    pub(super) fn append(
        &mut self,
        tx: TxId,
        bytes: &[u8],
        buffer: &mut Buffer,
    ) -> Result<LoggedTransaction, DatabaseError> {
        let mut transaction = TransactionReader::new(bytes, self.layout, tx, buffer);
        let summary = self.writer.append(&mut transaction)?;
        self.writer.flush()?;
        self.last = tx;
        Ok(LoggedTransaction::new(tx, &self.file, summary.offset, summary.length))
    }

    /// Begins the next log; this one becomes a history log.
    pub(super) fn rotate(&mut self, dir: &Path, header: &Header) -> Result<(), DatabaseError> {
        let next = ActiveLog::begin(dir, self.layout, self.slot.other(), self.version.next(), self.last)?;
        let old = std::mem::replace(self, next);
        header.set_log_version(self.version)?;
        old.rename_to_history(dir)
    }

    /// The log of a database that is closed cleanly.
    pub(super) fn archive(self, dir: &Path, header: &Header) -> Result<(), DatabaseError> {
        write_marker(dir, self.layout.source, Marker::Clean)?;
        header.set_log_version(self.version.next())?;
        self.rename_to_history(dir)
    }

    fn rename_to_history(self, dir: &Path) -> Result<(), DatabaseError> {
        let (source, slot, version) = (self.layout.source, self.slot, self.version);
        self.writer.finish()?;
        let (from, to) = (
            dir.join(files::slot(source, slot)),
            dir.join(files::archived(source, version)),
        );
        fs::rename(&from, &to).map_err(DiskError::at(&from))?;
        Ok(())
    }

    /// The indexes' log at a clean close: it stays as it is, and goes if there is nothing in it.
    pub(super) fn leave_pending(self, dir: &Path) -> Result<(), DatabaseError> {
        let source = self.layout.source;
        if self.writer.position() > LogHeader::END {
            self.writer.finish()?;
            return Ok(());
        }
        write_marker(dir, source, Marker::Clean)?;
        remove_if_there(&dir.join(files::slot(source, self.slot)))
    }
}

/// Notes the place of each committed transaction of a log and hands out what it consists of.
pub(super) fn scan(
    file: &Arc<File>,
    path: &Path,
    layout: Layout,
    places: &mut Vec<LoggedTransaction>,
    mut each: impl FnMut(Item<'_>) -> Result<(), DatabaseError>,
) -> Result<(), DatabaseError> {
    let (mut scan, mut pass) = (Buffer::new(), SecondPass::new(file, layout));
    let in_file = |error: LogError| error.in_file(path);
    let mut log = SlotReader::open(file, layout, &mut scan).map_err(in_file)?;
    while let Some(committed) = log.next().map_err(in_file)? {
        let mut transaction = pass.transaction(&committed);
        let mut length = 0;
        while let Some(part) = transaction.next_part().map_err(in_file)? {
            length += part.raw.len() as u64;
            each(part.item)?;
        }
        places.push(LoggedTransaction::new(committed.tx, file, committed.start, length));
    }
    Ok(())
}

/// The slot that a process left open.
pub(super) fn active_slot(dir: &Path, source: DataSource) -> Result<Option<Slot>, DatabaseError> {
    let path = dir.join(files::marker(source));
    let marker = match fs::read(&path) {
        Ok(bytes) => Marker::decode(&bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Marker::Clean),
        Err(error) => return Err(DiskError::new(&path, error).into()),
    };
    match marker {
        Some(Marker::Active(slot)) => Ok(Some(slot)),
        Some(Marker::Clean) => Ok(None),
        None => Err(DatabaseError::Marker(path)),
    }
}

fn write_marker(dir: &Path, source: DataSource, marker: Marker) -> Result<(), DatabaseError> {
    let path = dir.join(files::marker(source));
    fs::write(&path, marker.encode()).map_err(DiskError::at(&path))?;
    Ok(())
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), DatabaseError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DiskError::new(path, error).into()),
        _ => Ok(()),
    }
}
