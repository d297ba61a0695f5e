//! How far the source is ahead of a backup.

use std::time::Duration;

use tokio::runtime::Handle;

use super::{Lag, TargetStatus};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    cluster_options::ClusterOptions,
    members, runtime,
    source::{
        client::{Member, Settings},
        questions::{count_behind, has_more},
        uri::Source,
    },
};
use neo4j_format::{
    ids::{DataSource, TxId},
    wire::Dialect,
};

/// More transactions than this are not counted: a source that far ahead is asked a few questions, not thousands.
const MOST: u64 = 1 << 32;

/// How long a source may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn find(source: &Source, found: &TargetStatus, options: &ClusterOptions, cancel: &Cancel) -> Lag {
    let mut last = found.last_transactions.iter();
    let Some(last) = last.find(|last| last.data_source == DataSource::Graph.name()) else {
        return Lag::unknown(&"there is no backup to compare with");
    };
    let last = TxId(last.id);
    let cancel = cancel.limited(PATIENCE);
    let counted = match source {
        Source::Single { host, port } => of_server(host, *port, last, &cancel),
        Source::Ha { .. } => of_cluster(source, last, options, &cancel),
    };
    match counted {
        Ok(transactions) => Lag {
            transactions: Some(transactions),
            error: None,
        },
        Err(error) => Lag::unknown(&error),
    }
}

fn of_server(host: &str, port: u16, last: TxId, cancel: &Cancel) -> Result<u64, Error> {
    runtime::block_on(|| {
        let settings = Settings::default();
        let member = Handle::current().block_on(Member::find(host, port, settings, cancel.clone()))?;
        if member.dialect() == Dialect::D13 {
            let text = "Neo4j 1.3 takes minutes to say how far it is";
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        if !has_more(&member, last)? {
            return Ok(0);
        }
        let counted = count_behind(&member, last, MOST)?;
        counted.ok_or_else(|| Error::new(ErrorKind::Failed, "more transactions than can be counted"))
    })
}

fn of_cluster(source: &Source, last: TxId, options: &ClusterOptions, cancel: &Cancel) -> Result<u64, Error> {
    let found = members(source, options, cancel)?;
    let newest = found
        .ranking
        .candidates
        .iter()
        .filter_map(|candidate| candidate.last)
        .max();
    let newest = newest.ok_or_else(|| Error::new(ErrorKind::NoMember, "no member says how far it is"))?;
    Ok(u64::try_from(newest.0.saturating_sub(last.0)).unwrap_or(0))
}
