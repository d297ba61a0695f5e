//! The newest transaction of a source that is behind its backup, for the message alone.

use crate::{
    Error,
    client::Member,
    ids::{DataSource, TxId},
    wire::{Dialect, Event},
};

/// As far before the backup's last transaction the source's is looked for: so many are sent at most to find it.
const FAR: i64 = 1 << 16;

/// The newest transaction of `source` that `member` has, which is before `last`; `None` where it is too far before that,
/// or cannot be told without the server searching for minutes.
///
/// # Errors
/// Of the responses.
pub(in crate::transfer) fn newest_before(
    member: &Member,
    source: DataSource,
    last: TxId,
) -> Result<Option<TxId>, Error> {
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
