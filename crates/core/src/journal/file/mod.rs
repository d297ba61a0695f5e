//! The journal file: its owner, its format, and how a line is appended.

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    thread,
    time::{Duration, Instant},
};

use rustix::process::geteuid;

use super::{Journal, JournalEntry};
use crate::{
    Error, file_system,
    target::{lock::open_or_create, staging::directories::sibling},
};
use neo4j_format::{DirHandle, DiskError, directory::EntryStatus};

/// Newest runs that are kept. Of each command, the newest run and the newest good one are kept for longer.
const KEPT: usize = 1000;

/// Bytes of a file from which on the oldest lines are removed.
const FULL: u64 = 1 << 20;

/// Bytes that are left then, at most.
const KEPT_BYTES: usize = 512 << 10;

/// Bytes at the end of a file that are read. No file of ours gets that long.
const READ: u64 = 4 << 20;

/// What every line begins with.
const LINE_START: &[u8] = br#"{"journal":"#;

/// How long another process may keep the file.
const PATIENCE: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(10);

/// The entries of a file, oldest first. What is not an entry is skipped.
pub(super) fn entries(file: &mut File) -> io::Result<Vec<JournalEntry>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(JournalEntry::of_line)
        .collect())
}

impl Journal {
    /// Adds a line.
    pub(super) fn write(&self, entry: &JournalEntry) -> Result<(), Error> {
        let folder = self.folder();
        let name = self.name();
        let patience = Instant::now() + PATIENCE;
        loop {
            let mut file = open_or_create(&folder, &name).map_err(DiskError::at(self.path()))?;
            self.require_ours(&mut file)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(self.foreign("is locked by another process"));
                }
                // two lines that are written at the same moment may damage each other there
                Err(TryLockError::Error(error)) if file_system::cannot_lock(&error) => {}
                Err(TryLockError::Error(error)) => return Err(DiskError::new(self.path(), error).into()),
            }
            // another process may have replaced it between our open and our lock
            let ours = EntryStatus::of(&file).map_err(DiskError::at(self.path()))?;
            let is_current = folder
                .status_of(&name)
                .is_ok_and(|named| named.identity() == ours.identity());
            if is_current {
                let added = if ours.length() >= FULL {
                    self.replace(&folder, &mut file, entry)
                } else {
                    append(&mut file, &entry.to_line())
                };
                return Ok(added.map_err(DiskError::at(self.path()))?);
            }
            if Instant::now() >= patience {
                return Err(self.foreign("is replaced all the time"));
            }
        }
    }

    /// Replaces the file by one with the newest entries, and this one.
    fn replace(&self, folder: &DirHandle, file: &mut File, entry: &JournalEntry) -> io::Result<()> {
        let mut kept = newest(entries(file)?);
        kept.push(entry.clone());
        let temporary = sibling(&self.name(), "new");
        let mut new = match folder.create_new(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // of a process that was killed here
                let mut left = folder.open_file(&temporary)?;
                if self.require_ours(&mut left).is_err() {
                    return Err(error);
                }
                folder.remove_file(&temporary)?;
                folder.create_new(&temporary)?
            }
            created => created?,
        };
        let lines: Vec<u8> = kept.iter().flat_map(JournalEntry::to_line).collect();
        let replaced = new
            .write_all(&lines)
            .and_then(|()| new.sync_all())
            .and_then(|()| folder.rename(&temporary, self.name()));
        if replaced.is_err() {
            // the next one would remove it
            let _ = folder.remove_file(&temporary);
        }
        replaced
    }

    /// Refuses a file that no run of this tool can have made.
    pub(super) fn require_ours(&self, file: &mut File) -> Result<(), Error> {
        let found = EntryStatus::of(&*file).map_err(DiskError::at(self.path()))?;
        if found.links() > 1 {
            return Err(self.foreign("has another name as well"));
        }
        // root gives it to the owner of the target
        let owner_of = |status: io::Result<EntryStatus>| status.ok().map(|found| found.owner());
        let target = self.parent.status_of(&self.target).ok().filter(EntryStatus::is_folder);
        let owners = [
            Some(0),
            Some(geteuid().as_raw()),
            owner_of(self.parent.status()),
            target.map(|target| target.owner()),
        ];
        if !owners.contains(&Some(found.owner())) {
            return Err(self.foreign("belongs to another user"));
        }
        let mut start = Vec::new();
        let read = (&*file).take(LINE_START.len() as u64).read_to_end(&mut start);
        read.map_err(DiskError::at(self.path()))?;
        // the first line may have been cut short
        let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if start.is_empty() || (!first.is_empty() && LINE_START.starts_with(first)) {
            Ok(())
        } else {
            Err(self.foreign("was not written by this tool"))
        }
    }

    fn foreign(&self, why: &str) -> Error {
        let text = format!("{}: {why}", self.path().display());
        Error::new(crate::ErrorKind::Configuration, text)
            .with_hint("runs are recorded there: remove or rename the file")
    }
}

/// Adds a line, after the end of one that was cut short.
fn append(file: &mut File, line: &[u8]) -> io::Result<()> {
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let mut bytes = Vec::with_capacity(line.len() + 1);
    if last != *b"\n" {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(line);
    file.seek(SeekFrom::End(0))?;
    file.write_all(&bytes)
}

/// The newest entries, and of each command the newest one and the newest good one.
fn newest(entries: Vec<JournalEntry>) -> Vec<JournalEntry> {
    let mut seen = BTreeSet::new();
    let (mut count, mut bytes) = (0, 0_usize);
    let mut kept: Vec<JournalEntry> = entries
        .into_iter()
        .rev()
        .filter(|entry| {
            let is_first_any = seen.insert((entry.command, false));
            let is_first_good = entry.is_good() && seen.insert((entry.command, true));
            bytes = bytes.saturating_add(entry.to_line().len());
            count += 1;
            is_first_any || is_first_good || (count < KEPT && bytes <= KEPT_BYTES)
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests;
