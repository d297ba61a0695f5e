//! What a full backup may replace: an older backup of the same database that does not have more
//! (`docs/decisions/0009-no-less-in-place-of-more.md`), and only where that is allowed.

use super::{
    manifest::{BackupKind, Manifest},
    receive::database::{ask_store_id, same_database},
    target::{
        links,
        staging::{Leftover, Occupant, Room, Survey, Target, TargetError, TargetSite},
    },
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    progress::Progress,
    source::{
        client::Member,
        questions::{has_more, newest_before},
    },
};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, TxId},
    store::{Header, neo4j_lock::Neo4jLock},
    wire::Dialect,
};

/// Whether an older backup of the same database may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// No; it is refused.
    Never,
    /// Yes, in one step, once the new one is complete.
    SameDatabase,
}

/// The backup that is going to be replaced.
pub(crate) struct Replaced {
    /// What it is known by, if there is one.
    pub(crate) name: Option<String>,
    /// Its last transaction of the graph, as it was taken.
    pub(crate) last: TxId,
    /// Whether it has index transactions.
    has_indexes: bool,
    /// Bytes that its full backup received.
    pub(crate) bytes: Option<u64>,
}

impl Replaced {
    fn of(site: &TargetSite, dir: &DirHandle, header: &Header) -> Result<Replaced, Error> {
        let manifest = Manifest::read(dir)?;
        let taken = |source| manifest.as_ref()?.last_transaction(source).map(|(last, _)| last);
        let mut runs = manifest.iter().flat_map(|manifest| &manifest.chain);
        let full = runs.rfind(|run| run.mode == BackupKind::Full);
        Ok(Replaced {
            bytes: full.map(|run| run.bytes),
            name: site.to_replace(manifest.as_ref()),
            has_indexes: taken(DataSource::Lucene).is_some_and(|last| last > TxId::BASE),
            last: match taken(DataSource::Graph) {
                Some(last) => last,
                None => header.last_transaction()?,
            },
        })
    }

    /// Asks `member` whether it has less. 1.3 takes minutes to find an old transaction, and is not asked.
    fn require_no_less_at(&self, member: &Member) -> Result<(), Error> {
        if self.last == TxId::BASE || member.dialect() == Dialect::D13 || has_more(member, self.last.previous())? {
            return Ok(());
        }
        let newest = newest_before(member, DataSource::Graph, self.last)?;
        self.require_no_less(newest.unwrap_or(TxId::BASE), true)
    }

    /// Refuses to replace it by one that has less: a member that was emptied serves the same database, too
    /// (`docs/formats/zookeeper-discovery.md` §3.1), and one that could not open its indexes has none to give.
    pub(crate) fn require_no_less(&self, last: TxId, indexes_came: bool) -> Result<(), Error> {
        if self.has_indexes && !indexes_came {
            let text = "the source sent no index data, but the existing backup contains indexes";
            return Err(Error::new(ErrorKind::NotOurs, text)
                .with_hint("the server's messages.log says why; or take this backup into another directory"));
        }
        if self.last <= last {
            return Ok(());
        }
        let text = format!(
            "the source is behind the existing backup: its last transaction is {last}, the backup's is {}",
            self.last
        );
        Err(Error::new(ErrorKind::NotOurs, text).with_hint(
            "if the database was set back on purpose, take this backup into another directory, or remove the old one first",
        ))
    }
}

/// Decides whether the target may be filled or replaced; what would be replaced, if there is anything.
pub(crate) fn judge(
    allowed: Replace,
    member: &Member,
    target: &Target,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Option<Replaced>, Error> {
    let site = target.site();
    let mut is_allowed = judge_left_over(allowed, site, target.left_over())?;
    if matches!(target.left_over(), Leftover::Ready(_)) {
        is_allowed |= target.recover_interrupted_run(progress, cancel)?;
    }
    let existing = judge_existing(is_allowed, site, site.occupant()?, || site.open(), member)?;
    if existing.is_some() {
        target.require_replaceable(progress)?;
    }
    Ok(existing.map(|(replaced, _)| replaced))
}

/// The same, judged without writing, of a target that is not locked; how much space the backup needs, where one is replaced.
pub(crate) fn preflight(allowed: Replace, member: &Member, target: &Survey) -> Result<Option<(Replaced, Room)>, Error> {
    let site = target.site();
    let is_allowed =
        judge_left_over(allowed, site, target.left_over())? || matches!(target.left_over(), Leftover::Ready(_));
    let existing = judge_existing(is_allowed, site, target.occupant()?, || target.open(), member)?;
    if let Some((replaced, _)) = &existing {
        replaced.require_no_less_at(member)?;
    }
    Ok(existing)
}

/// Whether a backup in place may be replaced, by what was allowed and by what an earlier run left.
fn judge_left_over(allowed: Replace, site: &TargetSite, left_over: &Leftover) -> Result<bool, Error> {
    site.refuse_mount_point()?;
    match left_over {
        Leftover::None | Leftover::Ready(_) => Ok(allowed == Replace::SameDatabase),
        Leftover::Unreported => Ok(true),
        Leftover::Stranger(why) => Err(TargetError::ForeignSibling {
            path: site.ready(),
            why,
        }
        .into()),
    }
}

/// Decides whether the existing target, if any, may be replaced. Changes nothing.
fn judge_existing(
    is_allowed: bool,
    site: &TargetSite,
    occupant: Occupant,
    open: impl FnOnce() -> Result<DirHandle, Error>,
    member: &Member,
) -> Result<Option<(Replaced, Room)>, Error> {
    match occupant {
        Occupant::Absent | Occupant::Empty => Ok(None),
        Occupant::Foreign => Err(TargetError::Foreign {
            path: site.dir().to_owned(),
        }
        .into()),
        Occupant::Database if !is_allowed => Err(TargetError::Exists {
            path: site.dir().to_owned(),
        }
        .into()),
        Occupant::Database => {
            // one that has it open now would keep writing into a directory that is gone
            let dir = open()?;
            if let Some(names) = links::foreign(&dir)? {
                let path = dir.path().to_owned();
                return Err(TargetError::ForeignFiles { path, names }.into());
            }
            drop(Neo4jLock::take(&dir)?);
            let theirs = ask_store_id(member)?;
            let header = Header::open_read_only(&dir)?;
            same_database(header.store_id()?, theirs, &dir)?;
            let replaced = Replaced::of(site, &dir, &header)?;
            let room = site.has_room(&dir, replaced.bytes)?;
            Ok(Some((replaced, room)))
        }
    }
}
