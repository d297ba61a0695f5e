//! What a full backup may replace: an older backup of the same database that does not have more
//! (`docs/decisions/0009-no-less-in-place-of-more.md`), and only where that is allowed.

use super::{
    manifest::{BackupKind, Manifest},
    receive::database::{ask_store_id, same_database},
    target::{
        links,
        staging::{Leftover, Occupant, Target, TargetError},
    },
};
use crate::{Error, ErrorKind, cancel::Cancel, progress::Progress, source::client::Member};
use neo4j_format::{
    ids::{DataSource, TxId},
    store::{Header, neo4j_lock::Neo4jLock},
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
    last: TxId,
    /// Whether it has index transactions.
    has_indexes: bool,
    /// Bytes that its full backup received.
    pub(crate) bytes: Option<u64>,
}

impl Replaced {
    fn of(target: &Target, header: &Header) -> Result<Replaced, Error> {
        let manifest = Manifest::read(&target.open()?)?;
        let taken = |source| manifest.as_ref()?.last_transaction(source).map(|(last, _)| last);
        let mut runs = manifest.iter().flat_map(|manifest| &manifest.chain);
        let full = runs.rfind(|run| run.mode == BackupKind::Full);
        Ok(Replaced {
            bytes: full.map(|run| run.bytes),
            name: target.to_replace(manifest.as_ref()),
            has_indexes: taken(DataSource::Lucene).is_some_and(|last| last > TxId::BASE),
            last: match taken(DataSource::Graph) {
                Some(last) => last,
                None => header.last_transaction()?,
            },
        })
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
    target.refuse_mount_point()?;
    let mut replaceable = allowed == Replace::SameDatabase;
    match target.left_over() {
        Leftover::None => {}
        Leftover::Unreported => replaceable = true,
        Leftover::Stranger(why) => {
            return Err(TargetError::ForeignSibling {
                path: target.ready(),
                why,
            }
            .into());
        }
        Leftover::Ready(_) => replaceable |= target.recover_interrupted_run(progress, cancel)?,
    }
    match target.occupant()? {
        Occupant::Absent | Occupant::Empty => Ok(None),
        Occupant::Foreign => Err(TargetError::Foreign {
            path: target.dir().to_owned(),
        }
        .into()),
        Occupant::Database if !replaceable => Err(TargetError::Exists {
            path: target.dir().to_owned(),
        }
        .into()),
        Occupant::Database => {
            // one that has it open now would keep writing into a directory that is gone
            let dir = target.open()?;
            if let Some(names) = links::foreign(&dir)? {
                let path = dir.path().to_owned();
                return Err(TargetError::ForeignFiles { path, names }.into());
            }
            drop(Neo4jLock::take(&dir)?);
            let theirs = ask_store_id(member)?;
            let header = Header::open(&dir)?;
            same_database(header.store_id()?, theirs, &dir)?;
            target.has_room()?;
            target.require_replaceable(progress)?;
            Replaced::of(target, &header).map(Some)
        }
    }
}
