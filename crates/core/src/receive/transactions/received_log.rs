//! A log file that is being written while transactions arrive.

use std::{fs::File, io::Read, path::PathBuf};

use super::LogPlace;
use crate::Error;
use neo4j_format::{
    DirHandle, DiskError,
    ids::TxId,
    log::{
        self, Buffer, Fingerprint, Item, Layout, LogHeader, LogWriter, TransactionReader, TransactionSummary,
        slot::Committed,
    },
};

/// The transactions that were received of one data source.
#[derive(Debug)]
pub(crate) struct ReceivedLog {
    /// `None` once the log is complete: FUSE and NFS keep a file that is removed while it is open under another name.
    writer: Option<LogWriter<File>>,
    /// Bytes once it is complete.
    length: u64,
    layout: Layout,
    dir: DirHandle,
    pub(crate) path: PathBuf,
    pub(crate) first: TxId,
    pub(crate) last: TxId,
    pub(crate) count: u64,
    newest: Option<Committed>,
    /// Of the last transaction, once the log is complete.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// The end of a transaction at which the log can be cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    position: u64,
    newest: Option<Committed>,
    last: TxId,
    count: u64,
}

/// What becomes of a complete log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DuplicatePolicy {
    /// It gets another name, or has its last one: it must be durable.
    Kept,
    /// It is read and removed in the same run.
    Passing,
}

impl ReceivedLog {
    /// Begins a log at `place`, where there is none.
    pub(super) fn create(place: &LogPlace, first: TxId, layout: Layout) -> Result<ReceivedLog, Error> {
        let LogPlace { dir, name, version } = place;
        let path = dir.join(name);
        let file = dir.create_new(name).map_err(DiskError::at(&path))?;
        let previous_last_tx = first.previous();
        let header = LogHeader {
            format: layout.format,
            version: *version,
            previous_last_tx,
        };
        Ok(ReceivedLog {
            writer: Some(LogWriter::create(file, header, layout)?),
            length: 0,
            layout,
            dir: dir.clone(),
            path,
            first,
            last: previous_last_tx,
            count: 0,
            newest: None,
            fingerprint: None,
        })
    }

    /// Appends a transaction, every part of which is judged before.
    pub(super) fn append<R: Read>(
        &mut self,
        transaction: &mut TransactionReader<'_, R>,
        judge: impl FnMut(&Item<'_>) -> Result<(), Error>,
    ) -> Result<TransactionSummary, Error> {
        let summary = self.writer().append_judged(transaction, judge)?;
        self.last = summary.tx;
        self.count += 1;
        self.newest = Some(summary.committed());
        Ok(summary)
    }

    fn writer(&mut self) -> &mut LogWriter<File> {
        self.writer.as_mut().expect("a complete log is not changed")
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(self.length, LogWriter::position)
    }

    /// Where it ends now.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            position: self.bytes(),
            newest: self.newest,
            last: self.last,
            count: self.count,
        }
    }

    /// Takes back what came behind that mark.
    pub(super) fn cut(&mut self, mark: Mark) -> Result<(), Error> {
        self.writer().truncate(mark.position)?;
        (self.newest, self.last, self.count) = (mark.newest, mark.last, mark.count);
        Ok(())
    }

    /// Removes the file.
    pub(super) fn remove(mut self) -> Result<(), DiskError> {
        self.writer = None;
        self.dir.remove_file(&self.path).map_err(DiskError::at(&self.path))
    }

    /// Hands everything to the file and closes it; nothing can be appended any more.
    pub(super) fn complete(&mut self, buffer: &mut Buffer, fate: DuplicatePolicy) -> Result<(), Error> {
        self.length = self.bytes();
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        let file = self.dir.open_file(&self.path).map_err(DiskError::at(&self.path))?;
        if fate == DuplicatePolicy::Kept {
            file.sync_all().map_err(DiskError::at(&self.path))?;
        }
        if let Some(newest) = &self.newest {
            let mut transaction = log::slot::transaction(&file, self.layout, newest, buffer);
            self.fingerprint = Some(transaction.fingerprint().map_err(|e| e.in_file(&self.path))?);
        }
        Ok(())
    }
}
