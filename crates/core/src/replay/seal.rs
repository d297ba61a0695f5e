//! Makes store files ready to receive changes, and clean again afterwards (`docs/formats/store-format.md` §3, §6, §10.4).
//!
//! A clean file is cut at its high id and carries its type and version behind the last record; its `.id` file holds the
//! high id and, in a backup, never a free id (§6): Neo4j would hand it out again although a replayed transaction uses it.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use rustix::{fs::SeekFrom, io::Errno};

use super::{
    apply::{ApplyError, DirtyChunks},
    open_store::OpenStore,
};
use neo4j_format::{
    DirHandle, DiskError,
    store::{Header, StoreFile, StoreFormat},
    width::to_usize,
};

/// Bytes looked at in one step when the last record is searched from the end.
const STEP: u64 = 256 * 1024;

/// Cuts a trailer off, if there is one, and the file to whole records.
///
/// # Errors
/// Disk errors; no block size.
pub fn unseal(dir: &DirHandle, kind: StoreFile, format: StoreFormat) -> Result<(), ApplyError> {
    let store = OpenStore::open(dir, kind, format)?;
    let (file, path) = (&store.file, &store.path);
    let length = store.length()?;
    let trailer = kind.trailer(format);
    let mut end = vec![0; trailer.len()];
    let mut cut = length;
    if let Some(at) = length.checked_sub(trailer.len() as u64) {
        file.read_exact_at(&mut end, at).map_err(DiskError::at(path))?;
        if end == trailer.as_bytes() {
            cut = at;
        }
    }
    if kind != StoreFile::Neostore && cut > 0 {
        cut -= cut % store.record_size()?;
    }
    if cut < length {
        file.set_len(cut).map_err(DiskError::at(path))?;
    }
    Ok(())
}

/// Whether a file ends with its trailer behind whole records and has an `.id` file that Neo4j takes.
///
/// # Errors
/// Disk errors; no block size.
pub fn is_clean(dir: &DirHandle, kind: StoreFile, format: StoreFormat) -> Result<bool, ApplyError> {
    let store = OpenStore::open(dir, kind, format)?;
    let trailer = kind.trailer(format);
    let Some(records) = store.length()?.checked_sub(trailer.len() as u64) else {
        return Ok(false);
    };
    let mut end = vec![0; trailer.len()];
    let found = store.file.read_exact_at(&mut end, records);
    found.map_err(DiskError::at(&store.path))?;
    if end != trailer.as_bytes() || records % store.record_size()? != 0 {
        return Ok(false);
    }
    let path = dir.join(kind.id_name());
    let mut id_header = [1; 9];
    let read = dir
        .open_file(&path)
        .and_then(|file| file.read_exact_at(&mut id_header, 0));
    match read {
        Ok(()) => Ok(id_header[0] == 0),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(false),
        Err(e) => Err(DiskError::new(path, e).into()),
    }
}

/// Cuts the file at its high id, writes its trailer and its `.id` file. Nothing is synced.
///
/// Returns the file's new length; the part from its old end of records on is noted as touched.
///
/// # Errors
/// Disk errors; no block size.
pub fn seal(
    dir: &DirHandle,
    kind: StoreFile,
    format: StoreFormat,
    touched: &mut DirtyChunks,
) -> Result<u64, ApplyError> {
    let store = OpenStore::open(dir, kind, format)?;
    let (file, path) = (&store.file, &store.path);
    let size = store.record_size()?;
    let high_id = if kind == StoreFile::Neostore {
        Header::open(dir)?.records()?
    } else {
        let found = last_in_use(file, kind, format, size, store.length()?).map_err(DiskError::at(path))?;
        found.max(touched.high_id).max(u64::from(kind.is_dynamic()))
    };
    let end = high_id * size;
    file.set_len(end).map_err(DiskError::at(path))?;
    let trailer = kind.trailer(format);
    file.write_all_at(trailer.as_bytes(), end)
        .map_err(DiskError::at(path))?;
    touched.note(end, trailer.len() as u64);
    let id_path = dir.join(kind.id_name());
    let mut id_file = [0; 9];
    id_file[1..].copy_from_slice(&high_id.to_be_bytes());
    dir.create(&id_path)
        .and_then(|mut file| file.write_all(&id_file))
        .map_err(DiskError::at(&id_path))?;
    Ok(end + trailer.len() as u64)
}

/// Where the last record in use ends, in bytes; at least the place from which on sealing may cut or extend the file.
///
/// # Errors
/// Disk errors; no block size.
pub(crate) fn end_of_records(dir: &DirHandle, kind: StoreFile, format: StoreFormat) -> Result<u64, ApplyError> {
    let store = OpenStore::open(dir, kind, format)?;
    let size = store.record_size()?;
    let records = store.length()?.saturating_sub(kind.trailer(format).len() as u64);
    let last = last_in_use(&store.file, kind, format, size, records).map_err(DiskError::at(&store.path))?;
    Ok(last * size)
}

/// One more than the last record in use, 0 where there is none; reads backwards and leaves out holes, so that a tail of
/// zeros costs little.
fn last_in_use(file: &File, kind: StoreFile, format: StoreFormat, size: u64, length: u64) -> io::Result<u64> {
    let mut end = length / size;
    let step = (STEP / size).max(1);
    let mut buffer = Vec::new();
    loop {
        end = end.min(end_of_data(file, end * size).div_ceil(size));
        if end == 0 {
            return Ok(0);
        }
        let start = end.saturating_sub(step);
        buffer.resize(to_usize((end - start) * size), 0);
        file.read_exact_at(&mut buffer, start * size)?;
        let record = to_usize(size);
        if let Some(last) = buffer
            .chunks_exact(record)
            .rposition(|record| in_use(record, kind, format))
        {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
}

/// A place that nothing but a hole follows, no more than a step after the last byte that the file system keeps.
fn end_of_data(file: &File, length: u64) -> u64 {
    let (mut end, mut window) = (length, STEP);
    while end > 0 {
        let start = end.saturating_sub(window);
        match rustix::fs::seek(file, SeekFrom::Data(start)) {
            Ok(data) if data < end && window == STEP => break,
            Ok(data) if data < end => window = STEP,
            Ok(_) | Err(Errno::NXIO) => {
                end = start;
                window = window.saturating_mul(2);
            }
            // a file system that knows no holes
            Err(_) => break,
        }
    }
    end
}

/// The in-use tests of an id rebuild (§6).
fn in_use(record: &[u8], kind: StoreFile, format: StoreFormat) -> bool {
    let first = record.first().copied().unwrap_or_default();
    match (kind, format) {
        (StoreFile::Property, StoreFormat::Current) => {
            // the type is in bits 24–27 of the first long, which begins at byte 9
            matches!(record.get(13).map(|byte| byte & 15), Some(1..=12))
        }
        (_, StoreFormat::Current) if kind.is_dynamic() => first >> 4 == 1,
        (StoreFile::Node | StoreFile::Relationship, _) => first & 1 == 1,
        // records shorter than the trailer: what power loss left of one is none of them
        (StoreFile::RelationshipType | StoreFile::PropertyKey, _) => first == 1,
        _ => first != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use crate::replay::apply::empty_store;

    const NEOSTORE: &str = "010000013A52453C00 010123456789ABCDEF 010000000000000001 010000000000000001
        0100302E412E307606 01FFFFFFFFFFFFFFFF";

    fn sealed(dir: &tempfile::TempDir, kind: StoreFile, format: StoreFormat) -> (Vec<u8>, Vec<u8>) {
        let length = seal(
            &DirHandle::open(dir.path()).unwrap(),
            kind,
            format,
            &mut DirtyChunks::default(),
        )
        .unwrap();
        let bytes = std::fs::read(dir.path().join(kind.name())).unwrap();
        assert_eq!(bytes.len() as u64, length);
        (bytes, std::fs::read(dir.path().join(kind.id_name())).unwrap())
    }

    #[test]
    fn an_empty_store_is_sealed_to_the_documented_bytes() {
        let current = StoreFormat::Current;
        let dir = empty_store(current);
        std::fs::write(dir.path().join("neostore"), hex(NEOSTORE)).unwrap();
        std::fs::write(dir.path().join("neostore.nodestore.db"), hex("01FFFFFFFFFFFFFFFF")).unwrap();
        let id = |high: u8| [0, 0, 0, 0, 0, 0, 0, 0, high].to_vec();
        let node = [&hex("01FFFFFFFFFFFFFFFF")[..], b"NodeStore v0.A.0"].concat();
        assert_eq!(sealed(&dir, StoreFile::Node, current), (node, id(1)));
        assert_eq!(
            sealed(&dir, StoreFile::Relationship, current),
            (b"RelationshipStore v0.A.0".to_vec(), id(0))
        );
        let (strings, high) = sealed(&dir, StoreFile::String, current);
        assert_eq!((strings.len(), high), (154, id(1)));
        let neostore = [&hex(NEOSTORE)[..], b"NeoStore v0.A.0"].concat();
        assert_eq!(sealed(&dir, StoreFile::Neostore, current), (neostore, id(6)));
        let dir = empty_store(StoreFormat::Legacy);
        std::fs::write(dir.path().join("neostore"), &hex(NEOSTORE)[..36]).unwrap();
        let (neostore, high) = sealed(&dir, StoreFile::Neostore, StoreFormat::Legacy);
        assert_eq!((neostore.len(), high), (51, id(4)));
    }

    #[test]
    fn a_tail_of_zeros_is_cut_but_never_what_was_written() {
        let format = StoreFormat::Current;
        let dir = empty_store(format);
        let path = dir.path().join("neostore.nodestore.db");
        let mut bytes = vec![0; 9 * 1_000_000];
        bytes[9 * 70_000] = 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(sealed(&dir, StoreFile::Node, format).0.len(), 9 * 70_001 + 16);
        unseal(&DirHandle::open(dir.path()).unwrap(), StoreFile::Node, format).unwrap();
        let mut touched = DirtyChunks::default();
        touched.high_id = 80_000;
        assert_eq!(
            seal(
                &DirHandle::open(dir.path()).unwrap(),
                StoreFile::Node,
                format,
                &mut touched
            )
            .unwrap(),
            9 * 80_000 + 16
        );
    }

    #[test]
    fn a_huge_hole_costs_no_time() {
        let format = StoreFormat::Current;
        let dir = empty_store(format);
        let path = dir.path().join("neostore.nodestore.db");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(&[1], 9 * 70_000).unwrap();
        let start = std::time::Instant::now();
        assert_eq!(sealed(&dir, StoreFile::Node, format).0.len(), 9 * 70_001 + 16);
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn a_torn_trailer_is_not_taken_for_records() {
        for format in [StoreFormat::Legacy, StoreFormat::Current] {
            for kind in StoreFile::ALL.into_iter().filter(|kind| *kind != StoreFile::Neostore) {
                let dir = empty_store(format);
                let whole = sealed(&dir, kind, format);
                let end = whole.0.len() - kind.trailer(format).len();
                for torn in end..whole.0.len() {
                    let mut bytes = whole.0.clone();
                    bytes[torn..].fill(0);
                    std::fs::write(dir.path().join(kind.name()), &bytes).unwrap();
                    unseal(&DirHandle::open(dir.path()).unwrap(), kind, format).unwrap();
                    assert_eq!(sealed(&dir, kind, format), whole, "{} at {torn}", kind.name());
                }
            }
        }
    }

    #[test]
    fn a_file_is_clean_with_its_trailer_and_a_closed_id_file() {
        let format = StoreFormat::Current;
        let dir = empty_store(format);
        let clean = || is_clean(&DirHandle::open(dir.path()).unwrap(), StoreFile::String, format).unwrap();
        assert!(!clean());
        sealed(&dir, StoreFile::String, format);
        assert!(clean());
        let (id, store) = (
            dir.path().join(StoreFile::String.id_name()),
            dir.path().join(StoreFile::String.name()),
        );
        std::fs::write(&id, [1, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
        assert!(!clean());
        std::fs::write(&id, [0; 8]).unwrap();
        assert!(!clean());
        std::fs::remove_file(&id).unwrap();
        assert!(!clean());
        sealed(&dir, StoreFile::String, format);
        let bytes = std::fs::read(&store).unwrap();
        std::fs::write(&store, [&bytes[..128], &[0], &bytes[128..]].concat()).unwrap();
        assert!(!clean());
        std::fs::write(&store, &bytes[..128]).unwrap();
        assert!(!clean());
    }

    #[test]
    fn unsealing_takes_back_sealing_and_cuts_partial_records() {
        let format = StoreFormat::Current;
        let dir = empty_store(format);
        let path = dir.path().join("neostore.nodestore.db");
        std::fs::write(&path, [1; 18]).unwrap();
        sealed(&dir, StoreFile::Node, format);
        unseal(&DirHandle::open(dir.path()).unwrap(), StoreFile::Node, format).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [1; 18]);
        std::fs::write(&path, [1; 21]).unwrap();
        unseal(&DirHandle::open(dir.path()).unwrap(), StoreFile::Node, format).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 18);
        std::fs::write(&path, []).unwrap();
        unseal(&DirHandle::open(dir.path()).unwrap(), StoreFile::Node, format).unwrap();
    }
}
