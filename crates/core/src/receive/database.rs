//! Which database a member serves, and whether it is the one that is wanted.

use std::collections::BTreeMap;

use super::transactions::{Overlap, ReceivedLogs};
use crate::{Error, ErrorKind, error::Condition, progress::Quiet, source::client::Member};
use neo4j_format::{DirHandle, ids::StoreId, log::LogFormat};

/// Makes sure before anything is received that a member serves this database.
///
/// # Errors
/// Of kind [`ErrorKind::NotOurs`] where it is another one; of the member.
pub fn require_database(member: &Member, expected: StoreId) -> Result<(), Error> {
    let found = ask_store_id(member)?;
    if found.is_same_database(expected) {
        return Ok(());
    }
    let text = format!(
        "{}: serves database {found}, the cluster's is {expected}",
        member.address()
    );
    Err(Error::new(ErrorKind::NotOurs, text).with_hint("look at that member: it has not joined this cluster"))
}

/// Refuses a source whose database is not the one in `dir`.
///
/// # Errors
/// Of kind [`ErrorKind::NotOurs`], with both ids.
pub(crate) fn same_database(ours: StoreId, theirs: StoreId, dir: &DirHandle) -> Result<(), Error> {
    if ours.is_same_database(theirs) {
        return Ok(());
    }
    let text = format!(
        "{}: holds a backup of database {ours}, the source is database {theirs}",
        dir.display()
    );
    Err(Error::new(ErrorKind::NotOurs, text)
        .with_condition(Condition::OtherDatabase)
        .with_hint("name another target"))
}

/// The id of the database that a member serves, asked for where no answer has told it yet.
///
/// # Errors
/// Of the member.
pub(crate) fn ask_store_id(member: &Member) -> Result<StoreId, Error> {
    if let Some(id) = member.store_id() {
        return Ok(id);
    }
    let mut logs = ReceivedLogs::new(LogFormat::V2, BTreeMap::new());
    let found = logs.receive(&mut member.incremental(&[]), Overlap::Refused, &Quiet)?;
    found.ok_or_else(|| Error::new(ErrorKind::Protocol, "the server did not tell its store id"))
}
