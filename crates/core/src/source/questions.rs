//! Questions to a member about single transactions, whose answers are written nowhere.

use super::body::Body;
use crate::{Error, ErrorKind, source::client::Member};
use neo4j_format::{
    ids::{DataSource, StoreId, TxId},
    log::{Buffer, Fingerprint, Layout, LogFormat, TransactionReader},
    wire::{Dialect, Event},
};

/// As far before the backup's last transaction the source's is looked for: so many are sent at most to find it.
const FAR: i64 = 1 << 16;

/// The fingerprint of a transaction of `source` as `member` has it; `None` if it does not have it.
///
/// # Errors
/// Of the response; of kind [`ErrorKind::FullNeeded`] where the member has dropped its logs of that time.
pub(crate) fn fingerprint_at(
    member: &Member,
    format: LogFormat,
    source: DataSource,
    id: TxId,
) -> Result<Option<Fingerprint>, Error> {
    let mut incoming = member.incremental(&[(source, id.previous())]);
    loop {
        match incoming.next()? {
            Event::Transaction(name, found) if *name == *source.name() && found == id => break,
            Event::StoreId(_) => {}
            Event::End => return Ok(None),
            _ => {
                let text = format!(
                    "{}: something else where transaction {id} was asked for",
                    member.address()
                );
                return Err(Error::new(ErrorKind::Protocol, text));
            }
        }
    }
    let layout = Layout { format, source };
    let (mut body, mut buffer) = (Body::new(&mut incoming), Buffer::new());
    let found = TransactionReader::new(&mut body, layout, id, &mut buffer).fingerprint();
    found
        .map(Some)
        .map_err(|error| body.error.take().unwrap_or_else(|| error.into()))
}

/// How many transactions of the graph `member` has behind `last`; `None` if there are more than `most`. Takes a question
/// for each time that `most` can be halved.
///
/// # Errors
/// Of the responses.
pub(crate) fn count_behind(member: &Member, last: TxId, most: u64) -> Result<Option<u64>, Error> {
    let behind = |count: u64| TxId(last.0.saturating_add_unsigned(count));
    if has_more(member, behind(most))? {
        return Ok(None);
    }
    let (mut fewest, mut most) = (0, most);
    while fewest < most {
        let middle = u64::midpoint(fewest, most);
        if has_more(member, behind(middle))? {
            fewest = middle + 1;
        } else {
            most = middle;
        }
    }
    Ok(Some(fewest))
}

/// Whether it has transactions of the graph behind `last`; one that has dropped its logs of that time does.
///
/// # Errors
/// Of the response.
pub(crate) fn has_more(member: &Member, last: TxId) -> Result<bool, Error> {
    let mut incoming = member.incremental(&[(DataSource::Graph, last)]);
    loop {
        match incoming.next() {
            Ok(Event::Transaction(..)) => return Ok(true),
            Ok(Event::End) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::FullNeeded => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// The database of `member` if it has nothing that follows these transactions; a member that has is not listened to.
///
/// # Errors
/// Of the response; of kind [`ErrorKind::FullNeeded`] where the member has dropped its logs of that time.
pub(crate) fn nothing_after(member: &Member, last: &[(DataSource, TxId)]) -> Result<Option<StoreId>, Error> {
    let mut incoming = member.incremental(last);
    let mut database = None;
    loop {
        match incoming.next()? {
            Event::StoreId(id) => database = Some(id),
            Event::End => return Ok(database),
            Event::Transaction(..) => return Ok(None),
            _ => {}
        }
    }
}

/// The newest transaction of `source` that `member` has, which is before `last`, for a message; `None` where it is too far
/// before that, or cannot be told without the server searching for minutes.
///
/// # Errors
/// Of the responses.
pub(crate) fn newest_before(member: &Member, source: DataSource, last: TxId) -> Result<Option<TxId>, Error> {
    if member.dialect() == Dialect::D13 {
        return Ok(None);
    }
    let mut step = 2;
    // a request for what the source does not have yet is answered with nothing
    while step <= FAR {
        let after = TxId(last.0.saturating_sub(step)).max(TxId::BASE);
        let mut incoming = member.incremental(&[(source, after)]);
        let mut newest = None;
        loop {
            match incoming.next()? {
                Event::Transaction(name, id) if *name == *source.name() => newest = Some(id),
                Event::End => break,
                _ => {}
            }
        }
        match newest {
            None if after > TxId::BASE => step *= 2,
            newest => return Ok(Some(newest.unwrap_or(TxId::BASE))),
        }
    }
    Ok(None)
}
