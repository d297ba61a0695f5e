//! Changes against the bytes they leave.

use neo4j_format::DirHandle;
use std::{fs::File, os::unix::fs::FileExt};

use proptest::prelude::*;

use super::*;
use crate::Error;
use neo4j_format::store::record::{DynamicHeader, Node, Property, RecordId, Relationship};

/// Empty store files, the dynamic ones with their first block.
pub(crate) fn empty_store(format: StoreFormat) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for kind in StoreFile::ALL {
        let block: u32 = match (kind, format) {
            (StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName, StoreFormat::Current) => 38,
            (StoreFile::String | StoreFile::Array, StoreFormat::Current) => 128,
            (StoreFile::RelationshipTypeName | StoreFile::PropertyKeyName, StoreFormat::Legacy) => 43,
            (StoreFile::String | StoreFile::Array, StoreFormat::Legacy) => 133,
            _ => 0,
        };
        let mut bytes = vec![0; usize::try_from(block).unwrap()];
        if block > 0 {
            bytes[..4].copy_from_slice(&block.to_be_bytes());
        }
        std::fs::write(dir.path().join(kind.name()), bytes).unwrap();
    }
    dir
}

fn read(dir: &tempfile::TempDir, kind: StoreFile) -> Vec<u8> {
    std::fs::read(dir.path().join(kind.name())).unwrap()
}

fn block(next: Pointer, length: u32) -> DynamicHeader {
    DynamicHeader {
        previous: None,
        next,
        length,
    }
}

#[test]
fn the_documented_operations_leave_the_documented_bytes() {
    let dir = empty_store(StoreFormat::Current);
    let mut applier = Applier::open(
        &DirHandle::open(dir.path()).unwrap(),
        StoreFormat::Current,
        Growth::Usual,
    )
    .unwrap();
    let node = Node {
        first_relationship: None,
        first_property: None,
    };
    let name = block(None, 5);
    for change in [
        Change::Node(RecordId(1), Some(node)),
        Change::Dynamic(StoreFile::RelationshipTypeName, RecordId(1), Some((name, b"KNOWS"))),
        Change::Property(
            RecordId(0),
            Some(Property {
                previous: None,
                next: None,
                payload: [0xC74D_808A_7B00_0000, 0x12, 0, 0],
                used: 2,
            }),
        ),
    ] {
        applier.apply(&change).unwrap();
    }
    let touched = applier.finish().unwrap().touched;
    assert_eq!(
        read(&dir, StoreFile::Node)[9..],
        [1, 255, 255, 255, 255, 255, 255, 255, 255]
    );
    assert_eq!(
        read(&dir, StoreFile::RelationshipTypeName)[38..51],
        *b"\x10\0\0\x05\xff\xff\xff\xffKNOWS"
    );
    let property = read(&dir, StoreFile::Property);
    assert_eq!(property.len(), 33);
    assert_eq!(property[9..17], 0xC74D_808A_7B00_0000_u64.to_be_bytes());
    assert_eq!(touched[&StoreFile::Node].high_id, 2);
    assert!(touched[&StoreFile::Node].has(0));
    assert!(!touched[&StoreFile::Node].has(1));
}

#[test]
fn deleting_leaves_everything_but_the_in_use_information() {
    let dir = empty_store(StoreFormat::Current);
    std::fs::write(dir.path().join(StoreFile::Node.name()), [0xff; 27]).unwrap();
    std::fs::write(dir.path().join(StoreFile::Property.name()), [0xff; 41]).unwrap();
    let mut applier = Applier::open(
        &DirHandle::open(dir.path()).unwrap(),
        StoreFormat::Current,
        Growth::Usual,
    )
    .unwrap();
    applier.apply(&Change::Node(RecordId(1), None)).unwrap();
    applier.apply(&Change::Property(RecordId(0), None)).unwrap();
    applier.finish().unwrap();
    let mut node = [0xff; 27];
    node[9] = 0;
    assert_eq!(read(&dir, StoreFile::Node), node);
    let mut property = [0xff; 41];
    property[9..17].fill(0);
    assert_eq!(read(&dir, StoreFile::Property), property);
}

#[test]
fn what_cannot_stand_in_a_store_is_refused_and_nothing_is_written() {
    let dir = empty_store(StoreFormat::Current);
    let before: Vec<_> = StoreFile::ALL.into_iter().map(|kind| read(&dir, kind)).collect();
    let mut applier = Applier::open(
        &DirHandle::open(dir.path()).unwrap(),
        StoreFormat::Current,
        Growth::Usual,
    )
    .unwrap();
    let far = Change::Node(RecordId(1 << 34), None);
    assert!(matches!(applier.apply(&far), Err(ApplyError::TooFar { .. })));
    let first = Change::Dynamic(StoreFile::String, RecordId(0), None);
    assert!(matches!(applier.apply(&first), Err(ApplyError::Block { .. })));
    let long = Change::Dynamic(StoreFile::String, RecordId(1), Some((block(None, 121), &[0; 121])));
    assert!(matches!(applier.apply(&long), Err(ApplyError::Block { .. })));
    let other = Change::LegacyProperty(RecordId(1), None);
    assert!(matches!(applier.apply(&other), Err(ApplyError::Format { .. })));
    let wide = Node {
        first_relationship: Some(RecordId(1 << 35)),
        first_property: None,
    };
    let wide = Change::Node(RecordId(1), Some(wide));
    assert!(matches!(applier.apply(&wide), Err(ApplyError::TooWide { .. })));
    applier.finish().unwrap();
    let after: Vec<_> = StoreFile::ALL.into_iter().map(|kind| read(&dir, kind)).collect();
    assert_eq!(before, after);
}

#[test]
fn files_grow_as_far_as_is_allowed_and_no_further() {
    let dir = empty_store(StoreFormat::Current);
    let mut applier = Applier::open(
        &DirHandle::open(dir.path()).unwrap(),
        StoreFormat::Current,
        Growth::Bytes(9000),
    )
    .unwrap();
    applier.apply(&Change::Node(RecordId(1000), None)).unwrap();
    let beyond = applier.apply(&Change::Node(RecordId(1001), None)).unwrap_err();
    applier.finish().unwrap();
    assert_eq!(read(&dir, StoreFile::Node).len(), 9001);
    let error = Error::from(beyond);
    assert!(error.hint().is_some_and(|hint| hint.contains("-max-growth")), "{error}");
    assert_eq!(Growth::Usual.end(1 << 20), (1 << 30) + (1 << 20));
    assert_eq!(Growth::Usual.end(1 << 30), 5 << 30);
}

#[test]
fn a_dynamic_store_without_block_size_is_refused() {
    let dir = empty_store(StoreFormat::Legacy);
    std::fs::write(dir.path().join(StoreFile::Array.name()), [0, 0, 0, 5]).unwrap();
    let opened = Applier::open(
        &DirHandle::open(dir.path()).unwrap(),
        StoreFormat::Legacy,
        Growth::Usual,
    );
    assert!(matches!(opened, Err(ApplyError::BlockSize { size: 5, .. })));
}

/// Changes of all lengths: whole records, parts of records, deletions, blocks with and without data.
fn change() -> impl Strategy<Value = (u8, u64, u8)> {
    // most ids are near each other, as those of real transactions; 60 000 of them fill more pages than are held
    let id = prop_oneof![8 => 1..300_u64, 2 => 1..60_000_u64];
    (0..8_u8, id, any::<u8>())
}

fn decode((kind, id, value): (u8, u64, u8)) -> Change<'static> {
    const DATA: [u8; 120] = [7; 120];
    let (id, other) = (RecordId(id), Some(RecordId(value.into())));
    let property = Property {
        previous: None,
        next: other,
        payload: [0xC74D_808A_7B00_0000 | u64::from(value); 4],
        used: 1 + value % 4,
    };
    match kind {
        0 => Change::Node(
            id,
            Some(Node {
                first_relationship: other,
                first_property: None,
            }),
        ),
        1 => Change::Node(id, None),
        2 => Change::Relationship(
            id,
            Some(Relationship {
                first_node: other,
                second_node: other,
                type_id: 1,
                first_previous: None,
                first_next: other,
                second_previous: None,
                second_next: None,
                first_property: other,
            }),
        ),
        3 => Change::Relationship(id, None),
        4 => Change::Property(id, Some(property)),
        5 => Change::Property(id, None),
        6 => {
            let data = &DATA[..usize::from(value) % (DATA.len() + 1)];
            let length = u32::try_from(data.len()).unwrap();
            Change::Dynamic(StoreFile::String, id, Some((block(None, length), data)))
        }
        _ => Change::Dynamic(StoreFile::Array, id, None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_leave_the_bytes_that_a_write_for_each_change_leaves(
        changes in proptest::collection::vec(change(), 0..3000),
        flushes in proptest::collection::vec(0..3000_usize, 0..4),
    ) {
        let format = StoreFormat::Current;
        let (paged, plain) = (empty_store(format), empty_store(format));
        for dir in [&paged, &plain] {
            // records from before, the last of them cut, so that changes fall into what was there
            for kind in [StoreFile::Node, StoreFile::Property, StoreFile::Relationship] {
                std::fs::write(dir.path().join(kind.name()), [0xAB; 5003]).unwrap();
            }
        }
        let mut applier = Applier::open(&DirHandle::open(paged.path()).unwrap(), format, Growth::Usual).unwrap();
        let placement = Placement::open(&DirHandle::open(plain.path()).unwrap(), format, Growth::Usual).unwrap();
        let mut image = Vec::new();
        for (n, change) in changes.into_iter().map(decode).enumerate() {
            applier.apply(&change).unwrap();
            if flushes.contains(&n) {
                applier.flush().unwrap();
            }
            let place = placement.place(&change, &mut image).unwrap();
            let path = plain.path().join(place.file.name());
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&image, place.offset).unwrap();
        }
        applier.finish().unwrap();
        for kind in StoreFile::ALL {
            prop_assert!(read(&paged, kind) == read(&plain, kind), "{}", kind.name());
        }
    }
}
