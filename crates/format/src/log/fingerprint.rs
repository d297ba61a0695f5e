//! What makes a transaction the same one on another server, in 32 bytes.
//!
//! Members of a cluster log a transaction with the same ids and commands, but with their own identifier, possibly without
//! PREPARE, with another kind of COMMIT, with the commands in another order, and, where a slave committed it, with
//! another commit time at that slave (`docs/formats/transaction-log.md` §7). The fingerprint covers exactly what they
//! share: global id, of which half is random for each transaction, transaction id, master id (format 1), and the set of
//! commands. The hashes of the commands are added up, so that a transaction of any size needs no sorting and no memory.

use std::{fmt, str::FromStr};

use crate::width::to_u64;

use super::{
    entries::{Item, Part},
    entry::CommitStamp,
};

/// Equal for two copies of one transaction, and for nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// In hexadecimal.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, NoFingerprint> {
        match blake3::Hash::from_hex(text) {
            Ok(hash) => Ok(Fingerprint(*hash.as_bytes())),
            Err(_) => Err(NoFingerprint),
        }
    }
}

/// Collects the parts of one transaction.
#[derive(Debug, Default)]
pub(super) struct Collector {
    fixed: blake3::Hasher,
    commands: u64,
    /// Sums of the halves of all command hashes.
    sums: [u128; 2],
    /// Of a command that comes in several parts.
    open: Option<Box<blake3::Hasher>>,
}

impl Collector {
    pub(super) fn add(&mut self, part: &Part<'_>) {
        match &part.item {
            Item::Start(start) => {
                self.number(to_u64(start.global_id.len()));
                self.fixed.update(start.global_id);
            }
            Item::Commit(commit) => {
                self.fixed.update(&commit.tx.0.to_be_bytes());
                match commit.stamp {
                    CommitStamp::Master(id) => self.fixed.update(&[1]).update(&id.to_be_bytes()),
                    CommitStamp::Time(_) => self.fixed.update(&[2]),
                };
            }
            Item::Change(_) | Item::Lucene(_) => self.command(part),
            Item::Prepare(_) | Item::Done => {}
        }
    }

    pub(super) fn finish(&mut self) -> Fingerprint {
        self.number(self.commands);
        let [first, second] = self.sums;
        self.fixed.update(&first.to_be_bytes()).update(&second.to_be_bytes());
        Fingerprint(*self.fixed.finalize().as_bytes())
    }

    fn number(&mut self, number: u64) {
        self.fixed.update(&number.to_be_bytes());
    }

    fn command(&mut self, part: &Part<'_>) {
        let bytes = part.command_bytes();
        let hash = match (self.open.take(), part.ends_entry) {
            (None, true) => blake3::hash(bytes),
            (open, ends) => {
                let mut hasher = open.unwrap_or_default();
                hasher.update(bytes);
                if !ends {
                    self.open = Some(hasher);
                    return;
                }
                hasher.finalize()
            }
        };
        self.commands = self.commands.saturating_add(1);
        let (halves, _) = hash.as_bytes().as_chunks();
        for (sum, half) in self.sums.iter_mut().zip(halves) {
            *sum = sum.wrapping_add(u128::from_be_bytes(*half));
        }
    }
}
