//! One difference between a directory and its manifest.

use serde::Serialize;

use crate::manifest::sums::CHUNK;

/// Ranges that are told one by one; a file with more of them is beyond counting holes.
const MAX_RANGES: usize = 1000;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileProblem {
    /// The manifest lists it and it is not there.
    Missing,
    /// It is there and the manifest does not list it.
    Extra,
    /// A link, a pipe or a device stands in its place.
    NotAFile,
    /// It is shorter than it was.
    Truncated,
    /// It is longer than it was.
    Grown,
    /// It is as long as it was and has other bytes.
    Damaged,
    /// The file system could not read all of it.
    Unreadable,
}

impl FileProblem {
    /// The word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            FileProblem::Missing => "missing",
            FileProblem::Extra => "extra",
            FileProblem::NotAFile => "not a file",
            FileProblem::Truncated => "truncated",
            FileProblem::Grown => "grown",
            FileProblem::Damaged => "damaged",
            FileProblem::Unreadable => "unreadable",
        }
    }

    /// The difference alone, for a file that was changed on purpose.
    pub fn change(self) -> &'static str {
        match self {
            FileProblem::Damaged => "other content",
            FileProblem::Extra => "new",
            other => other.name(),
        }
    }
}

/// Where a difference comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Nothing that is known to change a backup.
    Damage,
    /// Neo4j, which opened the directory.
    Neo4j,
    /// An incremental backup that did not end.
    Update,
    /// Not to be told: the checksums themselves are damaged.
    Checksums,
}

/// A stretch of bytes, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

/// One file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFinding {
    /// Path below the directory.
    pub path: String,
    /// What is wrong.
    pub problem: FileProblem,
    /// Where that comes from.
    pub cause: Cause,
    /// Its length in the manifest.
    pub expected_length: Option<u64>,
    /// Its length now.
    pub found_length: Option<u64>,
    /// Where it differs, in whole chunks of 64 KiB; the first ones, where they are very many.
    pub ranges: Vec<ByteRange>,
    /// Bytes in all ranges, those that are not listed included.
    pub bytes: u64,
    /// What the file system said.
    pub error: Option<String>,
}

impl FileFinding {
    /// A finding about a file as a whole.
    pub fn whole(
        path: &str,
        problem: FileProblem,
        expected_length: Option<u64>,
        found_length: Option<u64>,
    ) -> FileFinding {
        FileFinding {
            path: path.to_owned(),
            problem,
            cause: Cause::Damage,
            expected_length,
            found_length,
            ranges: Vec::new(),
            bytes: expected_length.or(found_length).unwrap_or_default(),
            error: None,
        }
    }

    /// Adds the stretch between the two lengths to chunks that differ, and joins what touches.
    pub(super) fn set_ranges(&mut self, chunks: &[u64], count: u64) {
        let expected = self.expected_length.unwrap_or_default();
        let found = self.found_length.unwrap_or_default();
        let in_chunk = |chunk: &u64| ByteRange {
            start: chunk.saturating_mul(CHUNK),
            end: chunk.saturating_add(1).saturating_mul(CHUNK).min(expected),
        };
        let tail = ByteRange {
            start: expected.min(found),
            end: expected.max(found),
        };
        let mut all: Vec<ByteRange> = chunks.iter().map(in_chunk).collect();
        let unlisted = count.saturating_sub(all.len() as u64);
        all.push(tail);
        all.retain(|range| range.start < range.end);
        all.sort_by_key(|range| range.start);
        self.ranges.clear();
        for range in all {
            match self.ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => self.ranges.push(range),
            }
        }
        let listed: u64 = self.ranges.iter().map(|range| range.end - range.start).sum();
        self.bytes = listed.saturating_add(unlisted.saturating_mul(CHUNK));
        self.ranges.truncate(MAX_RANGES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(expected: u64, found: u64, chunks: &[u64]) -> (Vec<(u64, u64)>, u64) {
        let mut finding = FileFinding::whole("f", FileProblem::Damaged, Some(expected), Some(found));
        finding.set_ranges(chunks, chunks.len() as u64);
        let shown = finding.ranges.iter().map(|range| (range.start, range.end)).collect();
        (shown, finding.bytes)
    }

    #[test]
    fn neighbouring_chunks_are_one_range_and_the_last_one_may_be_short() {
        let length = 3 * CHUNK + 10;
        assert_eq!(ranges(length, length, &[1]), (vec![(CHUNK, 2 * CHUNK)], CHUNK));
        assert_eq!(
            ranges(length, length, &[0, 2, 3]),
            (vec![(0, CHUNK), (2 * CHUNK, length)], 2 * CHUNK + 10)
        );
    }

    #[test]
    fn what_is_cut_off_or_grown_is_a_range_too() {
        assert_eq!(ranges(100, 40, &[]), (vec![(40, 100)], 60));
        assert_eq!(ranges(100, 140, &[]), (vec![(100, 140)], 40));
        assert_eq!(ranges(100, 140, &[0]), (vec![(0, 140)], 140));
    }

    #[test]
    fn a_sieve_is_counted_but_not_listed() {
        let chunks: Vec<u64> = (0..5000).map(|i| 2 * i).collect();
        let length = 10_000 * CHUNK;
        let (shown, bytes) = ranges(length, length, &chunks);
        assert_eq!((shown.len(), bytes), (MAX_RANGES, 5000 * CHUNK));
    }
}
