//! What a backup would do, found out without writing anything: the questions and refusals of `full` and
//! `incremental` that come before their first write.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::{
    context::BackupContext,
    incremental::{Base, no_database, same_format},
    manifest::BackupKind,
    outcome::{self, HistoryProof},
    receive::{
        database::{ask_store_id, same_database},
        proof::{self, Unproven, needing},
    },
    replace::{self, Replace},
    replay::{graph_log::Graph, pending_index::PendingIndex},
    target::{
        free_space, links,
        staging::{Occupant, Survey},
    },
};
use crate::{
    Error, ErrorKind,
    backup::AskedMembers,
    cancel::Cancel,
    error,
    progress::{Phase, Progress},
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, StoreId, TxId},
    store::{Header, StoreFile, lucene_store, neo4j_lock::Neo4jLock},
};

/// What a backup would do; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Preflight {
    /// What would be taken.
    pub mode: BackupKind,
    /// Why a full backup would be taken, where an incremental one was asked for.
    pub fallback: Option<String>,
    /// `host:port` of the member that would serve it.
    pub member: String,
    /// The wire dialect found, by the name `docs/formats/wire-protocol.md` §1 gives it.
    pub dialect: String,
    /// The releases that speak it, such as `Neo4j 1.3`.
    pub releases: String,
    /// The directory of the backup.
    #[serde(serialize_with = "outcome::lossy")]
    pub target: PathBuf,
    /// Which database the source has.
    #[serde(serialize_with = "outcome::display")]
    pub store_id: StoreId,
    /// Whether an existing backup would be replaced.
    pub replaces: bool,
    /// Last transaction per data source of the backup that would be continued or replaced.
    #[serde(serialize_with = "outcome::by_name")]
    pub last_transactions: BTreeMap<DataSource, TxId>,
    /// Transactions of the graph that the master has beyond the backup's last one, where a slave would serve.
    pub behind_master: Option<u64>,
    /// Whether the source's history continues the backup's.
    pub history: HistoryProof,
    /// Bytes that a full backup needs: as many as the existing one. `None` if that is not known.
    pub needed_bytes: Option<u64>,
    /// Bytes that are free there.
    pub free_bytes: u64,
    /// Whether the backup can be archived; `None` without a repository.
    pub repository: Option<RepositoryAccess>,
    /// Who would serve, who failed and who was skipped; `None` if the source is a single server.
    #[serde(skip)]
    pub members: Option<AskedMembers>,
}

/// Whether a repository can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum RepositoryAccess {
    /// It was opened, and this user may write to it.
    Usable,
    /// The backup would not be archived.
    Failed {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl RepositoryAccess {
    pub(crate) fn failed(error: &Error) -> RepositoryAccess {
        RepositoryAccess::Failed {
            reason: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl Preflight {
    /// The exit code that the backup would have as far as that can be known.
    pub fn exit_code(&self) -> u8 {
        match self.repository {
            Some(RepositoryAccess::Failed { .. }) => error::NOT_ARCHIVED.code,
            _ => error::SUCCESS.code,
        }
    }

    fn of(
        context: &BackupContext<'_>,
        mode: BackupKind,
        target: &Survey,
        store_id: StoreId,
    ) -> Result<Preflight, Error> {
        let dialect = context.member.dialect();
        Ok(Preflight {
            mode,
            fallback: None,
            member: context.member.address().to_owned(),
            dialect: dialect.name().to_owned(),
            releases: dialect.releases().to_owned(),
            target: target.site().dir().to_owned(),
            store_id,
            replaces: false,
            last_transactions: BTreeMap::new(),
            behind_master: None,
            history: HistoryProof::NotNeeded,
            needed_bytes: None,
            free_bytes: target.site().free_space()?,
            repository: None,
            members: None,
        })
    }
}

/// What a full backup would do.
///
/// # Errors
/// As [`crate::full::full`], as far as they can be known before anything is received.
pub(crate) fn full(context: &BackupContext<'_>, replace: Replace, progress: &dyn Progress) -> Result<Preflight, Error> {
    let target = Survey::take(context.target, context.shared)?;
    target.tell(progress);
    let replaced = replace::preflight(replace, context.member, &target)?;
    let store_id = ask_store_id(context.member)?;
    let mut found = Preflight::of(context, BackupKind::Full, &target, store_id)?;
    if let Some((replaced, room)) = replaced {
        found.replaces = true;
        found.last_transactions.insert(DataSource::Graph, replaced.last);
        found.needed_bytes = Some(room.needed);
        found.free_bytes = room.free;
    }
    Ok(found)
}

/// What an incremental backup would do.
///
/// # Errors
/// As [`crate::incremental::incremental`], as far as they can be known before anything is received.
pub(crate) fn incremental(
    context: &BackupContext<'_>,
    unproven: Unproven,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Preflight, Error> {
    let target = Survey::take(context.target, context.shared)?;
    target.tell(progress);
    if target.occupant()? != Occupant::Database {
        return Err(no_database(target.site().dir()));
    }
    let dir = &target.open()?;
    links::refuse(dir, progress)?;
    may_be_changed(dir)?;
    let base = Base::judge(dir)?;
    let format = Header::open_read_only(dir)?.format()?;
    let graph = Graph {
        dir,
        format,
        growth: context.growth,
        cancel,
    };
    progress.phase(Phase::Transactions);
    let had = had(dir, &graph, progress)?;
    let member = context.member;
    let store_id = ask_store_id(member)?;
    same_database(Header::open_read_only(dir)?.store_id()?, store_id, dir)?;
    same_format(member, format, dir)?;
    let mut found = Preflight::of(context, BackupKind::Incremental, &target, store_id)?;
    found.free_bytes = free_space::free(dir)?;
    let compared = proof::Target {
        dir,
        format: format.into(),
        member,
        manifest: base.manifest.as_ref(),
        had: &had,
    };
    found.history = compared.ask(unproven, progress).map_err(|error| match error.kind() {
        ErrorKind::FullNeeded => needing(&error, &had),
        _ => error,
    })?;
    found.behind_master = context.confirm(format.into(), progress, || compared.end_of_graph())?;
    found.last_transactions = had;
    Ok(found)
}

/// Refuses a backup of which this user may not change something, or that Neo4j has open.
fn may_be_changed(dir: &DirHandle) -> Result<(), Error> {
    drop(Neo4jLock::take(dir)?);
    dir.may_create().map_err(DiskError::at(dir.path()))?;
    for kind in StoreFile::ALL {
        let path = dir.join(kind.name());
        match dir.open_to_change(kind.name()) {
            // one that is missing has its own error
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => drop(opened.map_err(DiskError::at(path))?),
        }
    }
    Ok(())
}

/// Last transaction per data source, once a log that an interrupted run left has been applied.
fn had(dir: &DirHandle, graph: &Graph<'_>, progress: &dyn Progress) -> Result<BTreeMap<DataSource, TxId>, Error> {
    let last = match graph.left_active()? {
        Some(left) => {
            progress.warning("the graph's log was left pending, which a run replays first");
            left.last
        }
        None => Header::open_read_only(dir)?.last_transaction()?,
    };
    let mut had = BTreeMap::from([(DataSource::Graph, last)]);
    if dir.has(lucene_store::PATH) {
        let index = PendingIndex::inspect(dir, graph.format.into())?;
        had.insert(DataSource::Lucene, index.last_tx);
    }
    Ok(had)
}
