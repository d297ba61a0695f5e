//! The logs of a data source: which are kept, what they cover, what is pending
//! (`docs/formats/transaction-log.md` §3 – §5).
//!
//! A log is not read through: its header says where it begins, the next one's where it ends, and the last COMMIT stands
//! at the very end, where it is looked for.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::Serialize;

use super::bounded;
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, LogVersion, TxId},
    log::{
        LogFormat, LogHeader, archived_logs,
        files::{self, Marker, Slot},
    },
};

/// Bytes at the end of a log in which its last COMMIT is looked for; what follows a COMMIT is short.
const TAIL: u64 = 64 * 1024;

/// Zeros at the end of a log that are skipped; releases let the file grow in windows of 1 MiB and more.
const MAX_BLANK: u64 = 16 << 20;

/// Headers that are read at either end of a long row of logs; more would take longer than an answer may.
const MAX_HEADERS: usize = 200;

/// Times after the year 2200 are not times.
const MAX_TIME: i64 = 7_258_118_400_000;

/// The last transaction of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastCommit {
    /// Its id.
    pub id: TxId,
    /// Milliseconds since 1970; format 1 keeps no times.
    pub time: Option<i64>,
}

/// A log that the next start replays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Path below the directory.
    pub path: &'static str,
    /// Bytes of the log.
    pub bytes: u64,
    /// Its header, where there is a whole one.
    pub header: Option<LogHeader>,
    /// Its last transaction, where it was found.
    pub last: Option<LastCommit>,
}

/// What the marker and the slots say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Active {
    /// Nothing to replay.
    Nothing,
    /// A log to replay.
    Pending(Pending),
    /// Neo4j will refuse to start, and why.
    Broken(String),
}

/// The logs of one data source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogSummary {
    /// `nioneodb` or `lucene-index`.
    pub data_source: &'static str,
    /// Archived logs.
    pub archived: u64,
    /// Bytes of all of them.
    pub archived_bytes: u64,
    /// Versions of the oldest and the newest of those without a gap behind them.
    pub versions: Option<(u64, u64)>,
    /// First and last transaction in these, as far as they say.
    pub transactions: Option<(i64, i64)>,
    /// Versions that are missing between the oldest and the newest log of all.
    pub gaps: u64,
    /// Bytes that wait for the next start.
    pub pending_bytes: u64,
    #[serde(skip)]
    pub(super) active: Active,
    /// The last transaction that any log has.
    #[serde(skip)]
    pub(super) last: Option<LastCommit>,
    #[serde(skip)]
    pub(super) newest: Option<LogVersion>,
}

/// Looks at the logs of `source`; `format` where it is known.
pub fn look(dir: &DirHandle, source: DataSource, problems: &mut Vec<String>) -> LogSummary {
    let versions = archived(dir, source, problems);
    let active = active(dir, source).unwrap_or_else(|error| {
        problems.push(format!("{}: {error}", files::base(source)));
        Active::Nothing
    });
    let newest = versions.last().map(|(version, _)| *version);
    let mut logs = LogSummary {
        data_source: source.name(),
        archived: versions.len() as u64,
        archived_bytes: versions.iter().map(|(_, bytes)| bytes).sum(),
        versions: None,
        transactions: None,
        gaps: 0,
        pending_bytes: 0,
        last: None,
        newest,
        active,
    };
    cover(&mut logs, dir, source, &versions, problems);
    if let Active::Pending(pending) = &logs.active {
        logs.pending_bytes = pending.bytes;
        logs.last = pending.last.or(logs.last);
    }
    logs
}

/// When a transaction was committed, in milliseconds since 1970, if it is the last one of the logs of `source`.
pub(crate) fn committed(dir: &DirHandle, source: DataSource, id: TxId) -> Option<i64> {
    let last = look(dir, source, &mut Vec::new()).last?;
    last.time.filter(|_| last.id == id)
}

/// Versions and bytes of the archived logs, oldest first.
fn archived(dir: &DirHandle, source: DataSource, problems: &mut Vec<String>) -> Vec<(LogVersion, u64)> {
    let found = archived_logs(dir, source);
    let found = found.map(|logs| logs.iter().map(|log| (log.version, log.bytes)).collect());
    found.unwrap_or_else(|error: DiskError| {
        problems.push(error.to_string());
        Vec::new()
    })
}

/// What the logs without a gap behind them cover.
fn cover(
    logs: &mut LogSummary,
    dir: &DirHandle,
    source: DataSource,
    versions: &[(LogVersion, u64)],
    problems: &mut Vec<String>,
) {
    let (Some((oldest, _)), Some((newest, _))) = (versions.first(), versions.last()) else {
        return;
    };
    logs.gaps = (newest.0 - oldest.0 + 1).saturating_sub(versions.len() as u64);
    let row = versions
        .chunk_by(|(a, _), (b, _)| a.next() == *b)
        .next_back()
        .unwrap_or(versions);
    let mut first = None;
    // the newest ones tell what the last transaction is, the oldest ones where the row begins
    for (index, (version, bytes)) in row.iter().enumerate() {
        let near_an_end = index < MAX_HEADERS || index + MAX_HEADERS >= row.len();
        if !near_an_end || *bytes <= LogHeader::END {
            continue;
        }
        let path = files::archived(source, *version);
        match header_and_last(dir, &path, index + 3 > row.len()) {
            Ok((header, last)) => {
                // a log that makes no statement holds one transaction
                let begins = match header.previous_last_tx {
                    TxId(0..) => Some(header.previous_last_tx.next()),
                    _ => last.map(|last| last.id),
                };
                first = first.or(begins);
                logs.last = last.or(logs.last);
            }
            Err(error) => problems.push(format!("{path}: {error}")),
        }
    }
    logs.versions = row.first().map(|(oldest, _)| (oldest.0, newest.0));
    logs.transactions = match (first, logs.last) {
        (Some(first), Some(last)) if last.id >= first => Some((first.0, last.id.0)),
        _ => None,
    };
}

fn header_and_last(dir: &DirHandle, path: &str, with_last: bool) -> io::Result<(LogHeader, Option<LastCommit>)> {
    let Some((file, found)) = bounded::open(dir, path)? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut bytes = [0; LogHeader::SIZE];
    file.read_exact_at(&mut bytes, 0)?;
    let header = LogHeader::decode(bytes).map_err(|problem| io::Error::other(problem.to_string()))?;
    let last = if with_last {
        let end = data_end(&file, found.len())?;
        let tail = bounded::tail(&file, end, TAIL.min(end.saturating_sub(LogHeader::END)))?;
        last_commit(&tail, header)
    } else {
        None
    };
    Ok((header, last))
}

/// Behind the last byte that is not 0, and a few more, since an identifier may end with zeros.
fn data_end(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 && length - end < MAX_BLANK {
        let block = bounded::tail(file, end, TAIL)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            let blank = (block.len() - last) as u64;
            return Ok((end - blank + 5).min(length));
        }
        end -= block.len() as u64;
    }
    Ok(length)
}

/// The last COMMIT of a log, by the end of its bytes: a COMMIT and the DONE of the same transaction right behind it, or
/// nothing behind it where a crash came before the DONE.
///
/// ```text
/// format 1   05|06  i32 identifier  i64 transaction  i32 master          04  i32 identifier
/// format 2   05|06  i32 identifier  i64 transaction  i64 milliseconds    04  i32 identifier
/// ```
pub(super) fn last_commit(tail: &[u8], header: LogHeader) -> Option<LastCommit> {
    let size = match header.format {
        LogFormat::V1 => 17,
        LogFormat::V2 => 21,
    };
    (0..tail.len()).rev().find_map(|at| {
        let entry = tail.get(at..at + size)?;
        let (tag, rest) = entry.split_first()?;
        let (identifier, rest) = rest.split_first_chunk::<4>()?;
        let (id, rest) = rest.split_first_chunk::<8>()?;
        if !matches!(tag, 5 | 6) {
            return None;
        }
        let behind = tail.get(at + size..)?;
        let done = behind
            .split_first()
            .is_some_and(|(tag, rest)| *tag == 4 && rest.starts_with(identifier));
        let nothing = behind.iter().all(|byte| *byte == 0);
        let id = TxId(i64::from_be_bytes(*id));
        let time = rest.first_chunk::<8>().map(|time| i64::from_be_bytes(*time));
        let plausible =
            id > header.previous_last_tx && id > TxId::BASE && time.is_none_or(|time| (0..MAX_TIME).contains(&time));
        ((done || nothing) && plausible).then_some(LastCommit { id, time })
    })
}

/// What marker and slots come to when Neo4j starts (§3.2).
fn active(dir: &DirHandle, source: DataSource) -> io::Result<Active> {
    let marker_path = files::marker(source);
    let marker = match bounded::whole(dir, marker_path, Marker::FILE_MAX)? {
        None => None,
        Some(bytes) => match Marker::decode(&bytes) {
            Some(marker) => Some(marker),
            None => return Ok(Active::Broken(format!("{marker_path} is not a valid marker"))),
        },
    };
    let slot = match marker {
        Some(Marker::Clean) => return Ok(Active::Nothing),
        Some(Marker::Active(slot)) => slot,
        None => Slot::One,
    };
    let path = files::slot(source, slot);
    let Some((file, found)) = bounded::open(dir, path)? else {
        return Ok(match marker {
            None => Active::Nothing,
            Some(_) => Active::Broken(format!("{marker_path} names {path}, which is missing")),
        });
    };
    let length = found.len();
    if length == 0 {
        return Ok(Active::Nothing);
    }
    if length < LogHeader::END {
        return Ok(Active::Broken(format!(
            "{path} has {length} bytes, too short for a header"
        )));
    }
    let bytes = data_end(&file, length)?;
    let (header, last) = header_and_last(dir, path, true)?;
    if length == LogHeader::END || (last.is_none() && is_blank(dir, path, length)?) {
        return Ok(Active::Nothing);
    }
    Ok(Active::Pending(Pending {
        path,
        bytes,
        header: Some(header),
        last,
    }))
}

/// Whether a log has no entry: the first byte behind the header is where its end is said.
fn is_blank(dir: &DirHandle, path: &str, length: u64) -> io::Result<bool> {
    let Some((file, _)) = bounded::open(dir, path)? else {
        return Ok(true);
    };
    let mut first = [0];
    if length > LogHeader::END {
        file.read_exact_at(&mut first, LogHeader::END)?;
    }
    Ok(first == [0])
}
