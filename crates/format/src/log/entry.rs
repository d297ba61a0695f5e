//! The entries around the commands of a transaction (`docs/formats/transaction-log.md` §5).
//!
//! ```text
//! START    01 gl bl  global id  branch  identifier  xid format id  [V2: master id  my id  time]
//! PREPARE  02 identifier [V2: time]
//! COMMAND  03 identifier command
//! DONE     04 identifier
//! 1PC 2PC  05 06 identifier  transaction id  (V1: master id | V2: time)
//! ```

use super::{
    error::LogProblem,
    fields::{Decoded, Fields},
    format::LogFormat,
};
use crate::ids::{DataSource, TxId};

/// First byte of an entry.
pub(super) mod tag {
    pub(in crate::log) const EMPTY: u8 = 0;
    pub(in crate::log) const START: u8 = 1;
    pub(in crate::log) const PREPARE: u8 = 2;
    pub(in crate::log) const COMMAND: u8 = 3;
    pub(in crate::log) const DONE: u8 = 4;
    pub(in crate::log) const ONE_PHASE: u8 = 5;
    pub(in crate::log) const TWO_PHASE: u8 = 6;
}

/// Longest global id and branch qualifier, as in the X/Open XA specification.
pub const XID_PART_MAX: u8 = 64;

/// Bytes of a DONE entry, and of a COMMAND entry before its command.
pub const DONE_SIZE: usize = 5;

/// The xid format id that every release writes and none looks at.
const XID_FORMAT: [u8; 4] = *b"NEN1";

impl DataSource {
    /// Branch qualifier of the source's START entries (§2).
    pub fn branch_qualifier(self) -> &'static [u8] {
        match self {
            DataSource::Graph => b"414141",
            DataSource::Lucene => b"162374",
        }
    }
}

/// START: the beginning of a transaction on one data source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start<'a> {
    /// The same in both data sources of a user transaction; normally 25 bytes.
    pub global_id: &'a [u8],
    /// Names the data source.
    pub branch: &'a [u8],
    /// Ties the entries of this transaction together.
    pub identifier: i32,
    /// Where and when it was started; not in format 1.
    pub origin: Option<Origin>,
}

/// The part of a START entry that only format 2 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Machine id of the master at that time, −1 outside a cluster.
    pub master_id: i32,
    /// Machine id of the server that started the transaction, −1 outside a cluster.
    pub my_id: i32,
    /// Milliseconds since 1970.
    pub time: i64,
}

/// How many phases a COMMIT entry ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitKind {
    /// 1PC: only this data source took part.
    OnePhase,
    /// 2PC: both did.
    TwoPhase,
}

/// What a COMMIT entry says beside the transaction's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitStamp {
    /// Format 1: machine id of the master, −1 outside a cluster.
    Master(i32),
    /// Format 2: milliseconds since 1970.
    Time(i64),
}

/// 1PC or 2PC: from here on the transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// One or two phases.
    pub kind: CommitKind,
    /// That of the START entry.
    pub identifier: i32,
    /// The id the transaction got.
    pub tx: TxId,
    /// Master id or time.
    pub stamp: CommitStamp,
}

/// PREPARE: the first of two phases has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepare {
    /// That of the START entry.
    pub identifier: i32,
    /// Milliseconds since 1970; not in format 1.
    pub time: Option<i64>,
}

impl<'a> Start<'a> {
    /// Bytes before the identifier.
    pub(super) fn identifier_at(&self) -> usize {
        self.global_id.len().saturating_add(self.branch.len()).saturating_add(3)
    }

    pub(super) fn decode(fields: &mut Fields<'a>, format: LogFormat) -> Decoded<Start<'a>> {
        let [global, branch] = fields.array()?;
        for (field, length) in [
            ("length of the global id", global),
            ("length of the branch qualifier", branch),
        ] {
            if length > XID_PART_MAX {
                let (value, limit) = (i64::from(length), i64::from(XID_PART_MAX));
                return Err(LogProblem::Limit { field, value, limit }.into());
            }
        }
        let global_id = fields.bytes(global.into())?;
        let branch = fields.bytes(branch.into())?;
        let identifier = fields.i32()?;
        let _xid_format = fields.i32()?;
        let origin = match format {
            LogFormat::V1 => None,
            LogFormat::V2 => Some(Origin {
                master_id: fields.i32()?,
                my_id: fields.i32()?,
                time: fields.i64()?,
            }),
        };
        Ok(Start {
            global_id,
            branch,
            identifier,
            origin,
        })
    }

    /// Appends this entry to `out`.
    ///
    /// # Errors
    /// [`LogProblem::Limit`] if global id or branch qualifier are longer than [`XID_PART_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), LogProblem> {
        let length = |field, part: &[u8]| match u8::try_from(part.len()) {
            Ok(length) if length <= XID_PART_MAX => Ok(length),
            _ => Err(LogProblem::Limit {
                field,
                value: i64::try_from(part.len()).unwrap_or(i64::MAX),
                limit: XID_PART_MAX.into(),
            }),
        };
        out.push(tag::START);
        out.push(length("length of the global id", self.global_id)?);
        out.push(length("length of the branch qualifier", self.branch)?);
        out.extend_from_slice(self.global_id);
        out.extend_from_slice(self.branch);
        out.extend_from_slice(&self.identifier.to_be_bytes());
        out.extend_from_slice(&XID_FORMAT);
        if let Some(origin) = self.origin {
            out.extend_from_slice(&origin.master_id.to_be_bytes());
            out.extend_from_slice(&origin.my_id.to_be_bytes());
            out.extend_from_slice(&origin.time.to_be_bytes());
        }
        Ok(())
    }
}

impl Prepare {
    pub(super) fn decode(fields: &mut Fields<'_>, format: LogFormat) -> Decoded<Prepare> {
        Ok(Prepare {
            identifier: fields.i32()?,
            time: match format {
                LogFormat::V1 => None,
                LogFormat::V2 => Some(fields.i64()?),
            },
        })
    }

    /// Appends this entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(tag::PREPARE);
        out.extend_from_slice(&self.identifier.to_be_bytes());
        if let Some(time) = self.time {
            out.extend_from_slice(&time.to_be_bytes());
        }
    }
}

impl Commit {
    pub(super) fn decode(fields: &mut Fields<'_>, kind: CommitKind, format: LogFormat) -> Decoded<Commit> {
        Ok(Commit {
            kind,
            identifier: fields.i32()?,
            tx: TxId(fields.i64()?),
            stamp: match format {
                LogFormat::V1 => CommitStamp::Master(fields.i32()?),
                LogFormat::V2 => CommitStamp::Time(fields.i64()?),
            },
        })
    }

    /// Appends this entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.kind {
            CommitKind::OnePhase => tag::ONE_PHASE,
            CommitKind::TwoPhase => tag::TWO_PHASE,
        });
        out.extend_from_slice(&self.identifier.to_be_bytes());
        out.extend_from_slice(&self.tx.0.to_be_bytes());
        match self.stamp {
            CommitStamp::Master(id) => out.extend_from_slice(&id.to_be_bytes()),
            CommitStamp::Time(time) => out.extend_from_slice(&time.to_be_bytes()),
        }
    }
}

/// A DONE entry.
pub fn done(identifier: i32) -> [u8; DONE_SIZE] {
    let [a, b, c, d] = identifier.to_be_bytes();
    [tag::DONE, a, b, c, d]
}

/// The beginning of a COMMAND entry; the command follows.
pub fn command(identifier: i32) -> [u8; DONE_SIZE] {
    let [a, b, c, d] = identifier.to_be_bytes();
    [tag::COMMAND, a, b, c, d]
}
