//! A log file, with leftovers of a run or a crash (`docs/formats/transaction-log.md` §5, §11).
//!
//! Entries of several transactions may interleave, transactions may lack DONE or never have committed, and the tail may
//! be torn or zero. [`SlotReader::next`] finds the committed transactions in the order of their COMMIT entries, which is
//! the order in which Neo4j's recovery executes them; [`SlotReader::transaction`] then reads one of them in a second
//! pass over its span. Memory follows the number of transactions open at once, not the size of the log.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use super::{
    entries::{Buffer, Entries, Item},
    error::{LogElement, LogError, LogProblem},
    format::Layout,
    header::LogHeader,
    reader::TransactionReader,
};
use crate::{
    ids::TxId,
    width::{to_u64, to_usize},
};

/// Most transactions that are open at once in a log; a server has a handful.
pub const OPEN_MAX: usize = 65_536;

/// A committed transaction, found but not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its id.
    pub tx: TxId,
    /// Its identifier in this log.
    pub identifier: i32,
    /// Where its START begins.
    pub start: u64,
    /// Where its COMMIT ends.
    pub end: u64,
}

/// A transaction without COMMIT at the end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Its identifier in this log.
    pub identifier: i32,
    /// How far it came.
    pub progress: Progress,
}

/// How far a transaction without COMMIT came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It would be rolled back.
    Started,
    /// The transaction manager's log decides what becomes of it.
    Prepared,
}

/// What is known once the end of a log was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotEnd {
    /// Behind the last whole entry; what follows is zeros, or torn.
    pub logical_end: u64,
    /// Id in the last COMMIT of the log.
    pub last_tx: Option<TxId>,
    /// The largest identifier used, 1 if none was.
    pub last_identifier: i32,
    /// Neither committed nor done.
    pub unfinished: Vec<Unfinished>,
}

/// Finds the committed transactions of a log file.
#[derive(Debug)]
pub struct SlotReader<'a> {
    file: &'a File,
    header: LogHeader,
    entries: Entries<'a, FileRange<'a>>,
    open: HashMap<i32, (u64, Progress)>,
    end: SlotEnd,
    ended: bool,
}

impl<'a> SlotReader<'a> {
    /// Reads the header. The log must have the format of `layout`.
    ///
    /// # Errors
    /// [`LogError::Read`], or [`LogError::Malformed`] about the header.
    pub fn open(file: &'a File, layout: Layout, buffer: &'a mut Buffer) -> Result<SlotReader<'a>, LogError> {
        let mut bytes = [0; LogHeader::SIZE];
        let malformed = |problem| LogError::Malformed {
            source_name: layout.source,
            transaction: None,
            place: LogElement::Header,
            offset: 0,
            problem,
        };
        file.read_exact_at(&mut bytes, 0).map_err(|cause| {
            if cause.kind() == io::ErrorKind::UnexpectedEof {
                malformed(LogProblem::Truncated)
            } else {
                LogError::Read {
                    source_name: layout.source,
                    offset: 0,
                    cause,
                }
            }
        })?;
        let header = LogHeader::decode(bytes).map_err(malformed)?;
        if header.format != layout.format {
            let (found, expected) = (header.format.byte(), layout.format.byte());
            return Err(malformed(LogProblem::OtherFormat { found, expected }));
        }
        let at = LogHeader::END;
        let range = FileRange {
            file,
            at,
            end: u64::MAX,
        };
        Ok(SlotReader {
            file,
            header,
            entries: Entries::new(range, layout, at, buffer),
            open: HashMap::new(),
            end: SlotEnd {
                logical_end: at,
                last_tx: None,
                last_identifier: 1,
                unfinished: Vec::new(),
            },
            ended: false,
        })
    }

    /// The log's header.
    pub fn header(&self) -> LogHeader {
        self.header
    }

    /// The next committed transaction, in the order of COMMIT entries; `None` at the end of the log.
    ///
    /// # Errors
    /// [`LogError::Read`]; [`LogError::Malformed`] for bytes that neither belong to a log nor look like the torn end of
    /// one.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn next(&mut self) -> Result<Option<Committed>, LogError> {
        while !self.ended {
            let part = match self.entries.next_part() {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(LogError::Malformed { place, problem, .. }) if ends_log(place, problem) => break,
                Err(error) => return Err(error),
            };
            if !part.ends_entry {
                continue;
            }
            let (item, identifier, offset) = (part.item, part.identifier, part.offset);
            let committed = match item {
                Item::Start(_) => {
                    self.open.insert(identifier, (offset, Progress::Started));
                    if self.open.len() > OPEN_MAX {
                        let problem = LogProblem::TooManyOpen(OPEN_MAX);
                        return Err(self.entries.malformed(LogElement::Start, offset, problem));
                    }
                    None
                }
                Item::Prepare(_) => {
                    if let Some((_, progress)) = self.open.get_mut(&identifier) {
                        *progress = Progress::Prepared;
                    }
                    None
                }
                // no release hands out smaller ids: what follows is none of this log's
                Item::Commit(commit) if commit.tx <= TxId::BASE => break,
                Item::Commit(commit) => {
                    let Some((start, _)) = self.open.remove(&identifier) else {
                        let problem = LogProblem::OutOfPlace(LogElement::Commit);
                        return Err(self.entries.malformed(LogElement::Commit, offset, problem));
                    };
                    Some((commit.tx, start))
                }
                Item::Done => {
                    self.open.remove(&identifier);
                    None
                }
                Item::Change(_) | Item::Lucene(_) => None,
            };
            let end = self.entries.position();
            self.end.logical_end = end;
            self.end.last_identifier = self.end.last_identifier.max(identifier);
            if let Some((tx, start)) = committed {
                self.end.last_tx = Some(tx);
                return Ok(Some(Committed {
                    tx,
                    identifier,
                    start,
                    end,
                }));
            }
        }
        self.ended = true;
        Ok(None)
    }

    /// Reads on to the end of the log and says how it ends.
    ///
    /// # Errors
    /// As [`SlotReader::next`].
    pub fn finish(mut self) -> Result<SlotEnd, LogError> {
        while self.next()?.is_some() {}
        let mut open: Vec<_> = self.open.into_iter().collect();
        open.sort_by_key(|(_, (start, _))| *start);
        self.end.unfinished = open
            .into_iter()
            .map(|(identifier, (_, progress))| Unfinished { identifier, progress })
            .collect();
        Ok(self.end)
    }

    /// Reads a transaction that [`SlotReader::next`] found, in the form of a stream and without the entries of others.
    pub fn transaction<'b>(
        &self,
        committed: &Committed,
        buffer: &'b mut Buffer,
    ) -> TransactionReader<'b, FileRange<'a>> {
        transaction(self.file, self.entries.layout(), committed, buffer)
    }
}

/// Reads a transaction that was found in `file`, in the form of a stream and without the entries of others.
pub fn transaction<'f, 'b>(
    file: &'f File,
    layout: Layout,
    committed: &Committed,
    buffer: &'b mut Buffer,
) -> TransactionReader<'b, FileRange<'f>> {
    let range = FileRange {
        file,
        at: committed.start,
        end: committed.end,
    };
    let (tx, identifier, start) = (committed.tx, committed.identifier, committed.start);
    TransactionReader::in_log(range, layout, tx, identifier, start, buffer)
}

/// Whether these bytes end a log instead of making it unreadable (§5, §10.1).
fn ends_log(place: LogElement, problem: LogProblem) -> bool {
    match problem {
        LogProblem::Truncated | LogProblem::EndOfLog => true,
        LogProblem::Value { field, .. } => place == LogElement::Lucene && matches!(field, "entity type" | "value type"),
        _ => false,
    }
}

/// Reads a part of a file without moving the file's own position.
#[derive(Debug)]
pub struct FileRange<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl<'a> FileRange<'a> {
    /// The bytes from `at` up to, but without, `end`.
    pub fn new(file: &'a File, at: u64, end: u64) -> FileRange<'a> {
        FileRange { file, at, end }
    }
}

impl Read for FileRange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = to_usize(self.end.saturating_sub(self.at));
        let length = buffer.len().min(left);
        if length == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(
            buffer.get_mut(..length).expect("no more is read than there is room"),
            self.at,
        )?;
        self.at = self.at.saturating_add(to_u64(count));
        Ok(count)
    }
}
