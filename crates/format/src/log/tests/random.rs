//! Generated transactions, and bytes that are none.

use std::io::Write;

use proptest::{collection::vec, prelude::*};

use super::sample::{Builder, LUCENE, V1, V2, layout};
use crate::{
    ids::{DataSource, LogVersion, TxId},
    log::{
        Buffer, Fingerprint, LogFormat, LogHeader, LogWriter, LuceneCommand, SlotReader, TransactionReader,
        TransactionSummary,
        encode::{Block, Command, DynamicRecord, Owner},
        entry::CommitKind,
        lucene::{LuceneAction, LuceneValue, Text},
    },
    store::{
        IndexKind, StoreFile,
        record::{DynamicHeader, LegacyProperty, Node, Pointer, PropertyKey, RecordId, Relationship, RelationshipType},
    },
};

fn pointer() -> impl Strategy<Value = Pointer> + Clone {
    prop_oneof![
        Just(None),
        (0_u64..0xFFFF_FFFF).prop_map(|id| Some(RecordId(id))),
        Just(Some(RecordId(1 << 34)))
    ]
}

fn id() -> impl Strategy<Value = RecordId> + Clone {
    (0_u64..1 << 31).prop_map(RecordId)
}

type OwnedRecord = (u64, Option<(Pointer, Pointer, Vec<u8>)>);

fn records() -> impl Strategy<Value = Vec<OwnedRecord>> + Clone {
    vec(
        (
            1_u64..1 << 31,
            proptest::option::of((pointer(), pointer(), vec(any::<u8>(), 0..200))),
        ),
        0..4,
    )
}

fn borrowed(store: StoreFile, records: &[OwnedRecord]) -> Vec<DynamicRecord<'_>> {
    let content = |content: &(Pointer, Pointer, Vec<u8>)| DynamicHeader {
        previous: content.0,
        next: content.1,
        length: content.2.len().try_into().unwrap(),
    };
    records
        .iter()
        .map(|(id, data)| DynamicRecord {
            store,
            id: RecordId(*id),
            content: data.as_ref().map(|data| (content(data), &data.2[..])),
        })
        .collect()
}

fn encode(format: LogFormat, command: &Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    command.encode(format, &mut out);
    out
}

fn property(format: LogFormat) -> BoxedStrategy<Vec<u8>> {
    let blocks = vec((any::<u64>(), records()), 0..=4);
    let fields = (id(), pointer(), pointer(), blocks, records());
    fields
        .prop_map(move |(id, previous, next, values, deleted)| {
            let deleted = borrowed(StoreFile::Array, &deleted);
            if format == LogFormat::V1 {
                let property = values.first().map(|(value, _)| LegacyProperty {
                    type_code: 2,
                    key: 1,
                    value: *value,
                    previous,
                    next,
                });
                let owner = Owner::Relationship(RecordId(3));
                return encode(format, &Command::LegacyProperty(id, owner, property, &deleted));
            }
            let records: Vec<_> = values
                .iter()
                .map(|(_, records)| borrowed(StoreFile::String, records))
                .collect();
            let blocks: Vec<_> = values
                .iter()
                .zip(&records)
                .map(|((long, _), records)| Block {
                    longs: std::slice::from_ref(long),
                    records,
                })
                .collect();
            let owner = Owner::Node(id);
            let (blocks, deleted) = (&blocks, &deleted);
            encode(
                format,
                &Command::Property {
                    id,
                    owner,
                    previous,
                    next,
                    blocks,
                    deleted,
                },
            )
        })
        .boxed()
}

fn graph_command(format: LogFormat) -> impl Strategy<Value = Vec<u8>> {
    let node =
        (id(), pointer(), pointer(), any::<bool>()).prop_map(|(id, first_relationship, first_property, used)| {
            let node = Node {
                first_relationship,
                first_property,
            };
            Command::Node(id, used.then_some(node))
        });
    let relationship = (id(), any::<u16>(), vec(pointer(), 7)).prop_map(|(id, type_id, p)| {
        let relationship = Relationship {
            first_node: p[0],
            second_node: p[1],
            type_id,
            first_previous: p[2],
            first_next: p[3],
            second_previous: p[4],
            second_next: p[5],
            first_property: p[6],
        };
        Command::Relationship(id, Some(relationship))
    });
    let names = (any::<u16>(), records(), any::<bool>()).prop_map(move |(id, records, key)| {
        let (id, name_block) = (RecordId(id.into()), Some(RecordId(9)));
        if key {
            let records = borrowed(StoreFile::PropertyKeyName, &records);
            let record = PropertyKey {
                property_count: 0,
                name_block,
            };
            encode(format, &Command::PropertyKey(id, Some(record), &records))
        } else {
            let records = borrowed(StoreFile::RelationshipTypeName, &records);
            let record = RelationshipType { name_block };
            encode(format, &Command::RelationshipType(id, Some(record), &records))
        }
    });
    prop_oneof![
        prop_oneof![node, relationship].prop_map(move |command| encode(format, &command)),
        property(format),
        names,
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u16>(), 0..20).prop_map(|units| units.into_iter().flat_map(u16::to_be_bytes).collect())
}

fn lucene_command() -> impl Strategy<Value = Vec<u8>> {
    (
        0..4_u8,
        any::<bool>(),
        text(),
        any::<i64>(),
        proptest::option::of(text()),
        0..6_u8,
        text(),
    )
        .prop_map(|(action, node, name, entity, key, kind, value)| {
            let value = match kind {
                0 => LuceneValue::Null,
                1 => LuceneValue::Int(-3),
                2 => LuceneValue::Long(entity),
                3 => LuceneValue::Float(7),
                4 => LuceneValue::Double(8),
                _ => LuceneValue::Text(Text(&value)),
            };
            let key = key.as_deref().map(Text);
            let ends = (!node).then_some((entity, 2));
            let command = LuceneCommand {
                kind: if node { IndexKind::Node } else { IndexKind::Relationship },
                index: Text(&name),
                action: match action {
                    0 => LuceneAction::Remove { entity, key, value },
                    1 => LuceneAction::Delete,
                    _ => LuceneAction::Add {
                        entity,
                        key,
                        value,
                        ends,
                    },
                },
            };
            let mut out = Vec::new();
            command.encode(&mut out);
            out
        })
}

fn commands() -> impl Strategy<Value = (LogFormat, DataSource, Vec<Vec<u8>>)> {
    let graph =
        |format| vec(graph_command(format), 0..12).prop_map(move |commands| (format, DataSource::Graph, commands));
    let lucene = |format| vec(lucene_command(), 0..12).prop_map(move |commands| (format, DataSource::Lucene, commands));
    prop_oneof![
        graph(LogFormat::V1),
        graph(LogFormat::V2),
        lucene(LogFormat::V1),
        lucene(LogFormat::V2)
    ]
}

fn copy(layout: crate::log::Layout, bytes: &[u8], tx: i64) -> (Vec<u8>, TransactionSummary) {
    let mut buffer = Buffer::new();
    let mut reader = TransactionReader::new(bytes, layout, TxId(tx), &mut buffer);
    let header = LogHeader {
        format: layout.format,
        version: LogVersion(1),
        previous_last_tx: TxId(tx - 1),
    };
    let mut writer = LogWriter::create(Vec::new(), header, layout).unwrap();
    let summary = writer.append(&mut reader).unwrap();
    (writer.finish().unwrap(), summary)
}

fn fingerprint(layout: crate::log::Layout, bytes: &[u8], tx: i64) -> Fingerprint {
    let mut buffer = Buffer::new();
    TransactionReader::new(bytes, layout, TxId(tx), &mut buffer)
        .fingerprint()
        .unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_only_identifiers_change((format, source, commands) in commands(), id in 3..i32::MAX) {
        let layout = layout(format, source);
        let build = |identifier| {
            let start = Builder::new(layout, identifier).start();
            let all = commands.iter().fold(start, |builder, command| builder.command(command));
            if commands.is_empty() {
                return all.commit(43, CommitKind::OnePhase).done();
            }
            all.prepare().commit(43, CommitKind::TwoPhase).done()
        };
        let (log, summary) = copy(layout, &build(id), 43);
        prop_assert_eq!(&log[16..], &build(2)[..]);
        prop_assert_eq!(summary.commands, commands.len() as u64);
        prop_assert_eq!((summary.offset, summary.length), (16, log.len() as u64 - 16));
        prop_assert_eq!((summary.tx, summary.identifier), (TxId(43), 2));
        prop_assert_eq!(&summary.global_id[..9], b"NEOKERNL\0");
        let (mut scan, mut look) = (Buffer::new(), Buffer::new());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&log).unwrap();
        let found = SlotReader::open(&file, layout, &mut scan).unwrap().next().unwrap().unwrap();
        prop_assert_eq!(summary.committed(), found);
        let fingerprint_in_log = crate::log::slot::transaction(&file, layout, &found, &mut look).fingerprint().unwrap();
        prop_assert_eq!(fingerprint_in_log, fingerprint(layout, &build(id), 43));
    }

    #[test]
    fn the_fingerprint_ignores_what_two_servers_may_log_differently((format, source, mut commands) in commands(), seed: u64) {
        let layout = layout(format, source);
        let build = |identifier, commands: &[Vec<u8>]| {
            let start = Builder::new(layout, identifier).start();
            commands.iter().fold(start, |builder, command| builder.command(command))
        };
        let one = build(2, &commands).commit(43, CommitKind::OnePhase).done();
        let first = fingerprint(layout, &one, 43);
        if !commands.is_empty() {
            let turn = usize::try_from(seed % commands.len() as u64).unwrap();
            commands.rotate_left(turn);
        }
        let two = build(77, &commands).prepare().commit_at(43, CommitKind::TwoPhase, 7).done();
        prop_assert_eq!(first, fingerprint(layout, &two, 43));
        prop_assert_eq!(first.to_string().parse(), Ok(first));
        let other = build(2, &commands).commit(44, CommitKind::OnePhase).done();
        prop_assert_ne!(first, fingerprint(layout, &other, 44));
        let start = Builder::new(layout, 2).start_with(b"NEOKERNL\0\x11\x22\x33\x44\x55\x66\x77\x89\0\0\0\0\0\0\0\x07");
        let elsewhere = commands.iter().fold(start, |builder, command| builder.command(command));
        prop_assert_ne!(first, fingerprint(layout, &elsewhere.commit(43, CommitKind::OnePhase).done(), 43));
        commands.push(commands.first().cloned().unwrap_or_else(|| match source {
            DataSource::Graph => super::sample::node(1),
            DataSource::Lucene => super::sample::hex("02 01 00000000 0000000000000001 FFFFFFFF 00"),
        }));
        let more = build(2, &commands).commit(43, CommitKind::OnePhase).done();
        prop_assert_ne!(first, fingerprint(layout, &more, 43));
    }

    #[test]
    fn every_truncation_of_a_transaction_is_an_error((format, source, commands) in commands(), cut: prop::sample::Index) {
        let layout = layout(format, source);
        let bytes = super::sample::transaction(layout, 2, 43, &commands);
        let cut = cut.index(bytes.len());
        prop_assert!(super::sample::read(&bytes[..cut], layout, 43, |_| ()).is_err());
    }

    #[test]
    fn a_flipped_byte_never_panics((format, source, commands) in commands(), at: prop::sample::Index, by: u8) {
        let layout = layout(format, source);
        let mut bytes = super::sample::transaction(layout, 2, 43, &commands);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        let _ = super::sample::read(&bytes, layout, 43, |_| ());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), tag in 1..7_u8, command in 0..7_u8) {
        for layout in [V1, V2, LUCENE] {
            let _ = super::sample::read(&bytes, layout, 43, |_| ());
            let start = Builder::new(layout, 2).start().bytes;
            let _ = super::sample::read(&[&start[..], &[tag], &bytes].concat(), layout, 43, |_| ());
            let _ = super::sample::read(&[&start[..], &[3, 0, 0, 0, 2, command], &bytes].concat(), layout, 43, |_| ());
        }
    }
}
