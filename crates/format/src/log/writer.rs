//! A new log file with transactions taken from a stream (`docs/formats/transaction-log.md` §12).
//!
//! Every transaction is copied as it is but for its identifier, which becomes the next one of this file in all its
//! entries, DONE included. A PREPARE behind no command is left out, and what follows becomes 1PC: at recovery Neo4j
//! would drop the transaction there and fail at its COMMIT (§11, §12).

use std::{
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
};

use super::{
    entries::{Item, Part},
    entry::{self, Commit, CommitKind, CommitStamp},
    error::LogError,
    format::Layout,
    header::LogHeader,
    reader::TransactionReader,
    slot::Committed,
};
use crate::{ids::TxId, width::to_u64};

/// Bytes that are written at once.
const BUFFER: usize = 256 * 1024;

/// What is known of a transaction once it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSummary {
    /// Its id.
    pub tx: TxId,
    /// Its global id, which its other data source shares.
    pub global_id: Vec<u8>,
    /// Whether the other data source took part.
    pub kind: CommitKind,
    /// Commit time (format 2) or master id (format 1).
    pub stamp: CommitStamp,
    /// Number of commands.
    pub commands: u64,
    /// The identifier it got in this file.
    pub identifier: i32,
    /// Where its START begins in this file.
    pub offset: u64,
    /// Its bytes in this file, DONE included.
    pub length: u64,
}

impl TransactionSummary {
    /// Where to find it in this file, once everything was handed to that.
    pub fn committed(&self) -> Committed {
        let done = to_u64(entry::done(self.identifier).len());
        Committed {
            tx: self.tx,
            identifier: self.identifier,
            start: self.offset,
            end: self.offset.saturating_add(self.length).saturating_sub(done),
        }
    }
}

/// Writes a log file.
#[derive(Debug)]
pub struct LogWriter<W: Write> {
    out: BufWriter<W>,
    layout: Layout,
    /// Bytes of header and whole transactions.
    position: u64,
    identifier: i32,
}

impl<W: Write> LogWriter<W> {
    /// Begins a log with its header.
    ///
    /// # Errors
    /// [`LogError::Write`].
    pub fn create(out: W, header: LogHeader, layout: Layout) -> Result<LogWriter<W>, LogError> {
        let mut writer = LogWriter::resume(out, layout, 0, 1);
        writer.put(&header.encode())?;
        writer.position = LogHeader::END;
        Ok(writer)
    }

    /// Goes on at `position`, where `out` stands, with identifiers above `last_identifier`.
    pub fn resume(out: W, layout: Layout, position: u64, last_identifier: i32) -> LogWriter<W> {
        LogWriter {
            out: BufWriter::with_capacity(BUFFER, out),
            layout,
            position,
            identifier: last_identifier,
        }
    }

    /// Bytes of header and whole transactions so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Copies one transaction. After an error the file ends with a part of it, see [`LogWriter::undo`].
    ///
    /// # Errors
    /// As [`TransactionReader::next_part`]; [`LogError::Write`].
    pub fn append<R: Read>(
        &mut self,
        transaction: &mut TransactionReader<'_, R>,
    ) -> Result<TransactionSummary, LogError> {
        self.append_judged(transaction, |_| Ok(()))
    }

    /// As [`LogWriter::append`], with a judge of every item before it is copied.
    ///
    /// # Errors
    /// As [`LogWriter::append`]; what the judge says.
    pub fn append_judged<R: Read, E: From<LogError>>(
        &mut self,
        transaction: &mut TransactionReader<'_, R>,
        mut judge: impl FnMut(&Item<'_>) -> Result<(), E>,
    ) -> Result<TransactionSummary, E> {
        let identifier = self.identifier.wrapping_add(1).max(1);
        let mut summary = TransactionSummary {
            tx: transaction.tx(),
            global_id: Vec::new(),
            kind: CommitKind::OnePhase,
            stamp: CommitStamp::Time(0),
            commands: 0,
            identifier,
            offset: self.position,
            length: 0,
        };
        while let Some(part) = transaction.next_part()? {
            judge(&part.item)?;
            match &part.item {
                Item::Start(start) => summary.global_id.extend_from_slice(start.global_id),
                Item::Commit(commit) => {
                    (summary.kind, summary.stamp) = (commit.kind, commit.stamp);
                    if summary.commands == 0 {
                        let mut alone = Vec::new();
                        let kind = CommitKind::OnePhase;
                        Commit {
                            kind,
                            identifier,
                            ..*commit
                        }
                        .encode(&mut alone);
                        self.put(&alone)?;
                        summary.length = summary.length.saturating_add(to_u64(alone.len()));
                        continue;
                    }
                }
                Item::Change(_) | Item::Lucene(_) => {
                    summary.commands = summary.commands.saturating_add(part.ends_entry.into());
                }
                Item::Prepare(_) if summary.commands == 0 => continue,
                Item::Prepare(_) | Item::Done => {}
            }
            let written = self.copy(&part, identifier)?;
            summary.length = summary.length.saturating_add(written);
        }
        self.position = self.position.saturating_add(summary.length);
        self.identifier = identifier;
        Ok(summary)
    }

    /// Hands everything to the file.
    ///
    /// # Errors
    /// [`LogError::Write`].
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.out.flush().map_err(|cause| self.write_error(cause))
    }

    /// Hands everything to the file and gives it back, not synced.
    ///
    /// # Errors
    /// [`LogError::Write`].
    pub fn finish(mut self) -> Result<W, LogError> {
        self.flush()?;
        let (source_name, offset) = (self.layout.source, self.position);
        self.out.into_inner().map_err(|error| LogError::Write {
            source_name,
            offset,
            cause: error.into_error(),
        })
    }

    /// Writes a part of another log with the identifier it gets in this one; gives the number of bytes.
    fn copy(&mut self, part: &Part<'_>, identifier: i32) -> Result<u64, LogError> {
        match part.identifier_at.and_then(|at| part.raw.split_at_checked(at)) {
            Some((before, rest)) => {
                self.put(before)?;
                self.put(&identifier.to_be_bytes())?;
                self.put(rest.get(4..).expect("an identifier has four bytes"))?;
            }
            None => self.put(part.raw)?,
        }
        Ok(to_u64(part.raw.len()))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.out.write_all(bytes).map_err(|cause| self.write_error(cause))
    }

    fn write_error(&self, cause: std::io::Error) -> LogError {
        LogError::Write {
            source_name: self.layout.source,
            offset: self.position,
            cause,
        }
    }
}

impl LogWriter<File> {
    /// Takes back what an interrupted [`LogWriter::append`] left, so that the file ends with a whole transaction.
    ///
    /// # Errors
    /// [`LogError::Write`].
    pub fn undo(&mut self) -> Result<(), LogError> {
        self.truncate(self.position)
    }

    /// Cuts the file at `position`, which must be 16 or the end of a transaction.
    ///
    /// # Errors
    /// [`LogError::Write`].
    pub fn truncate(&mut self, position: u64) -> Result<(), LogError> {
        self.flush()?;
        let file = self.out.get_mut();
        let cut = file
            .set_len(position)
            .and_then(|()| file.seek(SeekFrom::Start(position)));
        cut.map_err(|cause| self.write_error(cause))?;
        self.position = position;
        Ok(())
    }
}
