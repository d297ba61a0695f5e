//! Finds the cause of each difference.
//!
//! What may change when Neo4j opens a directory, or when an update is interrupted, is known file by file; a difference
//! that neither makes is damage, also in a directory that was opened. Where no transaction was committed since, the
//! records of a store cannot have changed, and what a start does to its end and its header can be undone on paper: what
//! then still differs is damage. Where transactions were committed, changed records cannot be told from damaged ones.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{
    compare::{Differences, Expected},
    finding::{Cause, FileFinding, FileProblem},
    traces::{Opened, Traces, is_written_by_neo4j},
};
use crate::manifest::{
    Manifest, State,
    files::is_written_once,
    sums::{self, CHUNK, DIGEST, Digest, SumsTable},
};
use neo4j_format::{
    DirHandle,
    log::files::Marker,
    store::{StoreFile, StoreFormat, index_config, lucene_store},
    width::to_usize,
};

/// Starts of Neo4j since the backup that are undone in the header, at two logs each.
const MAX_LOG_VERSIONS: u64 = 2000;

/// Bytes looked at in one step behind the records.
const STEP: usize = 64 * 1024;

/// What is known about the directory as a whole.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// The directory.
    pub dir: &'a DirHandle,
    /// What it ought to be.
    pub manifest: &'a Manifest,
    /// What Neo4j left.
    pub traces: &'a Traces,
    /// The checksums, where they can be trusted.
    pub table: Option<&'a SumsTable>,
}

impl Circumstances<'_> {
    /// The cause of a finding; `compared` where the file's bytes were looked at.
    pub fn cause(&self, finding: &FileFinding, compared: Option<(&Expected<'_>, &Differences)>) -> Cause {
        if matches!(finding.problem, FileProblem::NotAFile | FileProblem::Unreadable) {
            return Cause::Damage;
        }
        let opened = matches!(self.traces.opened(self.manifest), Opened::Closed | Opened::NotClosed);
        if opened && self.neo4j_did(finding, compared) {
            return Cause::Neo4j;
        }
        if self.manifest.state == State::Updating && (update_did(finding) || written_before(finding, compared)) {
            return Cause::Update;
        }
        Cause::Damage
    }

    fn neo4j_did(&self, finding: &FileFinding, compared: Option<(&Expected<'_>, &Differences)>) -> bool {
        let path = finding.path.as_str();
        if !is_written_by_neo4j(path) {
            return false;
        }
        if let Some(store) = StoreFile::from_name(path) {
            return match compared {
                Some((expected, differences)) => self.store_explained(store, expected, differences),
                None => false,
            };
        }
        match finding.problem {
            // logs are pruned, segments merged, `.id` files recreated
            FileProblem::Missing => !matches!(path, index_config::PATH | lucene_store::PATH),
            FileProblem::Extra => true,
            _ if path.starts_with("messages.log") => {
                let grown =
                    finding.problem == FileProblem::Grown && compared.is_some_and(|(_, found)| found.count == 0);
                grown || self.set_aside(path)
            }
            // an index that is deleted and created again begins with the same names
            _ if is_written_once(path) => path.starts_with("index/lucene/") && !self.traces.same_index(self.manifest),
            _ => true,
        }
    }

    /// Whether the text that the manifest lists goes on under another name.
    fn set_aside(&self, path: &str) -> bool {
        let Ok(entries) = self.dir.entries() else { return false };
        entries.iter().any(|entry| {
            entry.name.to_str().is_some_and(|name| {
                name.starts_with("messages.log.") && name != path && !self.manifest.files.iter().any(|f| f.path == name)
            })
        })
    }

    fn store_explained(&self, store: StoreFile, expected: &Expected<'_>, differences: &Differences) -> bool {
        let Some(format) = self
            .manifest
            .store_format
            .as_deref()
            .and_then(StoreFormat::from_version)
        else {
            return false;
        };
        let Ok(file) = self.dir.open_file(expected.path) else {
            return false;
        };
        if !self.traces.same_graph(self.manifest) {
            // transactions were committed: all that can be asked is that a file which was closed looks like it
            let closed = self.traces.marker == Some(Marker::Clean);
            let now = self.traces.records.map_or(format, |records| records.format);
            return !closed || ends_with(&file, expected.found, store.trailer(now).as_bytes());
        }
        let Some(table) = self.table else { return false };
        let old = Sealed {
            file: &file,
            expected,
            trailer: store.trailer(format),
        };
        let explained = if store == StoreFile::Neostore {
            let version = self.traces.records.map_or(0, |records| records.log_version);
            old.is_neostore_with_older_log(table, version)
        } else {
            old.has_same_records(table, differences)
        };
        explained.unwrap_or(false)
    }
}

/// What an update changes: everything but files that are written once, `messages.log` and names nobody knows.
fn update_did(finding: &FileFinding) -> bool {
    let path = finding.path.as_str();
    let known = is_written_by_neo4j(path) && !path.starts_with("messages.log");
    match finding.problem {
        FileProblem::Missing => known && StoreFile::from_name(path).is_none(),
        FileProblem::Extra => known,
        _ => known && !is_written_once(path),
    }
}

/// A backup that Neo4j opened and closed has a new or longer `messages.log`; the update that began behind that has taken
/// the marker away that shows a start.
fn written_before(finding: &FileFinding, compared: Option<(&Expected<'_>, &Differences)>) -> bool {
    let as_it_was = |(_, differences): (_, &Differences)| differences.count == 0;
    finding.path.starts_with("messages.log")
        && match finding.problem {
            FileProblem::Extra => true,
            FileProblem::Grown => compared.is_some_and(as_it_was),
            _ => false,
        }
}

/// A store file of which only the records are to be compared, since opening it cuts its trailer off.
struct Sealed<'a> {
    file: &'a File,
    expected: &'a Expected<'a>,
    trailer: String,
}

impl Sealed<'_> {
    /// Where the records ended.
    fn end(&self) -> Option<u64> {
        self.expected.length.checked_sub(self.trailer.len() as u64)
    }

    /// Whether all records are as they were, and nothing but zeros and a trailer follows them.
    fn has_same_records(&self, table: &SumsTable, differences: &Differences) -> io::Result<bool> {
        let Some(end) = self.end().filter(|end| self.expected.found >= *end) else {
            return Ok(false);
        };
        // a chunk that was not compared, since its end is missing, differs as well
        let compared = if self.expected.found < self.expected.length {
            self.expected.found / CHUNK
        } else {
            sums::chunks(self.expected.length)
        };
        let unequal = differences
            .chunks
            .iter()
            .copied()
            .chain(compared..sums::chunks(self.expected.length));
        if differences.count != differences.chunks.len() as u64 {
            return Ok(false);
        }
        for chunk in unequal {
            if self.digest_as_sealed(chunk, end)? != digest_of(table, self.expected, chunk)? {
                return Ok(false);
            }
        }
        self.is_blank_behind(end)
    }

    /// The digest of a chunk with the trailer that belongs there.
    fn digest_as_sealed(&self, chunk: u64, end: u64) -> io::Result<Digest> {
        let start = chunk * CHUNK;
        let stop = (start + CHUNK).min(self.expected.length);
        let mut bytes = vec![0; to_usize(stop - start)];
        let records = to_usize(end.clamp(start, stop) - start);
        let (records, rest) = bytes.split_at_mut(records);
        self.file.read_exact_at(records, start)?;
        let from = to_usize(start.saturating_sub(end));
        let trailer = self.trailer.as_bytes().get(from..).unwrap_or_default();
        if let Some(trailer) = trailer.get(..rest.len()) {
            rest.copy_from_slice(trailer);
        }
        Ok(sums::digest(&bytes))
    }

    fn is_blank_behind(&self, end: u64) -> io::Result<bool> {
        let trailer = self.trailer.len() as u64;
        let closed = ends_with(self.file, self.expected.found, self.trailer.as_bytes());
        let stop = self.expected.found - if closed { trailer } else { 0 };
        let (mut at, mut buffer) = (end, vec![0; STEP]);
        while at < stop {
            let bytes = buffer.len().min(to_usize(stop - at));
            let bytes = &mut buffer[..bytes];
            self.file.read_exact_at(bytes, at)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Whether the header is the one of the backup but for a log version that has grown since.
    fn is_neostore_with_older_log(&self, table: &SumsTable, now: u64) -> io::Result<bool> {
        let Some(end) = self.end().filter(|end| self.expected.found >= *end && *end <= CHUNK) else {
            return Ok(false);
        };
        let wanted = digest_of(table, self.expected, 0)?;
        let mut bytes = vec![0; to_usize(end)];
        self.file.read_exact_at(&mut bytes, 0)?;
        bytes.extend_from_slice(self.trailer.as_bytes());
        for version in (now.saturating_sub(MAX_LOG_VERSIONS)..=now).rev() {
            // record 2 begins at byte 18 with its in-use byte
            if let Some(place) = bytes.get_mut(19..27) {
                place.copy_from_slice(&version.to_be_bytes());
            }
            if sums::digest(&bytes) == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn digest_of(table: &SumsTable, expected: &Expected<'_>, chunk: u64) -> io::Result<Digest> {
    let mut digest = [[0; DIGEST]];
    table.read(expected.first_digest + chunk, &mut digest)?;
    let [digest] = digest;
    Ok(digest)
}

fn ends_with(file: &File, length: u64, trailer: &[u8]) -> bool {
    let mut found = vec![0; trailer.len()];
    length
        .checked_sub(trailer.len() as u64)
        .is_some_and(|at| file.read_exact_at(&mut found, at).is_ok() && found == trailer)
}
