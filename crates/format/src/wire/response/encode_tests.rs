//! What is encoded is what the decoder reads, however it is cut.

use proptest::prelude::*;

use super::{Encoder, Follows};
use crate::{
    ids::{StoreId, TxId},
    wire::{
        Decoder, Dialect, Event, PeerPath,
        frame::{Frames, Piece},
    },
};

/// A response as its maker and its reader see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    files: Option<Vec<(String, Vec<u8>)>>,
    store_id: StoreId,
    transactions: Vec<(String, i64, Vec<u8>)>,
}

/// Encodes it, its data in pieces of `step` bytes.
fn encode(told: &Told, dialect: Dialect, chunk: usize, step: usize) -> Vec<Vec<u8>> {
    let (mut encoder, mut frames) = (Encoder::with_chunks_of(dialect, chunk), Vec::new());
    let mut body = |encoder: &mut Encoder, data: &[u8]| {
        for mut piece in data.chunks(step) {
            while !piece.is_empty() {
                encoder.data(&mut piece);
                if !piece.is_empty() {
                    assert!(encoder.is_full());
                    frames.push(encoder.frame(Follows::More).to_vec());
                    encoder.next_chunk();
                }
            }
        }
        encoder.end();
        if encoder.is_full() {
            frames.push(encoder.frame(Follows::More).to_vec());
            encoder.next_chunk();
        }
    };
    for (name, data) in told.files.iter().flatten() {
        encoder.file(&PeerPath::to_send(name).unwrap(), u64::try_from(data.len()).unwrap());
        body(&mut encoder, data);
    }
    if told.files.is_some() {
        encoder.files_end();
    }
    encoder.store_id(told.store_id);
    if !told.transactions.is_empty() {
        encoder.sources(["nioneodb", "lucene-index"].into_iter());
    }
    for (source, id, data) in &told.transactions {
        encoder.transaction(if source == "nioneodb" { 1 } else { 2 }, TxId(*id));
        body(&mut encoder, data);
    }
    encoder.transactions_end();
    frames.push(encoder.frame(Follows::Nothing).to_vec());
    frames
}

fn decode(bytes: &[u8], dialect: Dialect, is_full: bool) -> Told {
    let mut decoder = if is_full {
        Decoder::full(dialect)
    } else {
        Decoder::incremental(dialect)
    };
    let mut told = Told {
        files: is_full.then(Vec::new),
        store_id: StoreId {
            creation_time: 0,
            random: 0,
            store_version: None,
        },
        transactions: Vec::new(),
    };
    let mut in_file = true;
    let mut input = bytes;
    loop {
        match decoder.next(&mut input).unwrap().unwrap() {
            Event::File(path) => told.files.as_mut().unwrap().push((path.to_string(), Vec::new())),
            Event::Data(data) if in_file => told.files.as_mut().unwrap().last_mut().unwrap().1.extend(data),
            Event::Data(data) => told.transactions.last_mut().unwrap().2.extend(data),
            Event::StoreId(id) => (told.store_id, in_file) = (id, false),
            Event::Transaction(source, id) => told.transactions.push((source.to_string(), id.0, Vec::new())),
            Event::FileEnd | Event::TransactionEnd => {}
            Event::End => break,
        }
    }
    assert!(input.is_empty());
    told
}

/// Payload bytes of a frame.
fn payload(frame: &[u8], dialect: Dialect) -> usize {
    let mut input = frame;
    match Frames::new(dialect).next_at_most(&mut input, usize::MAX) {
        Ok(Piece::Payload(_, piece)) => piece.len(),
        other => panic!("{other:?}"),
    }
}

fn body(least: usize) -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![Just(255), Just(510), Just(256), least..3, least..3000_usize];
    length.prop_flat_map(move |length| proptest::collection::vec(any::<u8>(), length.max(least)))
}

fn told() -> impl Strategy<Value = Told> {
    let files = proptest::collection::btree_map("neostore\\.[a-zü]{1,30}", body(0), 0..6)
        .prop_map(|files| files.into_iter().collect::<Vec<_>>());
    let transactions = (
        proptest::collection::vec(body(1), 0..6),
        proptest::collection::vec(body(1), 0..6),
    );
    (
        proptest::option::of(files),
        any::<(i64, i64, i64)>(),
        transactions,
        2..i64::MAX / 2,
    )
        .prop_map(|(files, (creation_time, random, version), (graph, index), first)| {
            let numbered = |name: &'static str, bodies: Vec<Vec<u8>>| {
                let ids = first..;
                ids.zip(bodies).map(move |(id, body)| (name.to_owned(), id, body))
            };
            Told {
                files,
                store_id: StoreId {
                    creation_time,
                    random,
                    store_version: Some(version),
                },
                transactions: numbered("nioneodb", graph)
                    .chain(numbered("lucene-index", index))
                    .collect(),
            }
        })
}

proptest! {
    #[test]
    fn what_is_encoded_is_what_is_read(
        mut told in told(),
        dialect in proptest::sample::select(&Dialect::ALL),
        chunk in 256..2000_usize,
        step in 1..1200_usize,
    ) {
        if !dialect.has_store_version() {
            told.store_id.store_version = None;
        }
        let frames = encode(&told, dialect, chunk, step);
        prop_assert_eq!(&decode(&frames.concat(), dialect, told.files.is_some()), &told);
        // receivers in Java fetch one chunk more for an incomplete item, and no second one
        for frame in &frames[..frames.len() - 1] {
            prop_assert!(payload(frame, dialect) >= 256);
        }
    }
}

#[test]
fn a_failure_takes_the_place_of_what_was_not_sent() {
    let mut encoder = Encoder::new(Dialect::D18);
    encoder.files_end();
    let frame = encoder.failure("No data source 'x' found").unwrap().to_vec();
    assert_eq!(frame[4..8], [10, 1, 0xac, 0xed]);
    let error = Decoder::full(Dialect::D18).next(&mut &frame[..]).unwrap_err();
    assert!(error.to_string().ends_with("No data source 'x' found"), "{error}");
    assert_eq!(Encoder::new(Dialect::D14).failure("x"), None);
}

#[test]
fn a_mismatch_names_the_versions_in_its_header() {
    let mut encoder = Encoder::new(Dialect::D15);
    assert_eq!(encoder.mismatch("other version")[4..8], [4, 1, 0xac, 0xed]);
}
