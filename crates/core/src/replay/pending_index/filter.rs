//! Which transactions and commands go into a pending log, and in what form.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use super::{
    error::PendingIndexError,
    existing::Existing,
    input::{IndexRules, Keep},
};
use neo4j_format::{
    ids::TxId,
    log::{
        Buffer, Item, Layout, LuceneCommand, Part, SecondPass, SlotReader,
        entry::{self, CommitKind},
        lucene::{LuceneAction, LuceneValue, Text},
    },
    store::{IndexKey, IndexKind, record::RecordId},
    width::to_u64,
};

/// Most indexes that a log may create, delete or miss, as their names are kept in memory beside those of `index.db`.
pub(super) const INDEXES_MAX: usize = 10_000;

const BUFFER: usize = 256 * 1024;

/// A set of transaction ids, small if they are contiguous: the first of each run, with the last.
#[derive(Debug, Clone, Default)]
pub(super) struct IdSet(BTreeMap<i64, i64>);

impl IdSet {
    pub(super) fn contains(&self, tx: TxId) -> bool {
        let run = self.0.range(..=tx.0).next_back();
        run.is_some_and(|(_, last)| tx.0 <= *last)
    }

    pub(super) fn insert(&mut self, tx: TxId) {
        if self.contains(tx) {
            return;
        }
        let before = self.0.range(..=tx.0).next_back().map(|(first, last)| (*first, *last));
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(tx.0) => first,
            _ => tx.0,
        };
        let behind = tx.0.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, behind.unwrap_or(tx.0));
    }
}

/// A log to take transactions from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) log: &'a File,
    /// For messages.
    pub(super) path: &'a Path,
    pub(super) keep: Keep<'a>,
}

/// Calls `visit` for every part of the transactions that are to be taken from `sources`: none that `ids` has.
pub(super) fn walk(
    sources: &[Source<'_>],
    layout: Layout,
    mut ids: IdSet,
    mut visit: impl FnMut(&Part<'_>, &Keep<'_>) -> Result<(), PendingIndexError>,
) -> Result<(), PendingIndexError> {
    let mut scan = Buffer::new();
    for source in sources {
        let mut pass = SecondPass::new(source.log, layout);
        let in_file = |error: neo4j_format::log::LogError| error.in_file(source.path);
        let mut slot = SlotReader::open(source.log, layout, &mut scan).map_err(in_file)?;
        while let Some(committed) = slot.next().map_err(in_file)? {
            let wanted = match source.keep {
                Keep::All => true,
                Keep::Only { before, .. } => committed.tx < before,
            };
            if !wanted || ids.contains(committed.tx) {
                continue;
            }
            ids.insert(committed.tx);
            let mut reader = pass.transaction(&committed);
            while let Some(part) = reader.next_part().map_err(in_file)? {
                visit(&part, &source.keep)?;
            }
        }
    }
    Ok(())
}

/// What the logs are about to do, found in a first pass.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Commands seen.
    commands: u64,
    /// Transactions seen.
    pub(super) transactions: u64,
    /// Which command deletes an index for the last time.
    pub(super) deletes: BTreeMap<IndexKey, u64>,
}

impl Survey {
    pub(super) fn of(sources: &[Source<'_>], layout: Layout, ids: IdSet) -> Result<Survey, PendingIndexError> {
        let mut survey = Survey::default();
        walk(sources, layout, ids, |part, keep| {
            match part.item {
                Item::Lucene(command) => {
                    survey.commands = survey.commands.saturating_add(1);
                    if command.action == LuceneAction::Delete && keep.wants(&command.key()) {
                        survey.deletes.insert(command.key(), survey.commands);
                        limited(survey.deletes.len())?;
                    }
                }
                Item::Commit(_) => survey.transactions = survey.transactions.saturating_add(1),
                _ => {}
            }
            Ok(())
        })?;
        Ok(survey)
    }
}

pub(super) fn limited(indexes: usize) -> Result<(), PendingIndexError> {
    if indexes > INDEXES_MAX {
        return Err(PendingIndexError::TooManyIndexes(INDEXES_MAX));
    }
    Ok(())
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub(super) first: Option<TxId>,
    pub(super) last: Option<TxId>,
    pub(super) transactions: u64,
    /// Commands that were left out or added.
    pub(super) changes: u64,
}

/// Where transactions are written to.
pub(super) struct Destination<'a> {
    pub(super) file: File,
    /// For messages.
    pub(super) path: &'a Path,
    /// Where the first byte goes.
    pub(super) position: u64,
    /// Identifiers begin above this one.
    pub(super) last_identifier: i32,
    pub(super) first_byte: FirstByte,
}

/// Whether a reader of the log sees what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstByte {
    /// At once.
    Written,
    /// Not yet: a zero byte, which ends a log, stands in its place.
    Zero,
}

/// Writes transactions in the form in which they may be pending; the second pass.
pub(super) struct Filter<'a, 'r> {
    out: BufWriter<File>,
    path: &'a Path,
    deletes: &'a BTreeMap<IndexKey, u64>,
    existing: Existing,
    rules: &'a mut IndexRules<'r>,
    identifier: i32,
    position: u64,
    first_byte: FirstByte,
    /// Commands seen.
    seen: u64,
    /// START of the current transaction, until something of it is written.
    start: Vec<u8>,
    /// Commands written of the current transaction.
    commands: u64,
    /// The last command written of the current transaction.
    previous: Vec<u8>,
    scratch: Vec<u8>,
    pub(super) written: Written,
}

impl<'a, 'r> Filter<'a, 'r> {
    /// Writes to `to`. `existing` are the indexes before the first transaction; of those in `deletes`, commands up to the
    /// last delete are left out.
    pub(super) fn new(
        to: Destination<'a>,
        existing: Existing,
        deletes: &'a BTreeMap<IndexKey, u64>,
        rules: &'a mut IndexRules<'r>,
    ) -> Result<Filter<'a, 'r>, PendingIndexError> {
        let mut out = BufWriter::with_capacity(BUFFER, to.file);
        let sought = out.seek(SeekFrom::Start(to.position));
        sought.map_err(PendingIndexError::file(to.path, "seek in it"))?;
        Ok(Filter {
            out,
            path: to.path,
            deletes,
            existing,
            rules,
            identifier: to.last_identifier,
            position: to.position,
            first_byte: to.first_byte,
            seen: 0,
            start: Vec::new(),
            commands: 0,
            previous: Vec::new(),
            scratch: Vec::new(),
            written: Written::default(),
        })
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next part of a transaction.
    pub(super) fn part(&mut self, part: &Part<'_>, keep: &Keep<'_>) -> Result<(), PendingIndexError> {
        match &part.item {
            Item::Start(start) => {
                self.identifier = self.identifier.wrapping_add(1).max(1);
                self.commands = 0;
                self.previous.clear();
                self.start.clear();
                let mut start = *start;
                start.identifier = self.identifier;
                // what was decoded is within the limits
                let _ = start.encode(&mut self.start);
                Ok(())
            }
            Item::Lucene(command) => self.command(command, part.command_bytes(), keep),
            Item::Prepare(prepare) if self.commands > 0 => {
                let mut prepare = *prepare;
                prepare.identifier = self.identifier;
                self.encode(|out| prepare.encode(out))
            }
            Item::Commit(commit) => {
                if self.commands == 0 && matches!(keep, Keep::Only { .. }) {
                    return Ok(());
                }
                let mut commit = *commit;
                commit.identifier = self.identifier;
                if self.commands == 0 {
                    commit.kind = CommitKind::OnePhase;
                }
                let done = entry::done(self.identifier);
                self.encode(|out| {
                    commit.encode(out);
                    out.extend_from_slice(&done);
                })?;
                self.written.first.get_or_insert(commit.tx);
                self.written.last = Some(commit.tx);
                self.written.transactions = self.written.transactions.saturating_add(1);
                Ok(())
            }
            Item::Prepare(_) | Item::Done | Item::Change(_) => Ok(()),
        }
    }

    fn command(&mut self, command: &LuceneCommand<'_>, bytes: &[u8], keep: &Keep<'_>) -> Result<(), PendingIndexError> {
        self.seen = self.seen.saturating_add(1);
        if !self.stays(command, keep)? {
            self.written.changes = self.written.changes.saturating_add(1);
            return Ok(());
        }
        if let Some(defusing) = self.defusing(command)?
            && defusing != self.previous
        {
            self.put_command(&defusing)?;
            self.written.changes = self.written.changes.saturating_add(1);
        }
        self.put_command(bytes)?;
        self.previous.clear();
        if matches!(self.rules, IndexRules::Neo4j13 { .. }) {
            self.previous.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn stays(&mut self, command: &LuceneCommand<'_>, keep: &Keep<'_>) -> Result<bool, PendingIndexError> {
        let index = command.key();
        if !keep.wants(&index) {
            return Ok(false);
        }
        let exists = self.existing.follow(command)?;
        Ok(exists && self.deletes.get(&index).is_none_or(|last| self.seen > *last))
    }

    /// The add that must stand before this command for 1.3 (`docs/formats/neo4j-1.3.md` §5.1).
    fn defusing(&mut self, command: &LuceneCommand<'_>) -> Result<Option<Vec<u8>>, PendingIndexError> {
        let (IndexRules::Neo4j13 { ends }, IndexKind::Relationship) = (&mut *self.rules, command.kind) else {
            return Ok(None);
        };
        let LuceneAction::Remove { entity, key, value } = command.action else {
            return Ok(None);
        };
        let found = match u64::try_from(entity) {
            Ok(id) => ends(RecordId(id)).map_err(|cause| PendingIndexError::Relationship {
                relationship: entity,
                cause,
            })?,
            Err(_) => None,
        };
        let add = LuceneCommand {
            kind: command.kind,
            index: command.index,
            action: LuceneAction::Add {
                entity,
                key: Some(key.unwrap_or(Text(&[0, b'_']))),
                value: match value {
                    LuceneValue::Null => LuceneValue::Text(Text(&[])),
                    value => value,
                },
                ends: Some(found.unwrap_or((-1, -1))),
            },
        };
        let mut bytes = Vec::new();
        add.encode(&mut bytes);
        Ok(Some(bytes))
    }

    fn put_command(&mut self, bytes: &[u8]) -> Result<(), PendingIndexError> {
        let header = entry::command(self.identifier);
        self.encode(|out| out.extend_from_slice(&header))?;
        self.put(bytes)?;
        self.commands = self.commands.saturating_add(1);
        Ok(())
    }

    /// Writes what `encode` appends, behind START if that is still to be written.
    fn encode(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), PendingIndexError> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.append(&mut self.start);
        encode(&mut bytes);
        if self.first_byte == FirstByte::Zero
            && let Some(first) = bytes.first_mut()
        {
            *first = 0;
            self.first_byte = FirstByte::Written;
        }
        let result = self.put(&bytes);
        self.scratch = bytes;
        result
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PendingIndexError> {
        let written = self.out.write_all(bytes);
        written.map_err(PendingIndexError::file(self.path, "write to it"))?;
        self.position = self.position.saturating_add(to_u64(bytes.len()));
        Ok(())
    }

    /// Hands everything to the file and gives it back, not synced.
    ///
    /// # Errors
    /// Of the disk; [`PendingIndexError::UnknownIndexes`].
    pub(super) fn finish(self) -> Result<(File, Written), PendingIndexError> {
        self.existing.knows_all()?;
        let path = self.path;
        let file = self.out.into_inner();
        let file = file.map_err(|error| PendingIndexError::file(path, "write to it")(error.into_error()))?;
        Ok((file, self.written))
    }
}
