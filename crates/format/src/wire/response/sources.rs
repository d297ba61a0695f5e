//! The data sources of a response and the order of their transactions (`docs/formats/wire-protocol.md` §5, §9.3).

use std::sync::Arc;

use crate::{
    ids::TxId,
    wire::{MessagePart, WireError},
};

/// A data source of the response.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    /// The id that has to follow, once it is known.
    expected: Option<TxId>,
    begun: Begun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    NotYet,
    Already,
}

/// The data sources that a response has named so far; each one's transactions follow each other without a gap, and none
/// comes after those of another.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// What was asked for; `None` where everything may come.
    asked: Option<Vec<(String, TxId)>>,
    named: Vec<Source>,
    /// Whose transactions are coming.
    current: Option<usize>,
}

impl Sources {
    /// Only these may come, and their transactions right after these ids.
    pub(super) fn after(asked: &[(&str, TxId)]) -> Sources {
        Sources {
            asked: Some(asked.iter().map(|(name, last)| ((*name).to_owned(), *last)).collect()),
            ..Sources::default()
        }
    }

    /// Adds one by its name; returns how many there are.
    ///
    /// # Errors
    /// [`WireError::SourceName`]: no text, with control characters, or named before.
    pub(super) fn add(&mut self, units: &[u16]) -> Result<usize, WireError> {
        let Ok(name) = String::from_utf16(units) else {
            return Err(WireError::SourceName(String::from_utf16_lossy(units)));
        };
        if name.chars().any(char::is_control) || self.named.iter().any(|known| *known.name == *name) {
            return Err(WireError::SourceName(name));
        }
        let last = self
            .asked
            .as_ref()
            .and_then(|asked| asked.iter().find(|(known, _)| *known == name));
        let expected = last.map(|(_, last)| last.next());
        self.named.push(Source {
            name: name.into(),
            expected,
            begun: Begun::NotYet,
        });
        Ok(self.named.len())
    }

    /// The one that a transaction's number, counted from 1, stands for; `None` for 0, which ends the transactions.
    ///
    /// # Errors
    /// [`WireError::SourceNumber`].
    pub(super) fn numbered(&self, number: u8) -> Result<Option<usize>, WireError> {
        let count = self.named.len();
        match usize::from(number).checked_sub(1) {
            None => Ok(None),
            Some(source) if source < count => Ok(Some(source)),
            Some(_) => Err(WireError::SourceNumber { number, count }),
        }
    }

    /// Begins a transaction of the source of that index; returns the source's name.
    ///
    /// # Errors
    /// It was not asked for, does not follow the one before, or another source's came in between.
    pub(super) fn begin(&mut self, index: usize, found: TxId) -> Result<Arc<str>, WireError> {
        let count = self.named.len();
        let Some(source) = self.named.get_mut(index) else {
            let number = u8::try_from(index).unwrap_or(u8::MAX);
            return Err(WireError::SourceNumber { number, count });
        };
        let name = Arc::clone(&source.name);
        if source.begun == Begun::Already && self.current != Some(index) {
            return Err(WireError::Regrouped(name));
        }
        match source.expected {
            Some(expected) if expected != found => {
                return Err(WireError::Order {
                    source_name: name,
                    expected,
                    found,
                });
            }
            None if self.asked.is_some() => return Err(WireError::Unasked(name)),
            None if found <= TxId::BASE => {
                return Err(WireError::Order {
                    source_name: name,
                    expected: TxId::BASE.next(),
                    found,
                });
            }
            _ => {}
        }
        source.expected = Some(found.next());
        source.begun = Begun::Already;
        self.current = Some(index);
        Ok(name)
    }

    /// The transaction that is coming, for messages.
    pub(super) fn place(&self) -> MessagePart {
        match self.current.and_then(|current| self.named.get(current)) {
            Some(Source {
                name,
                expected: Some(next),
                ..
            }) => MessagePart::Transaction(Arc::clone(name), next.previous()),
            _ => MessagePart::TransactionList,
        }
    }
}
