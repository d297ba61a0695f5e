//! The files of a full backup, from the response into an empty directory.

use super::writer::{ReceivedFile, Writer};
use crate::{
    Error, ErrorKind,
    manifest::{FileEntry, SUMS, sums::SumsWriter},
    progress::Progress,
    source::client::Incoming,
};
use neo4j_format::{
    DirHandle, DiskError,
    ids::StoreId,
    wire::{Event, PeerPath},
};

/// The files of a backup, all of them durable but for their names.
#[derive(Debug)]
pub(crate) struct ReceivedFiles {
    /// In the order of their digests.
    pub(crate) files: Vec<FileEntry>,
    /// Which database it is.
    pub(crate) store_id: StoreId,
    /// Bytes of all files.
    pub(crate) bytes: u64,
}

/// Name of the checksums as received, before transactions change the files.
pub(crate) const RECEIVED_SUMS: &str = "neo4j-backup.sums.received";

/// Receives all files into `dir`, up to the store id that follows them.
///
/// # Errors
/// Of the response; of the disk.
pub(crate) fn receive(
    incoming: &mut Incoming,
    dir: &DirHandle,
    progress: &dyn Progress,
) -> Result<ReceivedFiles, Error> {
    debug_assert!(RECEIVED_SUMS.starts_with(SUMS));
    let sums_path = dir.join(RECEIVED_SUMS);
    let mut sums = SumsWriter::create(dir, RECEIVED_SUMS).map_err(DiskError::at(&sums_path))?;
    let mut writer = Writer::start()?;
    let (mut files, mut bytes, mut open) = (Vec::new(), 0, None::<ReceivedFile>);
    let store_id = loop {
        match (incoming.next()?, &mut open) {
            (Event::File(path), None) => {
                progress.file(path.as_str());
                open = Some(create(dir, &path, &mut writer)?);
            }
            (Event::Data(piece), Some(file)) => {
                file.write(piece, &mut sums, &mut writer)?;
                bytes += piece.len() as u64;
                progress.bytes(piece.len() as u64);
            }
            (Event::FileEnd, Some(_)) => {
                if let Some(file) = open.take() {
                    files.push(file.finish(&mut sums, &mut writer)?);
                }
            }
            (Event::StoreId(id), None) => break id,
            (other, _) => {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    format!("{other:?} inside the list of files"),
                ));
            }
        }
    };
    sums.finish().map_err(DiskError::at(&sums_path))?;
    writer.finish()?;
    Ok(ReceivedFiles { files, store_id, bytes })
}

/// Creates the file and the folders it lies in.
fn create(dir: &DirHandle, path: &PeerPath, writer: &mut Writer) -> Result<ReceivedFile, Error> {
    let place = dir.join(path.as_str());
    if let Some((folder, _)) = path.as_str().rsplit_once('/') {
        dir.create_folders(folder).map_err(DiskError::at(dir.join(folder)))?;
    }
    let file = dir.create_new(path.as_str()).map_err(DiskError::at(&place))?;
    Ok(ReceivedFile::begin(file, place, path.as_str().to_owned(), writer)?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{self, Read},
    };

    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::progress::Quiet;
    use neo4j_format::wire::{Decoder, Dialect, Encoder, Follows};

    /// Gives its bytes in as many reads as chance will have it, from single bytes to all that is asked for.
    struct Torn {
        bytes: io::Cursor<Vec<u8>>,
        random: StdRng,
    }

    impl Read for Torn {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = match self.random.random_range(0..4) {
                0 => self.random.random_range(1..8),
                1 => self.random.random_range(1..2000),
                _ => self.random.random_range(1..=buffer.len()),
            };
            let most = most.min(buffer.len());
            self.bytes.read(&mut buffer[..most])
        }
    }

    /// No two places of it look alike, so that misplaced bytes show.
    fn content(random: &mut StdRng, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        random.fill(&mut bytes[..]);
        bytes
    }

    /// The response of a full backup without transactions.
    fn response(dialect: Dialect, chunk: usize, files: &[Vec<u8>]) -> Vec<u8> {
        let (mut encoder, mut sent) = (Encoder::with_chunks_of(dialect, chunk), Vec::new());
        for (number, mut rest) in files.iter().map(Vec::as_slice).enumerate() {
            let path = PeerPath::to_send(&format!("neostore.{number}")).unwrap();
            encoder.file(&path, rest.len() as u64);
            while !rest.is_empty() {
                encoder.data(&mut rest);
                if encoder.is_full() {
                    sent.extend(encoder.frame(Follows::More));
                    encoder.next_chunk();
                }
            }
            encoder.end();
        }
        encoder.files_end();
        encoder.store_id(StoreId {
            creation_time: 1,
            random: 2,
            store_version: dialect.has_store_version().then_some(3),
        });
        encoder.transactions_end();
        sent.extend(encoder.frame(Follows::Nothing));
        sent
    }

    fn arrive_as_they_were_sent(seed: u64, dialect: Dialect, chunk: usize, lengths: &[usize]) {
        let mut random = StdRng::seed_from_u64(seed);
        let files_sent: Vec<_> = lengths.iter().map(|length| content(&mut random, *length)).collect();
        let bytes = io::Cursor::new(response(dialect, chunk, &files_sent));
        let dir = tempfile::tempdir().unwrap();
        let mut incoming = Incoming::replay(Decoder::full(dialect), Torn { bytes, random });
        let received = receive(&mut incoming, &DirHandle::open(dir.path()).unwrap(), &Quiet).unwrap();
        assert_eq!(received.files.len(), files_sent.len());
        for (entry, sent) in received.files.iter().zip(&files_sent) {
            let found = fs::read(dir.path().join(&entry.path)).unwrap();
            assert_eq!(found.len(), sent.len(), "{}", entry.path);
            let moved = found.iter().zip(sent).position(|(found, sent)| found != sent);
            assert_eq!(moved, None, "{}", entry.path);
        }
    }

    const DIALECTS: [Dialect; 4] = [Dialect::D13, Dialect::D14, Dialect::D15, Dialect::D18];

    /// Around what the way of the bytes is cut at: records, blocks on the wire, pages, blocks of the writer.
    fn length() -> impl Strategy<Value = usize> {
        let around = prop::sample::select(vec![0, 25, 255, 4096, 4600, 65_536, 1 << 20, 3 << 20]);
        prop_oneof![
            3 => (around, 0..3_usize).prop_map(|(length, more): (usize, usize)| (length + more).saturating_sub(1)),
            1 => 0..300_000_usize,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_byte_is_moved_however_the_response_is_cut(
            seed: u64,
            dialect in prop::sample::select(DIALECTS.to_vec()),
            chunk in prop_oneof![256..1000_usize, 1000..300_000_usize],
            lengths in prop::collection::vec(length(), 1..6),
        ) {
            arrive_as_they_were_sent(seed, dialect, chunk, &lengths);
        }
    }

    #[test]
    fn no_byte_of_a_file_is_moved_where_direct_writes_begin_and_end() {
        arrive_as_they_were_sent(7, Dialect::D18, 4_000_000, &[4600, (67 << 20) + 4600, 25]);
    }
}
