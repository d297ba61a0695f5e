//! Pulls a log apart, one part at a time, through a bounded buffer.
//!
//! A part is an entry, or one step of a graph command ([`super::command`]). Parts follow each other without gaps, so
//! that writing the raw bytes of all of them gives an exact copy. Nothing is checked here beyond each part itself: what
//! may follow what is the business of [`super::reader`] and [`super::slot`].

use std::io::{self, Read};

use super::{
    change::Change,
    command::{self, Rest},
    entry::{Commit, CommitKind, Prepare, Start, tag},
    error::{LogElement, LogError, LogProblem},
    fields::{Fields, Stop},
    format::Layout,
    lucene::LuceneCommand,
};
use crate::{
    ids::{DataSource, TxId},
    width::to_u64,
};

/// Bytes that are read at once; one step of a graph command always fits.
const BUFFER: usize = 256 * 1024;

/// What a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Begins a transaction.
    Start(Start<'a>),
    /// Changes one record of the graph store.
    Change(Change<'a>),
    /// Changes an index.
    Lucene(LuceneCommand<'a>),
    /// First of two phases.
    Prepare(Prepare),
    /// Commits.
    Commit(Commit),
    /// The transaction's updates are in the store.
    Done,
}

impl Item<'_> {
    /// What kind of part it is.
    pub fn place(&self) -> LogElement {
        match self {
            Item::Start(_) => LogElement::Start,
            Item::Change(_) | Item::Lucene(_) => LogElement::Command,
            Item::Prepare(_) => LogElement::Prepare,
            Item::Commit(_) => LogElement::Commit,
            Item::Done => LogElement::Done,
        }
    }
}

/// An item with the bytes it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it says.
    pub item: Item<'a>,
    /// Its bytes, entry header included.
    pub raw: &'a [u8],
    /// Where it begins, counted from where the reader began.
    pub offset: u64,
    /// Identifier of the entry it belongs to.
    pub identifier: i32,
    /// Where in `raw` the identifier stands; `None` if the entry began in an earlier part.
    pub identifier_at: Option<usize>,
    /// Whether the entry ends with this part.
    pub ends_entry: bool,
}

impl<'a> Part<'a> {
    /// The bytes of a command without the entry's header.
    pub fn command_bytes(&self) -> &'a [u8] {
        let header = if self.identifier_at.is_some() { 5 } else { 0 };
        self.raw
            .get(header..)
            .expect("a command with an identifier has its five bytes")
    }
}

/// The bytes read but not yet used. Made once, used for one transaction after the other.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::new()
    }
}

impl Buffer {
    /// A buffer of 256 KiB; only an index command with a longer text makes it grow, up to that command's limits.
    pub fn new() -> Buffer {
        Buffer {
            bytes: vec![0; BUFFER],
            start: 0,
            end: 0,
        }
    }

    /// Bytes of memory it takes now.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        if self.bytes.len() > BUFFER {
            self.bytes.truncate(BUFFER);
            self.bytes.shrink_to_fit();
        }
    }

    #[inline]
    fn available(&self) -> &[u8] {
        self.bytes
            .get(self.start..self.end)
            .expect("what is held lies in the buffer")
    }

    /// Reads until `wanted` bytes are there or the source ends; says whether it ended.
    #[cold]
    fn fill(&mut self, source: &mut impl Read, wanted: usize) -> io::Result<bool> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        while self.end < wanted {
            let free = self.bytes.get_mut(self.end..).expect("what is held lies in the buffer");
            match source.read(free) {
                Ok(0) => return Ok(true),
                Ok(count) => self.end = self.end.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Parts of a log or of a transaction, without its header.
#[derive(Debug)]
pub struct Entries<'b, R> {
    source: R,
    ended: bool,
    buffer: &'b mut Buffer,
    /// Where the next part begins, once the last one is used up.
    offset: u64,
    /// Bytes of the last part, still in the buffer because it was handed out.
    lent: usize,
    layout: Layout,
    rest: Rest,
    /// Identifier of the entry being read.
    identifier: i32,
    /// For messages.
    transaction: Option<TxId>,
}

impl<'b, R: Read> Entries<'b, R> {
    /// Reads from `source`, which stands at the start of an entry and `offset` bytes behind what offsets count from.
    pub fn new(source: R, layout: Layout, offset: u64, buffer: &'b mut Buffer) -> Entries<'b, R> {
        buffer.clear();
        Entries {
            source,
            ended: false,
            buffer,
            offset,
            lent: 0,
            layout,
            rest: Rest::Nothing,
            identifier: 0,
            transaction: None,
        }
    }

    /// Names the transaction in errors from here on.
    pub fn set_transaction(&mut self, transaction: Option<TxId>) {
        self.transaction = transaction;
    }

    /// The layout given to [`Entries::new`].
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Where the next part begins.
    pub fn position(&self) -> u64 {
        self.offset.saturating_add(to_u64(self.lent))
    }

    /// Whether nothing is left.
    ///
    /// # Errors
    /// [`LogError::Read`].
    pub fn at_end(&mut self) -> Result<bool, LogError> {
        Ok(self.peek(1)?.is_empty())
    }

    /// The identifier of the entry to which the next part belongs.
    ///
    /// # Errors
    /// [`LogError::Read`], or that the bytes end before it.
    pub fn next_identifier(&mut self) -> Result<i32, LogError> {
        if self.rest != Rest::Nothing {
            return Ok(self.identifier);
        }
        let bytes = self.peek(command::STEP_MAX)?;
        let at = match bytes {
            [tag::START, global, branch, ..] => usize::from(*global)
                .saturating_add(usize::from(*branch))
                .saturating_add(3),
            _ => 1,
        };
        let identifier = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
        match identifier {
            Some(identifier) => Ok(i32::from_be_bytes(*identifier)),
            None => Err(self.malformed(LogElement::EntryType, self.position(), LogProblem::Truncated)),
        }
    }

    /// The next part, `None` at the end of the source.
    ///
    /// # Errors
    /// [`LogError::Read`], or [`LogError::Malformed`] saying what is wrong where. After an error nothing can be read.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, LogError> {
        if self.peek(command::STEP_MAX)?.is_empty() {
            if self.rest == Rest::Nothing {
                return Ok(None);
            }
            return Err(self.malformed(LogElement::DynamicRecord, self.offset, LogProblem::Truncated));
        }
        if self.layout.source == DataSource::Lucene {
            self.hold_lucene_command()?;
        }
        let continued = self.rest != Rest::Nothing;
        let available = self.buffer.available();
        let mut fields = Fields(available);
        let mut state = ReaderState {
            layout: self.layout,
            place: LogElement::EntryType,
            rest: self.rest,
            identifier: self.identifier,
        };
        let decoded = state.decode(&mut fields);
        let used = available.len().saturating_sub(fields.0.len());
        let (item, identifier_at) = match decoded {
            Ok(decoded) => decoded,
            Err(stop) => {
                let problem = match stop {
                    Stop::Short => LogProblem::Truncated,
                    Stop::Bad(problem) => problem,
                };
                let offset = self.offset.saturating_add(to_u64(used));
                return Err(self.malformed(state.place, offset, problem));
            }
        };
        self.rest = state.rest;
        self.identifier = state.identifier;
        self.lent = used;
        Ok(Some(Part {
            item,
            raw: available.get(..used).expect("a part was read from what is available"),
            offset: self.offset,
            identifier: state.identifier,
            identifier_at: (!continued).then_some(identifier_at),
            ends_entry: state.rest == Rest::Nothing,
        }))
    }

    /// An error at `offset` of this source.
    pub(super) fn malformed(&self, place: LogElement, offset: u64, problem: LogProblem) -> LogError {
        LogError::Malformed {
            source_name: self.layout.source,
            transaction: self.transaction,
            place,
            offset,
            problem,
        }
    }

    /// Lets go of the part that was handed out and makes `wanted` bytes available, or as many as there are.
    #[inline]
    fn peek(&mut self, wanted: usize) -> Result<&[u8], LogError> {
        self.offset = self.position();
        self.buffer.start = self.buffer.start.saturating_add(self.lent);
        self.lent = 0;
        if self.buffer.available().len() < wanted && !self.ended {
            self.ended = self
                .buffer
                .fill(&mut self.source, wanted)
                .map_err(|cause| LogError::Read {
                    source_name: self.layout.source,
                    offset: self.offset,
                    cause,
                })?;
        }
        Ok(self.buffer.available())
    }

    /// Index commands are the only parts without a small limit: reads until the whole of the next one is there.
    fn hold_lucene_command(&mut self) -> Result<(), LogError> {
        loop {
            let bytes = self.buffer.available();
            let Some((&tag::COMMAND, _)) = bytes.split_first() else {
                return Ok(());
            };
            let mut fields = Fields(bytes.get(5..).unwrap_or_default());
            if self.ended || !matches!(LuceneCommand::decode(&mut fields), Err(Stop::Short)) {
                return Ok(());
            }
            let wanted = bytes.len().saturating_mul(2);
            self.peek(wanted)?;
        }
    }
}

/// What decoding a part reads and changes; taken over only if it succeeds.
struct ReaderState {
    layout: Layout,
    place: LogElement,
    rest: Rest,
    identifier: i32,
}

impl ReaderState {
    /// The item, and where its identifier stands.
    #[inline]
    fn decode<'a>(&mut self, fields: &mut Fields<'a>) -> Result<(Item<'a>, usize), Stop> {
        let format = self.layout.format;
        if self.rest != Rest::Nothing {
            let change = command::next(fields, format, &mut self.place, &mut self.rest)?;
            return Ok((Item::Change(change), 1));
        }
        let item = match fields.u8()? {
            tag::COMMAND => {
                self.place = LogElement::Command;
                self.identifier = fields.i32()?;
                match self.layout.source {
                    DataSource::Graph => Item::Change(command::first(fields, format, &mut self.place, &mut self.rest)?),
                    DataSource::Lucene => {
                        self.place = LogElement::Lucene;
                        Item::Lucene(LuceneCommand::decode(fields)?)
                    }
                }
            }
            tag::START => return self.start(fields),
            tag::PREPARE => {
                self.place = LogElement::Prepare;
                let prepare = Prepare::decode(fields, format)?;
                self.identifier = prepare.identifier;
                Item::Prepare(prepare)
            }
            tag::ONE_PHASE => self.commit(fields, CommitKind::OnePhase)?,
            tag::TWO_PHASE => self.commit(fields, CommitKind::TwoPhase)?,
            tag::DONE => {
                self.place = LogElement::Done;
                self.identifier = fields.i32()?;
                Item::Done
            }
            tag::EMPTY => return Err(LogProblem::EndOfLog.into()),
            other => return Err(LogProblem::UnknownEntry(other).into()),
        };
        Ok((item, 1))
    }

    fn start<'a>(&mut self, fields: &mut Fields<'a>) -> Result<(Item<'a>, usize), Stop> {
        self.place = LogElement::Start;
        let start = Start::decode(fields, self.layout.format)?;
        if start.branch != self.layout.source.branch_qualifier() {
            return Err(LogProblem::OtherBranch.into());
        }
        self.identifier = start.identifier;
        let at = start.identifier_at();
        Ok((Item::Start(start), at))
    }

    fn commit<'a>(&mut self, fields: &mut Fields<'a>, kind: CommitKind) -> Result<Item<'a>, Stop> {
        self.place = LogElement::Commit;
        let commit = Commit::decode(fields, kind, self.layout.format)?;
        self.identifier = commit.identifier;
        Ok(Item::Commit(commit))
    }
}
