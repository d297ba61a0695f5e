//! Recorded answers of real servers (`tests/vectors/README.md`) and the worked examples of the protocol's description.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use neo4j_format::{
    ids::{StoreId, TxId},
    wire::{Decoder, Dialect, Encoder, Event, Follows, PeerPath, WireError},
};

/// What a response says, its data joined.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Told {
    File(String, Vec<u8>),
    StoreId(StoreId),
    Transaction(String, TxId, Vec<u8>),
}

fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> Result<Vec<Told>, WireError> {
    let mut told = Vec::new();
    for mut part in bytes.chunks(step) {
        while let Some(event) = decoder.next(&mut part)? {
            match event {
                Event::File(path) => told.push(Told::File(path.to_string(), Vec::new())),
                Event::Transaction(source, id) => told.push(Told::Transaction(source.to_string(), id, Vec::new())),
                Event::StoreId(id) => told.push(Told::StoreId(id)),
                Event::Data(piece) => match told.last_mut() {
                    Some(Told::File(_, data) | Told::Transaction(_, _, data)) => data.extend(piece),
                    other => panic!("data after {other:?}"),
                },
                Event::FileEnd | Event::TransactionEnd => {}
                Event::End => return Ok(told),
            }
        }
    }
    Err(decoder.cut_off())
}

fn failure(dialect: Dialect, bytes: &[u8]) -> String {
    match decode(Decoder::incremental(dialect), bytes, 100) {
        Err(error @ WireError::Server(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

const INCREMENTALS: [(Dialect, &[u8]); 4] = [
    (Dialect::D13, include_bytes!("../vectors/1.3-incremental.bin")),
    (Dialect::D14, include_bytes!("../vectors/1.4.2-incremental.bin")),
    (Dialect::D15, include_bytes!("../vectors/1.5-incremental.bin")),
    (Dialect::D18, include_bytes!("../vectors/1.8-incremental.bin")),
];

#[test]
fn incrementals_of_real_servers_are_the_same_however_they_arrive() {
    for (dialect, bytes) in INCREMENTALS {
        let asked = [("nioneodb", TxId(1)), ("lucene-index", TxId(1))];
        let decoder = || Decoder::incremental(dialect).after(&asked);
        let whole = decode(decoder(), bytes, bytes.len()).unwrap();
        let Some(Told::StoreId(id)) = whole.first() else {
            panic!("{dialect}: no store id")
        };
        assert_eq!(id.store_version.is_some(), dialect.has_store_version());
        let ids = |name| {
            let of_source = whole.iter().filter_map(move |told| match told {
                Told::Transaction(source, id, data) if source == name => Some((id.0, data.len())),
                _ => None,
            });
            of_source.collect::<Vec<_>>()
        };
        let graph = ids("nioneodb");
        assert!(graph.len() > 2, "{dialect}: {graph:?}");
        assert!(
            graph
                .iter()
                .map(|(id, _)| *id)
                .eq(2..2 + i64::try_from(graph.len()).unwrap())
        );
        assert!(graph.iter().all(|(_, length)| *length > 30));
        assert!(!ids("lucene-index").is_empty());
        for step in 1..300 {
            assert_eq!(
                decode(decoder(), bytes, step).unwrap(),
                whole,
                "{dialect}: {step} bytes at once"
            );
        }
    }
}

#[test]
fn answers_of_real_servers_are_encoded_byte_for_byte() {
    let nothing: [(Dialect, &[u8]); 4] = [
        (Dialect::D13, include_bytes!("../vectors/1.3-nothing.bin")),
        (Dialect::D14, include_bytes!("../vectors/1.4.2-probe.bin")),
        (Dialect::D15, include_bytes!("../vectors/1.5-nothing.bin")),
        (Dialect::D18, include_bytes!("../vectors/1.8-nothing.bin")),
    ];
    let full: (Dialect, &[u8]) = (Dialect::D18, include_bytes!("../vectors/1.8-full.bin"));
    for (dialect, bytes) in INCREMENTALS.into_iter().chain(nothing).chain([full]) {
        let is_full = bytes == full.1;
        let decoder = if is_full {
            Decoder::full(dialect)
        } else {
            Decoder::incremental(dialect)
        };
        let told = decode(decoder, bytes, bytes.len()).unwrap();
        // the order of the names differs from that of the groups in real servers
        let names = names_in(&told, bytes);
        let mut encoder = Encoder::new(dialect);
        for part in &told {
            match part {
                Told::File(path, data) => {
                    encoder.file(&PeerPath::to_send(path).unwrap(), data.len() as u64);
                    encode_data(&mut encoder, data);
                }
                Told::StoreId(id) => {
                    if is_full {
                        encoder.files_end();
                    }
                    encoder.store_id(*id);
                    if !names.is_empty() {
                        encoder.sources(names.iter().copied());
                    }
                }
                Told::Transaction(source, id, data) => {
                    let number = names.iter().position(|name| name == source).unwrap() + 1;
                    encoder.transaction(u8::try_from(number).unwrap(), *id);
                    encode_data(&mut encoder, data);
                }
            }
        }
        encoder.transactions_end();
        assert_eq!(encoder.frame(Follows::Nothing), bytes, "{dialect}");
    }
}

fn encode_data(encoder: &mut Encoder, mut data: &[u8]) {
    encoder.data(&mut data);
    assert!(data.is_empty(), "one chunk holds it all");
    encoder.end();
}

/// The data sources that a response with transactions names, in its order.
fn names_in(told: &[Told], bytes: &[u8]) -> Vec<&'static str> {
    if !told.iter().any(|part| matches!(part, Told::Transaction(..))) {
        return Vec::new();
    }
    let mut names = vec!["nioneodb", "lucene-index"];
    let place = |name: &str| {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
        bytes.windows(units.len()).rposition(|window| window == units)
    };
    names.sort_by_key(|name| place(name));
    names
}

#[test]
fn incrementals_that_answer_another_question_are_refused() {
    for (dialect, bytes) in INCREMENTALS {
        let after = |asked: &[(&str, TxId)]| decode(Decoder::incremental(dialect).after(asked), bytes, 999);
        let error = after(&[("nioneodb", TxId(2)), ("lucene-index", TxId(1))]);
        assert!(matches!(error, Err(WireError::Order { .. })), "{dialect}: {error:?}");
        let error = after(&[("nioneodb", TxId(1))]);
        assert!(matches!(error, Err(WireError::Unasked(_))), "{dialect}: {error:?}");
    }
}

#[test]
fn incrementals_of_real_servers_cut_anywhere_are_errors() {
    for (dialect, bytes) in INCREMENTALS {
        for cut in (0..bytes.len()).step_by(7).chain(bytes.len() - 20..bytes.len()) {
            let result = decode(Decoder::incremental(dialect), &bytes[..cut], 1000);
            assert!(
                matches!(result, Err(WireError::Short(_))),
                "{dialect} cut at {cut}: {result:?}"
            );
        }
    }
}

#[test]
fn no_transactions_are_a_store_id_and_nothing_else() {
    for (dialect, bytes) in [
        (Dialect::D13, &include_bytes!("../vectors/1.3-nothing.bin")[..]),
        (Dialect::D14, include_bytes!("../vectors/1.4.2-probe.bin")),
        (Dialect::D15, include_bytes!("../vectors/1.5-nothing.bin")),
        (Dialect::D18, include_bytes!("../vectors/1.8-nothing.bin")),
    ] {
        let told = decode(Decoder::incremental(dialect), bytes, 5).unwrap();
        assert!(matches!(told[..], [Told::StoreId(_)]), "{dialect}: {told:?}");
    }
}

#[test]
fn failures_of_real_servers_are_read_with_their_causes() {
    let says = |dialect, bytes: &[u8], parts: &[&str]| {
        let text = failure(dialect, bytes);
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains("unreadable"), "{text}");
    };
    let unknown = ["java.lang.RuntimeException: ", "No data source 'nothere' found"];
    says(
        Dialect::D15,
        include_bytes!("../vectors/1.5-unknown-source.bin"),
        &unknown,
    );
    says(
        Dialect::D18,
        include_bytes!("../vectors/1.8-unknown-source.bin"),
        &unknown,
    );
    for (dialect, bytes) in [
        (Dialect::D15, &include_bytes!("../vectors/1.5-pruned.bin")[..]),
        (Dialect::D18, include_bytes!("../vectors/1.8-pruned.bin")),
    ] {
        says(
            dialect,
            bytes,
            &["java.lang.RuntimeException: ", "No such log version:0"],
        );
        let read = neo4j_format::wire::failure::read(&bytes[6..]);
        let messages: Vec<_> = read.exceptions.iter().map(|(_, message)| message.as_deref()).collect();
        assert!(
            matches!(messages[..], [Some(_), Some("No such log version:0")]),
            "{read:?}"
        );
        assert!(
            !failure(dialect, bytes).contains("caused by"),
            "the outer message has it already"
        );
    }
    let before = ["java.lang.RuntimeException: ", "not found in any logical log"];
    says(Dialect::D15, include_bytes!("../vectors/1.5-before-first.bin"), &before);
    says(Dialect::D18, include_bytes!("../vectors/1.8-before-first.bin"), &before);
}

#[test]
fn failures_truncated_at_every_byte_are_failures_with_the_class_once_it_is_there() {
    for whole in [
        &include_bytes!("../vectors/1.5-pruned.bin")[6..],
        &include_bytes!("../vectors/1.8-pruned.bin")[6..],
        &include_bytes!("../vectors/1.8-before-first.bin")[6..],
    ] {
        for cut in 0..whole.len() {
            let failure = neo4j_format::wire::failure::read(&whole[..cut]);
            let (class, _) = failure.exceptions.first().unwrap();
            assert_eq!(
                cut >= 34,
                class == "java.lang.RuntimeException",
                "cut at {cut}: {failure}"
            );
        }
    }
}

#[test]
fn failures_with_any_byte_flipped_are_still_failures() {
    let whole = &include_bytes!("../vectors/1.8-pruned.bin")[6..];
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut object = whole.to_vec();
            object[at] ^= flip;
            assert!(!neo4j_format::wire::failure::read(&object).exceptions.is_empty());
        }
    }
}

#[test]
fn the_answer_of_another_dialect_is_a_version_mismatch() {
    for (dialect, bytes, releases) in [
        (
            Dialect::D18,
            &include_bytes!("../vectors/1.5-probe.bin")[..],
            "Neo4j 1.5.0 or 1.6.0",
        ),
        (
            Dialect::D15,
            include_bytes!("../vectors/1.8-probe.bin"),
            "Neo4j 1.5.1 - 1.9",
        ),
    ] {
        let error = decode(Decoder::incremental(dialect), bytes, 64)
            .unwrap_err()
            .to_string();
        assert!(error.contains(releases), "{error}");
    }
    let object = &include_bytes!("../vectors/1.8-probe.bin")[6..];
    let text = neo4j_format::wire::failure::read(object).to_string();
    assert!(
        text.contains("org.neo4j.com.IllegalProtocolVersionException: Unexpected internal protocol version 0"),
        "{text}"
    );
}

/// §15.4.
const MINIMAL: &str = "00000051 0801 000a 006e0065006f00730074006f00720065002e0061 01 0548656c6c6f
    000a 006e0065006f00730074006f00720065002e0062 00 0000
    000001a202589052 c8e5bf25b069ca70 00302e412e307606 00";

fn hello() -> Vec<Told> {
    let store_id = StoreId {
        creation_time: 0x01a2_0258_9052,
        random: -0x371a_40da_4f96_3590,
        store_version: Some(0x0030_2e41_2e30_7606),
    };
    vec![
        Told::File("neostore.a".into(), b"Hello".to_vec()),
        Told::File("neostore.b".into(), vec![]),
        Told::StoreId(store_id),
    ]
}

#[test]
fn the_documented_minimal_response_is_read_in_one_chunk_or_two() {
    let whole = hex(MINIMAL);
    assert_eq!(decode(Decoder::full(Dialect::D18), &whole, 9).unwrap(), hello());
    for cut in 6..whole.len() {
        let chunk = |header: u8, payload: &[u8]| {
            let length = u32::try_from(payload.len() + 2).unwrap();
            [&length.to_be_bytes()[..], &[header, 1], payload].concat()
        };
        let two = [chunk(9, &whole[6..cut]), chunk(8, &whole[cut..])].concat();
        assert_eq!(
            decode(Decoder::full(Dialect::D18), &two, 50).unwrap(),
            hello(),
            "cut at {cut}"
        );
    }
    let mut old = whole.clone();
    old.drain(whole.len() - 9..whole.len() - 1);
    old.splice(..6, [0, 0, 0, 0x48, 0]);
    let told = decode(Decoder::full(Dialect::D14), &old, 9).unwrap();
    assert_eq!(told[..2], hello()[..2]);
    assert!(matches!(
        told[2],
        Told::StoreId(StoreId {
            store_version: None,
            ..
        })
    ));
}

#[test]
fn the_documented_incremental_response_is_read() {
    let body = "01 1906 4e454f4b45524e4c0016f659bbbd4a4aea0000000000000003 343134313431 00000005 4e454e31
        ffffffff ffffffff 000001a202613f11 0300000005 01000000000000000401
        ffffffffffffffffffffffffffffffff 0200000005000001a202613f31 06000000050000000000000005
        000001a202613f34 0400000005";
    let text = format!(
        "000000ba 0801 000001a202589052c8e5bf25b069ca7000302e412e307606 01
        00000008006e0069006f006e0065006f00640062 01 0000000000000005 80 {body} 00"
    );
    let told = decode(Decoder::incremental(Dialect::D18), &hex(&text), 11).unwrap();
    assert_eq!(told[1..], [Told::Transaction("nioneodb".into(), TxId(5), hex(body))]);
}

#[test]
fn a_flipped_bit_changes_a_value_or_is_an_error_but_never_drops_anything() {
    for (dialect, bytes) in INCREMENTALS {
        let whole = decode(Decoder::incremental(dialect), bytes, 4096).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                if let Ok(told) = decode(Decoder::incremental(dialect), &flipped, 4096) {
                    assert_eq!(told.len(), whole.len(), "{dialect}: byte {at}, bit {bit}");
                }
            }
        }
    }
}
