//! What full and incremental backups have in common.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;

use super::{
    consistency::Checks,
    manifest::{BackupKind, Run},
    replay::apply::Growth,
    source::confirm::Authority,
    target::{owners::SharedDirectories, staging::Target},
};
use crate::{Error, progress::Progress, source::client::Member};
use neo4j_format::{
    ids::TxId,
    log::{Fingerprint, LogFormat},
};

/// Who is backed up, where to, and which run it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackupContext<'a> {
    /// Who is asked.
    pub(crate) member: &'a Member,
    /// Who has the last word on its history, where that is another one.
    pub(crate) authority: Option<Authority<'a>>,
    /// The source as it was asked for, for the manifest.
    pub(crate) source: &'a str,
    /// The backup.
    pub(crate) target: &'a Path,
    /// By how much its store files may grow.
    pub(crate) growth: Growth,
    /// How much of the result is checked.
    pub(crate) checks: Checks,
    /// Whether root works where other users can rename files.
    pub(crate) shared: SharedDirectories,
    /// A random id of this run.
    pub(crate) run_id: &'a str,
}

impl BackupContext<'_> {
    /// Locks the target for this run.
    ///
    /// # Errors
    /// As [`Target::lock`].
    pub(crate) fn lock_target(&self) -> Result<Target, Error> {
        Target::lock(self.target, self.run_id, now(), self.shared)
    }

    /// Lets the authority, where there is one, confirm the graph's last transaction, which `end` finds with its fingerprint;
    /// returns how many transactions the master has after it, if that is known.
    ///
    /// # Errors
    /// As [`Authority::confirm`], and of `end`.
    pub(crate) fn confirm(
        &self,
        format: LogFormat,
        progress: &dyn Progress,
        end: impl FnOnce() -> Result<(TxId, Option<Fingerprint>), Error>,
    ) -> Result<Option<u64>, Error> {
        let Some(authority) = self.authority else {
            return Ok(None);
        };
        let (last, fingerprint) = end()?;
        authority.confirm(format, last, fingerprint, progress)
    }

    /// The run as the manifest keeps it, before anything was received; `started` in milliseconds since 1970.
    pub(crate) fn run(&self, mode: BackupKind, started: u64) -> Run {
        Run {
            run_id: self.run_id.to_owned(),
            mode,
            started,
            source: self.source.to_owned(),
            member: self.member.address().to_owned(),
            dialect: self.member.dialect().name().to_owned(),
            bytes: 0,
            transactions: 0,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970 as a time; the last one that there is where they are too many.
pub(crate) fn timestamp(milliseconds: u64) -> Timestamp {
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}
