//! Reads whole files in units of some chunks, on several threads.
//!
//! Each thread takes the next unit, so that the disk sees one sequential reader per file for any number of threads,
//! and a large file keeps all of them busy. Where pages are cached nothing but the read itself is asked of the kernel;
//! from the first one that is not, the file is asked for ahead.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use rustix::{fs::Advice, io::ReadWriteFlags};

use super::sums::CHUNK;
use crate::{Error, ErrorKind, cancel::Cancel};
use neo4j_format::{DirHandle, width::to_usize};

/// Chunks that a thread takes at once. Their bytes fit into a core's cache, so that they are hashed where they were
/// read to.
pub const UNIT: usize = 8;

/// Bytes of a chunk in memory.
pub const CHUNK_LEN: usize = 64 * 1024;

/// Bytes of a unit.
const UNIT_BYTES: u64 = UNIT as u64 * CHUNK;

/// How far ahead of a thread the file is asked for, in bytes.
const AHEAD: u64 = 16 * UNIT_BYTES;

const _: () = assert!(CHUNK_LEN as u64 == CHUNK);

/// Threads at most; more than these no disk keeps busy.
const MAX_THREADS: usize = 8;

/// The first bytes of a file.
#[derive(Debug, Clone, Copy)]
pub struct ChunkRun<'a> {
    /// Path below the directory.
    pub path: &'a str,
    /// How many bytes.
    pub length: u64,
}

/// Some chunks of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Number of its stretch.
    pub stretch: usize,
    /// Number of the first chunk in the file.
    pub first: u64,
    /// How many chunks, the last of which may be short.
    pub count: u64,
    /// First byte in the file.
    pub start: u64,
    /// The byte behind the last one.
    pub end: u64,
}

/// The units of some files, one file behind the other.
#[derive(Debug)]
pub struct UnitTable<'a> {
    stretches: Vec<ChunkRun<'a>>,
    /// Number of the first unit behind each stretch.
    ends: Vec<u64>,
}

impl<'a> UnitTable<'a> {
    /// Divides `stretches`.
    pub fn new(stretches: Vec<ChunkRun<'a>>) -> UnitTable<'a> {
        let mut units = 0;
        let ends = stretches.iter().map(|stretch| {
            units += stretch.length.div_ceil(UNIT_BYTES);
            units
        });
        UnitTable {
            ends: ends.collect(),
            stretches,
        }
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The unit of this number.
    pub fn get(&self, number: u64) -> Option<Unit> {
        let index = self.ends.partition_point(|end| *end <= number);
        let stretch = self.stretches.get(index)?;
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = (number - before.copied().unwrap_or(0)) * UNIT_BYTES;
        let end = (start + UNIT_BYTES).min(stretch.length);
        Some(Unit {
            stretch: index,
            first: start / CHUNK,
            count: (end - start).div_ceil(CHUNK),
            start,
            end,
        })
    }
}

/// The units of some files of one directory.
#[derive(Debug)]
pub struct Units<'a> {
    dir: &'a DirHandle,
    table: UnitTable<'a>,
}

impl<'a> Units<'a> {
    /// Divides `stretches`.
    pub fn new(dir: &'a DirHandle, stretches: Vec<ChunkRun<'a>>) -> Units<'a> {
        let table = UnitTable::new(stretches);
        Units { dir, table }
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        self.table.count()
    }

    /// Hands those numbered in `range` to `each`, on several threads, and ends with the first error.
    ///
    /// # Errors
    /// Those of `each`; the run was cancelled.
    pub fn read(
        &self,
        range: Range<u64>,
        cancel: &Cancel,
        each: impl Fn(&mut Reader<'_>, u64, Unit) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        in_parallel(
            range,
            cancel,
            || Reader::new(self),
            |reader, number| match self.table.get(number) {
                Some(unit) => each(reader, number, unit),
                None => Ok(()),
            },
        )
    }
}

/// Hands the numbers in `range` to `each`, on several threads with a state each, and ends with the first error.
///
/// # Errors
/// Those of `each`; the run was cancelled.
pub fn in_parallel<S>(
    range: Range<u64>,
    cancel: &Cancel,
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, u64) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let (next, stopped) = (AtomicU64::new(range.start), AtomicBool::new(false));
    let work = || {
        let mut state = state();
        while !stopped.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= range.end {
                break;
            }
            let result = cancel.check().and_then(|()| each(&mut state, number));
            if result.is_err() {
                stopped.store(true, Ordering::Relaxed);
                return result;
            }
        }
        Ok(())
    };
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(2, MAX_THREADS);
    thread::scope(|scope| {
        // if the system refuses a thread, the others do its work
        let workers: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut result = work();
        for worker in workers {
            let ended = || Err(Error::new(ErrorKind::Failed, "a thread that reads files has ended"));
            result = result.and(worker.join().unwrap_or_else(|_| ended()));
        }
        result
    })
}

/// The file that a thread has open, and its buffer.
#[derive(Debug)]
pub struct Reader<'a> {
    units: &'a Units<'a>,
    open: Option<Open>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    stretch: usize,
    file: File,
    /// Some of its pages were not cached.
    is_cold: bool,
}

impl<'a> Reader<'a> {
    fn new(units: &'a Units<'a>) -> Reader<'a> {
        Reader {
            units,
            open: None,
            bytes: vec![0; UNIT * CHUNK_LEN],
        }
    }

    /// Whether the next read opens another file than the last one.
    pub fn is_new(&self, unit: &Unit) -> bool {
        self.open.as_ref().is_none_or(|open| open.stretch != unit.stretch)
    }

    /// All bytes of a unit.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn unit(&mut self, unit: &Unit) -> io::Result<&[u8]> {
        self.fill(unit, unit.start..unit.end)
    }

    /// One of the chunks of a unit, by its number in the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn chunk(&mut self, unit: &Unit, chunk: u64) -> io::Result<&[u8]> {
        let start = chunk * CHUNK;
        self.fill(unit, start..(start + CHUNK).min(unit.end))
    }

    fn fill(&mut self, unit: &Unit, range: Range<u64>) -> io::Result<&[u8]> {
        let Reader { units, open, bytes } = self;
        let stretch = units.table.stretches.get(unit.stretch).ok_or(io::ErrorKind::NotFound)?;
        let open = match open {
            Some(open) if open.stretch == unit.stretch => open,
            _ => open.insert(Open {
                stretch: unit.stretch,
                file: units.dir.open_file(stretch.path)?,
                is_cold: false,
            }),
        };
        let length = to_usize(range.end.saturating_sub(range.start));
        let bytes = bytes.get_mut(..length).ok_or(io::ErrorKind::InvalidInput)?;
        open.read(range.start, stretch.length, bytes)?;
        Ok(bytes)
    }
}

impl Open {
    fn read(&mut self, at: u64, length: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut cached = 0;
        if !self.is_cold {
            let mut whole = [IoSliceMut::new(bytes)];
            cached = rustix::io::preadv2(&self.file, &mut whole, at, ReadWriteFlags::NOWAIT).unwrap_or(0);
        }
        let missing = &mut bytes[cached..];
        if missing.is_empty() {
            return Ok(());
        }
        self.is_cold = true;
        if at.is_multiple_of(UNIT_BYTES) && at + AHEAD < length {
            // advice that is not taken costs time, nothing else
            let _ = rustix::fs::fadvise(&self.file, at + AHEAD, NonZeroU64::new(UNIT_BYTES), Advice::WillNeed);
        }
        self.file.read_exact_at(missing, at + cached as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex};

    use super::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..=250).cycle().take(count).collect()
    }

    #[test]
    fn every_byte_is_read_once_and_a_range_is_a_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let lengths = [3 * UNIT * CHUNK_LEN + 70_000, 0, 1, CHUNK_LEN];
        let names = ["a", "b", "c", "d"];
        for (name, length) in names.iter().zip(lengths) {
            fs::write(dir.path().join(name), bytes(length + 10)).unwrap();
        }
        let stretches = names.iter().zip(lengths).map(|(path, length)| ChunkRun {
            path,
            length: length as u64,
        });
        let handle = DirHandle::open(dir.path()).unwrap();
        let units = Units::new(&handle, stretches.collect());
        assert_eq!(units.count(), 6);
        for range in [0..6, 2..5] {
            let read = Mutex::new(Vec::new());
            let each = |reader: &mut Reader<'_>, number: u64, unit: Unit| {
                let whole = reader.unit(&unit).unwrap().to_vec();
                let chunks = (unit.first..unit.first + unit.count)
                    .flat_map(|chunk| reader.chunk(&unit, chunk).unwrap().to_vec())
                    .collect::<Vec<_>>();
                assert_eq!(whole, chunks);
                read.lock().unwrap().push((number, unit.stretch, unit.start, whole));
                Ok(())
            };
            units.read(range.clone(), &Cancel::default(), each).unwrap();
            let mut read = read.into_inner().unwrap();
            read.sort();
            assert!(read.iter().map(|unit| unit.0).eq(range.clone()));
            let mut found = names.map(|_| Vec::new());
            for (_, stretch, _, bytes) in read {
                found[stretch].extend(bytes);
            }
            if range.start == 0 {
                assert_eq!(found, lengths.map(bytes));
            }
        }
    }

    #[test]
    fn the_first_error_ends_all_threads() {
        let dir = tempfile::tempdir().unwrap();
        let path = "missing";
        let handle = DirHandle::open(dir.path()).unwrap();
        let units = Units::new(&handle, vec![ChunkRun { path, length: 1 << 30 }]);
        let tried = AtomicU64::new(0);
        let result = units.read(0..units.count(), &Cancel::default(), |reader, _, unit| {
            tried.fetch_add(1, Ordering::Relaxed);
            reader
                .unit(&unit)
                .map(drop)
                .map_err(|error| Error::new(ErrorKind::Disk, error))
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Disk);
        assert!(tried.into_inner() < 100);
    }
}
