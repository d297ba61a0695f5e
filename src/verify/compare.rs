//! Reads files and compares their chunks with digests: in parallel, front to back, with read-ahead.
//!
//! All files are cut into units of some chunks; each thread takes the next unit, so that the disk sees one sequential
//! reader per file whatever the number of threads, and a large file keeps all of them busy.

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustix::fs::Advice;

use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    manifest::sums::{self, CHUNK, DIGEST, SumsTable},
    progress::Progress,
};

/// Chunks that a thread takes at once. Their bytes fit into a core's cache, so that they are hashed where they were
/// read to.
const UNIT: usize = 8;

/// Bytes of a chunk in memory.
const CHUNK_LEN: usize = 64 * 1024;

/// Bytes of a unit.
const UNIT_BYTES: u64 = UNIT as u64 * CHUNK;

/// How far ahead of a thread the file is asked for, in bytes.
const AHEAD: u64 = 16 * UNIT_BYTES;

const _: () = assert!(CHUNK_LEN as u64 == CHUNK);

/// Threads at most; more than these no disk keeps busy.
const MAX_THREADS: usize = 8;

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
    /// Chunks that can be compared: those of which all bytes are there.
    fn chunks(&self) -> u64 {
        if self.found >= self.length {
            sums::chunks(self.length)
        } else {
            self.found / CHUNK
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
/// The run was cancelled. What the disk refuses is part of the result.
pub fn compare(
    dir: &Path,
    files: &[Expected<'_>],
    table: &SumsTable,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Differences>, Error> {
    let work = Work::new(dir, files, table, progress, cancel);
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(2, MAX_THREADS);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(_) => return Err(Error::new(ErrorKind::Failed, "a thread that compares files has ended")),
            }
        }
        Ok(())
    })?;
    let results = work.results.into_iter();
    Ok(results
        .map(|found| {
            let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
            found.chunks.sort_unstable();
            found
        })
        .collect())
}

struct Work<'a> {
    dir: &'a Path,
    files: &'a [Expected<'a>],
    table: &'a SumsTable,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    /// Number of the first unit behind each file.
    ends: Vec<u64>,
    next: AtomicU64,
    stopped: AtomicBool,
    results: Vec<Mutex<Differences>>,
}

impl<'a> Work<'a> {
    fn new(
        dir: &'a Path,
        files: &'a [Expected<'a>],
        table: &'a SumsTable,
        progress: &'a dyn Progress,
        cancel: &'a Cancel,
    ) -> Work<'a> {
        let mut units = 0;
        let ends = files.iter().map(|file| {
            units += file.chunks().div_ceil(UNIT as u64);
            units
        });
        Work {
            dir,
            files,
            table,
            progress,
            cancel,
            ends: ends.collect(),
            next: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            results: files.iter().map(|_| Mutex::default()).collect(),
        }
    }

    /// What one thread does.
    fn run(&self) -> Result<(), Error> {
        let mut reader = Reader::new();
        while !self.stopped.load(Ordering::Relaxed) {
            if let Err(error) = self.cancel.check() {
                self.stopped.store(true, Ordering::Relaxed);
                return Err(error);
            }
            let unit = self.next.fetch_add(1, Ordering::Relaxed);
            let index = self.ends.partition_point(|end| *end <= unit);
            let (Some(file), Some(result)) = (self.files.get(index), self.results.get(index)) else {
                return Ok(());
            };
            let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
            let first = (unit - before.copied().unwrap_or(0)) * UNIT as u64;
            let count = (UNIT as u64).min(file.chunks() - first);
            let found = reader.compare(self, index, file, first, count);
            if found.count > 0 || found.unchecked > 0 {
                let mut all = result.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in &found.chunks {
                    all.note(*chunk);
                }
                all.unchecked += found.unchecked;
                all.error = all.error.take().or(found.error);
            }
            self.progress
                .bytes(((first + count) * CHUNK).min(file.length) - first * CHUNK);
        }
        Ok(())
    }
}

/// The file a thread has open, and its buffers.
struct Reader {
    open: Option<(usize, File)>,
    bytes: Vec<u8>,
    digests: [sums::Digest; UNIT],
}

impl Reader {
    fn new() -> Reader {
        Reader {
            open: None,
            bytes: vec![0; UNIT * CHUNK_LEN],
            digests: [[0; DIGEST]; UNIT],
        }
    }

    /// Compares `count` chunks of the file with this number, from number `first` on.
    fn compare(&mut self, work: &Work<'_>, index: usize, file: &Expected<'_>, first: u64, count: u64) -> Differences {
        let Reader { open, bytes, digests } = self;
        let mut found = Differences::default();
        let start = first * CHUNK;
        let end = ((first + count) * CHUNK).min(file.length);
        let digests = digests.get_mut(..in_memory(count)).unwrap_or_default();
        if work.table.read(file.first_digest + first, digests).is_err() {
            found.unchecked = end - start;
            return found;
        }
        let bytes = bytes.get_mut(..in_memory(end - start)).unwrap_or_default();
        let numbered = (first..).zip(digests.iter());
        match read(open, work, index, file, start, bytes) {
            Ok(()) => {
                for ((number, digest), chunk) in numbered.zip(bytes.chunks(CHUNK_LEN)) {
                    if sums::digest(chunk) != *digest {
                        found.note(number);
                    }
                }
            }
            Err(error) => {
                // once more, chunk by chunk, to find the bad ones
                for ((number, digest), chunk) in numbered.zip(bytes.chunks_mut(CHUNK_LEN)) {
                    let read = read(open, work, index, file, number * CHUNK, chunk);
                    if read.is_err() || sums::digest(chunk) != *digest {
                        found.note(number);
                    }
                }
                found.error = Some(error);
            }
        }
        found
    }
}

/// Reads from the file with this number, opening it where another one is open.
fn read(
    open: &mut Option<(usize, File)>,
    work: &Work<'_>,
    index: usize,
    file: &Expected<'_>,
    at: u64,
    bytes: &mut [u8],
) -> io::Result<()> {
    // advice that is not taken costs time, nothing else
    let will_need = |file: &File, at| {
        let _ = rustix::fs::fadvise(file, at, NonZeroU64::new(UNIT_BYTES), Advice::WillNeed);
    };
    let opened = match open {
        Some((number, opened)) if *number == index => opened,
        _ => {
            work.progress.file(file.path);
            let opened = File::open(work.dir.join(file.path))?;
            &open.insert((index, opened)).1
        }
    };
    if at.is_multiple_of(UNIT_BYTES) && at + AHEAD < file.length {
        will_need(opened, at + AHEAD);
    }
    opened.read_exact_at(bytes, at)
}

/// A number of bytes or chunks of one unit.
fn in_memory(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
