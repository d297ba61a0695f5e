//! One committed transaction, as in a backup stream (`docs/formats/transaction-log.md` §7).
//!
//! ```text
//! START  COMMAND*  [PREPARE]  (1PC | 2PC)  DONE
//! ```
//!
//! The order of the entries, the id in COMMIT and the identifiers are checked while reading, so that whoever has seen
//! the end has seen a whole transaction. The identifier of DONE may be another one, as extracting servers make it up.

use std::io::Read;

use super::{
    entries::{Buffer, Entries, Item, Part},
    entry::{self, DONE_SIZE},
    error::{LogError, LogProblem},
    fingerprint::{Collector, Fingerprint},
    format::Layout,
};
use crate::ids::TxId;

/// Pulls the parts of one transaction.
#[derive(Debug)]
pub struct TransactionReader<'b, R> {
    entries: Entries<'b, R>,
    announced: TxId,
    stage: Stage,
    taken: Taken,
}

/// Which bytes belong to the transaction.
#[derive(Debug, Clone, Copy)]
enum Taken {
    /// All there are.
    All,
    /// The entries with this identifier, up to COMMIT; DONE is made up.
    Identifier(i32, [u8; DONE_SIZE]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    /// After START, with its identifier.
    Commands(i32),
    Prepared(i32),
    Committed(i32),
    Finished,
}

impl<'b, R: Read> TransactionReader<'b, R> {
    /// Reads the transaction `announced` from `source`, which must end with it.
    pub fn new(source: R, layout: Layout, announced: TxId, buffer: &'b mut Buffer) -> TransactionReader<'b, R> {
        TransactionReader::with(Entries::new(source, layout, 0, buffer), announced, Taken::All)
    }

    /// Reads the transaction `announced` from a log: `source` begins with its START, at `offset` of the log, and holds
    /// its COMMIT; entries with another identifier are left out. DONE is made up.
    pub fn in_log(
        source: R,
        layout: Layout,
        announced: TxId,
        identifier: i32,
        offset: u64,
        buffer: &'b mut Buffer,
    ) -> TransactionReader<'b, R> {
        let entries = Entries::new(source, layout, offset, buffer);
        let taken = Taken::Identifier(identifier, entry::done(identifier));
        TransactionReader::with(entries, announced, taken)
    }

    fn with(mut entries: Entries<'b, R>, announced: TxId, taken: Taken) -> TransactionReader<'b, R> {
        entries.set_transaction(Some(announced));
        TransactionReader {
            entries,
            announced,
            stage: Stage::Before,
            taken,
        }
    }

    /// The id that was announced, and that COMMIT has.
    pub fn tx(&self) -> TxId {
        self.announced
    }

    /// Format and data source.
    pub fn layout(&self) -> Layout {
        self.entries.layout()
    }

    /// The next item, `None` once the transaction has ended as it must.
    ///
    /// # Errors
    /// As [`TransactionReader::next_part`].
    #[expect(clippy::should_implement_trait, reason = "an item borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, LogError> {
        Ok(self.next_part()?.map(|part| part.item))
    }

    /// The next item with its bytes, `None` once the transaction has ended as it must.
    ///
    /// # Errors
    /// [`LogError::Read`], or [`LogError::Malformed`] saying what is wrong where. After an error nothing can be read.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, LogError> {
        match self.taken {
            Taken::All if self.stage == Stage::Finished => return self.end(),
            Taken::All => {}
            Taken::Identifier(..) if self.stage == Stage::Finished => return Ok(None),
            Taken::Identifier(identifier, _) => {
                if matches!(self.stage, Stage::Committed(_)) {
                    return Ok(Some(self.made_up_done(identifier)));
                }
                self.skip_others(identifier)?;
            }
        }
        if self.entries.at_end()? {
            let place = super::LogElement::EntryType;
            return Err(self
                .entries
                .malformed(place, self.entries.position(), LogProblem::Truncated));
        }
        let (announced, stage, layout) = (self.announced, self.stage, self.entries.layout());
        let Some(part) = self.entries.next_part()? else {
            return Ok(None);
        };
        match stage.after(&part, announced) {
            Ok(stage) => {
                self.stage = stage;
                Ok(Some(part))
            }
            Err(problem) => Err(LogError::Malformed {
                source_name: layout.source,
                transaction: Some(announced),
                place: part.item.place(),
                offset: part.offset,
                problem,
            }),
        }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// As [`TransactionReader::next_part`].
    pub fn fingerprint(&mut self) -> Result<Fingerprint, LogError> {
        let mut collector = Collector::default();
        while let Some(part) = self.next_part()? {
            collector.add(&part);
        }
        Ok(collector.finish())
    }

    fn end(&mut self) -> Result<Option<Part<'_>>, LogError> {
        if self.entries.at_end()? {
            return Ok(None);
        }
        let place = super::LogElement::End;
        Err(self
            .entries
            .malformed(place, self.entries.position(), LogProblem::Trailing))
    }

    fn skip_others(&mut self, identifier: i32) -> Result<(), LogError> {
        while !self.entries.at_end()? && self.entries.next_identifier()? != identifier {
            self.entries.next_part()?;
        }
        Ok(())
    }

    fn made_up_done(&mut self, identifier: i32) -> Part<'_> {
        self.stage = Stage::Finished;
        Part {
            item: Item::Done,
            raw: match &self.taken {
                Taken::Identifier(_, done) => done,
                Taken::All => &[],
            },
            offset: self.entries.position(),
            identifier,
            identifier_at: Some(1),
            ends_entry: true,
        }
    }
}

impl Stage {
    /// The stage after `part`, if it may stand here.
    #[inline]
    fn after(self, part: &Part<'_>, announced: TxId) -> Result<Stage, LogProblem> {
        let same = |expected: i32| {
            if part.identifier == expected {
                Ok(())
            } else {
                let found = part.identifier;
                Err(LogProblem::OtherIdentifier { found, expected })
            }
        };
        match (self, &part.item) {
            (Stage::Before, Item::Start(start)) => Ok(Stage::Commands(start.identifier)),
            (Stage::Commands(identifier), Item::Change(_) | Item::Lucene(_)) => {
                same(identifier)?;
                Ok(self)
            }
            (Stage::Commands(identifier), Item::Prepare(_)) => {
                same(identifier)?;
                Ok(Stage::Prepared(identifier))
            }
            (Stage::Commands(identifier) | Stage::Prepared(identifier), Item::Commit(commit)) => {
                same(identifier)?;
                if commit.tx == announced {
                    Ok(Stage::Committed(identifier))
                } else {
                    let (found, expected) = (commit.tx, announced);
                    Err(LogProblem::OtherTransaction { found, expected })
                }
            }
            (Stage::Committed(_), Item::Done) => Ok(Stage::Finished),
            (_, item) => Err(LogProblem::OutOfPlace(item.place())),
        }
    }
}
