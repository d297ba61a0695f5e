//! Compares the chunks of files with digests, as [`units`] reads them.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    file_system,
    manifest::{
        sums::{self, CHUNK, DIGEST, SumsTable},
        units::{self, CHUNK_LEN, ChunkRun, Reader, Unit, Units},
    },
    progress::Progress,
};
use neo4j_format::{DirHandle, DiskError, width::to_usize};

/// Chunks that are told one by one per file; 64 GiB of damage.
const MAX_CHUNKS: usize = 1 << 20;

/// A file to compare.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Path below the directory.
    pub path: &'a str,
    /// Its length in the manifest.
    pub length: u64,
    /// Its length now.
    pub found: u64,
    /// Number of its first digest.
    pub first_digest: u64,
}

impl Expected<'_> {
    /// Bytes that can be compared: those of chunks that are there as a whole.
    fn comparable(&self) -> u64 {
        if self.found >= self.length {
            self.length
        } else {
            self.found / CHUNK * CHUNK
        }
    }
}

/// Where a file differs.
#[derive(Debug, Default)]
pub struct Differences {
    /// Numbers of the chunks that differ or cannot be read, ascending; not all of them where they are very many.
    pub chunks: Vec<u64>,
    /// How many they are.
    pub count: u64,
    /// Bytes for which there are no checksums.
    pub unchecked: u64,
    /// What the file system said about chunks that cannot be read.
    pub error: Option<io::Error>,
}

impl Differences {
    fn note(&mut self, chunk: u64) {
        self.count += 1;
        if self.chunks.len() < MAX_CHUNKS {
            self.chunks.push(chunk);
        }
    }
}

/// Compares all `files` of the directory `dir` with `table`; returns what was found, in the same order.
///
/// # Errors
/// The run was cancelled; a file cannot be read for another reason than the disk, so that nothing is known of it. What
/// the disk refuses is part of the result.
pub fn compare(
    dir: &DirHandle,
    files: &[Expected<'_>],
    table: &SumsTable,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Differences>, Error> {
    let stretches = files.iter().map(|file| ChunkRun {
        path: file.path,
        length: file.comparable(),
    });
    let units = Units::new(dir, stretches.collect());
    let results: Vec<Mutex<Differences>> = files.iter().map(|_| Mutex::default()).collect();
    units.read(0..units.count(), cancel, |reader, _, unit| {
        let (Some(file), Some(result)) = (files.get(unit.stretch), results.get(unit.stretch)) else {
            return Ok(());
        };
        if reader.is_new(&unit) {
            progress.file(file.path);
        }
        let found = differences(reader, &unit, file, table);
        if let Some(error) = &found.error
            && file_system::kind(error) != ErrorKind::Disk
        {
            return Err(DiskError::new(dir.join(file.path), file_system::copy(error)).into());
        }
        if found.count > 0 || found.unchecked > 0 {
            let mut all = result.lock().unwrap_or_else(PoisonError::into_inner);
            for chunk in &found.chunks {
                all.note(*chunk);
            }
            all.unchecked += found.unchecked;
            all.error = all.error.take().or(found.error);
        }
        progress.bytes(unit.end - unit.start);
        Ok(())
    })?;
    Ok(results
        .into_iter()
        .map(|found| {
            let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
            found.chunks.sort_unstable();
            found
        })
        .collect())
}

fn differences(reader: &mut Reader<'_>, unit: &Unit, file: &Expected<'_>, table: &SumsTable) -> Differences {
    let mut found = Differences::default();
    let mut digests = [[0; DIGEST]; units::UNIT];
    let count = to_usize(unit.count);
    let digests = &mut digests[..count];
    if table.read(file.first_digest + unit.first, digests).is_err() {
        found.unchecked = unit.end - unit.start;
        return found;
    }
    let numbered = (unit.first..).zip(digests.iter());
    match reader.unit(unit) {
        Ok(bytes) => {
            for ((number, digest), chunk) in numbered.zip(bytes.chunks(CHUNK_LEN)) {
                if sums::digest(chunk) != *digest {
                    found.note(number);
                }
            }
        }
        Err(error) => {
            // again, chunk by chunk, to find the bad ones
            for (number, digest) in numbered {
                let read = reader.chunk(unit, number);
                if !read.is_ok_and(|chunk| sums::digest(chunk) == *digest) {
                    found.note(number);
                }
            }
            found.error = Some(error);
        }
    }
    found
}
