//! The worked examples of `docs/formats/transaction-log.md` §14, both directions.

use super::sample::{Builder, LUCENE, TIME, V1, V2, hex, layout, read};
use crate::{
    ids::{DataSource, TxId},
    log::{
        Change, Item, Layout, LogFormat, LuceneCommand,
        encode::{Block, Command, DynamicRecord, Owner},
        entry::{Commit, CommitKind, CommitStamp, Origin, Start},
        lucene::{IndexProperties, LuceneAction, LuceneValue, Text},
    },
    store::{
        IndexKind, StoreFile,
        record::{
            DynamicHeader, LegacyProperty, Node, Property, PropertyKey, RecordId, Relationship, RelationshipType,
        },
    },
};

/// §14.2 without the header.
const CURRENT: &str = "01 19 06 4e454f4b45524e4c00 1122334455667788 0000000000000007 343134313431
    00000002 4e454e31 ffffffff ffffffff 0000013a49c24780
    03 00000002 01 0000000000000001 01 ffffffffffffffff 0000000000000000
    03 00000002 02 0000000000000000 01 ffffffffffffffff ffffffffffffffff 0000000000000001 01 08 28d2c08a4b000000
    00000000 00000000
    05 00000002 000000000000002b 0000013a49c247fb
    04 00000002";

/// §14.3 without the header.
const LEGACY: &str = "01 19 06 4e454f4b45524e4c00 1122334455667788 0000000000000007 343134313431
    00000002 4e454e31
    03 00000002 01 0000000000000001 01 ffffffffffffffff 0000000000000000
    03 00000002 02 0000000000000000 01 0000000000000001 0000000b 00000000 7c0000616c696365
    ffffffffffffffff ffffffffffffffff 00000000
    05 00000002 000000000000002b ffffffff
    04 00000002";

/// §14.4 without the header.
const INDEX: &str = "01 19 06 4e454f4b45524e4c00 1122334455667788 0000000000000007 313632333734
    00000002 4e454e31 ffffffff ffffffff 0000013a49c24780
    03 00000002 01 01 00000006 0000000000000001 00000004 05 00700065006f0070006c0065 006e0061006d0065
    00000005 0061006c006900630065
    05 00000002 0000000000000009 0000013a49c247fb
    04 00000002";

const ID_1: RecordId = RecordId(1);

fn node_1() -> Node {
    Node {
        first_relationship: None,
        first_property: Some(RecordId(0)),
    }
}

fn legacy_alice() -> LegacyProperty {
    LegacyProperty {
        type_code: 11,
        key: 0,
        value: 0x7C00_0061_6C69_6365,
        previous: None,
        next: None,
    }
}

fn encoded(command: &Command<'_>, format: LogFormat) -> Vec<u8> {
    let mut out = Vec::new();
    command.encode(format, &mut out);
    out
}

#[test]
fn the_current_example_decodes() {
    let bytes = hex(CURRENT);
    assert_eq!(bytes.len(), 172);
    let mut expected = vec![
        Item::Start(Start {
            global_id: b"NEOKERNL\0\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\0\0\0\0\x07",
            branch: b"414141",
            identifier: 2,
            origin: Some(Origin {
                master_id: -1,
                my_id: -1,
                time: TIME,
            }),
        }),
        Item::Change(Change::Node(ID_1, Some(node_1()))),
        Item::Change(Change::Property(
            RecordId(0),
            Some(Property {
                previous: None,
                next: None,
                payload: [0x28D2_C08A_4B00_0000, 0, 0, 0],
                used: 1,
            }),
        )),
        Item::Commit(Commit {
            kind: CommitKind::OnePhase,
            identifier: 2,
            tx: TxId(43),
            stamp: CommitStamp::Time(TIME + 123),
        }),
        Item::Done,
    ];
    expected.reverse();
    read(&bytes, V2, 43, |item| assert_eq!(Some(item), expected.pop())).unwrap();
    assert!(expected.is_empty());
}

#[test]
fn the_current_example_encodes() {
    let block = Block {
        longs: &[0x28D2_C08A_4B00_0000],
        records: &[],
    };
    let property = Command::Property {
        id: RecordId(0),
        owner: Owner::Node(ID_1),
        previous: None,
        next: None,
        blocks: &[block],
        deleted: &[],
    };
    let bytes = Builder::new(V2, 2)
        .start()
        .command(&encoded(&Command::Node(ID_1, Some(node_1())), LogFormat::V2))
        .command(&encoded(&property, LogFormat::V2))
        .commit(43, CommitKind::OnePhase)
        .done();
    assert_eq!(bytes, hex(CURRENT));
}

#[test]
fn the_legacy_example_decodes_and_encodes() {
    let bytes = hex(LEGACY);
    assert_eq!(bytes.len(), 154);
    let mut expected = vec![
        Change::LegacyProperty(RecordId(0), Some(legacy_alice())),
        Change::Node(ID_1, Some(node_1())),
    ];
    read(&bytes, V1, 43, |item| match item {
        Item::Start(start) => assert_eq!(start.origin, None),
        Item::Change(change) => assert_eq!(Some(change), expected.pop()),
        Item::Commit(commit) => assert_eq!(commit.stamp, CommitStamp::Master(-1)),
        _ => assert_eq!(item, Item::Done),
    })
    .unwrap();
    assert!(expected.is_empty());
    let property = Command::LegacyProperty(RecordId(0), Owner::Node(ID_1), Some(legacy_alice()), &[]);
    let encoded = Builder::new(V1, 2)
        .start()
        .command(&encoded(&Command::Node(ID_1, Some(node_1())), LogFormat::V1))
        .command(&encoded(&property, LogFormat::V1))
        .commit(43, CommitKind::OnePhase)
        .done();
    assert_eq!(encoded, bytes);
}

#[test]
fn the_index_example_decodes_and_encodes() {
    let bytes = hex(INDEX);
    assert_eq!(bytes.len(), 142);
    let (name, key, value) = (utf16("people"), utf16("name"), utf16("alice"));
    let command = LuceneCommand {
        kind: IndexKind::Node,
        index: Text(&name),
        action: LuceneAction::Add {
            entity: 1,
            key: Some(Text(&key)),
            value: LuceneValue::Text(Text(&value)),
            ends: None,
        },
    };
    let items = read(&bytes, LUCENE, 9, |item| match item {
        Item::Lucene(found) => {
            assert_eq!(found, command);
            assert_eq!(found.key().to_string(), "node index \"people\"");
        }
        other => assert!(!matches!(other, Item::Change(_))),
    });
    assert_eq!(items.unwrap().len(), 4);
    let mut encoded = Vec::new();
    command.encode(&mut encoded);
    let whole = Builder::new(LUCENE, 2)
        .start()
        .command(&encoded)
        .commit(9, CommitKind::OnePhase)
        .done();
    assert_eq!(whole, bytes);
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn changes_of(layout: Layout, command: &[u8], check: impl FnMut(Item<'_>)) {
    let bytes = Builder::new(layout, 2)
        .start()
        .command(command)
        .commit(43, CommitKind::OnePhase)
        .done();
    read(&bytes, layout, 43, check).unwrap();
}

/// The command has these bytes, and is read as these changes.
fn graph_command(format: LogFormat, command: &Command<'_>, bytes: &str, changes: &[Change<'_>]) {
    let bytes = hex(bytes);
    assert_eq!(encoded(command, format), bytes);
    let mut left = changes.iter();
    changes_of(layout(format, DataSource::Graph), &bytes, |item| {
        if let Item::Change(change) = item {
            assert_eq!(Some(&change), left.next());
        }
    });
    assert_eq!(left.next(), None);
}

fn both(command: &Command<'_>, bytes: &str, changes: &[Change<'_>]) {
    graph_command(LogFormat::V1, command, bytes, changes);
    graph_command(LogFormat::V2, command, bytes, changes);
}

#[test]
fn single_commands_on_nodes_and_relationships() {
    let id = RecordId(3);
    both(
        &Command::Node(id, None),
        "01 0000000000000003 00",
        &[Change::Node(id, None)],
    );
    let delete = Command::Relationship(id, None);
    both(&delete, "03 0000000000000003 00", &[Change::Relationship(id, None)]);
    let relationship = Relationship {
        first_node: Some(ID_1),
        second_node: Some(RecordId(2)),
        type_id: 0,
        first_previous: None,
        first_next: None,
        second_previous: None,
        second_next: None,
        first_property: None,
    };
    both(
        &Command::Relationship(id, Some(relationship)),
        "03 0000000000000003 01 0000000000000001 0000000000000002 00000000 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF
         FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF",
        &[Change::Relationship(id, Some(relationship))],
    );
    let first = Some(RecordId(12));
    graph_command(
        LogFormat::V2,
        &Command::GraphProperty(first),
        "06 000000000000000C",
        &[Change::GraphProperty(first)],
    );
}

#[test]
fn single_commands_on_names() {
    let (file, id) = (StoreFile::RelationshipTypeName, RecordId(0));
    let record = RelationshipType { name_block: Some(ID_1) };
    let header = |length| DynamicHeader {
        previous: None,
        next: None,
        length,
    };
    for (format, data, bytes) in [
        (
            LogFormat::V2,
            b"KNOWS".to_vec(),
            "04 00000000 01 00000001 00000001 0000000000000001 00000000 01 00000005 FFFFFFFFFFFFFFFF 4B4E4F5753",
        ),
        (
            LogFormat::V1,
            utf16("KNOWS"),
            "04 00000000 01 00000001 00000001 0000000000000001 00000000 01 FFFFFFFFFFFFFFFF 0000000A FFFFFFFFFFFFFFFF
             004B004E004F00570053",
        ),
    ] {
        let content = Some((header(u32::try_from(data.len()).unwrap()), &data[..]));
        let block = DynamicRecord {
            store: file,
            id: ID_1,
            content,
        };
        graph_command(
            format,
            &Command::RelationshipType(id, Some(record), &[block]),
            bytes,
            &[
                Change::RelationshipType(id, Some(record)),
                Change::Dynamic(file, ID_1, content),
            ],
        );
    }
    let key = PropertyKey {
        property_count: 0,
        name_block: Some(RecordId(7)),
    };
    both(
        &Command::PropertyKey(RecordId(5), Some(key), &[]),
        "05 00000005 01 00000000 00000007 00000000",
        &[Change::PropertyKey(RecordId(5), Some(key))],
    );
}

#[test]
fn single_commands_on_long_strings() {
    let (id, block_id) = (RecordId(4), RecordId(17));
    let header = DynamicHeader {
        previous: None,
        next: None,
        length: 3,
    };
    let record = |content| DynamicRecord {
        store: StoreFile::String,
        id: block_id,
        content,
    };
    let content = Some((header, &b"xxx"[..]));
    let new_records = [record(content)];
    let freed = [record(None)];
    let blocks = [Block {
        longs: &[0x1_1900_0000],
        records: &new_records,
    }];
    let property = |blocks, deleted| Command::Property {
        id,
        owner: Owner::Node(ID_1),
        previous: None,
        next: None,
        blocks,
        deleted,
    };
    let value = Property {
        previous: None,
        next: None,
        payload: [0x1_1900_0000, 0, 0, 0],
        used: 1,
    };
    graph_command(
        LogFormat::V2,
        &property(&blocks, &[]),
        "02 0000000000000004 01 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF 0000000000000001 01 08 0000000119000000 00000001
         0000000000000011 00000009 01 00000003 FFFFFFFFFFFFFFFF 787878 00000000",
        &[
            Change::Dynamic(StoreFile::String, block_id, content),
            Change::Property(id, Some(value)),
        ],
    );
    graph_command(
        LogFormat::V2,
        &property(&[], &freed),
        "02 0000000000000004 00 FFFFFFFFFFFFFFFF FFFFFFFFFFFFFFFF 0000000000000001 00 00000001
         0000000000000011 00000009 00",
        &[
            Change::Property(id, None),
            Change::Dynamic(StoreFile::String, block_id, None),
        ],
    );
    graph_command(
        LogFormat::V1,
        &Command::LegacyProperty(id, Owner::Node(ID_1), None, &[record(None)]),
        "02 0000000000000004 00 0000000000000001 00000001 0000000000000011 00000002 00",
        &[
            Change::LegacyProperty(id, None),
            Change::Dynamic(StoreFile::String, block_id, None),
        ],
    );
}

fn index_command(kind: IndexKind, index: &str, action: LuceneAction<'_>, bytes: &str) {
    let (bytes, name) = (hex(bytes), utf16(index));
    let command = LuceneCommand {
        kind,
        index: Text(&name),
        action,
    };
    let mut encoded = Vec::new();
    command.encode(&mut encoded);
    assert_eq!(encoded, bytes);
    changes_of(LUCENE, &bytes, |item| {
        if let Item::Lucene(found) = item {
            assert_eq!(found, command);
        }
    });
}

#[test]
fn single_index_commands() {
    let config = hex(
        "00000008 00700072006F00760069006400650072 00000006 006C007500630065006E0065
                      00000004 0074007900700065 00000005 00650078006100630074",
    );
    let properties = IndexProperties {
        count: 2,
        bytes: &config,
    };
    let entries: Vec<_> = properties.entries().map(|(key, value)| (key.0, value.0)).collect();
    let texts = [utf16("provider"), utf16("lucene"), utf16("type"), utf16("exact")];
    assert_eq!(
        entries,
        [(&texts[0][..], &texts[1][..]), (&texts[2][..], &texts[3][..])]
    );
    index_command(
        IndexKind::Node,
        "people",
        LuceneAction::Create(properties),
        "04 01 00000006 00700065006F0070006C0065 00000002
         00000008 00700072006F00760069006400650072 00000006 006C007500630065006E0065
         00000004 0074007900700065 00000005 00650078006100630074",
    );
    let entity = LuceneAction::Remove {
        entity: 1,
        key: None,
        value: LuceneValue::Null,
    };
    index_command(
        IndexKind::Node,
        "people",
        entity,
        "02 01 00000006 0000000000000001 FFFFFFFF 00 00700065006F0070006C0065",
    );
    index_command(
        IndexKind::Node,
        "people",
        LuceneAction::Delete,
        "03 01 00000006 FFFFFFFFFFFFFFFF 00000000 05 00700065006F0070006C0065 00000000",
    );
    let add = LuceneAction::Add {
        entity: 5,
        key: Some(Text(&utf16("since"))),
        value: LuceneValue::Int(1999),
        ends: Some((1, 2)),
    };
    index_command(
        IndexKind::Relationship,
        "knows",
        add,
        "01 02 00000005 0000000000000005 00000005 01 006B006E006F00770073 00730069006E00630065 000007CF
         0000000000000001 0000000000000002",
    );
}

#[test]
fn every_truncation_of_an_example_is_an_error() {
    for (text, layout, tx) in [(CURRENT, V2, 43), (LEGACY, V1, 43), (INDEX, LUCENE, 9)] {
        let bytes = hex(text);
        for length in 0..bytes.len() {
            assert!(
                read(&bytes[..length], layout, tx, |_| ()).is_err(),
                "{length} bytes of {text}"
            );
        }
    }
}
