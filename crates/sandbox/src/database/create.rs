//! A database from nothing (`docs/formats/store-format.md` §13): every file that a server leaves after its first clean
//! shutdown, but for the transaction manager's, which it recreates.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use super::DatabaseError;
use neo4j_backup_core::replay::{apply::DirtyChunks, seal};
use neo4j_format::{
    DirHandle, DiskError,
    ids::{DataSource, StoreId},
    log::files::{self, Marker},
    store::{StoreFile, StoreFormat, header::CURRENT_VERSION, lucene_store, record::Node},
    width::to_usize,
};

/// Version "3.5" of the index files, in the manner of a store version; from 1.6 on.
const INDEX_VERSION: i64 = 0x352E_3303;

/// Size of a block with its header, of texts and arrays and of names.
fn block_size(kind: StoreFile, format: StoreFormat) -> Option<u32> {
    let names = matches!(kind, StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName);
    kind.is_dynamic().then_some(match (format, names) {
        (StoreFormat::Current, true) => 38,
        (StoreFormat::Current, false) => 128,
        (StoreFormat::Legacy, true) => 43,
        (StoreFormat::Legacy, false) => 133,
    })
}

/// Makes an empty database, cleanly shut down, in `dir`, which must be empty or absent.
pub(super) fn create(dir: &Path, format: StoreFormat, id: StoreId) -> Result<(), DatabaseError> {
    let index = dir.join("index");
    fs::create_dir_all(&index).map_err(DiskError::at(&index))?;
    for kind in StoreFile::ALL {
        let mut bytes = Vec::new();
        if let Some(size) = block_size(kind, format) {
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.resize(to_usize(u64::from(size)), 0);
        }
        match kind {
            StoreFile::Node => bytes.extend_from_slice(&reference_node()),
            StoreFile::Neostore => bytes.extend_from_slice(&neostore(format, id)),
            _ => {}
        }
        write_new(&dir.join(kind.name()), &bytes)?;
    }
    let handle = DirHandle::open(dir).map_err(DiskError::at(dir))?;
    for kind in StoreFile::ALL {
        seal::seal(&handle, kind, format, &mut DirtyChunks::default())?;
    }
    write_new(&dir.join(lucene_store::PATH), &lucene_store(format, id))?;
    for source in DataSource::ALL {
        write_new(&dir.join(files::marker(source)), &Marker::Clean.encode())?;
    }
    Ok(())
}

/// Node 0, which every database has.
fn reference_node() -> [u8; Node::SIZE] {
    let node = Node {
        first_relationship: None,
        first_property: None,
    };
    // without pointers nothing can be too wide
    node.encode().unwrap_or_default()
}

fn neostore(format: StoreFormat, id: StoreId) -> Vec<u8> {
    let mut records = vec![id.creation_time, id.random, 0, 1];
    if format == StoreFormat::Current {
        records.extend([CURRENT_VERSION, -1]);
    }
    records
        .into_iter()
        .flat_map(|value| [&[1][..], &value.to_be_bytes()].concat())
        .collect()
}

fn lucene_store(format: StoreFormat, id: StoreId) -> Vec<u8> {
    let mut fields = vec![id.creation_time, !id.random, 0, 1];
    if format == StoreFormat::Current {
        fields.push(INDEX_VERSION);
    }
    fields.into_iter().flat_map(i64::to_be_bytes).collect()
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    File::create_new(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(DiskError::at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(format: StoreFormat) -> StoreId {
        StoreId {
            creation_time: 1_350_000_000_000,
            random: 0x0123_4567_89AB_CDEF,
            store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
        }
    }

    #[test]
    fn an_empty_database_has_the_documented_lengths() {
        for (format, lengths) in [
            (StoreFormat::Current, [25, 24, 28, 64, 20, 25, 64, 154, 153, 69]),
            (StoreFormat::Legacy, [25, 24, 28, 69, 20, 20, 69, 159, 158, 51]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            create(dir.path(), format, id(format)).unwrap();
            for (kind, length) in StoreFile::ALL.into_iter().zip(lengths) {
                let bytes = fs::read(dir.path().join(kind.name())).unwrap();
                assert_eq!(bytes.len(), length, "{}", kind.name());
                assert_eq!(fs::read(dir.path().join(kind.id_name())).unwrap().len(), 9);
            }
            let lucene = fs::read(dir.path().join(lucene_store::PATH)).unwrap();
            assert_eq!(lucene.len(), if format == StoreFormat::Current { 40 } else { 32 });
        }
    }

    #[test]
    fn a_database_is_never_made_over_another() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), StoreFormat::Current, id(StoreFormat::Current)).unwrap();
        assert!(create(dir.path(), StoreFormat::Current, id(StoreFormat::Current)).is_err());
    }
}
