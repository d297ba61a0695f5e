//! `neo4j-backup.sums`: one digest per 64 KiB chunk of every file of a backup.
//!
//! ```text
//! 16 bytes   "neo4j-backup/1\n\0"
//! 16 bytes   BLAKE3 of chunk 0 of the manifest's first file, cut to 128 bits
//! …          one for each further chunk; a file of n bytes has ⌈n / 65 536⌉ of them, the last one may be short
//! ```
//!
//! Which digests belong to which file follows from the manifest's list of files and lengths. The file is written front
//! to back while the bytes of the store pass and never held in memory; an update copies it, replacing the digests of
//! the chunks that were touched.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
};

use neo4j_format::{DirHandle, width::to_usize};

/// Bytes of a file that share a digest.
pub const CHUNK: u64 = 64 * 1024;

/// Bytes of a digest.
pub const DIGEST: usize = 16;

/// First bytes of the file.
pub const MAGIC: [u8; 16] = *b"neo4j-backup/1\n\0";

/// Digest of one chunk.
pub type Digest = [u8; DIGEST];

/// How many chunks a file of `length` bytes has.
pub fn chunks(length: u64) -> u64 {
    length.div_ceil(CHUNK)
}

/// The digest of one whole chunk.
pub fn digest(chunk: &[u8]) -> Digest {
    cut(&blake3::hash(chunk))
}

fn cut(hash: &blake3::Hash) -> Digest {
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&hash.as_bytes()[..DIGEST]);
    digest
}

/// Digests a file while its bytes pass, chunk by chunk.
#[derive(Debug, Default)]
pub struct ChunkHasher {
    hasher: blake3::Hasher,
    filled: u64,
}

impl ChunkHasher {
    /// Takes the next bytes of the file and hands every digest that is complete to `sink`.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn update(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Digest) -> io::Result<()>) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = to_usize(CHUNK - self.filled);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.filled += now.len() as u64;
            if self.filled == CHUNK {
                sink(self.take())?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Ends the file: the digest of a last short chunk, if there is one.
    pub fn finish(&mut self) -> Option<Digest> {
        (self.filled > 0).then(|| self.take())
    }

    fn take(&mut self) -> Digest {
        let digest = cut(&self.hasher.finalize());
        self.hasher.reset();
        self.filled = 0;
        digest
    }
}

/// Writes digests front to back.
#[derive(Debug)]
pub struct SumsWriter {
    out: BufWriter<File>,
    whole: blake3::Hasher,
}

impl SumsWriter {
    /// Starts the new file `name` of `dir`, which must not exist.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(dir: &DirHandle, name: &str) -> io::Result<SumsWriter> {
        let file = dir.create_new(name)?;
        let mut writer = SumsWriter {
            out: BufWriter::with_capacity(64 * 1024, file),
            whole: blake3::Hasher::new(),
        };
        writer.write(&MAGIC)?;
        Ok(writer)
    }

    /// Appends one digest.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn push(&mut self, digest: Digest) -> io::Result<()> {
        self.write(&digest)
    }

    /// Flushes and syncs; returns the BLAKE3 of the whole file, which the manifest keeps.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(self) -> io::Result<String> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.whole.finalize().to_hex().to_string())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.whole.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads digests front to back.
#[derive(Debug)]
pub struct SumsReader {
    input: BufReader<File>,
    whole: blake3::Hasher,
}

impl SumsReader {
    /// Opens the file `name` of `dir`.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` where the first bytes are not [`MAGIC`].
    pub fn open(dir: &DirHandle, name: &str) -> io::Result<SumsReader> {
        let mut reader = SumsReader {
            input: BufReader::with_capacity(64 * 1024, dir.open_file(name)?),
            whole: blake3::Hasher::new(),
        };
        if reader.read()? == MAGIC {
            Ok(reader)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a checksum file of this tool",
            ))
        }
    }

    /// The next digest.
    ///
    /// # Errors
    /// Those of the file system; `UnexpectedEof` behind the last one.
    pub fn next_digest(&mut self) -> io::Result<Digest> {
        self.read()
    }

    /// Leaves out `count` digests.
    ///
    /// # Errors
    /// As [`SumsReader::next_digest`].
    pub fn skip(&mut self, count: u64) -> io::Result<()> {
        for _ in 0..count {
            self.read()?;
        }
        Ok(())
    }

    /// Reads what is left; returns the BLAKE3 of the whole file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self) -> io::Result<String> {
        let mut rest = [0; 4096];
        loop {
            match self.input.read(&mut rest)? {
                0 => return Ok(self.whole.finalize().to_hex().to_string()),
                n => {
                    self.whole.update(&rest[..n]);
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<Digest> {
        let mut digest = [0; DIGEST];
        self.input.read_exact(&mut digest)?;
        self.whole.update(&digest);
        Ok(digest)
    }
}

/// Looks digests up in any order, from any thread.
#[derive(Debug)]
pub struct SumsTable {
    file: File,
}

impl SumsTable {
    /// Opens the file `name` of `dir`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(dir: &DirHandle, name: &str) -> io::Result<SumsTable> {
        let file = dir.open_file(name)?;
        Ok(SumsTable { file })
    }

    /// Reads the digests that begin with number `first` of the whole file.
    ///
    /// # Errors
    /// Those of the file system; `UnexpectedEof` behind the last one.
    pub fn read(&self, first: u64, digests: &mut [Digest]) -> io::Result<()> {
        let at = MAGIC.len() as u64 + first * DIGEST as u64;
        self.file.read_exact_at(digests.as_flattened_mut(), at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(pieces: &[&[u8]]) -> Vec<Digest> {
        let (mut hasher, mut out) = (ChunkHasher::default(), Vec::new());
        for piece in pieces {
            hasher
                .update(piece, |digest| {
                    out.push(digest);
                    Ok(())
                })
                .unwrap();
        }
        out.extend(hasher.finish());
        out
    }

    #[test]
    fn digests_do_not_depend_on_how_the_bytes_arrive() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let whole = digests(&[&bytes]);
        assert_eq!(whole.len() as u64, chunks(bytes.len() as u64));
        assert_eq!(digests(&bytes.chunks(777).collect::<Vec<_>>()), whole);
        assert_eq!(whole[3], digest(&bytes[3 * 65_536..]));
        assert!(digests(&[]).is_empty());
    }

    #[test]
    fn what_was_written_is_read_and_the_whole_has_one_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sums");
        let dir = &DirHandle::open(dir.path()).unwrap();
        let mut writer = SumsWriter::create(dir, "sums").unwrap();
        for i in 0..5 {
            writer.push([i; DIGEST]).unwrap();
        }
        let written = writer.finish().unwrap();
        let mut reader = SumsReader::open(dir, "sums").unwrap();
        assert_eq!(reader.next_digest().unwrap(), [0; DIGEST]);
        reader.skip(3).unwrap();
        assert_eq!(reader.next_digest().unwrap(), [4; DIGEST]);
        assert_eq!(reader.next_digest().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(SumsReader::open(dir, "sums").unwrap().finish().unwrap(), written);
        let table = SumsTable::open(dir, "sums").unwrap();
        let mut found = [[9; DIGEST]; 2];
        table.read(3, &mut found).unwrap();
        assert_eq!(found, [[3; DIGEST], [4; DIGEST]]);
        assert!(table.read(4, &mut found).is_err());
        assert_eq!(
            written,
            blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string()
        );
    }
}
